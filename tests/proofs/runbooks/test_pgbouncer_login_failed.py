"""Proves docs/runbooks/pgbouncer-login-failed.md: a password that fails at PgBouncer, or behind it at PostgreSQL."""

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import psycopg2
import pytest
from psycopg import sql

from proven.sources.controls import control, edit, here, replace
from tests.proofs.heard import heard
from tests.stack import pgbouncer
from tests.stack.console import at_least
from tests.stack.database import Role, fresh
from tests.stack.wait import until

MODE = {"pool_mode": "transaction"}


def md5(role: Role) -> str:
    """Return a role's password as an MD5 hash, as old userlists have it."""
    return "md5" + hashlib.md5((role.password + role.name).encode()).hexdigest()  # noqa: S324


def refused(bouncer, database, **options: str) -> str:
    """Return what a client is told when its login fails."""
    with pytest.raises(psycopg.OperationalError) as error:
        bouncer.connect(database, **options)
    return str(error.value).rpartition("failed: FATAL:  ")[2].strip()


@control(here("{database.role.name: line}", '{"nobody_here": "x", database.role.name: line}'))
@control(here('auth_type == "md5" and', 'auth_type == "plain" and'))
@pytest.mark.parametrize("auth_type", ["scram-sha-256", "md5", "plain"])
def test_a_wrong_password_and_an_unknown_user_look_alike(auth_type, database, pooler) -> None:
    """Both get the same error, which depends on auth_type; only PgBouncer's log says that there is no such user.

    So it is with every kind of password in the userlist, except a SCRAM secret with `md5`: then a wrong password gets
    SCRAM's error.
    """
    text = ("SASL" if auth_type == "scram-sha-256" else "password") + " authentication failed"
    (secret,) = pgbouncer.scram(database).values()
    for line in (database.role.password, md5(database.role), secret):
        bouncer = pooler(database, **MODE, auth_type=auth_type, users={database.role.name: line})
        by_scram = auth_type == "md5" and line == secret
        assert refused(bouncer, database, password="another") == ("SASL authentication failed" if by_scram else text)
        assert "no such user" not in bouncer.leash.said()
        assert refused(bouncer, database, user="nobody_here") == text
        assert "no such user: nobody_here" in bouncer.leash.said()


@control(replace("tests.proofs.runbooks.test_pgbouncer_login_failed:MODE", {"pool_mode": "transaction", "users": {}}))
def test_a_database_that_pgbouncer_does_not_know_is_named(database, pooler) -> None:
    """This error does say what is wrong."""
    assert refused(pooler(database, **MODE), database, dbname="elsewhere") == "no such database: elsewhere"


@control(here("md5(database.role)", "database.role.password"))
@control(here('("plain", "trust")', '("scram-sha-256",)'))
def test_an_md5_hash_cannot_log_in_to_a_scram_server(database, pooler) -> None:
    """The client gets in, but the server requires SCRAM authentication, which PgBouncer cannot do with a hash.

    Nor can a SCRAM secret, if the client did not log in with SCRAM.
    """
    bouncer = pooler(database, **MODE, users={database.role.name: md5(database.role)}, auth_type="md5")
    assert refused(bouncer, database) == "server login failed: wrong password type"
    assert "cannot do SCRAM authentication: wrong password type" in bouncer.leash.said()
    for auth_type in ("plain", "trust"):
        bouncer = pooler(database, **MODE, auth_type=auth_type)
        assert refused(bouncer, database) == "server login failed: wrong password type"


@control(here("md5(database.role)", "database.role.password"))
@control(here("{md5(role)}", "{another[1]}"))
def test_an_md5_hash_cannot_check_a_scram_client(database, pooler, another) -> None:
    """With auth_type = scram-sha-256 the client is refused, and the log says why; so it is with auth_query's hash."""
    bouncer = pooler(database, **MODE, users={database.role.name: md5(database.role)})
    assert refused(bouncer, database) == "SASL authentication failed"
    # 1.18 does not say so.
    assert "MD5 secret" in bouncer.leash.said() or not at_least(1, 21)
    role = another[0]
    lookup = f"select rolname::text, '{md5(role)}'::text from pg_roles where rolname = $1"  # noqa: S608
    users = {database.role.name: database.role.password}
    for auth_type, text in (("scram-sha-256", "SASL authentication failed"), ("md5", "server login failed: wrong")):
        settings = {"auth_user": database.role.name, "auth_query": lookup, "auth_type": auth_type}
        bouncer = pooler(database, **MODE, users=users, **settings)
        assert refused(bouncer, database, user=role.name, password=role.password).startswith(text)


@control(here("database.admin.execute(", "str("))
def test_a_scram_secret_must_be_the_servers_own(database, pooler) -> None:
    """A secret made from the same password has another salt: the client gets in, but the server refuses PgBouncer.

    So it does if the userlist and the client both have an older password.
    """
    (ours,) = pgbouncer.scram(database).values()
    database.admin.execute(f"alter role {database.role.name} password '{database.role.password}'")
    (servers,) = pgbouncer.scram(database).values()
    assert ours != servers
    failed = f'password authentication failed for user "{database.role.name}"'
    assert refused(pooler(database, **MODE, users={database.role.name: ours}), database) == failed
    older = pooler(database, **MODE, users={database.role.name: "older"})
    assert refused(older, database, password="older") == failed


def written(bouncer, users: dict[str, str]) -> None:
    """Replace PgBouncer's userlist."""
    secrets = {**users, pgbouncer.ADMIN: pgbouncer.secret(bouncer.password)}
    lines = "".join(f'"{name}" "{secret}"\n' for name, secret in secrets.items())
    bouncer.leash.write("next.txt", lines).replace(bouncer.leash.folder / "userlist.txt")


@control(here('bouncer.reload(auth_type="scram-sha-256")', "pass"), fails_with="wrong password type")
@control(here("bouncer.restart()", "pass"), fails_with="password authentication failed")
def test_the_servers_own_secret_lets_the_application_in_after_a_reload(database, pooler) -> None:
    """The line in the userlist is replaced, RELOAD reads it, and the next login succeeds at both PgBouncer and server.

    So it does with the plain password in that line; if another secret was there before, only after a restart.
    """
    name = database.role.name
    earlier = [(md5(database.role), auth_type) for auth_type in ("md5", "plain", "trust")]
    for before, auth_type in [*earlier, (pgbouncer.secret(database.role.password), "scram-sha-256")]:
        for line in (pgbouncer.scram(database), {name: database.role.password}):
            bouncer = pooler(database, **MODE, users={name: before}, auth_type=auth_type, server_login_retry=0)
            refused(bouncer, database)
            written(bouncer, line)
            bouncer.reload(auth_type="scram-sha-256")
            if before.startswith("SCRAM") and line[name] == database.role.password:
                bouncer.restart()
            with bouncer.connect(database) as client:
                assert client.execute("select current_user").fetchone() == (name,)


@control(here("written(bouncer, pgbouncer.scram(database))", "written(bouncer, {name: database.role.password})"))
@control(here('"a client logs in", served', '"a client logs in", lambda: True'))
@pytest.mark.parametrize("replaced", ["password", "secret"])
def test_a_new_secret_is_of_no_use_before_a_client_logs_in(replaced, database, pooler) -> None:
    """After RELOAD, clients that stayed connected are refused; once one has logged in, others that stayed are served.

    So it is if the secret replaced a password, and if it replaced an older secret.
    """
    name = database.role.name
    before = {name: database.role.password} if replaced == "password" else pgbouncer.scram(database)
    failed = f'password authentication failed for user "{name}"'
    told = "wrong password type" if replaced == "password" else failed
    if not at_least(1, 21):
        told = "query_wait_timeout"
    bouncer = pooler(database, **MODE, users=before, server_login_retry=0.1, query_wait_timeout=5)

    def none_left() -> None:
        for pid in database.backends():
            database.terminate(pid)
        until("PgBouncer knows", lambda: bouncer.show("servers") == [])

    def served() -> bool:
        with bouncer.connect(database) as client:
            return heard(client.execute, "select 1") == ""

    with bouncer.connect(database) as first, bouncer.connect(database) as other:
        assert first.execute("select 1").fetchone() == (1,)
        database.admin.execute(f"alter role {name} password '{database.role.password}'")
        written(bouncer, pgbouncer.scram(database))
        bouncer.reload()
        none_left()
        assert heard(first.execute, "select 1") == told
        until("a client logs in", served)
        none_left()
        assert heard(other.execute, "select 1") == ""


@control(here('"select * from user_lookup($1)"', '"select / from user_lookup($1)"'))
def test_an_auth_query_that_fails_is_a_bouncer_config_error(database, pooler) -> None:
    """The client is told no more than that; from 1.21 on, PgBouncer's log has PostgreSQL's own error."""
    users = {database.role.name: database.role.password}
    settings = {"auth_user": database.role.name, "auth_query": "select * from user_lookup($1)"}
    bouncer = pooler(database, **MODE, users=users, **settings)
    assert refused(bouncer, database, user="somebody") == "bouncer config error"
    said = bouncer.leash.said()
    assert "error response from auth_query" in said
    assert ("function user_lookup(unknown) does not exist" in said) is at_least(1, 21)


@control(
    here(
        'f"alter role {database.role.name} connection limit 0"', 'f"alter role {database.role.name} connection limit 1"'
    )
)
@control(here('connection limit 1"', 'connection limit 2"'))
@control(here("ended(database, lost)", "pass"))
def test_a_role_at_its_connection_limit_is_told_so_once(database, pooler) -> None:
    """The client that made PgBouncer log in gets PostgreSQL's error; one that comes before the next attempt times out.

    If the pool has a connection, no client gets it: it is in PgBouncer's log. If it has lost the one that it had, those
    who come after the first are refused at once.
    """
    bouncer = pooler(database, **MODE)
    database.admin.execute(f"alter role {database.role.name} connection limit 0")
    assert refused(bouncer, database) == f'too many connections for role "{database.role.name}"'
    with bouncer.impatient():
        assert refused(bouncer, database) == "query_wait_timeout"
    database.admin.execute(f"alter role {database.role.name} connection limit 1")
    served = pooler(database, **MODE)
    with served.connect(database, autocommit=False) as holder, served.connect(database) as waits:
        holder.execute("select 1")
        with served.impatient():
            assert heard(waits.execute, "select 1") == "query_wait_timeout"
        until("its log says why", lambda: "too many connections for role" in served.leash.said())
    served.stop()
    lost = pooler(database, **MODE)
    with lost.connect(database) as one, lost.connect(database) as other:
        one.execute("select 1")
        database.admin.execute(f"alter role {database.role.name} connection limit 0")
        ended(database, lost)
        with lost.impatient():
            first, then = [heard(client.execute, "select 1") for client in (one, other)]
    assert first.startswith("too many connections for role" if at_least(1, 21) else "query_wait_timeout")
    assert "server_login_retry" in then


def ended(database, bouncer) -> None:
    """End each session of the database's, and wait until PgBouncer knows."""
    for pid in database.backends():
        database.terminate(pid)
    until("PgBouncer knows", lambda: bouncer.show("servers") == [])


@pytest.fixture
def another(database):
    """A second role of the server, and its secret."""
    role = Role(database.server)
    query = "select rolpassword from pg_authid where rolname = %s"
    (secret,) = database.admin.execute(query, [role.name]).fetchone()
    yield role, secret
    database.admin.execute(f"drop owned by {role.name}")
    role.drop(database.admin)


@control(
    edit(
        "postgres/secret_kinds.sql",
        "when rolpassword is null then 'none: it cannot log in with one'",
        "when rolpassword is not null then 'none: it cannot log in with one'",
    )
)
@control(edit("postgres/secret_kinds.sql", "else 'md5'", "else 'scram-sha-256'"))
@control(edit("postgres/secret_kinds.sql", "rolvaliduntil as", "rolpassword as"))
def test_secret_kinds_shows_the_form_of_each_password_and_no_secret(database, load, another) -> None:
    """It has one row per role that may log in: with a SCRAM secret, an MD5 hash, or none."""
    role, _ = another
    for password, form in ((database.role.password, "scram-sha-256"), (md5(role), "md5"), (None, "none: it cannot")):
        change = sql.SQL("alter role {} password {}").format(sql.Identifier(role.name), sql.Literal(password))
        database.admin.execute(change)
        query = "select coalesce(rolpassword, '-') from pg_authid where rolname = %s"
        (kept,) = database.admin.execute(query, [role.name]).fetchone()
        output = database.psql(load("postgres/secret_kinds.sql"))
        (row,) = [line for line in output.splitlines() if role.name in line]
        assert row.split("|")[1].strip().startswith(form)
        assert kept == "-" or kept not in output


@control(here("users={database.role.name: own}", "users={database.role.name: database.role.password}"))
@control(here("stuck.restart()", "pass"), fails_with="server_login_retry")
def test_auth_user_cannot_log_in_with_a_secret(database, pooler, another) -> None:
    """From 1.21 on, the first client is told why, later ones that login has been failing. The plain password fixes it.

    Nor can it with an MD5 hash.
    Once a client has logged in as `auth_user` itself since PgBouncer started, the secret is enough. If it is not the
    server's, even the plain password then fails until PgBouncer is restarted.
    """
    role, secret = another
    (own,) = pgbouncer.scram(database).values()
    lookup = f"select rolname::text, '{secret}'::text from pg_roles where rolname = $1"  # noqa: S608
    settings = {"auth_user": database.role.name, "auth_query": lookup, "server_login_retry": 60}
    bouncer = pooler(database, **MODE, **settings, users={database.role.name: own}, query_wait_timeout=1)
    who = {"user": role.name, "password": role.password}
    first = "server login failed: wrong password type" if at_least(1, 21) else "query_wait_timeout"
    assert refused(bouncer, database, **who) == first
    again = "cached error: failed to answer authreq" if at_least(1, 24) else "try again later"
    for _ in range(2):
        assert refused(bouncer, database, **who) == f"server login has been failing, {again} (server_login_retry)"
    hashed = pooler(database, **MODE, **settings, users={database.role.name: md5(database.role)}, query_wait_timeout=1)
    assert refused(hashed, database, **who) == first
    mended = pooler(database, **MODE, **settings, users={database.role.name: database.role.password})
    mended.connect(database, **who).close()
    lent = pooler(database, **MODE, **settings, users={database.role.name: own})
    lent.connect(database).close()
    for pid in database.backends():  # so that it has to log in once more
        database.terminate(pid)
    lent.connect(database, **who).close()
    soon = {**settings, "server_login_retry": 0.1}
    stuck = pooler(database, **MODE, **soon, users={database.role.name: pgbouncer.secret(database.role.password)})
    failed = f'password authentication failed for user "{database.role.name}"'
    assert refused(stuck, database) == failed
    written(stuck, {database.role.name: database.role.password})
    stuck.reload()
    assert refused(stuck, database) == failed
    stuck.restart()
    stuck.connect(database, **who).close()


@control(here("user={forced.name}", "user={role.name}"))
@control(here("secret, forced.name: own}", "secret, forced.name: forced.password}"))
@control(here("password=not-", "password="))
@control(here("lent.connect(database).close()", "pass"), fails_with="wrong password type")
@control(here("lent.restart()", "pass"), fails_with="authentication failed")
def test_a_forced_user_needs_its_password(database, pooler, another) -> None:
    """The userlist must have it in plain text, on every version; with a secret or a hash, logins fail or time out.

    A secret is enough once the forced user has logged in through another entry since PgBouncer started. If it is not
    the server's, even the password then fails until PgBouncer is restarted.
    The entry may have the password too; before 1.26 only if the client's own line in the userlist is not a secret: with
    one, the login fails even if the userlist has the password. A wrong one there fails on every version.
    """
    role, secret = another
    (own,) = pgbouncer.scram(database).values()
    forced = database.role
    failed = f'password authentication failed for user "{forced.name}"'

    def told(entry: str, listed: dict[str, str]) -> str:
        users = {role.name: secret, **listed}
        bouncer = pooler(database, **MODE, options=f"user={forced.name}{entry}", users=users, server_login_retry=0.1)
        try:
            bouncer.connect(database, user=role.name, password=role.password).close()
        except psycopg.OperationalError as error:
            return str(error).rpartition("failed: FATAL:  ")[2].strip()
        return ""

    assert told("", {}) == told("", {forced.name: "a wrong one"}) == failed
    for kept in (own, md5(forced)):
        assert told("", {forced.name: kept}) == "server login failed: wrong password type"
    assert told("", {forced.name: forced.password}) == ""
    for listed in ({}, {forced.name: forced.password}):
        assert told(f" password={forced.password}", listed) == ("" if at_least(1, 26) else failed)
    assert told(f" password={forced.password}", {role.name: role.password}) == ""
    wrong = f" password=not-{forced.password}"
    assert told(wrong, {role.name: role.password}) == failed
    who = {"user": role.name, "password": role.password}
    for kept in (own, pgbouncer.secret(forced.password)):
        users = {role.name: secret, forced.name: kept}
        lent = pooler(database, **MODE, users=users, server_login_retry=0.1)
        lent.entries["forces"] = f"{lent.entries[database.name]} user={forced.name}"
        lent.reload()
        if kept == own:
            lent.connect(database).close()
        else:
            assert refused(lent, database) == failed
            written(lent, {**users, forced.name: forced.password})
            lent.reload()
            assert refused(lent, database, dbname="forces", **who) == failed
            lent.restart()
        lent.connect(database, dbname="forces", **who).close()
    users = {role.name: secret, forced.name: own}
    bouncer = pooler(database, **MODE, options=f"user={forced.name}", users=users, server_login_retry=60)
    assert refused(bouncer, database, **who) == "server login failed: wrong password type"
    with bouncer.impatient():
        assert refused(bouncer, database, **who) == "query_wait_timeout"


@control(here("ended(database, bouncer)", "pass"))
@control(here('"dbname": "other"', '"dbname": database.name'), fails_with="DID NOT RAISE")
@control(here("console.execute(command.format(database.name).encode())", "pass"), fails_with="DID NOT RAISE")
@pytest.mark.parametrize("commands", [["reconnect"], ["kill {}", "resume {}"]], ids=["reconnect", "kill"])
def test_a_forced_user_who_has_had_a_server_connection_is_refused_at_once(database, pooler, another, commands) -> None:
    """A secret has replaced its password since, and the connection has ended: the second client does not wait.

    It does if it connects to another entry that forces the same user, or after a RECONNECT or a KILL.
    """
    role, secret = another
    forced = database.role
    users = {role.name: secret, forced.name: forced.password}
    bouncer = pooler(database, **MODE, options=f"user={forced.name}", users=users, server_login_retry=60)
    bouncer.entries["other"] = bouncer.entries[database.name]
    bouncer.reload()
    who = {"user": role.name, "password": role.password}
    with bouncer.connect(database, **who) as first, bouncer.connect(database, **who) as second:
        first.execute("select 1")
        written(bouncer, {**users, **pgbouncer.scram(database)})
        bouncer.reload()
        ended(database, bouncer)
        with bouncer.impatient():
            told = [heard(client.execute, "select 1") for client in (first, second)]
    assert told[0] == ("wrong password type" if at_least(1, 21) else "query_wait_timeout")
    assert told[1].endswith("(server_login_retry)")
    other = {**who, "dbname": "other"}
    assert refused(bouncer, database, **other) == "server login failed: wrong password type"
    with bouncer.impatient():
        assert refused(bouncer, database, **other) == "query_wait_timeout"
    bouncer.connect(database, **who).close()
    with bouncer.admin() as console:
        for command in commands:
            console.execute(command.format(database.name).encode())
    if "reconnect" not in commands:  # KILL forgets the failure too
        assert refused(bouncer, database, **who) == "server login failed: wrong password type"
    with bouncer.impatient():
        assert refused(bouncer, database, **who) == "query_wait_timeout"


@control(here("server_login_retry=1,", "server_login_retry=0,"), fails_with=">= 1")
@control(here("name: own", "name: database.role.password"), fails_with="DID NOT RAISE")
def test_after_a_forced_users_failed_login_clients_wait_for_the_next_one(database, pooler, another) -> None:
    """It comes after server_login_retry, and fails too; all who waited are then told what the first client was told."""
    role, secret = another
    (own,) = pgbouncer.scram(database).values()
    users = {role.name: secret, database.role.name: own}
    options = {"options": f"user={database.role.name}", "users": users}
    bouncer = pooler(database, **MODE, server_login_retry=1, **options)

    def told(_: int) -> str:
        return refused(bouncer, database, user=role.name, password=role.password)

    began = time.monotonic()
    first = told(0)
    assert first == "server login failed: wrong password type"
    with ThreadPoolExecutor(3) as clients:
        assert [*clients.map(told, range(3))] == [first] * 3
    assert time.monotonic() - began >= 1


@control(here("valid until 'yesterday'", "valid until 'infinity'"))
@control(here("server_login_retry=3600", "server_login_retry=0.1"), fails_with="DID NOT RAISE")
def test_an_expired_role_is_told_that_its_password_is_wrong(database, pooler) -> None:
    """PgBouncer has the server's own secret, and without the expiry the login succeeds, after server_login_retry."""
    late = pooler(database, **MODE, server_login_retry=3600)
    bouncer = pooler(database, **MODE, server_login_retry=0.1)
    database.admin.execute(f"alter role {database.role.name} valid until 'yesterday'")
    for each in (late, bouncer):
        assert refused(each, database) == f'password authentication failed for user "{database.role.name}"'
    database.admin.execute(f"alter role {database.role.name} valid until 'infinity'")
    bouncer.connect(database).close()
    with late.impatient():
        assert refused(late, database) == "query_wait_timeout"


@control(here('"alter role {name} valid until {day}"', '"alter role {name} connection limit 5"'))
@control(here("{md5(database.role)}", "{database.role.password}"))
def test_postgresql_tells_its_log_why_a_login_failed(cluster) -> None:
    """Without PgBouncer: both drivers get one error for five reasons, four of which the server's log names."""
    own = cluster(cluster_name="refuses")
    with fresh(own.server) as database:
        name = database.role.name
        text = 'FATAL:  password authentication failed for user "{}"'
        for driver in (psycopg, psycopg2):
            assert heard(driver.connect, database.url, password="another") == text.format(name)
            assert heard(driver.connect, database.url, user="nobody_here") == text.format("nobody_here")
            assert heard(driver.connect, database.url) == ""
        assert 'Role "nobody_here" does not exist' in own.leash.said()
        database.admin.execute("alter role {name} valid until {day}".format(name=name, day="'yesterday'"))
        for driver in (psycopg, psycopg2):
            assert heard(driver.connect, database.url) == text.format(name)
        assert f'User "{name}" has an expired password' in own.leash.said()
        database.admin.execute(f"alter role {name} password null")
        for driver in (psycopg, psycopg2):
            assert heard(driver.connect, database.url) == text.format(name)
        assert f'User "{name}" has no password assigned' in own.leash.said()
        database.admin.execute(f"alter role {name} password '{md5(database.role)}' valid until 'infinity'")
        for driver in (psycopg, psycopg2):
            assert heard(driver.connect, database.url) == text.format(name)
        assert f'User "{name}" does not have a valid SCRAM secret' in own.leash.said()


@control(here('auth_type="any")', 'auth_type="scram-sha-256")'))
@control(here('"any", users=plain', '"scram-sha-256", users=plain'), fails_with="DID NOT RAISE")
@control(here("password={database.role.password}", "pool_size=2"), fails_with="password authentication failed")
def test_auth_type_any_without_a_user_is_a_bouncer_config_error(database, pooler) -> None:
    """With a user in the entry, the password has to be there too: the one in the userlist is not used."""
    name = database.role.name
    bouncer = pooler(database, **MODE, auth_type="any")
    assert refused(bouncer, database) == "bouncer config error"
    plain = {name: database.role.password}
    forced = pooler(database, **MODE, auth_type="any", users=plain, options=f"user={name}")
    assert refused(forced, database) == f'password authentication failed for user "{name}"'
    entry = f"user={name} password={database.role.password}"
    pooler(database, **MODE, auth_type="any", options=entry).connect(database, user="nobody_here").close()


@control(here("stats_users=database.role.name", "log_stats=0"), fails_with="not allowed")
def test_the_console_is_for_its_own_users(database, pooler) -> None:
    """A role that may use a database is refused there; once it is in stats_users, it is let in."""
    bouncer = pooler(database, **MODE)
    assert refused(bouncer, database, dbname="pgbouncer") == "not allowed"
    bouncer.reload(stats_users=database.role.name)
    bouncer.connect(database, dbname="pgbouncer", cursor_factory=psycopg.ClientCursor).close()
