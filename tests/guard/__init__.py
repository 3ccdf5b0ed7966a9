"""The guard, guarded.

Each mistake that must be refused is made on purpose, in a project of four small files.

    project.py             that project, and what is wrong with it
    test_pages.py          what a page may not hold, and what it may
    test_snippets.py       regions, and snippets that nobody shows
    test_proofs.py         claims, names, and evidence that is out of date
    test_levels.py         how far a snippet was proven
    test_ledger.py         the evidence of several machines, put together
    test_symptoms.py       texts of errors and terms that have two homes
    test_run.py            a run of proofs that fail
    test_servers.py        snippets that a server or an interpreter refuses
    test_site.py           the strict build of the site
    test_links.py          links to other hosts that are dead

And of what the real project brings along:

    test_browser.py        what a browser finds on a page
    test_known.py          when a page that was in order is looked at again
    test_lint.py           every tool of tests/lint
    test_pgbouncer_ini.py  what PgBouncer would refuse or misunderstand
    test_compose.py        files of the Compose project that contradict each other
    test_deployments.py    what Kubernetes or Cloud Run would refuse, ignore or never reach
    test_cloud_sql.py      mistakes in the files for Cloud SQL's pooler
    test_matrix.py         what the version matrix shows of a ledger
    test_measure.py        measurements that noise makes unsafe
    test_measure_queue.py  waits in queues that are known
    test_measurements.py   numbers on pages that say more than was measured
    test_ci_run.py         `.ci/run`, which lends itself an engine
    test_workflows.py      every step of every workflow
    test_artifact.py       the site as it is uploaded
    test_shell.py          what somebody's shell has, and what of it reaches the tests
    shells.py              such a shell
"""
