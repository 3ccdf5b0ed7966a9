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
    "database": ("The database name that the client asked for",),
    "user": ("The user name",),
}
SOCKET: dict[str, Meaning] = {
    **WHO,
    "replication": ("Whether the connection carries replication, and which",),
    "addr": ("The address of the other side",),
    "port": ("The port of the other side",),
    "local_addr": ("PgBouncer's own address on this connection",),
    "local_port": (
        "PgBouncer's own port on this connection, which `ss` and logs show too",
    ),
    "connect_time": ("When the connection was made",),
    "request_time": ("When the connection last carried a request",),
    "wait_us": ("The part of `wait` below a second, in microseconds",),
    "ptr": (
        "The connection's address in PgBouncer's memory: `link` points to it",
    ),
    "id": ("The connection's own number, for `KILL_CLIENT` and for logs",),
    "tls": ("TLS version and cipher, or empty without TLS",),
    "application_name": ("The name that the client gives itself",),
}
MEANINGS: dict[str, dict[str, Meaning]] = {
    "pools": {
        **WHO,
        "cl_active": (
            "Clients that have a server connection, or are idle and need none",
        ),
        "cl_waiting": (
            "Clients that wait for a server connection, with a statement or"
            " since they connected",
            "above 0 for more than a moment",
            "look at `sv_active`. If it equals the pool's size, the pool is"
            " full of work or of forgotten transactions. If it is lower,"
            " PgBouncer is paused, cannot log in, or has reached"
            " `max_db_connections` or `max_user_connections`",
        ),
        "cl_active_cancel_req": (
            "Cancel requests that were passed on and wait for an answer",
        ),
        "cl_waiting_cancel_req": (
            "Cancel requests that were not passed on yet",
            "above 0 for long",
            "the server does not accept connections: look at the server",
        ),
        "sv_active": (
            "Server connections that are assigned to a client",
            "at the pool's size while `cl_waiting` is above 0",
            "shorten transactions first, then enlarge the pool",
        ),
        "sv_active_cancel": ("Server connections that carry a cancel request",),
        "sv_being_canceled": (
            "Server connections kept back until a cancel request has arrived",
        ),
        "sv_idle": ("Server connections that the next client gets at once",),
        "sv_used": (
            "Server connections that were idle for longer than"
            " `server_check_delay`: PgBouncer checks them before use",
        ),
        "sv_tested": ("Server connections that are being checked or reset",),
        "sv_login": (
            "Server connections that are logging in",
            "above 0 for long",
            "the server does not answer, or refuses: read PgBouncer's log",
        ),
        "maxwait": (
            "Seconds that the first client in the queue has waited with its"
            " statement, or 0 if it has waited since it connected",
            "it rises: at `query_wait_timeout` that client gets an error",
            "alert on this column, and act as for `cl_waiting`",
        ),
        "maxwait_us": (
            "The part of `maxwait` below a second, in microseconds",
        ),
        "pool_mode": (
            "The pool mode in which this pool works",
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
            "active, idle, waiting, or a state of a cancel request. Before"
            " 1.25, idle clients are active too",
            "`waiting` for more than a moment",
            "act as for `cl_waiting`",
        ),
        "wait": (
            "Seconds that the client's statement has taken so far, in the queue"
            " and on the server",
            "it rises while `state` is `waiting`",
            "act as for `maxwait`",
        ),
        "close_needed": ("Always 0 for clients",),
        "link": (
            "The `ptr` of the client's server connection",
            "the same value each time you look, with an old `request_time`",
            "a transaction was forgotten: `application_name` says by whom",
        ),
        "remote_pid": (
            "The client's process, if it connected over a Unix socket",
        ),
        "tls": (
            "TLS version and cipher, or empty without TLS",
            "empty where you encrypt",
            "set `client_tls_sslmode` to `require`",
        ),
        "prepared_statements": ("How many statements the client has prepared",),
    },
    "servers": {
        **SOCKET,
        "type": ("S, for server",),
        "id": ("The connection's own number, for logs",),
        "state": (
            "active, idle, used, tested, new, or a state of a cancel request",
            "`new` for long",
            "act as for `sv_login`",
        ),
        "wait": ("Always 0 for server connections",),
        "close_needed": (
            "1 if PgBouncer closes the connection as soon as its client is done"
            " with it",
            "1 for long after a `RECONNECT`",
            "a transaction holds the connection: `link` leads to the client",
        ),
        "link": (
            "The `ptr` of the client that has the connection, or empty while it"
            " is idle",
        ),
        "remote_pid": ("The backend's process: `pid` in `pg_stat_activity`",),
        "tls": (
            "TLS version and cipher, or empty without TLS",
            "empty where you encrypt",
            "set `server_tls_sslmode` to `verify-full`",
        ),
        "application_name": (
            "The name that the connection's client gives itself. Before 1.22, a"
            " client without a name leaves the name of the client before it",
        ),
        "prepared_statements": (
            "How many statements are prepared on the connection",
            "at `max_prepared_statements` all the time",
            "statements are prepared again and again: raise"
            " `max_prepared_statements`",
        ),
    },
    "stats": {
        "database": ("The database name that clients asked for",),
        "total_server_assignment_count": (
            "How often a client was given a server connection",
        ),
        "total_xact_count": ("Transactions",),
        "total_query_count": ("Statements",),
        "total_received": ("Bytes from clients",),
        "total_sent": ("Bytes to clients",),
        "total_xact_time": (
            "Microseconds in transactions, including idle time in them and the"
            " wait for a server connection",
            "far above `total_query_time`",
            "transactions wait for something outside the database",
        ),
        "total_query_time": (
            "Microseconds from a statement to its answer, including the wait"
            " for a server connection",
        ),
        "total_wait_time": (
            "Microseconds that clients waited for a server connection, counted"
            " once each has got one",
            "it grows faster than the clock",
            "on average, more than one client waits: act as for `cl_waiting`",
        ),
        "total_client_parse_count": ("Statements that clients prepared",),
        "total_server_parse_count": (
            "Statements that PgBouncer prepared on servers",
            "near `total_bind_count`",
            "preparing saves nothing: clients execute a prepared statement only"
            " once, or `max_prepared_statements` is too small",
        ),
        "total_bind_count": ("Executions of prepared statements",),
        "total_client_login_count": (
            "Client logins",
            "it grows with every request",
            "connections are not kept open: set `CONN_MAX_AGE`",
        ),
        "avg_server_assignment_count": (
            "How often per second a client was given a server connection, in"
            " the last period",
        ),
        "avg_xact_count": ("Transactions per second",),
        "avg_query_count": ("Statements per second",),
        "avg_recv": ("Bytes from clients per second",),
        "avg_sent": ("Bytes to clients per second",),
        "avg_xact_time": (
            "Microseconds that a transaction takes, including the wait",
            "far above `avg_query_time` times the statements in it",
            "act as for `total_xact_time`",
        ),
        "avg_query_time": (
            "Microseconds that a statement takes, including the wait",
            "it rises, and `avg_wait_time` does not",
            "the database is slower: look at the database",
        ),
        "avg_wait_time": (
            "Microseconds that a client waits for a server connection. Before"
            " 1.23, microseconds that all clients together waited per second",
            "it rises",
            "act as for `cl_waiting`",
        ),
        "avg_client_parse_count": (
            "Statements that clients prepared per second, in the last period",
        ),
        "avg_server_parse_count": (
            "Statements that PgBouncer prepared on servers per second, in the"
            " last period",
        ),
        "avg_bind_count": (
            "Executions of prepared statements per second, in the last period",
        ),
        "avg_client_login_count": (
            "Client logins per second",
            "as many as requests",
            "act as for `total_client_login_count`",
        ),
    },
    "databases": {
        "name": ("The database name that clients ask for",),
        "host": ("The host of the entry, or empty if the entry names none",),
        "port": ("The port of the entry",),
        "database": ("The database's name in PostgreSQL",),
        "force_user": ("The `user=` of the entry, if it has one",),
        "pool_size": ("The most server connections for each user",),
        "min_pool_size": (
            "Server connections that are kept open for each user, while the"
            " user has clients or if the entry names the user",
        ),
        "reserve_pool_size": (
            "Server connections beyond the pool's size, for peaks",
        ),
        "reserve_pool": (
            "Server connections beyond the pool's size, for peaks",
        ),
        "server_lifetime": (
            "Seconds after which a free server connection is closed",
        ),
        "pool_mode": (
            "The entry's own pool mode, or empty if the general one applies",
        ),
        "load_balance_hosts": (
            "How connections spread over several hosts, if there are several",
        ),
        "max_connections": (
            "`max_db_connections`, the entry's own or the general one, or 0 for"
            " no limit",
        ),
        "current_connections": (
            "Server connections for all users together",
            "at `max_connections`",
            "pools wait for each other: raise the limit, or shrink the pools",
        ),
        "max_client_connections": ("The most clients, or 0 for no limit",),
        "current_client_connections": ("Clients",),
        "paused": (
            "1 after a `KILL`, or a `PAUSE` that names the database",
            "1, and nobody is working on the database",
            "`RESUME` the database by its name",
        ),
        "disabled": (
            "1 after `DISABLE`: no new client gets in",
            "1, and nobody is working on the database",
            "`ENABLE` the database by its name",
        ),
    },
    "lists": {
        "databases": ("Databases, including the console",),
        "users": ("Users that PgBouncer knows",),
        "peers": ("Other PgBouncers that it passes cancellations to",),
        "pools": ("Pairs of a user and a database",),
        "peer_pools": ("Pools for these peers",),
        "free_clients": ("Memory kept for future clients",),
        "used_clients": (
            "Clients",
            "near `max_client_conn`",
            "a client beyond the limit is refused: raise the limit, or find out"
            " who connects",
        ),
        "login_clients": (
            "Clients that are logging in",
            "above 0 for more than a moment",
            "`auth_query` has no answer yet, or a client stops in the middle of"
            " its login",
        ),
        "free_servers": ("Memory kept for future server connections",),
        "used_servers": ("Server connections",),
        "dns_names": ("Host names that PgBouncer remembers",),
        "dns_zones": ("DNS zones of these host names",),
        "dns_queries": (
            "Host names that PgBouncer is looking up now",
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
