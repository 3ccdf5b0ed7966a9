// Answers below the box as soon as something is pasted. The page *Every error*, which every reader sees, has all that it
// knows, and is fetched when somebody comes to the box; that of other languages when nothing was found that has a reason.

import { find, vague, words } from "./match.js";

const HOME = new URL("../", import.meta.url);
const EVERY = new URL("reference/every-error/", HOME);
const OTHERS = new URL("reference/other-languages/", HOME);

// A row's last cell has its causes: links to pages, each with that page's answer, and behind it the sign of the cause.
function causes(cell, heading) {
  const links = [...cell.querySelectorAll("a")];
  if (!links.length) return [{ page: `${EVERY}#${heading}`, title: "", answer: cell.textContent, sign: "" }];
  return links.map((link) => {
    let behind = "";
    for (let next = link.nextSibling; next && !["A", "BR"].includes(next.nodeName); next = next.nextSibling) behind += next.textContent;
    const page = new URL(link.getAttribute("href"), EVERY).href;
    return { page, title: link.textContent, answer: link.title, sign: behind.replace(/^: /, "").trim() };
  });
}

function rows(page) {
  const symptoms = [];
  let heading = "";
  for (const part of page.querySelectorAll("h2[id], .texts tr")) {
    if (part.matches("h2")) heading = part.id;
    const said = part.querySelector("td:first-child code");
    if (said) symptoms.push({ text: said.textContent, causes: causes(part.lastElementChild, heading) });
  }
  return symptoms;
}

async function fetched(address) {
  const answered = await fetch(address);
  if (!answered.ok) throw new Error(`${address} answers ${answered.status}`);
  return new DOMParser().parseFromString(await answered.text(), "text/html");
}

const known = async () => rows(await fetched(EVERY));

// What PostgreSQL says in other languages: each text with the causes of the English one, which stands beside it.
async function translated(symptoms) {
  const english = new Map(symptoms.map((symptom) => [symptom.text, symptom.causes]));
  const said = [...(await fetched(OTHERS)).querySelectorAll(".texts tr:has(td)")].map((row) => [...row.querySelectorAll("code")]);
  return said.map(([text, own]) => ({ text: text.textContent, causes: english.get(own.textContent) ?? [] }));
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const link = ({ page, title }, text = title) => element("a", { href: page }, text);

function found([best, ...others]) {
  const [first, ...rest] = best.symptom.causes;
  const lines = [];
  if (rest.length) {
    lines.push(element("p", { className: "best" }, "Which of these do you see?"));
    const asked = best.symptom.causes.map((cause) => element("li", {}, `${cause.sign}: `, link(cause), `: ${cause.answer}`));
    lines.push(element("ol", { className: "causes" }, ...asked));
  } else {
    lines.push(element("p", { className: "best" }, link(first, first.title || best.symptom.text)));
    lines.push(element("p", {}, first.answer));
  }
  if (best.line) lines.push(element("p", { className: "by" }, "It went by: ", element("code", {}, best.line)));
  const shown = new Set(best.symptom.causes.map(({ page }) => page));
  const more = others.flatMap(({ symptom }) => symptom.causes).filter(({ page, title }) => {
    if (!title || shown.has(page)) return false;
    return shown.add(page);
  });
  if (more.length) {
    lines.push(element("p", {}, "If that is not it: ", ...more.slice(0, 4).flatMap((cause, at) => [at ? ", " : "", link(cause)])));
  }
  return lines;
}

function unknown(pasted) {
  const sought = words(pasted);
  const search = element("a", { href: new URL(`?q=${encodeURIComponent(sought)}`, HOME).href }, "Search the whole site for its words");
  const list = element("a", { href: EVERY.href }, "every text that we know");
  return [
    element("p", { className: "best" }, "No page here has this text."),
    sought ? element("p", {}, search, ", or look through ", list, ".") : element("p", {}, "Look through ", list, "."),
  ];
}

const unread = (error) => [
  element("p", { className: "best" }, "The list of errors could not be read."),
  element("p", {}, element("a", { href: EVERY.href }, "Look through it yourself"), `: ${error.message}.`),
];

const box = document.getElementById("error");
const answer = document.querySelector(".answer");
let symptoms;
let foreign;

async function answers(pasted) {
  if (!pasted.trim()) return [];
  try {
    symptoms ??= known();
    let hits = find(pasted, await symptoms);
    if (vague(hits)) hits = find(pasted, [...(await symptoms), ...(await (foreign ??= translated(await symptoms)))]);
    return hits.length ? found(hits) : unknown(pasted);
  } catch (error) {
    symptoms = foreign = undefined; // the next paste asks again
    return unread(error);
  }
}

box.addEventListener("focus", () => (symptoms ??= known().catch(() => (symptoms = undefined))), { once: true });
box.addEventListener("input", async () => {
  const pasted = box.value;
  const lines = await answers(pasted);
  if (pasted === box.value) answer.replaceChildren(...lines); // else it has been typed on meanwhile
});
// A browser that goes back puts the text in again, and says nothing.
if (box.value) box.dispatchEvent(new Event("input"));
