"""Django's PostgreSQL backend, with metrics of its connections.

Django loads it for "ENGINE": "metered". Each metric has the label alias:

    django_connections_opened_total        connections opened
    django_connections_reused_total        requests that found theirs open
    django_connection_errors_total         failed attempts to get one
    django_connection_waiters              threads now waiting for one
    django_health_check_failures_total     kept connections found lost

and where Django's own pool is used, which then opens the connections:

    django_pool_max_size                   most connections it may open
    django_pool_size                       connections it has
    django_pool_available                  connections that are free
    django_pool_requests_total             connections asked for
    django_pool_requests_queued_total      those that had to wait
    django_pool_requests_errors_total      those that found none free in time
    django_pool_wait_seconds_total         seconds that all of them waited
    django_pool_opened_total               connections opened
    django_pool_open_errors_total          failed attempts to open one
    django_pool_lost_total                 connections that its check found lost
"""

from threading import Lock
from typing import Any

from django.db.backends.postgresql import base
from prometheus_client import Counter, Gauge

ALIAS = ["alias"]


def counter(name: str, what: str) -> Counter:
    return Counter(f"django_{name}", what, ALIAS)


def gauge(name: str, what: str) -> Gauge:
    # The sum over all processes that are still alive.
    return Gauge(f"django_{name}", what, ALIAS, multiprocess_mode="livesum")


OPENED = counter("connections_opened", "Connections opened.")
REUSED = counter("connections_reused", "Requests that found theirs open.")
ERRORS = counter("connection_errors", "Attempts to get one that failed.")
WAITERS = gauge("connection_waiters", "Threads that wait for one now.")
UNHEALTHY = counter("health_check_failures", "Kept connections found lost.")

# region: pool
# By their names in the statistics of psycopg's pool.
POOL_NOW = {
    "pool_max": gauge("pool_max_size", "Connections it may open."),
    "pool_size": gauge("pool_size", "Connections it has."),
    "pool_available": gauge("pool_available", "Those that nobody has taken."),
}
POOL_EVER = {
    "requests_num": counter("pool_requests", "Connections asked for."),
    "requests_queued": counter("pool_requests_queued", "Those that waited."),
    "requests_errors": counter("pool_requests_errors", "Those refused."),
    "requests_wait_ms": counter("pool_wait_seconds", "How long all waited."),
    "connections_num": counter("pool_opened", "Connections opened."),
    "connections_errors": counter("pool_open_errors", "Attempts that failed."),
    "connections_lost": counter("pool_lost", "Connections found lost."),
}
told: dict[tuple[str, str], int] = {}
lock = Lock()


def tell(alias: str, stats: dict[str, int]) -> None:
    """Add what a pool has counted since the last call."""
    with lock:
        for name, now in POOL_NOW.items():
            now.labels(alias).set(stats.get(name, 0))
        for name, ever in POOL_EVER.items():
            count, before = stats.get(name, 0), told.get((alias, name), 0)
            # A new pool starts counting at zero again.
            more = count - before if count >= before else count
            unit = 0.001 if name.endswith("_ms") else 1
            ever.labels(alias).inc(more * unit)
            told[alias, name] = count


# endregion: pool
# region: wrapper
class DatabaseWrapper(base.DatabaseWrapper):
    used = True  # since a request last began or ended
    # Django's own attributes, which its type hints omit.
    health_check_enabled: bool
    health_check_done: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Prometheus sees a metric's first increase only if the metric was
        # there before, at zero.
        for metric in (OPENED, REUSED, ERRORS, WAITERS, UNHEALTHY):
            metric.labels(self.alias)

    def close_if_unusable_or_obsolete(self) -> None:
        """Look after the connection, as Django does around each request."""
        self.used = True  # a check is no use
        super().close_if_unusable_or_obsolete()
        self.used = False

    def close_if_health_check_failed(self) -> None:
        held = self.connection is not None
        super().close_if_health_check_failed()
        if held and self.connection is None:
            UNHEALTHY.labels(self.alias).inc()

    def ensure_connection(self) -> None:
        checked = self.health_check_done or not self.health_check_enabled
        if self.connection is not None and checked and not self.used:
            self.used = True
            REUSED.labels(self.alias).inc()
        super().ensure_connection()

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        self.used = True
        try:
            with WAITERS.labels(self.alias).track_inprogress():
                connection = super().get_new_connection(conn_params)
        except self.Database.Error:
            ERRORS.labels(self.alias).inc()
            raise
        finally:
            self.tell_of_pool()
        if not self.djangos_pool():  # a pool opens them when it chooses
            OPENED.labels(self.alias).inc()
        return connection

    def close(self) -> None:
        super().close()
        self.tell_of_pool()

    def djangos_pool(self) -> Any:
        return getattr(self, "pool", None)  # since Django 5.1

    def tell_of_pool(self) -> None:
        if pool := self.djangos_pool():
            tell(self.alias, pool.get_stats())


# endregion: wrapper
