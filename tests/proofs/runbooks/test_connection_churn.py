"""Proves docs/runbooks/connection-churn.md: the real Gunicorn, with connections kept and not, as churn.sql sees it."""

import pytest

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.stack.database import fresh
from tests.stack.upstream import serving
from tests.stack.wait import until

NUMBERS = [(r"\b\d+(\.\d+)?\b", "N")]


@control(edit("postgres/churn.sql", "where datname = current_database();", "where datname <> current_database();"))
@control(
    here("project, database, **settings", 'project, database, DB_CONN_HEALTH_CHECKS="False", **settings'),
    fails_with="its transactions are counted: not within",
)
@pytest.mark.parametrize(("age", "case"), [("0", "not-kept"), ("60", "kept")])
def test_churn_tells_kept_connections_from_others(
    project, server, server_version, migrated, load, transcript, age, case
):
    """Without persistent connections a session ends after one request; with them, one session serves all fifty."""
    snippet = load("postgres/churn.sql")
    evidence.on(PostgreSQL=server_version)
    sessions = 50 if age == "0" else 1
    # One per request, one per check of a kept connection, and two per session: PostgreSQL's, and Django's setup.
    expected = (sessions, 50 + (50 - sessions) + 2 * sessions)

    def asked() -> tuple[tuple[int, int], str] | None:
        """Send fifty requests; return the sessions and transactions that were counted, and what the snippet prints.

        Return None if autovacuum ran meanwhile, as its transactions are counted too.
        """
        settings = {"GUNICORN_WORKERS": "1", "GUNICORN_THREADS": "1", "DB_CONN_MAX_AGE": age}
        with fresh(server, template=migrated) as database:
            with serving(project, database, **settings) as gunicorn:
                for _ in range(50):
                    gunicorn.backend()
                gunicorn.note()
            # A session's counters arrive when it ends; in PostgreSQL 14 a moment later.
            until("every session has ended", lambda: database.backends() == [])
            until("its transactions are counted", lambda: transactions(database) >= expected[1])
            counted, printed = (database.sessions(), transactions(database)), database.psql(snippet)
            return None if counted[1] > expected[1] else (counted, printed)

    counted, printed = until("nobody else came by", asked)
    assert counted == expected
    transcript(snippet, printed, volatile=NUMBERS, case=case)


def transactions(database) -> int:
    """Return how many transactions a database has seen."""
    query = "select xact_commit + xact_rollback from pg_stat_database where datname = %s"
    return database.admin.execute(query, [database.name]).fetchone()[0]
