"""Every rule: its id, what it finds, what to do, and the page that proves it.

An id never changes its meaning. W is a warning; E is an error: it cannot work.
"""

from typing import NamedTuple


class Rule(NamedTuple):
    finds: str
    fix: str
    page: str


RULES = {
    # region: check
    "pooling.W001": Rule(
        "POOLING_CHECKS has a name or a value that these checks do not take.",
        "Correct it.",
        "how-to/check-your-project/#tell-it-what-settings-do-not-say",
    ),
    "pooling.W002": Rule(
        "CONN_MAX_AGE is not 0, and the project is served by ASGI: each "
        "request leaves a connection behind that none uses again.",
        "Set it to 0, or use Django's pool.",
        "how-to/find-the-leak/#asgi-with-conn_max_age",
    ),
    "pooling.W003": Rule(
        "CONN_MAX_AGE is not 0 under runserver: each TCP connection of a "
        "browser opens one to PostgreSQL, and leaves it.",
        "Set it to 0 where you develop.",
        "how-to/tests-and-ci/#runserver-fills-the-server",
    ),
    "pooling.E004": Rule(
        "Django's pool and a CONN_MAX_AGE that is not 0: Django refuses the "
        "first query.",
        "Set CONN_MAX_AGE to 0: the pool decides how long one lives.",
        "how-to/persistent-connections/#or-djangos-own-pool",
    ),
    "pooling.W005": Rule(
        "Django's pool, and a backend that makes connection parameters of "
        "its own: the pool goes on with the first, such as an old password.",
        "Give the pool a connection_class that asks each time.",
        "how-to/passwords-that-expire/#a-call",
    ),
    "pooling.W006": Rule(
        "A connection is open as soon as the project is loaded: a process "
        "that forks then shares it.",
        "Ask nothing while modules are imported and in ready().",
        "how-to/forks/#a-query-in-ready",
    ),
    "pooling.W007": Rule(
        "Django's pool is open as soon as the project is loaded: a process "
        "that is forked then never gets another connection.",
        "Ask nothing until then, or close the pool before each fork.",
        "how-to/find-the-leak/#a-pool-that-was-open-before-a-fork",
    ),
    "pooling.E008": Rule(
        "CONN_MAX_AGE is neither a number nor None: Django cannot connect.",
        "Give it seconds, as a number: what an environment gives is text.",
        "how-to/check-your-project/#what-django-does-not-say",
    ),
    "pooling.W009": Rule(
        "A setting of each database stands outside of DATABASES, where "
        "Django does not look.",
        "Move it into the entries of DATABASES.",
        "how-to/check-your-project/#what-django-does-not-say",
    ),
    "pooling.W010": Rule(
        "Transaction mode, and cursors on the server: iterator() outside of "
        "a transaction may lose its cursor.",
        "Set DISABLE_SERVER_SIDE_CURSORS to True for this alias.",
        "runbooks/pgbouncer-cursor-does-not-exist/",
    ),
    "pooling.W011": Rule(
        "Transaction mode, and assume_role: another client gets the role.",
        "Connect as that role.",
        "explanation/transaction-mode/#the-map",
    ),
    "pooling.W012": Rule(
        "Transaction mode, and settings in options: PgBouncer refuses the "
        "connection, or drops them without a word.",
        "Give them to the role: ALTER ROLE … SET.",
        "runbooks/pgbouncer-unsupported-startup-parameter/",
    ),
    "pooling.W013": Rule(
        "Transaction mode, and a search_path in options: by its defaults a "
        "PgBouncer before 1.26 refuses the connection.",
        "Use SET LOCAL in a transaction, or ALTER ROLE … SET.",
        "explanation/transaction-mode/#the-map",
    ),
    # endregion: check
    # region: deploy
    "pooling.W020": Rule(
        "Connections are kept and not checked: after a restart of the server "
        "a request fails for each.",
        "Set CONN_HEALTH_CHECKS to True.",
        "how-to/persistent-connections/#what-happens-to-a-connection",
    ),
    "pooling.W021": Rule(
        "No connect_timeout to another host: where nothing answers, a "
        "request waits for as long as the driver does.",
        "Set connect_timeout in OPTIONS, to a few seconds.",
        "how-to/persistent-connections/#what-it-does-not-do",
    ),
    "pooling.W022": Rule(
        "No tcp_user_timeout to another host: where the network swallows "
        "packets, a query waits for as long as TCP does.",
        "Set tcp_user_timeout in OPTIONS, in milliseconds.",
        "how-to/persistent-connections/#what-it-does-not-do",
    ),
    "pooling.W023": Rule(
        "TLS to another host is off, or verifies nobody: somebody in between "
        "is not noticed.",
        "Set sslmode to verify-full, and sslrootcert.",
        "how-to/encrypt/#from-django-to-pgbouncer",
    ),
    "pooling.W024": Rule(
        "ATOMIC_REQUESTS, and a pool with fewer connections than threads: "
        "each request holds one from its beginning to its end.",
        "Make the pool as large as there are threads, or use atomic().",
        "how-to/django-pool/#when-a-request-gives-it-back",
    ),
    # endregion: deploy
    # region: server
    "pooling.W030": Rule(
        "The server cannot be asked.",
        "Look up what it says.",
        "reference/every-error/",
    ),
    "pooling.W031": Rule(
        "More connections at the worst moment of a deploy than slots for "
        "ordinary roles.",
        "Take fewer threads, put PgBouncer between, or raise max_connections.",
        "how-to/size-connections/",
    ),
    "pooling.W032": Rule(
        "More connections at the worst moment of a deploy than the role or "
        "the database may have.",
        "Raise its CONNECTION LIMIT, or take fewer threads.",
        "runbooks/too-many-clients/#the-text",
    ),
    "pooling.W033": Rule(
        "No statement_timeout: PostgreSQL ends no statement that takes too "
        "long.",
        "Give the role one: ALTER ROLE … SET.",
        "runbooks/timeouts/",
    ),
    "pooling.W034": Rule(
        "No idle_in_transaction_session_timeout: PostgreSQL ends no "
        "transaction that is silent, and holds locks.",
        "Give the role one: ALTER ROLE … SET.",
        "how-to/idle-in-transaction/#what-ends-it",
    ),
    # endregion: server
}


def finds(rule: str) -> str:
    """Return what a rule finds."""
    return RULES[rule].finds


def fix(rule: str) -> str:
    """Return what to do about it."""
    return RULES[rule].fix
