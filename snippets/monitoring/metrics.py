"""The metrics of connections, and what each one tells."""

# region: recorded
# Written by `make record` from each exporter that the proofs ran with.
RECORDED: dict[str, str] = {
    "mtail 3.0": "client_login_failures_total server_login_failures_total",
    "mtail 3.2": "client_login_failures_total server_login_failures_total",
    "pgbouncer_exporter 0.10": (
        "pgbouncer_cached_dns_names pgbouncer_cached_dns_zones "
        "pgbouncer_config_max_client_connections "
        "pgbouncer_config_max_user_connections pgbouncer_databases "
        "pgbouncer_databases_current_connections "
        "pgbouncer_databases_disabled "
        "pgbouncer_databases_max_connections "
        "pgbouncer_databases_paused pgbouncer_databases_pool_size "
        "pgbouncer_free_clients pgbouncer_free_servers "
        "pgbouncer_in_flight_dns_queries pgbouncer_login_clients "
        "pgbouncer_pools "
        "pgbouncer_pools_client_active_cancel_connections "
        "pgbouncer_pools_client_active_connections "
        "pgbouncer_pools_client_maxwait_seconds "
        "pgbouncer_pools_client_waiting_cancel_connections "
        "pgbouncer_pools_client_waiting_connections "
        "pgbouncer_pools_server_active_cancel_connections "
        "pgbouncer_pools_server_active_connections "
        "pgbouncer_pools_server_being_canceled_connections "
        "pgbouncer_pools_server_idle_connections "
        "pgbouncer_pools_server_login_connections "
        "pgbouncer_pools_server_testing_connections "
        "pgbouncer_pools_server_used_connections "
        "pgbouncer_stats_client_wait_seconds_total "
        "pgbouncer_stats_queries_duration_seconds_total "
        "pgbouncer_stats_queries_pooled_total "
        "pgbouncer_stats_received_bytes_total "
        "pgbouncer_stats_sent_bytes_total "
        "pgbouncer_stats_server_in_transaction_seconds_total "
        "pgbouncer_stats_sql_transactions_pooled_total pgbouncer_up "
        "pgbouncer_used_clients pgbouncer_used_servers "
        "pgbouncer_users pgbouncer_version_info"
    ),
    "pgbouncer_exporter 0.12": (
        "pgbouncer_cached_dns_names pgbouncer_cached_dns_zones "
        "pgbouncer_client_connections "
        "pgbouncer_config_max_client_connections "
        "pgbouncer_config_max_user_connections pgbouncer_databases "
        "pgbouncer_databases_current_connections "
        "pgbouncer_databases_disabled "
        "pgbouncer_databases_max_connections "
        "pgbouncer_databases_paused pgbouncer_databases_pool_size "
        "pgbouncer_free_clients pgbouncer_free_servers "
        "pgbouncer_in_flight_dns_queries pgbouncer_login_clients "
        "pgbouncer_pools "
        "pgbouncer_pools_client_active_cancel_connections "
        "pgbouncer_pools_client_active_connections "
        "pgbouncer_pools_client_maxwait_seconds "
        "pgbouncer_pools_client_waiting_cancel_connections "
        "pgbouncer_pools_client_waiting_connections "
        "pgbouncer_pools_server_active_cancel_connections "
        "pgbouncer_pools_server_active_connections "
        "pgbouncer_pools_server_being_canceled_connections "
        "pgbouncer_pools_server_idle_connections "
        "pgbouncer_pools_server_login_connections "
        "pgbouncer_pools_server_testing_connections "
        "pgbouncer_pools_server_used_connections "
        "pgbouncer_stats_totals_binds_total "
        "pgbouncer_stats_totals_client_parses_total "
        "pgbouncer_stats_totals_client_wait_seconds_total "
        "pgbouncer_stats_totals_queries_duration_seconds_total "
        "pgbouncer_stats_totals_queries_pooled_total "
        "pgbouncer_stats_totals_received_bytes_total "
        "pgbouncer_stats_totals_sent_bytes_total "
        "pgbouncer_stats_totals_server_assignments_total "
        "pgbouncer_stats_totals_server_in_transaction_seconds_total "
        "pgbouncer_stats_totals_server_parses_total "
        "pgbouncer_stats_totals_sql_transactions_pooled_total "
        "pgbouncer_up pgbouncer_used_clients pgbouncer_used_servers "
        "pgbouncer_users pgbouncer_version_info"
    ),
    "postgres_exporter 0.17": (
        "pg_database_connection_limit pg_database_size_bytes "
        "pg_exporter_last_scrape_duration_seconds "
        "pg_exporter_last_scrape_error pg_exporter_scrapes_total "
        "pg_exporter_user_queries_load_error pg_locks_count "
        "pg_replication_is_replica pg_replication_lag_seconds "
        "pg_replication_last_replay_seconds pg_roles_connection_limit "
        "pg_scrape_collector_duration_seconds "
        "pg_scrape_collector_success pg_settings_max_connections "
        "pg_slots_taken pg_slots_usable pg_stat_activity_count "
        "pg_stat_activity_max_tx_duration "
        "pg_stat_archiver_archived_count "
        "pg_stat_archiver_failed_count "
        "pg_stat_archiver_last_archive_age "
        "pg_stat_bgwriter_buffers_alloc_total "
        "pg_stat_bgwriter_buffers_clean_total "
        "pg_stat_bgwriter_maxwritten_clean_total "
        "pg_stat_bgwriter_stats_reset_total "
        "pg_stat_database_active_time_seconds_total "
        "pg_stat_database_blk_read_time "
        "pg_stat_database_blk_write_time pg_stat_database_blks_hit "
        "pg_stat_database_blks_read pg_stat_database_conflicts "
        "pg_stat_database_conflicts_confl_active_logicalslot "
        "pg_stat_database_conflicts_confl_bufferpin "
        "pg_stat_database_conflicts_confl_deadlock "
        "pg_stat_database_conflicts_confl_lock "
        "pg_stat_database_conflicts_confl_snapshot "
        "pg_stat_database_conflicts_confl_tablespace "
        "pg_stat_database_deadlocks pg_stat_database_numbackends "
        "pg_stat_database_sessions_total pg_stat_database_stats_reset "
        "pg_stat_database_temp_bytes pg_stat_database_temp_files "
        "pg_stat_database_tup_deleted pg_stat_database_tup_fetched "
        "pg_stat_database_tup_inserted pg_stat_database_tup_returned "
        "pg_stat_database_tup_updated pg_stat_database_xact_commit "
        "pg_stat_database_xact_rollback pg_static pg_up "
        "pg_wal_segments pg_wal_size_bytes "
        "postgres_exporter_config_last_reload_success_timestamp_seconds "
        "postgres_exporter_config_last_reload_successful"
    ),
    "postgres_exporter 0.19": (
        "pg_database_connection_limit pg_database_size_bytes "
        "pg_exporter_last_scrape_duration_seconds "
        "pg_exporter_last_scrape_error pg_exporter_scrapes_total "
        "pg_exporter_user_queries_load_error pg_locks_count "
        "pg_replication_is_replica pg_replication_lag_seconds "
        "pg_replication_last_replay_seconds pg_roles_connection_limit "
        "pg_scrape_collector_duration_seconds "
        "pg_scrape_collector_success pg_settings_max_connections "
        "pg_slots_taken pg_slots_usable pg_stat_activity_count "
        "pg_stat_activity_max_tx_duration "
        "pg_stat_archiver_archived_count "
        "pg_stat_archiver_failed_count "
        "pg_stat_archiver_last_archive_age "
        "pg_stat_bgwriter_buffers_alloc_total "
        "pg_stat_bgwriter_buffers_clean_total "
        "pg_stat_bgwriter_maxwritten_clean_total "
        "pg_stat_bgwriter_stats_reset_total "
        "pg_stat_database_active_time_seconds_total "
        "pg_stat_database_blk_read_time "
        "pg_stat_database_blk_write_time pg_stat_database_blks_hit "
        "pg_stat_database_blks_read pg_stat_database_conflicts "
        "pg_stat_database_conflicts_confl_active_logicalslot "
        "pg_stat_database_conflicts_confl_bufferpin "
        "pg_stat_database_conflicts_confl_deadlock "
        "pg_stat_database_conflicts_confl_lock "
        "pg_stat_database_conflicts_confl_snapshot "
        "pg_stat_database_conflicts_confl_tablespace "
        "pg_stat_database_deadlocks pg_stat_database_numbackends "
        "pg_stat_database_sessions_total pg_stat_database_stats_reset "
        "pg_stat_database_temp_bytes pg_stat_database_temp_files "
        "pg_stat_database_tup_deleted pg_stat_database_tup_fetched "
        "pg_stat_database_tup_inserted pg_stat_database_tup_returned "
        "pg_stat_database_tup_updated pg_stat_database_xact_commit "
        "pg_stat_database_xact_rollback pg_static pg_up "
        "pg_wal_segments pg_wal_size_bytes "
        "postgres_exporter_config_last_reload_success_timestamp_seconds "
        "postgres_exporter_config_last_reload_successful"
    ),
}
# endregion: recorded

# Those that the alerts and the dashboard use, and a few for a closer look.
MEANINGS: dict[str, dict[str, str]] = {
    "postgres_exporter": {
        "pg_up": "1 while the exporter can connect to PostgreSQL",
        "pg_slots_taken": "Slots that clients have taken, from queries.yml",
        "pg_slots_usable": "Slots for ordinary roles, from queries.yml",
        "pg_stat_database_sessions_total": (
            "Sessions ever opened in each database, from queries.yml"
        ),
        "pg_stat_activity_count": (
            "Sessions, by application, role, state and `backend_type`,"
            " without the exporter's own query"
        ),
        "pg_stat_activity_max_tx_duration": (
            "Seconds since the oldest transaction began, by the same labels"
        ),
        "pg_settings_max_connections": (
            "The setting `max_connections`, not the slots that you can use"
        ),
        "pg_locks_count": "Locks held or awaited, by database and mode",
        "pg_stat_database_numbackends": "Sessions in each database",
        "pg_roles_connection_limit": "`CONNECTION LIMIT`, or -1 for none",
    },
    "pgbouncer_exporter": {
        "pgbouncer_up": "1 while the exporter can connect to PgBouncer",
        "pgbouncer_pools_client_maxwait_seconds": (
            "Whole seconds that the first client in the queue has waited"
        ),
        "pgbouncer_pools_client_active_connections": "Clients, as `cl_active`",
        "pgbouncer_pools_client_waiting_connections": (
            "Clients that wait for a server connection"
        ),
        "pgbouncer_pools_server_active_connections": (
            "Server connections that are assigned to a client"
        ),
        "pgbouncer_databases_pool_size": (
            "The most server connections for each user, without the reserve"
        ),
        "pgbouncer_databases_paused": (
            "1 after a `PAUSE` that names the database"
        ),
        "pgbouncer_databases_disabled": "1 after `DISABLE`",
        "pgbouncer_used_clients": "Client connections to all databases",
        "pgbouncer_config_max_client_connections": "`max_client_conn`",
    },
    "mtail": {
        "client_login_failures_total": "Clients that were refused",
        "server_login_failures_total": (
            "PgBouncer's logins that PostgreSQL refused"
        ),
    },
    "metered": {
        "django_connections_opened_total": "Connections that Django opened",
        "django_connections_reused_total": (
            "Requests that found their connection already open"
        ),
        "django_connection_errors_total": "Failed attempts to get a connection",
    },
    "Prometheus": {
        "up": "1 while an exporter answers",
        "limit:slots_nearly_full:ratio": "A threshold in rules.yml",
        "limit:slots_full:ratio": "A threshold in rules.yml",
        "limit:clients_nearly_full:ratio": "A threshold in rules.yml",
        "limit:client_wait:seconds": "A threshold in rules.yml",
        "limit:idle_in_transaction:seconds": "A threshold in rules.yml",
        "limit:new_sessions:per_second": "A threshold in rules.yml",
        "limit:failed_logins:count": "A threshold in rules.yml",
    },
}

# The nearest metrics of hosted monitoring, from the vendors' lists. Google's
# names are below cloudsql.googleapis.com/; those of pools are for Managed
# Connection Pooling.
G = "database/postgresql/"
P = "per_database/conn_pool/"
D = "postgresql."
B = "pgbouncer.pools."
ELSEWHERE: dict[str, tuple[str, str]] = {
    "pg_slots_taken": (G + "num_backends", D + "connections"),
    "pg_settings_max_connections": ("", D + "max_connections"),
    "pg_stat_activity_count": (G + "num_backends_by_state", D + "connections"),
    "pg_stat_activity_max_tx_duration": ("", D + "activity.xact_start_age"),
    "pg_stat_database_sessions_total": (
        G + "new_connection_count",
        D + "sessions.count",
    ),
    "pgbouncer_pools_client_active_connections": (
        P + "client_connections",
        B + "cl_active",
    ),
    "pgbouncer_pools_client_waiting_connections": (
        P + "client_connections",
        B + "cl_waiting",
    ),
    "pgbouncer_pools_client_maxwait_seconds": (
        P + "client_connections_avg_wait_time",
        B + "maxwait",
    ),
    "pgbouncer_pools_server_active_connections": (
        P + "server_connections",
        B + "sv_active",
    ),
    "pg_up": ("database/up", D + "running"),
    "client_login_failures_total": (
        P + "client_connections_error_count",
        "",
    ),
}


def metrics(program: str) -> list[dict[str, str]]:
    """Return a row for each metric of a program that this guide uses."""
    return [
        {"Metric": f"`{name}`", "What it tells": meaning}
        for name, meaning in MEANINGS[program].items()
    ]


def all_metrics(program: str) -> str:
    """Return every metric of a program's newest version, settings aside."""
    newest = max(
        (known for known in RECORDED if known.startswith(f"{program} ")),
        key=lambda known: [int(n) for n in known.split(" ")[1].split(".")],
    )
    return ", ".join(f"`{name}`" for name in RECORDED[newest].split())


def elsewhere() -> list[dict[str, str]]:
    """Return a row for each metric that has another name elsewhere."""
    return [
        {
            "Metric": f"`{name}`",
            "Cloud Monitoring": f"`{google}`" if google else "",
            "Datadog": f"`{datadog}`" if datadog else "",
        }
        for name, (google, datadog) in ELSEWHERE.items()
    ]
