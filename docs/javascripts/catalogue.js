// The catalogue's filter and its copy buttons. Without this script the page is the whole list, with links.
"use strict";

(() => {
  const form = document.getElementById("catalogue-filter");
  const cards = [...document.querySelectorAll("#catalogue .catalogue-card")];

  // A card has one value for some filters and several for others: "PostgreSQL 15.18|PostgreSQL 18.6".
  const chosen = (card, name, value) => card.dataset[name].split("|").includes(value);
  const text = new Map(cards.map((card) => [card, `${card.textContent} ${card.dataset.sha256}`.toLowerCase()]));
  const holds = (card, words) => words.split(/\s+/).every((word) => text.get(card).includes(word));

  const filter = () => {
    const wanted = [...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value);
    for (const card of cards) {
      card.hidden = !wanted.every(([name, value]) =>
        name === "text" ? holds(card, value.toLowerCase()) : chosen(card, name, value),
      );
    }
    const shown = cards.filter((card) => !card.hidden).length;
    const all = `${cards.length} snippets`;
    document.getElementById("catalogue-count").textContent = wanted.length ? `${shown} of ${all}` : all;
    return wanted;
  };

  // What is chosen is in the address, so that it can be shared and survives a reload.
  const remember = () => {
    const query = new URLSearchParams(filter()).toString();
    history.replaceState(null, "", location.pathname + (query && `?${query}`) + location.hash);
  };

  for (const [name, value] of new URLSearchParams(location.search)) {
    const field = form.elements.namedItem(name);
    const known = !field?.options || [...field.options].some((option) => option.value === value);
    if (field && known) field.value = value;
  }
  filter();
  form.addEventListener("input", remember);
  form.addEventListener("reset", () => setTimeout(remember)); // the fields are empty only after this event
  form.addEventListener("submit", (event) => event.preventDefault());

  const contents = async (address) => {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(`${address} answered ${answer.status}`);
    return new Blob([await answer.arrayBuffer()], { type: "text/plain" });
  };

  let quiet; // the timer that takes away what was said last
  const say = (text) => {
    const said = document.getElementById("catalogue-said");
    said.textContent = text;
    clearTimeout(quiet);
    quiet = setTimeout(() => (said.textContent = ""), 5000);
  };

  const copy = async (button) => {
    const card = button.closest(".catalogue-card");
    const what = button.dataset.copies;
    try {
      if (what === "contents") {
        // Given as a promise: some browsers let a page copy only while it still answers the click.
        const content = contents(card.querySelector("a[download]").href);
        await navigator.clipboard.write([new ClipboardItem({ "text/plain": content })]);
      } else {
        await navigator.clipboard.writeText(card.dataset[what]);
      }
      say(`Copied the ${what === "sha256" ? "SHA-256" : what} of ${card.dataset.path}`);
    } catch (error) {
      say(`Nothing was copied: ${error.message}`);
    }
  };

  for (const button of document.querySelectorAll("[data-copies]")) {
    button.addEventListener("click", () => copy(button));
  }
})();
