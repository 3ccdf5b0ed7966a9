"""Proofs on real servers, the linters, the guards, and the built site.

programs.py    makes sure of every program that they start, before they do
known.py       leaves out proofs that have passed, where nothing has changed
stack/         starts and stops the real servers
proofs/        one module a page
lint/          every snippet, by kind
site/          the built site, in a browser
guard/         the checks checked
"""
