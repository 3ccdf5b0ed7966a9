// Answers below the box as soon as something is pasted. The table of error texts, which every reader sees, is all that
// it knows; where a page has none, the home page's is fetched.

import { find, words } from "./match.js";

const HOME = new URL("../", import.meta.url);

function rows(page, base) {
  const symptoms = [];
  const runbooks = new Map(); // one object for each, so that they can be counted
  for (const row of page.querySelectorAll(".texts tr")) {
    const said = row.querySelector("td:first-child code");
    const links = [...row.querySelectorAll("td:last-child a")].map((link) => {
      const url = new URL(link.getAttribute("href"), base).href;
      if (!runbooks.has(url)) runbooks.set(url, { url, title: link.textContent, answer: link.title });
      return runbooks.get(url);
    });
    if (said && links.length) symptoms.push({ text: said.textContent, runbooks: links });
  }
  return symptoms;
}

async function known() {
  if (document.querySelector(".texts")) return rows(document, location.href);
  const home = await (await fetch(HOME)).text();
  return rows(new DOMParser().parseFromString(home, "text/html"), HOME);
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function link({ url, title }) {
  return element("a", { href: url }, title);
}

function found([best, ...others]) {
  const lines = [element("p", { className: "best" }, link(best.runbook)), element("p", {}, best.runbook.answer)];
  if (others.length) {
    const rest = others.flatMap(({ runbook }, place) => [place ? ", " : "", link(runbook)]);
    lines.push(element("p", {}, "If that is not it: ", ...rest));
  }
  return lines;
}

function unknown(pasted) {
  const search = new URL(`?q=${encodeURIComponent(words(pasted))}`, HOME).href;
  const list = document.querySelector(".texts") ? "#every-error-text" : new URL("#every-error-text", HOME).href;
  return [
    element("p", { className: "best" }, "No runbook here has this text."),
    element(
      "p",
      {},
      element("a", { href: search }, "Search the whole site for its words"),
      ", or look through ",
      element("a", { href: list }, "every text that we know"),
      ".",
    ),
  ];
}

const box = document.getElementById("error");
const answer = document.querySelector(".answer");
let symptoms;

box.addEventListener("input", async () => {
  symptoms ??= known();
  const all = await symptoms;
  const pasted = box.value;
  const hits = pasted.trim() ? find(pasted, all) : [];
  answer.replaceChildren(...(hits.length ? found(hits) : pasted.trim() ? unknown(pasted) : []));
});
// A browser that goes back puts the text in again, and says nothing.
if (box.value) box.dispatchEvent(new Event("input"));
