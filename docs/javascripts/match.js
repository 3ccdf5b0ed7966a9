// Which runbook explains what was pasted. Knows nothing of the page: symptoms.js asks, and so does a test.

// What stands around an error and is no part of it.
const NOISE = [
  /(?:\u001b|\u241b|\^\[|\\x1b|\\u001b|\\033|\\e)?\[[\d;]*m/gi, // colours, as bytes or as a log shows them
  /[\u2500-\u257f]/g, // the frame that some tracebacks have
  /\\(?=["'])/g, // quotes within a line of JSON
];
const SEVERITY = /^(?:fatal|error|panic|warning):/;
const GAP = '[^"]{0,120}?'; // what differs each time: a name, a number
const ENOUGH = 12; // characters of a text that somebody begins to type

// Terminals break lines, and words, where they end: space does not count.
function plain(text) {
  const clean = NOISE.reduce((left, noise) => left.replace(noise, ""), text);
  const quoted = clean.replace(/&quot;|[\u201c\u201d\u201e\u00ab\u00bb]/g, '"');
  return quoted.toLowerCase().replace(/\s+/g, "");
}

function pattern(text) {
  const parts = text.split("\u2026").map((part) => plain(part).replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(parts.join(GAP).replace(SEVERITY, ""));
}

// Each symptom is {text, runbooks}, its runbooks with the one to read first in front. Returns those that explain
// something of what was pasted, the one that explains most of it in front; ties go to what is to be read first.
export function find(pasted, symptoms) {
  const seen = plain(pasted);
  let meant = symptoms.filter(({ text }) => pattern(text).test(seen));
  if (!meant.length && pasted.trim().includes(" ") && seen.length >= ENOUGH) {
    const begun = seen.replace(SEVERITY, "");
    meant = symptoms.filter(({ text }) => plain(text).includes(begun));
  }
  const found = new Map();
  for (const { text, runbooks } of meant) {
    runbooks.forEach((runbook, place) => {
      const hits = found.get(runbook) ?? { runbook, texts: [], first: 0, length: 0 };
      hits.texts.push(text);
      hits.first += place === 0;
      hits.length = Math.max(hits.length, text.length);
      found.set(runbook, hits);
    });
  }
  const better = (a, b) => b.texts.length - a.texts.length || b.first - a.first || b.length - a.length;
  return [...found.values()].sort(better);
}

// What to give a search of the site's words: the last line, less what is only this reader's.
export function words(pasted) {
  const lines = pasted.split("\n").filter((line) => line.trim());
  const last = (lines.at(-1) ?? "").replace(/^.*(?:fatal|error): */i, "");
  return last.replace(/"[^"]*"|[^a-z_ ]/gi, " ").split(/ +/).filter((word) => word.length > 2).slice(0, 6).join(" ");
}
