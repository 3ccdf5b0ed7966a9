// Which texts of errors are in what was pasted. Knows nothing of the page: symptoms.js asks, and so does a test.

const MOST = [20_000, 120_000]; // characters from the beginning and from the end of a paste: an error stands at one of them
const NOISE = [
  /(?:\u001b|\u241b|\^\[|\\x1b|\\u001b|\\033|\\e)?\[[\d;]*m/gi, // colours, as bytes or as a log shows them
  /[\u2500-\u257f]/g, // the frame that some tracebacks have
  /^(?:[ \t]{0,9}>)+/gm, // what somebody else's words are quoted with
  /[\u00ad\u200b-\u200f\u2060\ufeff]/g, // characters without a width
  /\u30fc/g, // at the end of a Japanese word, which some releases write without it
  /&(?:amp;)?nbsp;|<\/?(?:b|br|code|div|em|mark|p|pre|span)\b[^<>\n]{0,200}>/gi, // how a page sets it
  /\\{1,31}(?=["'])|\\{1,31}[nrt](?![a-z])/g, // quotes and line ends within JSON within JSON; without an end it would hang
];
const QUOTES = /&(?:amp;)?(?:quot|apos|#x2[27]|#3[49]);|\\u002[27]|['`\u00b4\u2018-\u201e\u00ab\u00bb]/g;
const DOUBLED = /""(?=\w)|(?<=\w)""/g; // as CSV has a quote within a value
const MISREAD = /[\u00c2-\u00c5][\u0080-\u00bf]|\u00c3 /g; // a letter of UTF-8 that somebody took for two of Latin-1
const SEVERITY = /^(?:fatal|error|panic|warning):/;
const LEAD = /^closingbecause:/; // PgBouncer's log says it before a reason, which is known without it where it stands alone
const NAME = '"?(?:[^"]{0,120}(?=")|[\\w.$@\\u2026\\ufffd-]{1,80})"?'; // what stands for "…": a name, also where its quotes are lost
const GAP = "((?:(?!BEGINNING).){0,200}?)"; // what stands for …: a number, a reason, but not the same text once more
const ENOUGH = 12; // characters of a text that somebody begins to type
const LITTLE = 3; // characters of a text on each side of its gap, where the rest is cut off
const MOST_BEGUN = 400; // characters around a text that is no more than begun
const SHORT = 24; // characters of a text that may stand in any sentence: it has to be all that is said
// An exception's name says something where nothing follows it, and the traceback is one of a database.
const BARE = /^\w+Error$/;
const DATABASE = /asyncpg|psycopg|postgres|django[./]db/;
// What Python says of any connection: where a traceback is there, a driver has to be in it.
const PYTHONS = /^(?:\[WinError|attached to a different loop|Event loop is closed|unable to perform operation on)/;
const WITHOUT_DRIVER = /^(?=[^]*file")(?![^]*(?:asyncpg|psycopg))/;
// What stands before such a text: a mark, a severity, a level in brackets, but no number of the system's: [Errno 111]; or
// whom PgBouncer's log speaks of: shop/web@10.0.0.7:5123; or the driver's exception, as SQLAlchemy names it in brackets;
// or the version that OpenSSL says before an alert; or a code of Supabase's pooler. A number may stand right before a
// level, as old logs have a process's.
const BEFORE = /(?:[:"=|>,]|(?<![a-z_])(?:fatal|error|panic|warning)|(?<!\[errno-?\d{1,3})\]|@[^@"]{1,60}:\d{1,5}|\([\w.]{1,80}error\)|\([\w.]{1,80}errors\.\w{1,80}\)|\(e[a-z]{5,30}\)|tlsv1\d?|sslv3|ssl\/tls)$/;
const AFTER = /["(),:;.}]/;
// What says that another program's connection is meant, as to a broker or to a web server: the system's words are the same.
const OTHERS = new RegExp(
  [
    "\\b(?:kombu|amqp|redis|pymongo|elasticsearch|requests|urllib3?|httpx|aiohttp|botocore|smtplib)\\.[\\w.]{0,60}(?:Error|Exception|Timeout)\\b",
    "HTTPS?Connection|(?:to|from) upstream|upstream timed out|[Cc]annot connect to \\w+://|\\(200[23], ",
    "\\b(?:smtplib|imaplib|ftplib|urllib.request|http.client)\\.py\\b|\\bcurl: \\(|\\b(?:Get|Post|Put|Head|Patch|Delete) \\\\{0,9}\"https?:",
    "^ssh: |kex_exchange|\\bredis-cli\\b|to Redis at|\\[ioredis\\]|Unable to connect to the server: |request to https?:|npm ERR!|SSL certificate problem|\\b(?:Axios|Fetch|Mongo\\w*)Error\\b|StatusCode\\.[A-Z]",
  ].join("|"),
);

// The ports of others, right beside the system's words, as Redis' and those of web servers.
const SYSTEMS = /^(?:Connection refused|connect E(?:CONNREFUSED|TIMEDOUT)|read ECONNRESET|\[Errno 111\]|dial tcp|read: |write: |No route to host|Connection timed out)/;
const PORTS = "(?:22|25|80|443|465|587|2181|2379|3000|3306|567[12]|6379|6443|80[08]0|8443|9042|909[23]|9200|11211|27017|50051)";
const ELSEWHERE = new RegExp(`[\\w.\\]-]:${PORTS}\\b(?!->)|['"], ${PORTS}\\)`);
const HERE = /\b(?:54\d\d|6432|6543|2506[01])\b/; // and PostgreSQL's, or a pooler's, which count for more
const BESIDE = 60; // characters around those words

// What only follows of an error: beside another text it is not the reason.
const AFTERMATH =
  /^closing because:|^client disconnect|^could not (?:receive data from|send data to) client|^connection to client lost|^unexpected EOF on client|^self.signed certificate|^could not initiate GSSAPI|^discarding closed connection|already closed$|^(?:the )?(?:underlying )?connection is (?:closed|lost)$|^This connection has been closed|^current transaction is aborted|^pool initialization incomplete|^kernel file descriptor limit|^Can't reconnect until invalid|^Process '|^error response from auth_query|^An error occurred in the current|^OperationalError$|^cannot be used inside a transaction|^Worker failed to boot|^Resetting connection with|unavailable - sleeping$|^Is the server running|^server refused TLS|^couldn't import psycopg/;
const IGNORED = /error ignored/; // psycopg says it of what comes of another error
// libpq says a line for each address that it tries, and tries one that refused it over TLS again without.
const TRIED = /connection to server at (.{1,160}?) failed:|^(?:[^\n"]{0,80}error: +)?FATAL:/gim;
// What stands before the words of a text that is cut off, and what shows that it is.
const RAISED = /^(?:[\w.]*errors\.\w+|[\w.]*(?:error|exception|timeout|closed|failure|fatal|panic|warning|connectionfailed)|connectiontoserverat.{1,160}?failed):/;
const CUT = /(?:\.{3}|\u2026)$/;

const clip = (text) =>
  text.length > MOST[0] + MOST[1] ? `${text.slice(0, MOST[0])}\n${text.slice(-MOST[1])}` : text;

const reread = (two) => String.fromCharCode(((two.charCodeAt(0) & 31) << 6) | (two.charCodeAt(1) & 63)).padEnd(2);

// Terminals break lines, and words, where they end: space does not count. Returns also where each character stood.
function plain(text) {
  const blank = (found) => " ".repeat(found.length);
  const clean = NOISE.reduce((left, noise) => left.replace(noise, blank), text.replace(MISREAD, reread))
    .replace(QUOTES, (found) => '"'.padEnd(found.length))
    .replace(DOUBLED, '" ')
    .replace(/[A-Z]+/g, (found) => found.toLowerCase()); // of the same length, as other letters' may not be
  const characters = [];
  const places = [];
  for (const { 0: run, index } of clean.matchAll(/\S+/g)) {
    characters.push(run);
    for (let place = 0; place < run.length; place++) places.push(index + place);
  }
  return { seen: characters.join(""), places };
}

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const ACCENTED = /[\u00a0-\u024f]/g; // which drivers lose where the server has another encoding than they believe

// A text as it is looked for, once for all pastes: its longest part, which is found faster than the whole.
const prepared = new Map();
function prepare(text) {
  if (!prepared.has(text)) {
    const whole = plain(text).seen.replace(SEVERITY, "").replace(/\u2026$/, "");
    const parts = whole.split(/"?\u2026"?/);
    const gap = GAP.replace("BEGINNING", () => escaped(parts[0]) || "\\n");
    const source = escaped(whole).replaceAll('"\u2026"', NAME).replaceAll("\u2026", () => gap).replace(ACCENTED, "[$&\ufffd]");
    const longest = parts.flatMap((part) => part.split(ACCENTED)).reduce((a, b) => (b.length > a.length ? b : a));
    const open = /[\u2026:]$/.test(text);
    prepared.set(text, {
      longest,
      short: whole.length < SHORT && !open,
      literal: parts.join("").length,
      pattern: new RegExp(source, "gd"),
      whole: new RegExp(`^${source.replace(LEAD, "")}${open ? "" : "$"}`),
    });
  }
  return prepared.get(text);
}

// A short text is no part of a sentence: on its line it stands behind a colon or a quote, or alone.
function alone(text, pasted, { seen, places }, from, to) {
  const begins = from === 0 || /\n/.test(pasted.slice(places[from - 1], places[from]));
  const before = begins || BEFORE.test(seen.slice(0, from)) || text.startsWith("-");
  const between = to < seen.length ? pasted.slice(places[to - 1] + 1, places[to]) : "\n";
  if (BARE.test(text)) return (begins || seen[from - 1] === ".") && /\n/.test(between) && (!pasted.includes("\n", 1) || DATABASE.test(seen));
  return before && (/\n|\\[nr]| {9}/.test(between) || AFTER.test(seen[to]) || /^atcharacter\d/.test(seen.slice(to, to + 12)));
}

// Where the line ends on which a text does.
function lineEnd(pasted, places, to) {
  const end = pasted.indexOf("\n", places[to - 1]);
  let last = to;
  while (last < places.length && last < to + 200 && (end < 0 || places[last] < end)) last++;
  return last;
}

// The last place of a text in what was pasted, and within which of its gaps something else may be the reason.
function look(symptom, pasted, given) {
  const { longest, short, pattern } = prepare(symptom.text);
  if (!given.seen.includes(longest) || (PYTHONS.test(symptom.text) && WITHOUT_DRIVER.test(given.seen))) return [];
  let last = [];
  for (const found of given.seen.matchAll(pattern)) {
    const [from, to] = found.indices[0];
    const gaps = found.indices.slice(1).filter((gap) => gap && gap[1] > gap[0]);
    const behind = [to, lineEnd(pasted, given.places, to)];
    if (symptom.text.endsWith("\u2026")) gaps.push(behind);
    if (!short || alone(symptom.text, pasted, given, from, to)) last = [{ symptom, from, to, gaps, takes: symptom.text.endsWith(":") ? behind : [0, 0] }];
  }
  return last;
}

const within = (inner, [from, to]) => inner.from >= from && inner.to <= to;
const pages = ({ symptom }) => new Set(symptom.causes.map(({ page }) => page)).size;

// Whether what was found says no reason: another language may have it, on another line.
export const vague = ([best]) => !best || best.symptom.causes.length > 1;

// Each symptom is {text, causes}, its causes with the likeliest in front, and each with its page. Returns which of them
// were meant, as {symptom, line}. In front stands what another text quotes as its reason, and behind what only follows of
// another; then what has the fewest pages to explain it, for that says most, then what was said last.
export function find(whole, symptoms) {
  const pasted = clip(whole);
  const given = plain(pasted);
  let hits = symptoms.flatMap((symptom) => look(symptom, pasted, given));
  hits = hits.filter((hit) => !OTHERS.test(around(pasted, given.places, hit)) && !elsewhere(pasted, given.places, hit));
  // A text that is part of a longer one says less; not so what fills a gap of it.
  const told = (inner, outer) => within(inner, [outer.from, outer.to]) && !outer.gaps.some((gap) => within(inner, gap));
  const literal = ({ symptom }) => prepare(symptom.text).literal;
  const less = (a, b) => a.to - a.from < b.to - b.from || (a.to - a.from === b.to - b.from && literal(a) < literal(b));
  // What ends in a colon means any reason that the system has.
  const taken = (hit, other) => within(hit, other.takes) || (less(hit, other) && told(hit, other));
  hits = hits.filter((hit) => !hits.some((other) => other !== hit && taken(hit, other)));
  const tried = tries(pasted);
  const own = new Map(hits.map((hit) => [hit, tryOf(pasted, given.places[hit.from], tried)]));
  const beaten = (hit) => hits.some((other) => outdone(pasted, own.get(hit), own.get(other)));
  const unanswered = (hit) => own.get(hit)?.answered === false && beaten(hit);
  const filled = (hit, by) => by !== hit && hit.gaps.some((gap) => within(by, gap));
  const reason = (hit) => !unanswered(hit) && hits.some((other) => filled(other, hit));
  const vaguer = (hit) => hits.some((other) => other !== hit && other.symptom.text.startsWith(hit.symptom.text.replace(/\u2026$/, "")));
  const quotes = (hit) => hits.some((other) => unanswered(other) && filled(hit, other));
  const ignored = (hit) => IGNORED.test(pasted.slice(pasted.lastIndexOf("\n", given.places[hit.from]) + 1, given.places[hit.from]));
  const follows = (hit) => [beaten, vaguer, quotes, ignored].some((behind) => behind(hit)) || AFTERMATH.test(hit.symptom.text);
  const better = (a, b) => reason(b) - reason(a) || follows(a) - follows(b) || pages(a) - pages(b) || b.to - a.to;
  const meant = hits.sort(better).map((hit) => ({ symptom: hit.symptom, line: line(pasted, given.places, hit) }));
  if (meant.length || OTHERS.test(pasted)) return meant;
  if (given.seen.length > MOST_BEGUN) return titles(pasted, symptoms);
  const bare = symptoms.filter(({ text }) => prepare(text).whole.test(given.seen.replace(SEVERITY, "")));
  if (bare.length) return bare.map((symptom) => ({ symptom, line: "" })).sort((a, b) => literal(b) - literal(a));
  const parts = pasted.trim().includes(" ") ? begun(given.seen, symptoms) : [];
  return parts.length ? parts : titles(pasted, symptoms);
}

// Who types leaves marks out.
const loose = (seen) => seen.replace(/[,'"_-]/g, "");

// Whether a text that is cut off is this one: its beginning, something in its first gap, and a little of what follows.
function cutOff(text, words) {
  const [head, tail = ""] = text.replace(SEVERITY, "").split("\u2026");
  if (head.length < LITTLE || !words.startsWith(head)) return false;
  const rest = words.slice(head.length);
  for (let end = LITTLE; end <= tail.length; end++) if (rest.endsWith(tail.slice(0, end))) return true;
  return false;
}

// The texts of which somebody typed, or a list of errors shows, no more than a part.
function begun(seen, symptoms) {
  let part = loose(seen.replace(CUT, ""));
  const cut = CUT.test(seen);
  let found = [];
  for (let before = ""; part !== before && !found.length && part.length >= ENOUGH; ) {
    const words = part.replace(SEVERITY, "");
    const is = (whole) => whole.includes(words) || (cut && cutOff(whole, words));
    found = symptoms.filter(({ text }) => is(loose(plain(text).seen))).map((symptom) => ({ symptom, line: "" }));
    [before, part] = [part, part.replace(RAISED, "")];
  }
  return found;
}

// The texts of which a line that a list of errors has cut off shows the beginning, in front of what else was pasted.
const titles = (pasted, symptoms) =>
  pasted.split("\n").reduce((found, line) => (found.length || !CUT.test(line.trim()) ? found : begun(plain(line.trim()).seen, symptoms)), []);

// Of each try where it stands, and whether a server answered it: that says more than the network does of another address.
const tries = (pasted) =>
  [...pasted.matchAll(TRIED)].map(({ 0: begins, 1: address, index }) => {
    const answered = /FATAL:$/i.test(begins) || /^\s*(?:FATAL|ERROR):/i.test(pasted.slice(index + begins.length, index + begins.length + 20));
    return { address, index, answered };
  });

// The try whose line a text stands on.
function tryOf(pasted, place, tried) {
  const last = tried.findLast(({ index }) => index <= place);
  return last && !pasted.slice(last.index, place).includes("\n") ? last : undefined;
}

// Whether of two tries in one message another has the reason: the first at the same address, or the last of several.
function outdone(pasted, mine, other) {
  if (!mine || !other || mine === other) return false;
  const later = mine.index > other.index;
  const between = pasted.slice(...(later ? [other.index, mine.index] : [mine.index, other.index]));
  if (between.length >= 1000 || /\n\s*\n/.test(between)) return false;
  return mine.answered === other.answered ? later === (mine.address === other.address) : other.answered;
}

// The whole line of a text; where it is an error of Python's sockets, or of its TLS, whose user is named above or below
// it, with its traceback and what follows.
function around(pasted, places, { symptom, from, to }) {
  const begin = pasted.lastIndexOf("\n", places[from]) + 1;
  const end = pasted.indexOf("\n", places[to - 1]);
  const line = pasted.slice(begin, end < 0 ? pasted.length : end);
  if (!/^\[(?:Errno|WinError)/.test(symptom.text) && !/\bssl\.SSL\w+: /.test(line)) return line;
  const above = pasted.lastIndexOf("Traceback (most", begin);
  return pasted.slice(above < 0 ? begin : above);
}

// Whether the system's words are of a connection to another server, by its port.
function elsewhere(pasted, places, { symptom, from, to }) {
  if (!SYSTEMS.test(symptom.text)) return false;
  const beside = pasted.slice(Math.max(0, places[from] - BESIDE), places[to - 1] + BESIDE);
  return ELSEWHERE.test(beside) && !HERE.test(beside);
}

// The line by which a text was found, less what makes it too long to read.
function line(pasted, places, { from, to }) {
  const [first, last] = [places[from], places[to - 1] + 1];
  const begin = Math.max(pasted.lastIndexOf("\n", first - 1) + 1, first - 120);
  const end = pasted.indexOf("\n", last);
  return pasted.slice(begin, Math.min(end < 0 ? pasted.length : end, last + 60)).trim();
}

// Values of a line of JSON, or of name="value", that hold an error's own words.
const VALUE = /"?\b(?:err(?:or)?|exc(?:eption)?(?:_info)?|message|msg|event|detail|reason|log|textPayload)"?\s*[:=]\s*"((?:\\.|[^"\\])*)"/gi;
const QUOTED = /^\s*(["'])(?<said>.*)\1\W{0,3}$/; // a line that is nothing else
const AROUND = /^\s*(?:File "|Traceback|The above exception|During handling|LINE \d|HINT:|DETAIL:|at \w|raise |[\^~\s]*$)/;
const NAMED = /\b(?:FATAL|ERROR|PANIC|CRITICAL)\b|(?:Error|Exception|Timeout|Violation|Closed|Failure): /;
const LEVEL = /^.*(?:\berrors\.\w+:|(?:fatal|Fatal|error|Error|exception|Exception):|\b(?:FATAL|ERROR|PANIC|CRITICAL|WARNING|LOG)\b\S*) */;
const spoken = (line) => line.replace(/\\+./g, " ").replace(/"[^"]*"|[^a-z_ ]/gi, " ").split(/ +/).filter((word) => word.length > 2);

// What to give a search of the site's words: those of the last line that names an error, less what is only this reader's.
export function words(pasted) {
  const lines = clip(pasted).split("\n").flatMap((line) => {
    const values = [...line.matchAll(VALUE)].map(([, value]) => value.split("\\n")[0]);
    return values.length ? values : [line.replace(QUOTED, "$<said>")];
  });
  const said = lines.filter((line) => !AROUND.test(line) && spoken(line).length);
  const chosen = said.findLast((line) => NAMED.test(line)) ?? said.findLast((line) => spoken(line).length > 1) ?? "";
  const found = spoken(chosen.replace(LEVEL, ""));
  return (found.length ? found : said.flatMap(spoken)).slice(0, 8).join(" ");
}
