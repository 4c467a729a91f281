// The graph: senders on the left, receivers on the right, a line for each pair of which something passes.

const SVG = "http://www.w3.org/2000/svg";
// As the style has them. A heading stands at the bottom of its place.
const HEAD_HEIGHT = 32;
const ITEM_HEIGHT = 26;
const MIDDLE = 13;
const OPEN_MAX = 60;
const LINES_MAX = 3000;
const WIDTH = 100;

// Namespaces, and all that is outside of them.
const groups = new Map();
ends.forEach((end, number) => {
  const name = end.namespace ?? "";
  if (!groups.has(name)) groups.set(name, { name, members: [] });
  groups.get(name).members.push(number);
});
const sortedGroups = [...groups.values()].sort((one, other) => {
  if ((one.name === "") !== (other.name === "")) return one.name === "" ? 1 : -1;
  return one.name < other.name ? -1 : 1;
});
const opened = new Set(ends.filter((end) => end.namespace !== null).length <= OPEN_MAX ? groups.keys() : []);

// Of addresses outside, a side has those that it ever speaks with.
const speaking = { from: new Set(), to: new Set() };
const isEmpty = sets.map((set) => written(set) === "nothing");
for (const [from, to, , set] of data.rows) {
  if (isEmpty[set]) continue;
  speaking.from.add(from);
  speaking.to.add(to);
}

function drawGraph() {
  const pairs = pairsOf(lines);
  const sides = ["from", "to"].map((side) => layOut(side, pairs));
  const height = Math.max(...sides.map(({ height }) => height), 0);
  const svg = document.querySelector("#graph svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${height}`);
  svg.style.height = `${height}px`;
  const tooMany = document.getElementById("too-many");
  tooMany.hidden = pairs.length <= LINES_MAX;
  tooMany.textContent = `${pairs.length} lines are too many to draw: fold namespaces, or filter.`;
  svg.replaceChildren(...(tooMany.hidden ? pairs : []).map((pair) => curve(pair, sides)));
}

// An end as the graph shows it: by itself, or within its namespace.
const unitOf = (number) => {
  const group = ends[number].namespace ?? "";
  return opened.has(group) ? `end ${number}` : `group ${group}`;
};

function pairsOf(lines) {
  const pairs = new Map();
  for (const { rows, passes } of lines) {
    if (passes === "nothing") continue;
    const [from, to] = data.rows[rows[0]].slice(0, 2).map(unitOf);
    const key = `${from}>${to}`;
    const isPart = passes !== "all" || from.startsWith("group") || to.startsWith("group");
    const known = pairs.get(key);
    if (known === undefined) pairs.set(key, { from, to, isPart });
    else known.isPart ||= isPart;
  }
  return [...pairs.values()];
}

// Fills a side, and tells the middle of each of its units.
function layOut(side, pairs) {
  const connected = new Set(pairs.map((pair) => pair[side]));
  const middles = new Map();
  const items = [];
  let height = 0;
  const add = (item, unit, size) => {
    height += size;
    middles.set(unit, height - MIDDLE);
    items.push(item);
  };
  for (const { name, members } of sortedGroups) {
    const shown = members.filter((number) => name !== "" || speaking[side].has(number));
    const isOpen = opened.has(name);
    if (shown.length === 0) continue;
    add(headItem(side, name, shown.length, isOpen, connected), `group ${name}`, HEAD_HEIGHT);
    for (const number of isOpen ? shown : []) {
      add(endItem(side, number, connected), `end ${number}`, ITEM_HEIGHT);
    }
  }
  document.querySelector(`#graph ul[data-side=${side}]`).replaceChildren(...items);
  return { middles, height };
}

function headItem(side, name, count, isOpen, connected) {
  const unit = `group ${name}`;
  const label = name === "" ? "outside" : name;
  const button = element("button", { type: "button", "aria-expanded": String(isOpen), "data-unit": unit, title: label },
    element("span", { class: "name" }, label), element("span", { class: "size" }, ` ${count}`));
  button.addEventListener("click", () => {
    if (!opened.delete(name)) opened.add(name);
    drawGraph();
    document.querySelector(`#graph ul[data-side=${side}] [data-unit="${CSS.escape(unit)}"]`)?.focus();
  });
  return element("li", { class: connected.has(unit) || isOpen ? "head" : "head idle" }, button);
}

function endItem(side, number, connected) {
  const { name, namespace } = ends[number];
  const unit = `end ${number}`;
  const short = namespace === null ? name : name.slice(namespace.length + 1);
  const isPressed = form.elements[side].value === name;
  const button = element("button",
    { type: "button", "aria-pressed": String(isPressed), "data-unit": unit, title: name },
    element("span", { class: "name" }, short));
  button.addEventListener("click", () => {
    form.elements[side].value = isPressed ? "" : name;
    update();
    document.querySelector(`#graph ul[data-side=${side}] [data-unit="${unit}"]`)?.focus();
  });
  return element("li", { class: connected.has(unit) ? "end" : "end idle" }, button);
}

function curve({ from, to, isPart }, sides) {
  const [start, end] = [sides[0].middles.get(from), sides[1].middles.get(to)];
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", `M0 ${start}C${WIDTH / 2} ${start} ${WIDTH / 2} ${end} ${WIDTH} ${end}`);
  path.setAttribute("class", isPart ? "part" : "all");
  path.dataset.from = from;
  path.dataset.to = to;
  return path;
}

// The lines of the name that is pointed at, or has the focus, stand out.
function emphasize(button) {
  const svg = document.querySelector("#graph svg");
  const side = button?.closest("ul").dataset.side;
  svg.classList.toggle("pointed", button !== null);
  for (const path of svg.children) path.classList.toggle("on", button !== null && path.dataset[side] === button.dataset.unit);
}
