// What is found out in the page itself. Each check returns sentences, and each sentence names the element.
globalThis.checks = (() => {
  const PATIENCE = 5000 // milliseconds that something may take to come into view, on however busy a machine
  // What the browser reports as it happens, from the first moment on.
  const shifts = []
  const paints = []
  if (globalThis.PerformanceObserver) {
    new PerformanceObserver((list) => shifts.push(...list.getEntries())).observe({ type: "layout-shift", buffered: true })
    new PerformanceObserver((list) => paints.push(...list.getEntries())).observe({ type: "largest-contentful-paint", buffered: true })
  }

  const all = (selector) => [...document.querySelectorAll(selector)]
  const text = (element) => element.textContent.trim().replace(/\s+/g, " ").slice(0, 40)

  // The way to an element, from the nearest one with an id.
  const name = (element) => {
    const parts = []
    for (let at = element; at?.localName && at !== document.body; at = at.parentElement) {
      const ways = [at.localName, ...[...at.classList].slice(0, 1).map((word) => `.${word}`)].join("")
      parts.unshift(at.id ? `#${at.id}` : ways)
      if (at.id || parts.length === 4) break
    }
    const said = element?.textContent ? text(element) : ""
    return parts.join(" > ") + (said && ` "${said}"`)
  }

  const visible = (element) => {
    const { width, height } = element.getBoundingClientRect()
    return width > 1 && height > 1 && element.checkVisibility({ opacityProperty: true, visibilityProperty: true })
  }
  const scrolls = (element, ways = "XY") => {
    const { overflowX, overflowY } = getComputedStyle(element)
    const may = (overflow) => overflow === "auto" || overflow === "scroll"
    return (
      (ways.includes("X") && may(overflowX) && element.scrollWidth > element.clientWidth + 1) ||
      (ways.includes("Y") && may(overflowY) && element.scrollHeight > element.clientHeight + 1)
    )
  }

  // Everything that a reader could unfold, unfolded at once, and nothing that fades. The page's scripts hear of it with the
  // next frame.
  const unfold = async () => {
    for (const details of all("details")) details.open = true
    const style = document.createElement("style")
    style.textContent = ".md-typeset .tabbed-block { display: block !important } * { transition: none !important }"
    document.head.append(style)
    for (let frames = 2; frames; frames--) await new Promise(requestAnimationFrame)
  }

  const missingImages = async () => {
    const images = all("img")
    for (const image of images) image.loading = "eager"
    await Promise.all(images.map((image) => image.decode().catch(() => {})))
    return images.filter((image) => !image.naturalWidth).map((image) => `no image: ${name(image)} ${image.src}`)
  }

  const tooWide = () => {
    const { scrollWidth, clientWidth } = document.scrollingElement
    if (scrollWidth <= clientWidth) return []
    // A long word stands out of its element, which is no wider for that.
    const right = (element) => {
      const { left, right } = element.getBoundingClientRect()
      return Math.max(right, left + element.scrollWidth)
    }
    const inScroller = (element) => element && (scrolls(element, "X") || inScroller(element.parentElement))
    const wide = all("body *").filter(
      (element) => right(element) > clientWidth + 1 && visible(element) && !inScroller(element),
    )
    const innermost = wide.filter((element) => !wide.some((other) => other !== element && element.contains(other)))
    const names = innermost.slice(0, 3).map(name).join(", ")
    return [`scrolls sideways: ${scrollWidth} px of content in ${clientWidth}: ${names}`]
  }

  // Drawings shrink with the column that they stand in, and what is written in them with them.
  const small = () => {
    const height = (element) => {
      const { c, d } = element.getScreenCTM()
      return Number.parseFloat(getComputedStyle(element).fontSize) * Math.hypot(c, d)
    }
    const drawn = all("article svg text").filter((element) => visible(element) && height(element) < 11)
    return drawn.map((element) => `is ${height(element).toFixed(1)} px high: ${name(element)}`)
  }

  const layoutShift = () => {
    const sources = (shift) => shift.sources.map(({ node }) => (node ? name(node) : "what is gone")).join(", ")
    return shifts
      .filter((shift) => !shift.hadRecentInput)
      .map((shift) => `content moves by ${shift.value.toFixed(4)} while the page loads: ${sources(shift)}`)
  }

  // The largest paint needs nothing but HTML and style: it is no image, and its element is in the file that was sent.
  const largestPaint = async () => {
    for (let left = 3000; !paints.length && left; left--) await new Promise((done) => setTimeout(done, 20))
    const paint = paints.at(-1)
    if (!paint?.element) return ["no largest paint was reported"]
    if (paint.url) return [`the largest paint waits for ${paint.url}: ${name(paint.element)}`]
    const sent = new DOMParser().parseFromString(await (await fetch(location)).text(), "text/html")
    const same = [...sent.querySelectorAll(paint.element.localName)].some((other) => text(other) === text(paint.element))
    return same ? [] : [`the largest paint waits for JavaScript: ${name(paint.element)}`]
  }

  // Mark one element of each kind of text that is not known, and return these kinds. What is of one colour and size, on
  // the same grounds, has one contrast, and links of one style in text of one style differ from it alike: axe would spend
  // most of its time on finding that a thousand times.
  const markKinds = (known) => {
    const style = (element) => {
      const { color, fontSize, fontWeight, textDecoration } = getComputedStyle(element)
      return `${element.localName === "a"} ${color} ${fontSize} ${fontWeight} ${textDecoration}`
    }
    const seen = new Set(known)
    const grounds = new Map([[null, ""]])
    for (const element of all("html, html *")) {
      const { backgroundColor, backgroundImage, opacity } = getComputedStyle(element)
      const ground = `${grounds.get(element.parentElement)}|${backgroundColor} ${backgroundImage} ${opacity}`
      grounds.set(element, ground.replaceAll("|rgba(0, 0, 0, 0) none 1", ""))
      const says = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim())
      const asks = element.matches("input, select, textarea") ? `${element.type} ${visible(element)}` : ""
      const around = element.localName === "a" ? style(element.parentElement) : ""
      const kind = `${asks} ${style(element)} ${grounds.get(element)} ${around}`
      const marked = (asks || (says && visible(element))) && !seen.has(kind)
      if (marked) seen.add(kind)
      element.toggleAttribute("data-kind", marked)
    }
    return [...seen].slice(known.length)
  }

  // Show the marked elements, with what they stand in, in place of the page. Returns what brings that back.
  const showKinds = () => {
    const page = document.body
    const kinds = page.cloneNode(true)
    for (const element of kinds.querySelectorAll("*")) {
      if (!element.closest("[data-kind]") && !element.querySelector("[data-kind]")) element.remove()
    }
    page.replaceWith(kinds)
    return () => kinds.replaceWith(page)
  }

  // Where the Tab key stops.
  const stops = () =>
    all("body *").filter(
      (element) =>
        element.tabIndex >= 0 &&
        !element.disabled &&
        !element.closest("[inert]") &&
        element.checkVisibility({ visibilityProperty: true }),
    )

  // Text that is on the page and that nobody sees. What is folded up unfolds with a click, also without JavaScript, but
  // not on paper.
  const unread = () => {
    const answeredByScripts = ".ask, #catalogue-filter, #catalogue-count, #catalogue-reset, .catalogue-button"
    const unfolds = "details:not([open]) > :not(summary), .tabbed-block, .ran > .full"
    const folded = matchMedia("print").matches ? answeredByScripts : `${answeredByScripts}, ${unfolds}`
    const hidden = all("article *").filter((element) => {
      const says = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim())
      return says && !visible(element) && !element.closest(`${folded}, script, style, template, svg, .headerlink`)
    })
    const title = document.querySelector("article h1")
    const first = hidden.filter((element) => !hidden.includes(element.parentElement)).slice(0, 3)
    return [...first.map((element) => `nobody can read ${name(element)}`), ...(title && visible(title) ? [] : ["no title is seen"])]
  }

  // On paper nothing can be pressed, opened or scrolled.
  const unprinted = () => {
    const useless = all(".md-header, .md-tabs, .md-sidebar, .md-top, .md-code__nav, .md-footer__inner").filter(visible)
    const cut = all("article *").filter((element) => visible(element) && scrolls(element, "X"))
    return [
      ...useless.map((element) => `is printed: ${name(element)}`),
      ...cut.map((element) => `is cut off at ${element.clientWidth} of ${element.scrollWidth} px: ${name(element)}`),
    ]
  }

  // The element that has the focus, whether it had it before, and whether a reader sees where that is.
  const been = []
  const stop = async () => {
    const element = document.activeElement
    if (element === document.body) return null
    // A radio button of the colour schemes shows as the label behind it, which is the other one's.
    const shown = [element, ...(element.labels ?? []), element.nextElementSibling].filter((other) => other?.matches(":focus, label"))
    // The search of a phone comes into view a moment after it has the focus. The button that leads back to the top, which
    // is hidden and takes the focus until the theme's script has run, loses it then.
    const until = performance.now() + PATIENCE
    const comes = () => document.activeElement === element && !shown.some(visible) && performance.now() < until
    while (comes()) await new Promise((done) => setTimeout(done, 20))
    const seen = shown.some(visible) || document.activeElement !== element
    const again = been.includes(element)
    been.push(element)
    return { again, unseen: seen ? "" : name(element) }
  }

  // Where the Tab key stops and has not been.
  const unvisited = () => {
    const group = (element) => element.type === "radio" && been.some((other) => other.name === element.name)
    return stops().filter((element) => !been.includes(element) && !group(element)).map(name)
  }

  // What a pointer can operate, a keyboard can: it takes the focus itself, or what it stands for does.
  const unreachable = () => {
    const reached = new Set(stops())
    const around = (element) => [...reached].some((other) => element.contains(other))
    // A label stands for its control, one radio button for its group, and the search's labels for its field.
    const stands = ({ htmlFor }) => {
      const control = document.getElementById(htmlFor)
      return htmlFor === "__search" || [...reached].some((other) => other === control || (other.name && other.name === control?.name))
    }
    // The arrows beside the labels of tabs scroll them. Who chooses a tab by keyboard sees its label: Visit.hidden_tabs tries.
    const shortcut = (element) =>
      element.matches(".tabbed-button") && [...element.closest(".tabbed-set").querySelectorAll(".tabbed-labels > label")].every(stands)
    const operable = (element) =>
      element.matches("a[href], button:not([type=reset]), summary, input, select, textarea, [role=button], [role=tab]") ||
      (element.matches("label[for]") && getComputedStyle(element).cursor === "pointer" && !around(element) && !stands(element)) ||
      (scrolls(element) && !around(element))
    return all("body *")
      .filter((element) => visible(element) && operable(element) && !reached.has(element))
      .filter((element) => !shortcut(element) && (!element.matches("label *") || !stands(element.closest("label"))))
      .map((element) => `no keyboard reaches ${name(element)}`)
  }

  // Of each set of tabs whose labels do not all fit, the id of the chosen tab, and how many there are.
  const scrolledTabs = () =>
    all(".tabbed-labels")
      .filter((labels) => scrolls(labels, "X"))
      .map((labels) => [labels.parentElement.querySelector(":scope > input:checked").id, labels.children.length])

  // The label of the tab that has the focus, where it is not, or not whole, within what is seen of the labels.
  const hiddenTab = () => {
    const [label] = document.activeElement.labels
    const [seen, own] = [label.parentElement, label].map((element) => element.getBoundingClientRect())
    return own.left >= seen.left - 1 && own.right <= seen.right + 1 ? "" : name(label)
  }

  return { all, name, visible, scrolls, unfold, missingImages, tooWide, small, layoutShift, largestPaint, markKinds, showKinds, stop, unvisited, unreachable, scrolledTabs, hiddenTab, unread, unprinted }
})()
