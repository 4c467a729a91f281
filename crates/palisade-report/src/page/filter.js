// Which lines are wanted.

const data = JSON.parse(document.getElementById("data").textContent);
const sets = data.sets.map(parsedSet);
const form = document.getElementById("filter");

const ends = data.ends.map((end) => {
  const parts = end.name.split("/");
  const short = parts.length === 3 ? [`${parts[0]}/${parts[2]}`] : [];
  const range = end.first === null ? null : [address(end.first), address(end.last)];
  const names = [end.name, ...short, ...end.pods, ...end.words.map((words) => words[0])];
  return { ...end, range, names: names.map((name) => name.toLowerCase()) };
});

// For each end whether From or To means it: by its name or that of a pod, by an address in it, else by a part of its name. null is everybody.
function meant(text) {
  const wanted = text.trim().toLowerCase();
  if (wanted === "") return null;
  const by = (test) => {
    const found = ends.map(test);
    return found.includes(true) ? found : null;
  };
  const at = address(wanted);
  const holds = ({ range }) =>
    range !== null && range[0].family === at.family && range[0].number <= at.number && at.number <= range[1].number;
  return by(({ names }) => names.includes(wanted))
    ?? (at === null ? null : by(holds))
    ?? ends.map(({ names }) => names.some((name) => name.includes(wanted)));
}

// For each end, set and list of reasons whether it has the text. null is no text.
function having(text, shown) {
  const wanted = text.trim().toLowerCase();
  if (wanted === "") return null;
  const has = (value) => value.toLowerCase().includes(wanted);
  const texts = data.texts.map(has);
  return {
    ends: ends.map((end) => end.names.some(has)),
    sets: shown.map(has),
    reasons: data.reasons.map((examples) => examples.some(([part, flow, verdict, lines]) =>
      [part, flow, verdict].some((number) => texts[number]) || lines.some((pieces) => pieces.some((number) => texts[number])))),
  };
}

// The lines that a filter wants: numbers of rows, with what passes, and a second row where both families come to the same.
function wantedLines({ from, to, port, text, show }) {
  const [isFrom, isTo] = [meant(from), meant(to)];
  const asked = port === "" ? null : setOf(port);
  const shown = sets.map((set) => written(asked === null ? set : intersection(set, asked)));
  const has = having(text, shown);
  const lines = [];
  data.rows.forEach(([source, destination, family, set, reasons], row) => {
    const passes = shown[set];
    if (isFrom !== null && !isFrom[source] || isTo !== null && !isTo[destination]) return;
    if (show !== "all" && (passes === "nothing") !== (show === "denied")) return;
    if (has !== null && !has.ends[source] && !has.ends[destination] && !has.sets[set] && !has.reasons[reasons]) return;
    const last = lines.at(-1);
    const other = family === 6 && last !== undefined && last.rows[0] === row - 1 ? data.rows[row - 1] : null;
    if (other !== null && other[2] === 4 && other[0] === source && other[1] === destination && last.passes === passes) {
      last.rows.push(row);
    } else {
      lines.push({ rows: [row], passes });
    }
  });
  return lines;
}

// The family of a line, where it does not hold in every one.
function familyOf({ rows }) {
  const family = data.rows[rows[0]][2];
  return family === 0 || rows.length > 1 ? "" : `IPv${family}`;
}

const fields = () => Object.fromEntries(["from", "to", "port", "text", "show"].map((name) => [name, form.elements[name].value.trim()]));
