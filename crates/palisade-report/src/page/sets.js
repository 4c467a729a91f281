// Sets of traffic and ranges of addresses: how they are written, and what two of them share.

const TRANSPORTS = ["tcp", "udp", "sctp"];
const LAST_PORT = 65535;

// A set as the data has it, with its ranges as pairs of numbers.
function parsedSet(set) {
  const pair = (range) => {
    const [first, last = first] = range.split("-").map(Number);
    return [first, last];
  };
  const parsed = { other: set.other };
  for (const transport of TRANSPORTS) parsed[transport] = set[transport].map(pair);
  return parsed;
}

function intersection(one, other) {
  const shared = { other: one.other && other.other };
  for (const transport of TRANSPORTS) {
    shared[transport] = one[transport].flatMap(([first, last]) =>
      other[transport]
        .map(([from, to]) => [Math.max(first, from), Math.min(last, to)])
        .filter(([from, to]) => from <= to));
  }
  return shared;
}

// `all`, `nothing`, or as in `tcp 80, tcp 8000-8010, udp, icmp and others`.
function written(set) {
  const isEvery = ([range]) => range !== undefined && range[0] === 1 && range[1] === LAST_PORT;
  if (set.other && TRANSPORTS.every((transport) => isEvery(set[transport]))) return "all";
  const parts = [];
  for (const transport of TRANSPORTS) {
    if (isEvery(set[transport])) parts.push(transport);
    else for (const [first, last] of set[transport]) parts.push(`${transport} ${first === last ? first : `${first}-${last}`}`);
  }
  if (set.other) parts.push("icmp and others");
  return parts.length === 0 ? "nothing" : parts.join(", ");
}

// Reads `tcp/80`, `udp/5000-5010`, `sctp` and `icmp`, as --port does; null is no traffic.
function setOf(text) {
  const set = { tcp: [], udp: [], sctp: [], other: false };
  const found = /^(tcp|udp|sctp)(?:\/(\d+)(?:-(\d+))?)?$/i.exec(text);
  if (/^icmp$/i.test(text)) return { ...set, other: true };
  if (found === null) return null;
  const [, transport, first = "1", last = found[2] ?? String(LAST_PORT)] = found;
  const range = [Number(first), Number(last)];
  if (range[0] < 1 || range[1] > LAST_PORT || range[0] > range[1]) return null;
  set[transport.toLowerCase()] = [range];
  return set;
}

// An address as its family and a number; null is none.
function address(text) {
  if (/^\d+(\.\d+){3}$/.test(text)) {
    const bytes = text.split(".").map(Number);
    if (bytes.some((byte) => byte > 255)) return null;
    return { family: 4, number: bytes.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n) };
  }
  const halves = text.split("::");
  if (!text.includes(":") || halves.length > 2) return null;
  const words = (half) => (half === "" ? [] : half.split(":").flatMap(hexWords));
  const [head, tail = []] = halves.map(words);
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return null;
  const all = [...head, ...Array(missing).fill("0"), ...tail];
  if (!all.every((word) => /^[0-9a-f]{1,4}$/i.test(word))) return null;
  return { family: 6, number: all.reduce((sum, word) => sum * 65536n + BigInt(`0x${word}`), 0n) };
}

// The last 32 bits of an IPv6 address may be written as an IPv4 address.
function hexWords(word) {
  const embedded = word.includes(".") ? address(word) : null;
  if (embedded === null) return [word];
  return [embedded.number >> 16n, embedded.number & 0xffffn].map((part) => part.toString(16));
}
