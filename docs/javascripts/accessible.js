// What Material leaves to be mended once it has built the page.
document$.subscribe(() => {
  // A dialog has a name.
  for (const search of document.querySelectorAll(".md-search")) search.setAttribute("aria-label", "Search")

  // Each part of the navigation is called what its heading says, as are its pages.
  for (const nav of document.querySelectorAll(".md-nav[aria-labelledby]")) {
    nav.removeAttribute("aria-labelledby")
    nav.setAttribute("aria-label", nav.querySelector(".md-nav__title").textContent.trim())
  }

  // The buttons of each code block would be one more navigation, of the same name as all the others.
  for (const buttons of document.querySelectorAll(".md-code__nav")) buttons.setAttribute("role", "none")

  // A table too wide for the window can be scrolled by keyboard, as Material sees to for code; so can the labels of tabs.
  const reach = new ResizeObserver((wide) => {
    for (const { target } of wide) {
      if (target.scrollWidth > target.clientWidth) target.tabIndex = 0
      else target.removeAttribute("tabindex")
    }
  })
  for (const wide of document.querySelectorAll(".md-typeset__scrollwrap, .tabbed-labels")) reach.observe(wide)

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
