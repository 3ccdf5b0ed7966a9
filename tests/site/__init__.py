"""The site as it is published: its files, and its pages in a real browser.

chromium.py        the browser: Debian's, else the one on PATH
fonts.py           the fonts that readers have: wide ones, or narrow ones, the same on every machine
server.py          serves the built site as a host of static files would, and counts
visit.py           one page as one reader sees it, and everything that is wrong with it
checks.js          what is found out in the page itself
known.py           which pages were in order before, and have not changed since
fixtures.py        these, as tests ask for them, and the report of what pages weigh

test_build.py      the files
test_fonts.py      that the browser has these fonts alone
test_pages.py      every page on a first visit, narrow and wide, dark and light, and what its copy buttons give
test_plain.py      every page without JavaScript, and on paper
test_use.py        what a reader does: searches, opens, switches, goes about by keyboard
test_journeys.py   what a newcomer comes for, in three clicks
test_ask.py        the box for errors
test_symptoms.py   what it finds: every error that was ever captured, in whatever stands around it
test_pastes.py     what people paste, as a whole: pastes.yaml
test_texts.py      every text that programs print, each to its own row
test_search.py     that the site's search finds each text of an error
test_catalogue.py  the list of snippets, and its manifest
test_calculator.py the form, and that it reckons as its Python functions do
test_publish.py    what machines read: Markdown, llms.txt, cards
test_serve.py      the site while it is written
test_rebuild.py    what an edit costs
test_zensical.py   the same site, built by Material's successor
"""
