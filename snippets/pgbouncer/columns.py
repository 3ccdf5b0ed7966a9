"""What the console's views show: each column, its meaning, when to act."""

# region: recorded
# Written by `make record` from each PgBouncer that the proofs ran with.
COLUMNS: dict[str, dict[str, str]] = {
    "1.18": {
        "pools": (
            "database user cl_active cl_waiting cl_active_cancel_req "
            "cl_waiting_cancel_req sv_active sv_active_cancel "
            "sv_being_canceled sv_idle sv_used sv_tested sv_login "
            "maxwait maxwait_us pool_mode"
        ),
        "clients": (
            "type user database state addr port local_addr local_port "
            "connect_time request_time wait wait_us close_needed ptr "
            "link remote_pid tls application_name"
        ),
        "servers": (
            "type user database state addr port local_addr local_port "
            "connect_time request_time wait wait_us close_needed ptr "
            "link remote_pid tls application_name"
        ),
        "stats": (
            "database total_xact_count total_query_count "
            "total_received total_sent total_xact_time "
            "total_query_time total_wait_time avg_xact_count "
            "avg_query_count avg_recv avg_sent avg_xact_time "
            "avg_query_time avg_wait_time"
        ),
        "databases": (
            "name host port database force_user pool_size "
            "min_pool_size reserve_pool pool_mode max_connections "
            "current_connections paused disabled"
        ),
        "lists": (
            "databases users pools free_clients used_clients "
            "login_clients free_servers used_servers dns_names "
            "dns_zones dns_queries dns_pending"
        ),
    },
    "1.24": {
        "pools": (
            "database user cl_active cl_waiting cl_active_cancel_req "
            "cl_waiting_cancel_req sv_active sv_active_cancel "
            "sv_being_canceled sv_idle sv_used sv_tested sv_login "
            "maxwait maxwait_us pool_mode load_balance_hosts"
        ),
        "clients": (
            "type user database replication state addr port "
            "local_addr local_port connect_time request_time wait "
            "wait_us close_needed ptr link remote_pid tls "
            "application_name prepared_statements id"
        ),
        "servers": (
            "type user database replication state addr port "
            "local_addr local_port connect_time request_time wait "
            "wait_us close_needed ptr link remote_pid tls "
            "application_name prepared_statements id"
        ),
        "stats": (
            "database total_server_assignment_count total_xact_count "
            "total_query_count total_received total_sent "
            "total_xact_time total_query_time total_wait_time "
            "total_client_parse_count total_server_parse_count "
            "total_bind_count avg_server_assignment_count "
            "avg_xact_count avg_query_count avg_recv avg_sent "
            "avg_xact_time avg_query_time avg_wait_time "
            "avg_client_parse_count avg_server_parse_count "
            "avg_bind_count"
        ),
        "databases": (
            "name host port database force_user pool_size "
            "min_pool_size reserve_pool_size server_lifetime "
            "pool_mode load_balance_hosts max_connections "
            "current_connections max_client_connections "
            "current_client_connections paused disabled"
        ),
        "lists": (
            "databases users peers pools peer_pools free_clients "
            "used_clients login_clients free_servers used_servers "
            "dns_names dns_zones dns_queries dns_pending"
        ),
    },
    "1.26": {
        "pools": (
            "database user cl_active cl_waiting cl_active_cancel_req "
            "cl_waiting_cancel_req sv_active sv_active_cancel "
            "sv_being_canceled sv_idle sv_used sv_tested sv_login "
            "maxwait maxwait_us pool_mode load_balance_hosts"
        ),
        "clients": (
            "type user database replication state addr port "
            "local_addr local_port connect_time request_time wait "
            "wait_us close_needed ptr link remote_pid tls "
            "application_name prepared_statements id"
        ),
        "servers": (
            "type user database replication state addr port "
            "local_addr local_port connect_time request_time wait "
            "wait_us close_needed ptr link remote_pid tls "
            "application_name prepared_statements id"
        ),
        "stats": (
            "database total_server_assignment_count total_xact_count "
            "total_query_count total_received total_sent "
            "total_xact_time total_query_time total_wait_time "
            "total_client_parse_count total_server_parse_count "
            "total_bind_count total_client_login_count "
            "avg_server_assignment_count avg_xact_count "
            "avg_query_count avg_recv avg_sent avg_xact_time "
            "avg_query_time avg_wait_time avg_client_parse_count "
            "avg_server_parse_count avg_bind_count "
            "avg_client_login_count"
        ),
        "databases": (
            "name host port database force_user pool_size "
            "min_pool_size reserve_pool_size server_lifetime "
            "pool_mode load_balance_hosts max_connections "
            "current_connections max_client_connections "
            "current_client_connections paused disabled"
        ),
        "lists": (
            "databases users peers pools peer_pools free_clients "
            "used_clients login_clients free_servers used_servers "
            "dns_names dns_zones dns_queries dns_pending"
        ),
    },
}
# endregion: recorded

# What a column means, when it is bad, what to do. With only a meaning, no value
# is bad in itself.
Meaning = tuple[str, ...]
WHO: dict[str, Meaning] = {
    "database": ("The name that the client asked for",),
    "user": ("As whom",),
}
SOCKET: dict[str, Meaning] = {
    **WHO,
    "replication": ("Whether it carries replication, and of which kind",),
    "addr": ("The other side's address",),
    "port": ("The other side's port",),
    "local_addr": ("PgBouncer's own address on this connection",),
    "local_port": ("PgBouncer's own port on it: `ss` and a log name it too",),
    "connect_time": ("When it was made",),
    "request_time": ("When it last carried a request",),
    "wait_us": ("The part of `wait` below a second, in microseconds",),
    "ptr": ("Its address in PgBouncer's memory, to which `link` points",),
    "id": ("A number of its own, for `KILL_CLIENT` and for logs",),
    "tls": ("TLS version and cipher; empty without TLS",),
    "application_name": ("What the client calls itself",),
}
MEANINGS: dict[str, dict[str, Meaning]] = {
    "pools": {
        **WHO,
        "cl_active": (
            "Clients that have a server connection, or are idle and want none",
        ),
        "cl_waiting": (
            "Clients that wait for a connection, with a statement or since they"
            " connected",
            "above 0 for more than a moment",
            "look at `sv_active`: at the pool's size it is full of work or of"
            " forgotten transactions, below it PgBouncer is paused, cannot log"
            " in, or is at `max_db_connections` or `max_user_connections`",
        ),
        "cl_active_cancel_req": (
            "Requests to cancel that were passed on, and wait for an answer",
        ),
        "cl_waiting_cancel_req": (
            "Requests to cancel that were not passed on yet",
            "above 0 for long",
            "the server does not accept connections: look there",
        ),
        "sv_active": (
            "Server connections that a client has",
            "at the pool's size while `cl_waiting` is above 0",
            "shorten transactions first, then enlarge the pool",
        ),
        "sv_active_cancel": ("Server connections that carry a cancellation",),
        "sv_being_canceled": (
            "Server connections kept back until a cancellation has arrived",
        ),
        "sv_idle": ("Server connections that the next client gets at once",),
        "sv_used": (
            "Idle for longer than `server_check_delay`: checked before use",
        ),
        "sv_tested": ("Server connections that are being checked or reset",),
        "sv_login": (
            "Server connections that are logging in",
            "above 0 for long",
            "the server does not answer or refuses: read PgBouncer's log",
        ),
        "maxwait": (
            "For how many seconds the first of the queue has waited with its"
            " statement; 0 where it has waited since it connected",
            "it rises: at `query_wait_timeout` that client gets an error",
            "alert on this one, and act as for `cl_waiting`",
        ),
        "maxwait_us": ("The part of `maxwait` below a second",),
        "pool_mode": (
            "The mode in which this pool works",
            "`session` where you meant `transaction`",
            "set `pool_mode`: PgBouncer's default is session",
        ),
        "load_balance_hosts": (
            "How connections spread over several hosts, if there are several",
        ),
    },
    "clients": {
        **SOCKET,
        "type": ("C, for client",),
        "state": (
            "active, idle, waiting, or about a cancellation; before 1.25 those"
            " that are idle are active, too",
            "`waiting` for more than a moment",
            "as for `cl_waiting`",
        ),
        "wait": (
            "For how many seconds its statement has been under way, in the"
            " queue and at work",
            "it rises while `state` is `waiting`",
            "as for `maxwait`",
        ),
        "close_needed": ("Always 0 for clients",),
        "link": (
            "The `ptr` of its server connection",
            "the same one through many looks, with an old `request_time`",
            "a transaction was forgotten: `application_name` says by whom",
        ),
        "remote_pid": ("Its process, where it came over a Unix socket",),
        "tls": (
            "TLS version and cipher; empty without TLS",
            "empty where you encrypt",
            "set `client_tls_sslmode` to `require`",
        ),
        "prepared_statements": ("How many statements it has prepared",),
    },
    "servers": {
        **SOCKET,
        "type": ("S, for server",),
        "id": ("A number of its own, for logs",),
        "state": (
            "active, idle, used, tested, new, or about a cancellation",
            "`new` for long",
            "as for `sv_login`",
        ),
        "wait": ("Always 0 for server connections",),
        "close_needed": (
            "1 where it is closed as soon as its client is done with it",
            "1 for long after a `RECONNECT`",
            "a transaction holds it: `link` leads to the client",
        ),
        "link": ("The `ptr` of the client that has it; empty while idle",),
        "remote_pid": ("The backend's process: `pid` in `pg_stat_activity`",),
        "tls": (
            "TLS version and cipher; empty without TLS",
            "empty where you encrypt",
            "set `server_tls_sslmode` to `verify-full`",
        ),
        "application_name": (
            "What the client that has it calls itself; before 1.22 one without"
            " a name leaves that of the last",
        ),
        "prepared_statements": (
            "How many statements are prepared on it",
            "at `max_prepared_statements` all the time",
            "statements are prepared again and again: raise that setting",
        ),
    },
    "stats": {
        "database": ("The name that clients asked for",),
        "total_server_assignment_count": (
            "How often a client was given a server connection",
        ),
        "total_xact_count": ("Transactions",),
        "total_query_count": ("Statements",),
        "total_received": ("Bytes from clients",),
        "total_sent": ("Bytes to clients",),
        "total_xact_time": (
            "Microseconds in transactions, idle ones and the wait for a server"
            " connection included",
            "far above `total_query_time`",
            "transactions wait for something outside of the database",
        ),
        "total_query_time": (
            "Microseconds from a statement to its answer, the wait for a server"
            " connection included",
        ),
        "total_wait_time": (
            "Microseconds that clients waited for a server connection, noted"
            " once each has got one",
            "it grows faster than the clock",
            "on average more than one client waits: as for `cl_waiting`",
        ),
        "total_client_parse_count": ("Statements that clients prepared",),
        "total_server_parse_count": (
            "Statements that PgBouncer prepared on servers",
            "near `total_bind_count`",
            "preparing saves nothing: clients run what they prepare once, or"
            " `max_prepared_statements` is too small",
        ),
        "total_bind_count": ("Executions of prepared statements",),
        "total_client_login_count": (
            "Logins of clients",
            "it grows with every request",
            "connections are not kept: set `CONN_MAX_AGE`",
        ),
        "avg_server_assignment_count": ("A second, in the last period",),
        "avg_xact_count": ("Transactions a second",),
        "avg_query_count": ("Statements a second",),
        "avg_recv": ("Bytes from clients a second",),
        "avg_sent": ("Bytes to clients a second",),
        "avg_xact_time": (
            "Microseconds that a transaction takes, the wait included",
            "far above `avg_query_time` times the statements in it",
            "as for `total_xact_time`",
        ),
        "avg_query_time": (
            "Microseconds that a statement takes, the wait included",
            "it rises, and `avg_wait_time` does not",
            "the database is slower: look there",
        ),
        "avg_wait_time": (
            "Microseconds that a client waits for a server connection; before"
            " 1.23 those that all of them waited in a second",
            "it rises",
            "as for `cl_waiting`",
        ),
        "avg_client_parse_count": ("A second, in the last period",),
        "avg_server_parse_count": ("A second, in the last period",),
        "avg_bind_count": ("A second, in the last period",),
        "avg_client_login_count": (
            "Logins a second",
            "as many as requests",
            "as for `total_client_login_count`",
        ),
    },
    "databases": {
        "name": ("The name that clients ask for",),
        "host": ("Where it leads; empty where the entry names none",),
        "port": ("Where it leads",),
        "database": ("The database's name in PostgreSQL",),
        "force_user": ("The `user=` of the entry, if it has one",),
        "pool_size": ("Server connections at most, for each user",),
        "min_pool_size": (
            "Server connections that are kept open for each user: while it has"
            " clients, or where the entry names the user",
        ),
        "reserve_pool_size": ("Server connections beyond that, for a rush",),
        "reserve_pool": ("Server connections beyond that, for a rush",),
        "server_lifetime": ("Seconds after which one that is free is closed",),
        "pool_mode": ("The entry's own mode; empty: the one for all",),
        "load_balance_hosts": (
            "How connections spread over several hosts, if there are several",
        ),
        "max_connections": (
            "`max_db_connections`, the entry's or that for all; 0 for no limit",
        ),
        "current_connections": (
            "Server connections for all users together",
            "at `max_connections`",
            "pools wait for each other: raise it, or shrink the pools",
        ),
        "max_client_connections": ("Clients at most; 0 for no limit",),
        "current_client_connections": ("Clients",),
        "paused": (
            "1 after a `KILL`, or a `PAUSE` that names it",
            "1, and nobody is at work on it",
            "`RESUME` it by its name",
        ),
        "disabled": (
            "1 after `DISABLE`: no new client gets in",
            "1, and nobody is at work on it",
            "`ENABLE` it by its name",
        ),
    },
    "lists": {
        "databases": ("Databases, the console included",),
        "users": ("Users that PgBouncer knows",),
        "peers": ("Other PgBouncers that it passes cancellations to",),
        "pools": ("Pairs of a user and a database",),
        "peer_pools": ("Pools for those",),
        "free_clients": ("Memory kept for clients to come",),
        "used_clients": (
            "Clients",
            "near `max_client_conn`",
            "one more than that is refused: raise it, or look who connects",
        ),
        "login_clients": (
            "Clients that are logging in",
            "above 0 for more than a moment",
            "`auth_query` has no answer yet, or somebody stops in the middle of"
            " logging in",
        ),
        "free_servers": ("Memory kept for server connections to come",),
        "used_servers": ("Server connections",),
        "dns_names": ("Host names that PgBouncer remembers",),
        "dns_zones": ("Zones of those",),
        "dns_queries": (
            "Host names that it is looking up now",
            "above 0 for long",
            "the name server does not answer, and clients wait for it",
        ),
        "dns_pending": ("Not used",),
    },
}


# What pgbouncer_exporter calls each, from version 0.12 on.
POOL = "pgbouncer_pools_"
TOTAL = "pgbouncer_stats_totals_"
METRICS: dict[str, dict[str, str]] = {
    "pools": {
        "cl_active": POOL + "client_active_connections",
        "cl_waiting": POOL + "client_waiting_connections",
        "cl_active_cancel_req": POOL + "client_active_cancel_connections",
        "cl_waiting_cancel_req": POOL + "client_waiting_cancel_connections",
        "sv_active": POOL + "server_active_connections",
        "sv_active_cancel": POOL + "server_active_cancel_connections",
        "sv_being_canceled": POOL + "server_being_canceled_connections",
        "sv_idle": POOL + "server_idle_connections",
        "sv_used": POOL + "server_used_connections",
        "sv_tested": POOL + "server_testing_connections",
        "sv_login": POOL + "server_login_connections",
        "maxwait": POOL + "client_maxwait_seconds",
    },
    "stats": {
        "total_server_assignment_count": TOTAL + "server_assignments_total",
        "total_xact_count": TOTAL + "sql_transactions_pooled_total",
        "total_query_count": TOTAL + "queries_pooled_total",
        "total_received": TOTAL + "received_bytes_total",
        "total_sent": TOTAL + "sent_bytes_total",
        "total_xact_time": TOTAL + "server_in_transaction_seconds_total",
        "total_query_time": TOTAL + "queries_duration_seconds_total",
        "total_wait_time": TOTAL + "client_wait_seconds_total",
        "total_client_parse_count": TOTAL + "client_parses_total",
        "total_server_parse_count": TOTAL + "server_parses_total",
        "total_bind_count": TOTAL + "binds_total",
    },
    "databases": {
        "pool_size": "pgbouncer_databases_pool_size",
        "max_connections": "pgbouncer_databases_max_connections",
        "current_connections": "pgbouncer_databases_current_connections",
        "paused": "pgbouncer_databases_paused",
        "disabled": "pgbouncer_databases_disabled",
    },
    "lists": {
        "databases": "pgbouncer_databases",
        "users": "pgbouncer_users",
        "pools": "pgbouncer_pools",
        "free_clients": "pgbouncer_free_clients",
        "used_clients": "pgbouncer_used_clients",
        "login_clients": "pgbouncer_login_clients",
        "free_servers": "pgbouncer_free_servers",
        "used_servers": "pgbouncer_used_servers",
        "dns_names": "pgbouncer_cached_dns_names",
        "dns_zones": "pgbouncer_cached_dns_zones",
        "dns_queries": "pgbouncer_in_flight_dns_queries",
    },
}


def version(text: str) -> list[int]:
    """Return a version as numbers, which sort as versions do."""
    return [int(part) for part in text.split(".")]


def columns(view: str) -> list[dict[str, str]]:
    """Return a row for each column of a view in the newest version."""
    known = sorted(COLUMNS, key=version)
    rows = []
    for name in COLUMNS[known[-1]][view].split():
        without = [v for v in known if name not in COLUMNS[v][view].split()]
        note = f" (not in {' and '.join(without)})" if without else ""
        meaning, bad, action = (*MEANINGS[view][name], "", "")[:3]
        rows.append(
            {
                "Column": f"`{name}`{note}",
                "Meaning": meaning,
                "Bad": bad,
                "What to do": action,
            }
        )
    return rows


def exported(view: str) -> list[dict[str, str]]:
    """Return a row for each column of a view that the exporter exports."""
    rows = []
    for name, metric in METRICS[view].items():
        bad, action = (*MEANINGS[view][name][1:], "", "")[:2]
        rows.append(
            {
                "Column": f"`{name}`",
                "Metric": f"`{metric}`",
                "Bad": bad,
                "What to do": action,
            }
        )
    return rows
