"""Every rule: its id, what it finds, what to do, and the page that proves it.

An id never changes its meaning. W is a warning. E is an error: the setting
cannot work.
"""

from typing import NamedTuple


class Rule(NamedTuple):
    finds: str
    fix: str
    page: str


RULES = {
    # region: check
    "pooling.W001": Rule(
        "POOLING_CHECKS has a name or a value that these checks do not accept.",
        "Correct it in your settings.",
        "how-to/check-your-project/#tell-it-what-settings-do-not-say",
    ),
    "pooling.W002": Rule(
        "CONN_MAX_AGE is not 0 and the project is served by ASGI: each request "
        "leaves a connection open that no other request uses.",
        "Set CONN_MAX_AGE to 0, or use Django's pool.",
        "how-to/find-the-leak/#asgi-with-conn_max_age",
    ),
    "pooling.W003": Rule(
        "CONN_MAX_AGE is not 0 under runserver: each TCP connection from a "
        "browser opens a connection to PostgreSQL and leaves it open.",
        "Set CONN_MAX_AGE to 0 in development.",
        "how-to/tests-and-ci/#runserver-fills-the-server",
    ),
    "pooling.E004": Rule(
        "Django's pool is on and CONN_MAX_AGE is not 0: Django refuses the "
        "first query.",
        "Set CONN_MAX_AGE to 0: the pool decides how long a connection lives.",
        "how-to/persistent-connections/#or-djangos-own-pool",
    ),
    "pooling.W005": Rule(
        "Django's pool is on and the database backend makes its own connection "
        "parameters: the pool keeps the first ones, such as an old password.",
        "Give the pool a connection_class that gets the parameters each time.",
        "how-to/passwords-that-expire/#a-call",
    ),
    "pooling.W006": Rule(
        "A connection is already open when the project has loaded: a process "
        "that forks after that shares the connection with its child.",
        "Run no query while modules are imported, and none in ready().",
        "how-to/forks/#a-query-in-ready",
    ),
    "pooling.W007": Rule(
        "Django's pool is already open when the project has loaded: in a "
        "process forked after that, the pool never gets another connection.",
        "Run no query before the fork, or close the pool before each fork.",
        "how-to/find-the-leak/#a-pool-that-was-open-before-a-fork",
    ),
    "pooling.E008": Rule(
        "CONN_MAX_AGE is neither a number nor None: Django cannot connect.",
        "Set it to a number of seconds: an environment variable is a string.",
        "how-to/check-your-project/#what-django-does-not-say",
    ),
    "pooling.W009": Rule(
        "A setting that belongs to each database is outside DATABASES, where "
        "Django ignores it.",
        "Move it into the entries of DATABASES.",
        "how-to/check-your-project/#what-django-does-not-say",
    ),
    "pooling.W010": Rule(
        "Transaction mode with server-side cursors: iterator() outside a "
        "transaction may lose its cursor.",
        "Set DISABLE_SERVER_SIDE_CURSORS to True for this alias.",
        "runbooks/pgbouncer-cursor-does-not-exist/",
    ),
    "pooling.W011": Rule(
        "Transaction mode with assume_role: another client gets the role.",
        "Log in as that role instead.",
        "explanation/transaction-mode/#the-map",
    ),
    "pooling.W012": Rule(
        "Transaction mode with settings in options: PgBouncer refuses the "
        "connection, or silently drops the settings.",
        "Set them for the role: ALTER ROLE … SET.",
        "runbooks/pgbouncer-unsupported-startup-parameter/",
    ),
    "pooling.W013": Rule(
        "Transaction mode with a search_path in options: with its default "
        "settings, PgBouncer before 1.26 refuses the connection.",
        "Use SET LOCAL in a transaction, or ALTER ROLE … SET.",
        "explanation/transaction-mode/#the-map",
    ),
    # endregion: check
    # region: deploy
    "pooling.W020": Rule(
        "Persistent or pooled connections are not health-checked: after a "
        "server restart, one request fails for each connection that was open.",
        "Set CONN_HEALTH_CHECKS to True.",
        "how-to/persistent-connections/#what-happens-to-a-connection",
    ),
    "pooling.W021": Rule(
        "No connect_timeout for a server on another host: if nothing answers, "
        "a request waits for as long as the driver does.",
        "Set connect_timeout in OPTIONS, to a few seconds.",
        "how-to/persistent-connections/#what-it-does-not-do",
    ),
    "pooling.W022": Rule(
        "No tcp_user_timeout for a server on another host: if the network "
        "drops packets silently, a query waits for as long as TCP does.",
        "Set tcp_user_timeout in OPTIONS, in milliseconds.",
        "how-to/persistent-connections/#what-it-does-not-do",
    ),
    "pooling.W023": Rule(
        "TLS to another host is off, or does not verify the server: a machine "
        "in the middle goes unnoticed.",
        "Set sslmode to verify-full, and sslrootcert.",
        "how-to/encrypt/#from-django-to-pgbouncer",
    ),
    "pooling.W024": Rule(
        "ATOMIC_REQUESTS with a pool: each request holds a connection from its "
        "beginning to its end, and threads beyond the pool's size wait.",
        "Give the pool a connection for each thread, or use atomic() instead.",
        "how-to/django-pool/#when-a-request-gives-it-back",
    ),
    # endregion: deploy
    # region: server
    "pooling.W030": Rule(
        "The checks could not query the server.",
        "Look up the error that it gave.",
        "reference/every-error/",
    ),
    "pooling.W031": Rule(
        "At its worst moment, a deploy opens more connections than there are "
        "slots for ordinary roles.",
        "Use fewer threads, add PgBouncer, or raise max_connections.",
        "how-to/size-connections/",
    ),
    "pooling.W032": Rule(
        "At its worst moment, a deploy opens more connections than the role or "
        "the database may have.",
        "Raise the CONNECTION LIMIT of that role or database, or use fewer "
        "threads.",
        "runbooks/too-many-clients/#the-text",
    ),
    "pooling.W033": Rule(
        "No statement_timeout: PostgreSQL does not cancel a statement that "
        "takes too long.",
        "Set one for the role: ALTER ROLE … SET.",
        "runbooks/timeouts/",
    ),
    "pooling.W034": Rule(
        "No idle_in_transaction_session_timeout: PostgreSQL does not end a "
        "transaction that sits idle and holds locks.",
        "Set one for the role: ALTER ROLE … SET.",
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
