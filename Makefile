# Everything that people and CI run here. `make` by itself lists it.

ADDRESS ?= 127.0.0.1:8000
# To be set on the command line, as in make test PYTHON=python3.13; the shell's variables of these names are ignored.
PYTHON = python3
ONLY =
ALL =
QUICK =
UPGRADE =
GROUPS = setup site upstream proofs measure browser lint
# Two workers for each processor, because they wait for servers and the browser; two more, because some wait long.
PARALLEL = --numprocesses=$$((2 * $$(getconf _NPROCESSORS_ONLN) + 2)) --dist=loadscope --no-loadscope-reorder
BIN = .venv/bin

# Whatever the shell exports, every command sees only what setup/shell.txt lists, and these.
TAKEN := $(subst *,%,$(shell sed -n 's/^\([A-Za-z0-9_*]*\).*/\1/p' setup/shell.txt))
unexport $(filter-out $(TAKEN),$(.VARIABLES))
export LC_ALL = C.UTF-8
export PYTHONUTF8 = 1
export NO_MKDOCS_2_WARNING = 1

.PHONY: help serve test prove record controls measure measure-site matrix audit texts site links lock clean shell environment programs

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: ## serve the site at http://127.0.0.1:8000, rebuilt after every edit; needs no database
	@$(PYTHON) -m setup.address "$(ADDRESS)"
	@$(PYTHON) -m setup.environment site
	$(BIN)/python -m proven.site.serve "$(ADDRESS)"

test: shell programs ## proofs on real servers, the linters, the guards, the built site; ALL=1 also runs proofs that are known
	$(BIN)/pytest $(PARALLEL) $(if $(ALL),,--unless-known)

prove: shell environment ## run the proofs of one snippet, page or proof: make prove ONLY=snippets/postgres/usage.sql
	$(if $(ONLY),,$(error what? make prove ONLY=snippets/postgres/usage.sql, or a page, or the name of a proof))
	$(BIN)/pytest --only "$(ONLY)" $(if $(filter tests/%,$(ONLY)),$(ONLY),tests/proofs)

record: shell programs ## run all proofs, or ONLY=one, and rewrite their transcripts and the ledger
	$(BIN)/pytest --record $(if $(ONLY),--only "$(ONLY)",$(PARALLEL)) tests/proofs
	$(BIN)/python -m proven.site.badge

measure: shell programs ## measure here what reuse is worth, queue waits, poolers, distance and an edit: 45 minutes; QUICK=1 takes five
	$(BIN)/python -m measure $(if $(QUICK),--quick)
	$(BIN)/python -m measure.queue $(if $(QUICK),--quick)
	$(BIN)/python -m measure.poolers $(if $(QUICK),--quick)
	$(BIN)/python -m measure.distance $(if $(QUICK),--quick)
	$(BIN)/python -m measure.edit

measure-site: shell environment ## measure the CPU time of a build of the site, and of Material alone on the same pages
	$(BIN)/python -m measure.site

controls: shell environment ## see proofs fail under their controls: the edited ones, ONLY=one, or ALL=1
	$(BIN)/pytest --controls $(if $(ALL)$(ONLY),all,edited) $(if $(ONLY),--only "$(ONLY)",$(PARALLEL) --dist=worksteal) \
		tests/proofs

matrix: shell environment ## run the proofs on every PgBouncer, PostgreSQL, Django and driver available here; ONLY=one, or ONLY=edited
	$(BIN)/python -m tests.stack.matrix $(if $(ONLY),--only "$(ONLY)")
	$(BIN)/python -m proven.site.badge

audit: environment ## run the audit on real packages, which it fetches, and say how often it is right
	$(BIN)/python -m measure.audit

texts: environment ## extract every error text from the programs into docs/data/texts.json; fetches what is missing
	$(BIN)/python -m atlas

site: environment ## build the site for publishing, into site/; refuses what no proof shows, and proofs never seen to fail
	$(BIN)/python -m proven.check --proven
	$(BIN)/mkdocs build --strict

links: environment ## check that every address that a page links to is still there and has not moved; needs the network
	$(BIN)/mkdocs build --quiet --strict --site-dir build/links
	$(BIN)/linkchecker --no-status --check-extern build/links/index.html

lock: environment ## compile requirements.lock from pyproject.toml, and setup/locks/; UPGRADE=1 takes the newest of everything
	$(BIN)/uv pip compile pyproject.toml $(GROUPS:%=--group %) --universal --python-version 3.11 --no-header --quiet \
		--generate-hashes --only-binary :all: --no-emit-index-url --output-file requirements.lock $(if $(UPGRADE),--upgrade)
	$(BIN)/python -m setup.others $(if $(UPGRADE),--upgrade)

clean: ## delete what was built here, .venv included; the machine's cache stays
	rm -rf .venv build site .cache .pytest_cache .ruff_cache .rumdl_cache

shell:
	@$(PYTHON) -m setup.shell

environment:
	@$(PYTHON) -m setup.environment

programs: environment
	@$(BIN)/python -m tests.programs
