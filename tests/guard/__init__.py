"""The guard, guarded: each mistake that must be refused is made on purpose.

The engine's, in the folders of proven/:

    project.py                     a project of four small files, and what is wrong with it
    sources/test_pages.py          how front matter is read
    sources/test_settings.py       values of settings files that no control holds
    sources/test_data.py           files of data that are broken
    sources/test_handmade.py       code that stands on a page itself
    sources/test_snippets.py       regions, and snippets that nobody shows
    sources/test_reach.py          edits of what a proof rests on
    evidence/test_ledger.py        the evidence of several machines, put together
    evidence/test_levels.py        how far a snippet was proven
    macros/test_calls.py           several mistakes in one line
    macros/test_claims.py          claims of what nothing proves
    macros/test_matrix.py          what the version matrix shows of a ledger
    macros/test_numbers.py         numbers on pages that say more than was measured
    macros/test_charts.py          charts that do not say what they draw
    macros/test_errors.py          texts of errors that have two runbooks, or none
    macros/test_terms.py           terms that nobody explains, or uses
    macros/test_decision.py        questions that lead to what was not measured
    macros/test_lists.py           tables and drawings that are not there
    macros/test_audit.py           rules of the audit that lead nowhere, or are not shown
    test_mistakes.py               every mistake of mistakes.yaml: what a writer can get wrong
    test_check.py                  claims, names, and evidence that is out of date
    site/test_rendering.py         calls that give nothing
    site/test_build.py             the strict build of the site
    test_pytest_plugin.py          a run of proofs that fail
    test_controls.py               proofs that do not fail under their controls

And of what else guards the project:

    lint/test_tools.py             every tool of tests/lint
    lint/test_imports.py           imports in the engine that go up, or in a circle
    lint/test_pgbouncer.py         what PgBouncer would refuse or misunderstand
    lint/test_mistakes.py          what Compose, Kubernetes or Google would refuse, ignore or never reach
    lint/test_compose.py           a Compose file as guides have it
    lint/test_deployments.py       how manifests and commands are judged
    lint/test_cloud_sql.py         what is widely said to turn Cloud SQL's pooler on
    atlas/test_listed.py           texts of programs that have no row in the atlas
    test_known.py                  proofs that a run leaves out, because they have passed
    stack/test_leash.py            nothing is left of a server whose owner was killed
    stack/test_janitor.py          nor on a server that is not ours
    stack/test_docker.py           nor of containers
    stack/test_network.py          packets arrive or do not, as it was said; and nothing is left of hosts
    stack/test_patroni.py          all of a host's processes end as one
    stack/test_pgbouncer.py        what a proof's PgBouncer is given, and what of it was changed
    stack/test_monitoring.py       where Prometheus and its exporters come from
    stack/test_postgres.py         a killed PostgreSQL that starts again
    stack/test_matrix.py           the stacks of `make matrix`
    stack/test_find_controls.py    edits that are tried, and what is written of them
    stack/test_runners.py          snippets that a server or an interpreter refuses
    browser/test_visit.py          what a browser finds on a page
    browser/test_known.py          when a page that was in order is visited again
    setup/test_programs.py         programs that do not start, and packages of another day
    setup/test_shell.py            what somebody's shell has, and what of it reaches the tests
    setup/shells.py                such a shell
    measure/test_results.py        measurements that noise makes unsafe
    measure/test_queue.py          waits in queues that are known
    measure/test_distance.py       waits that are the round trips which were counted
    measure/test_failover.py       failovers that are what their runs say
    measure/test_poolers.py        costs of poolers that are what their rounds say
    ci/test_run.py                 `.ci/run`, which lends itself an engine
    ci/test_workflows.py           every step of every workflow
    ci/test_artifact.py            the site as it is uploaded
    ci/test_links.py               links to other hosts that are dead
"""
