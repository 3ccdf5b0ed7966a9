"""What readers get besides pages, and how a site is made.

mistakes.py   a mistake, shown on the page in its place
rendering.py  pages as their macros complete them
plain.py      a page's Markdown for those who read no HTML
cards.py      the picture that a link to a page shows where it is shared
badge.py      the README's badge
publish.py    what a built site holds beside its pages
build.py      what MkDocs calls while it builds
serve.py      the site while it is written
"""
