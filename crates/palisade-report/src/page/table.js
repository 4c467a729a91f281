// The tables: lines of flows by the page, with their reasons on demand, and findings.

const PAGE = 100;
const FIRST_MARK = 0xe000;
const MARKS_OF_AN_END = 3;

let lines = [];
let page = 0;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function showPage() {
  const pages = Math.max(1, Math.ceil(lines.length / PAGE));
  page = Math.min(Math.max(page, 0), pages - 1);
  const first = page * PAGE;
  const shown = lines.slice(first, first + PAGE);
  document.querySelector("#flows-table tbody").replaceChildren(...shown.map(flowRow));
  document.getElementById("no-flows").hidden = lines.length > 0;
  const nav = document.getElementById("pages");
  nav.hidden = pages === 1;
  nav.querySelector("span").textContent = `${first + 1}–${first + shown.length} of ${lines.length}`;
  nav.querySelector("[data-step='-1']").disabled = page === 0;
  nav.querySelector("[data-step='1']").disabled = page === pages - 1;
}

function flowRow(line, index) {
  const [from, to] = data.rows[line.rows[0]];
  const names = [ends[from].name, ends[to].name];
  const button = element("button", { type: "button", "aria-expanded": "false" }, "Why");
  button.append(element("span", { class: "spoken" }, ` ${names[0]} to ${names[1]} ${familyOf(line)}`));
  const row = element("tr", {},
    element("th", { scope: "row" }, ...breakable(names[0])),
    element("td", {}, ...breakable(names[1])),
    element("td", {}, familyOf(line)),
    element("td", line.passes === "nothing" ? { class: "denied" } : {}, line.passes),
    element("td", {}, button));
  button.addEventListener("click", () => {
    const isOpen = button.getAttribute("aria-expanded") === "true";
    if (isOpen) {
      row.nextElementSibling.remove();
      button.removeAttribute("aria-controls");
    } else {
      row.after(reasonRow(line, `why-${index}`));
      button.setAttribute("aria-controls", `why-${index}`);
    }
    button.setAttribute("aria-expanded", String(!isOpen));
  });
  return row;
}

// A name that a line may end in after a slash, a comma or a dash.
function breakable(name) {
  return name.split(/(?<=[/,-])/).flatMap((part) => [part, element("wbr")]);
}

function reasonRow(line, id) {
  const cell = element("td", { colspan: "5" });
  for (const row of line.rows) {
    const [from, to, family, , reasons] = data.rows[row];
    if (line.rows.length > 1) cell.append(element("h3", {}, `IPv${family}`));
    const words = [ends[from].words[0], ends[to].words[from === to ? 1 : 0]];
    cell.append(...data.reasons[reasons].map((example) => exampleOf(example, words)));
    if (data.reasons[reasons].length === 0) cell.append(element("p", {}, "There is no flow that stands for it."));
  }
  return element("tr", { id, class: "why" }, cell);
}

// An example: what it stands for, its flow, the verdict, and the lines of `palisade explain`.
function exampleOf([part, flow, verdict, lines], words) {
  const said = lines.map((pieces) => element("li", {}, unmarked(pieces.map((number) => data.texts[number]).join(""), words)));
  return element("div", { class: "example" },
    element("p", {},
      element("strong", {}, data.texts[part]), ": ", element("b", { class: "verdict" }, data.texts[verdict]),
      element("span", { class: "flow" }, " as in ", element("code", {}, unmarked(data.texts[flow], words)))),
    element("ul", {}, ...said));
}

// A text with the words of both ends in the place of their marks.
function unmarked(text, words) {
  return text.replace(/[\ue000-\ue005]/g, (mark) => {
    const number = mark.charCodeAt(0) - FIRST_MARK;
    return words[Math.floor(number / MARKS_OF_AN_END)]?.[number % MARKS_OF_AN_END] ?? mark;
  });
}

function showFindings() {
  const { findings } = data;
  document.getElementById("findings-count").textContent = `(${findings.length})`;
  document.getElementById("no-findings").hidden = findings.length > 0;
  document.getElementById("findings-table").hidden = findings.length === 0;
  document.querySelector("#findings-table tbody").replaceChildren(...findings.map((finding) => {
    const { level, file, line, column, id, name, object, message, reason, hint } = finding;
    const place = file === null ? "" : `${file}:${line}:${column}`;
    const what = element("td", {}, element("p", {}, object === null ? "" : element("b", {}, `${object}: `), message));
    if (reason !== null) what.append(element("p", {}, reason));
    if (hint !== null) what.append(element("p", { class: "help" }, element("b", {}, "Instead: "), hint));
    return element("tr", {},
      element("td", { class: `level ${level}` }, level),
      element("th", { scope: "row" }, element("code", {}, ...breakable(place))),
      element("td", {}, element("code", {}, id ?? ""), name === null ? "" : ` ${name}`),
      what);
  }));
}
