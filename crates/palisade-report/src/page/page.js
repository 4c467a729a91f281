// What happens when: the page is opened, the filter changes, a page of lines is turned.

function update() {
  const wanted = fields();
  const isPort = wanted.port === "" || setOf(wanted.port) !== null;
  form.elements.port.setAttribute("aria-invalid", String(!isPort));
  document.getElementById("port-hint").hidden = isPort;
  lines = wantedLines(isPort ? wanted : { ...wanted, port: "" });
  page = 0;
  showPage();
  drawGraph();
  document.getElementById("count").textContent = lines.length === 1 ? "1 line" : `${lines.length} lines`;
  remember(wanted);
}

// The filter is in the address of the page, so that a link shows the same.
function remember({ show, ...wanted }) {
  const set = Object.entries({ ...wanted, show: show === "passes" ? "" : show }).filter(([, value]) => value !== "");
  const hash = set.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
  history.replaceState(null, "", hash === "" ? location.pathname + location.search : `#${hash}`);
}

// Reads the filter from the address; one of a section has none.
function recall() {
  if (!location.hash.includes("=")) return;
  form.reset();
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    if (Object.hasOwn(fields(), name)) form.elements[name].value = value;
  }
}

function start() {
  const inside = ends.filter((end) => end.namespace !== null);
  const counted = (number, one, many) => `${number} ${number === 1 ? one : many}`;
  document.title = `${data.about}: who reaches whom`;
  document.getElementById("about").textContent = [data.about, counted(inside.length, "workload", "workloads"),
    counted(new Set(inside.map((end) => end.namespace)).size, "namespace", "namespaces"),
    counted(data.policies, "NetworkPolicy", "NetworkPolicies")].join(" · ");
  const leftOut = document.getElementById("left-out");
  leftOut.hidden = data.left_out === null;
  leftOut.textContent = data.left_out;
  document.getElementById("ends").append(...ends.map((end) => element("option", { value: end.name })));
  showFindings();
  recall();
  update();
}

form.addEventListener("input", update);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => queueMicrotask(update));
addEventListener("hashchange", () => {
  if (location.hash.includes("=")) {
    recall();
    update();
  }
});
document.getElementById("pages").addEventListener("click", ({ target }) => {
  if (target.dataset.step === undefined) return;
  page += Number(target.dataset.step);
  showPage();
  document.getElementById("flows").focus();
});
for (const list of document.querySelectorAll("#graph ul")) {
  for (const event of ["mouseover", "focusin"]) list.addEventListener(event, ({ target }) => emphasize(target.closest("button")));
  for (const event of ["mouseleave", "focusout"]) list.addEventListener(event, () => emphasize(null));
}
start();
