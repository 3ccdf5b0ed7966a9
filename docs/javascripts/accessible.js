// What Material leaves to be mended once it has built the page.
document$.subscribe(() => {
  // A dialog has a name.
  for (const search of document.querySelectorAll(".md-search")) search.setAttribute("aria-label", "Search")

  // The buttons of each code block would be one more navigation, of the same name as all the others.
  for (const buttons of document.querySelectorAll(".md-code__nav")) buttons.setAttribute("role", "none")

  // What opens the drawer is a label, which no keyboard reaches: a button in it is.
  const drawer = document.getElementById("__drawer")
  const label = document.querySelector(".md-header [for=__drawer]")
  const button = document.createElement("button")
  button.append(...label.childNodes)
  button.setAttribute("aria-label", "Menu")
  button.addEventListener("click", () => drawer.click())
  const tell = () => button.setAttribute("aria-expanded", drawer.checked)
  drawer.addEventListener("change", tell)
  tell()
  label.append(button)
})

// A copy is what the file holds, byte for byte: Material would leave out the end of the last line.
addEventListener("click", ({ target }) => {
  const button = target.closest("[data-clipboard-target]")
  if (button) button.dataset.clipboardText = document.querySelector(button.dataset.clipboardTarget).textContent
}, true)
