"""Proves docs/runbooks/connection-churn.md: the real Gunicorn, with connections kept and not, as churn.sql sees it."""

import pytest

from proven import evidence
from tests.stack.database import fresh
from tests.stack.upstream import serving
from tests.stack.wait import until

NUMBERS = [(r"\b\d+(\.\d+)?\b", "N")]


@pytest.mark.parametrize(("age", "case"), [("0", "not-kept"), ("60", "kept")])
def test_churn_tells_kept_connections_from_others(
    project, server, server_version, migrated, load, transcript, age, case
):
    """Without kept connections a session is over after one request; with them it serves them all."""
    snippet = load("postgres/churn.sql")
    evidence.on(PostgreSQL=server_version)
    settings = {"GUNICORN_WORKERS": "1", "GUNICORN_THREADS": "1", "DB_CONN_MAX_AGE": age}
    with fresh(server, template=migrated) as database:
        with serving(project, database, DB_CONN_HEALTH_CHECKS="False", **settings) as gunicorn:
            for _ in range(50):
                gunicorn.backend()
            gunicorn.note()
        # A session's counters arrive when it ends.
        until("every session has ended", lambda: database.backends() == [])
        row = database.admin.execute(
            "select sessions, xact_commit + xact_rollback from pg_stat_database where datname = %s", [database.name]
        ).fetchone()
        output = database.psql(snippet)
        transcript(snippet, output, volatile=NUMBERS, case=case)
    sessions, transactions = row
    assert transactions >= 50
    assert sessions == (50 if age == "0" else 1)
