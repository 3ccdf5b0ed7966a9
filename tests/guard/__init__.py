"""The guard, guarded.

Each mistake that must be refused is made on purpose, in a project of four small files.

    project.py          that project, and what is wrong with it
    test_pages.py       what a page may not hold, and what it may
    test_snippets.py    regions, and snippets that nobody shows
    test_proofs.py      claims, names, and evidence that is out of date
    test_run.py         a run of proofs that fail
    test_servers.py     snippets that a server or an interpreter refuses
    test_site.py        the strict build of the site
    test_browser.py     what a browser finds on a page
    test_known.py       when a page that was in order is looked at again
    test_lint.py        every tool of tests/lint
"""
