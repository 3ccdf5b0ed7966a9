"""Every file, checked by a tool for its kind.

Each finding is one line that names its file and its line.

    files.py            which files there are, by kind
    findings.py         what a tool said, as problems
    test_tools.py       the command-line tools, one row each
    test_guide.py       pages, snippets and proofs: what `python -m proven.check` finds
    test_anatomy.py     what every page and every folder's list of files has
    test_imports.py     what imports what in the engine
    test_sql.py         SQL, by PostgreSQL's own parser
    test_env.py         environment files
    test_pgbouncer.py   PgBouncer's ini files
    test_django.py      settings that Django would ignore without a word
    test_ci.py          what runs in continuous integration and before a commit
    manifests.py        documents that describe something to a platform, judged by a schema
    google.py           the schemas that Google has of its APIs
    gcloud.py           which flags gcloud's commands take
    kubernetes.py       manifests, by Kubernetes' schemas, and whether they agree
    cloud_run.py        the files of a Cloud Run service, and whether they agree
    cloud_sql.py        the files that turn on Cloud SQL's pooler, and whether they agree
    compose.py          the files of a Compose project, and whether they agree
    containers.py       what a Compose file promises of its containers
    pods.py             what manifests promise of their pods
    promised.py         what the comments of PgBouncer's ini files promise of its settings
    shared.py           names and numbers that several files have to have in common
"""
