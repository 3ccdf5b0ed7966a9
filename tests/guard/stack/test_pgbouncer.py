"""PgBouncer, as the proofs get it."""

from collections.abc import Callable

import psutil
import psycopg
import pytest

from proven.problems import ProblemError
from proven.sources.snippets import parse
from tests.stack.database import Database
from tests.stack.pgbouncer import PgBouncer, scram

INI = """\
; region: whole
[databases]
orders = host=10.0.0.1 dbname=orders
[pgbouncer]
listen_addr = *
auth_type = scram-sha-256
user = postgres
pool_mode = transaction
; endregion: whole
[users]
ops = pool_mode=session
"""
Pooler = Callable[..., PgBouncer]


def test_it_serves_a_query_in_transaction_mode_over_scram(database: Database, pooler: Pooler) -> None:
    """The client logs in with its password, and PgBouncer passes that on without knowing it."""
    bouncer = pooler(database, pool_mode="transaction")
    (secret,) = scram(database).values()
    assert secret.startswith("SCRAM-SHA-256$")
    with bouncer.connect(database) as connection:
        row = connection.execute("select current_database(), current_user").fetchone()
    assert row == (database.name, database.role.name)
    (pool,) = [pool for pool in bouncer.show("pools") if pool["database"] == database.name]
    assert pool["pool_mode"] == "transaction"
    with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
        bouncer.connect(database, password="another")


def test_it_never_runs_as_root(database: Database, pooler: Pooler) -> None:
    """Neither at first nor after it has read its settings again."""
    bouncer = pooler(database)
    bouncer.reload(default_pool_size=3)
    assert psutil.Process(bouncer.leash.pid).uids().real != 0
    assert {row["key"]: row["value"] for row in bouncer.show("config")}["default_pool_size"] == "3"


def test_a_port_that_is_taken_is_left_alone(database: Database, pooler: Pooler) -> None:
    """It starts on another one."""
    first, second = pooler(database), pooler(database)
    second.port = first.port
    second.restart()
    assert second.port != first.port
    second.connect(database).close()


def test_it_starts_with_a_readers_settings(database: Database, pooler: Pooler) -> None:
    """Only what ties them to a machine is replaced."""
    bouncer = pooler(named={"orders": database}, ini=parse("pgbouncer/pgbouncer.ini", INI))
    assert bouncer.url(database).endswith("/orders")
    with bouncer.connect(database) as connection:
        assert connection.execute("select current_database()").fetchone() == (database.name,)
    assert {row["name"] for row in bouncer.show("users")} >= {"ops"}


@pytest.mark.parametrize(("line", "wrong"), [(8, "pool_mode = transactional"), (11, "ops = pool_mode=sessional")])
def test_a_setting_that_it_refuses_is_named_with_its_line(
    database: Database, pooler: Pooler, line: int, wrong: str
) -> None:
    """The line is the snippet's own, before and after the place where our settings come in."""
    text = "".join(f"{wrong if n == line else row}\n" for n, row in enumerate(INI.splitlines(), start=1))
    with pytest.raises(ProblemError) as refused:
        pooler(named={"orders": database}, ini=parse("pgbouncer/pgbouncer.ini", text))
    assert str(refused.value).startswith(f"snippets/pgbouncer/pgbouncer.ini:{line}: PgBouncer: invalid value")
