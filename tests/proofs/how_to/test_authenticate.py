"""Proves docs/how-to/authenticate.md: which logins succeed, on PostgreSQL with SCRAM, and what the others are told."""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from signal import SIGCONT, SIGSTOP

import psycopg
import pytest
from psycopg import conninfo

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.proofs.heard import heard
from tests.proofs.pooled import INI, PASSWORDS, USER, reader, section, settings_of, starting
from tests.stack.database import Role, fresh, run_psql
from tests.stack.pgbouncer import PgBouncer, secret
from tests.stack.wait import DEADLINE, until

LOOKED_UP = "pgbouncer/auth_query.ini"
NOWHERE = "host=127.0.0.1 port=1 dbname=upstream"
# Before PgBouncer 1.24.1 the default read pg_shadow like this, regardless of expiry.
CARELESS = """
create function pgbouncer.careless(name text) returns table (username text, secret text)
language sql security definer set search_path = pg_catalog, pg_temp
as 'select usename::text, passwd from pg_shadow where usename = name';
"""
# From 1.24.1 on the default gives the row all the same, without the secret.
EMPTY = """
create function pgbouncer.empty(name text) returns table (username text, secret text)
language sql security definer set search_path = pg_catalog, pg_temp
as 'select usename::text, case when valuntil < now() then null else passwd end from pg_shadow where usename = name';
"""


@pytest.fixture(scope="module")
def setup(cluster):
    """PostgreSQL with the reader's roles and database, and the function that looks up secrets."""
    with reader(cluster, "how-to-authenticate") as made:
        with made.passwords():
            made.database.psql(made.load("pgbouncer/auth_query.sql"))
        made.lookup = settings_of(made.load(LOOKED_UP).text)
        placeholder = dict(USER.findall(made.load("pgbouncer/userlist.auth_query.txt").text))
        assert placeholder == {"pgbouncer": "change-me"}
        made.only_pooler = {"pgbouncer": made.roles["pgbouncer"].password}
        yield made


@pytest.fixture(autouse=True)
def noted(setup) -> None:
    """Tell the ledger what the proof ran on."""
    setup.note()


@pytest.fixture
def start(setup):
    """Start a PgBouncer of the proof's own: start(auth_type="md5")."""
    with starting(setup) as one:
        yield one


@pytest.fixture
def looking_up(setup, start):
    """PgBouncer that knows only the role with which it looks up all others."""
    return start(users=setup.only_pooler, **setup.lookup)


def who(bouncer, database, **options) -> str:
    """Log in and return PostgreSQL's current_user."""
    with bouncer.connect(database, **options) as client:
        return client.execute("select current_user").fetchone()[0]


# ---- the userlist --------------------------------------------------------------------------------------------


@control(edit("pgbouncer/userlist.sql", "'pgbouncer_admin', ", ""))
@control(here("start(users=users)", 'start(users=users, auth_type="plain")'), fails_with="cleartext password")
@control(
    here("start(users=users)", 'start(users={"upstream": secret(setup.roles["upstream"].password)})'),
    fails_with="password authentication failed",
)
def test_a_userlist_of_the_servers_secrets_lets_everyone_in(setup, start, load) -> None:
    """Each line is the secret in pg_authid, enough to check the client and to log in to the server as that client."""
    printed = setup.everything.psql(load("pgbouncer/userlist.sql"))
    users = dict(USER.findall(printed))
    assert set(users) == {"upstream", "pgbouncer_admin", "pgbouncer_stats"}
    assert all(secret.startswith("SCRAM-SHA-256$") for secret in users.values())
    bouncer = start(users=users)
    assert who(bouncer, setup.database, require_auth="scram-sha-256") == "upstream"
    assert printed.count("\n") == len(users)  # and nothing else


@control(edit("pgbouncer/auth_query.sql", "select '' = :'password' as missing", "select false as missing"))
@control(edit("pgbouncer/roles.sql", ":'admin_password',\n        :'stats_password'", ":'admin_password'"))
@pytest.mark.parametrize(
    ("name", "role", "needed", "which"),
    [("auth_query", "pgbouncer", 1, "POOLER_PASSWORD"), ("roles", "upstream_owner", 5, "all five")],
    ids=["auth_query", "roles"],
)
def test_roles_are_made_with_every_password_or_not_at_all(setup, load, monkeypatch, name, role, needed, which) -> None:
    """With one missing the script says so and fails. With all it goes on, and fails here on a role that exists already.

    It stops by itself, even if psql is told not to stop at errors.
    """
    script = load(f"pgbouncer/{name}.sql")
    evidence.ran(script)
    as_it_is = {"ON_ERROR_STOP": "0"}
    with setup.passwords():
        made = run_psql(setup.server.superuser, script.text, **as_it_is)
        assert f'role "{role}" already exists' in made.stderr
        variables = [variable for variable in PASSWORDS if f"${variable}" in script.text]
        assert len(variables) == needed
        for variable in variables:
            with monkeypatch.context() as without:
                without.delenv(variable)
                missing = run_psql(setup.server.superuser, script.text, **as_it_is)
            assert missing.stderr.endswith(f"ERROR:  a password is missing: export {which} first\n"), variable
            assert missing.stderr.count("\n") == 1, variable  # it stops there
            assert missing.returncode == 3, variable


@control(
    edit("pgbouncer/auth_query.sql", "before its grants.\nbegin;", "before its grants."), fails_with="already exists"
)
def test_the_script_makes_all_of_it_in_the_applications_database_or_nothing(setup, load) -> None:
    """The script connects to that database itself, and a failing statement undoes all before it."""
    script = load("pgbouncer/auth_query.sql")
    evidence.ran(script)
    admin = setup.database.admin
    admin.execute("alter role pgbouncer rename to another")
    try:
        with setup.passwords():
            failed = run_psql(setup.server.superuser, script.text)  # started in the database postgres
        assert 'schema "pgbouncer" already exists' in failed.stderr  # so it is in the application's
        assert admin.execute("select to_regnamespace('pgbouncer')").fetchone() == (None,)
        assert admin.execute("select count(*) from pg_roles where rolname = 'pgbouncer'").fetchone() == (0,)
    finally:
        admin.execute("alter role another rename to pgbouncer")


@control(edit("pgbouncer/auth_query.sql", "set log_min_error_statement = 'panic';", ""))
@control(edit("pgbouncer/auth_query.sql", "set log_statement = 'none';", ""))
@control(edit("pgbouncer/auth_query.sql", "set log_min_duration_sample = -1;", ""))
@control(edit("pgbouncer/roles.sql", "set log_min_duration_statement = -1;", ""))
@control(edit("pgbouncer/roles.sql", "set log_transaction_sample_rate = 0;", ""))
@pytest.mark.parametrize("name", ["auth_query", "roles"])
def test_no_password_that_a_script_sends_is_in_the_servers_log(setup, load, name) -> None:
    """The server logs all statements, samples and failures, but the script turns this off for its own session."""
    script = load(f"pgbouncer/{name}.sql")
    evidence.ran(script)
    loud = "-c log_statement=all -c log_min_duration_statement=0 -c log_min_messages=warning"
    loud += " -c log_min_duration_sample=0 -c log_transaction_sample_rate=1"
    before = len(setup.cluster.leash.said())
    with setup.passwords():
        target = conninfo.make_conninfo(setup.server.superuser, options=loud)
        assert "already exists" in run_psql(target, script.text).stderr  # so the statement with the password was sent
        passwords = [os.environ[variable] for variable in PASSWORDS]
    said = setup.cluster.leash.said()[before:]
    assert "set log_statement = 'none'" in said
    assert not [password for password in passwords if password in said]


@control(here('auth_type="md5"', 'auth_type="trust"'), fails_with="server login failed")
def test_auth_type_md5_checks_a_scram_secret_by_scram(setup, start) -> None:
    """A client that accepts only SCRAM gets in, and one that accepts only MD5 does not."""
    bouncer = start(auth_type="md5")
    assert who(bouncer, setup.database, require_auth="scram-sha-256") == "upstream"
    with pytest.raises(psycopg.OperationalError, match='"md5" failed'):
        who(bouncer, setup.database, require_auth="md5")


@control(here("setup.database.admin.execute(", "str("))
@control(here("bouncer.connect(setup.database).close()", "pass"), fails_with="password authentication failed")
@control(
    here('heard(who, bouncer, setup.database, dbname="reports")', '"server_login_retry"'),
    fails_with="it has logged in: not within",
)
def test_a_new_password_needs_a_new_userlist(setup, start, load) -> None:
    """Even for the same password, which gets another salt: PgBouncer lets the client in, and PostgreSQL does not.

    An open server connection goes on serving, and PgBouncer itself refuses a new password. With a new userlist a
    client that was connected before gets a server connection only after another login, to whichever entry, even if that
    login has heard server_login_retry.
    """
    role, bouncer = setup.roles["upstream"], start()
    again = f"alter role upstream password '{role.password}'"
    file = bouncer.leash.folder / "userlist.txt"

    def none_left() -> None:
        for pid in setup.database.backends():
            setup.database.terminate(pid)
        until("PgBouncer knows", lambda: bouncer.show("servers") == [])

    def renew() -> None:
        setup.users = dict(USER.findall(setup.everything.psql(load("pgbouncer/userlist.sql"))))
        written = USER.sub(lambda line: f'"{line[1]}" "{setup.users.get(line[1], line[2])}"', file.read_text())
        bouncer.leash.write("next.txt", written).replace(file)
        bouncer.reload()

    assert who(bouncer, setup.database) == "upstream"
    setup.database.admin.execute("alter role upstream password 'another'")
    with pytest.raises(psycopg.OperationalError, match="FATAL:  SASL authentication failed"):
        who(bouncer, setup.database, password="another")
    setup.database.admin.execute(again)
    assert who(bouncer, setup.database) == "upstream"
    none_left()
    with pytest.raises(psycopg.OperationalError, match='password authentication failed for user "upstream"'):
        who(bouncer, setup.database)
    bouncer.entries["reports"] = bouncer.entries["upstream"]
    renew()
    assert who(bouncer, setup.database) == "upstream"
    with ExitStack() as clients:
        there, asks, waits = (
            clients.enter_context(bouncer.connect(setup.database, dbname="reports")) for _ in range(3)
        )
        setup.database.admin.execute(again)
        renew()
        none_left()
        bouncer.connect(setup.database).close()
        assert there.execute("select current_user").fetchone() == ("upstream",)
        setup.database.admin.execute(again)
        renew()
        none_left()
        with pytest.raises(psycopg.OperationalError, match='password authentication failed for user "upstream"'):
            there.execute("select 1")
        told = heard(who, bouncer, setup.database, dbname="reports")  # who logs in once
        assert "server_login_retry" in told
        bouncer.set(server_login_retry=0)  # so that this time is over
        heard(asks.execute, "select 1")  # PgBouncer tries again
        until("it has logged in", lambda: any(row["state"] == "idle" for row in bouncer.show("servers")))
        assert waits.execute("select current_user").fetchone() == ("upstream",)


@control(
    here("password '{made}'", "password '{role.password}'"), fails_with='password authentication failed for user "'
)
def test_a_secret_that_you_made_lets_in_where_the_server_stores_the_same(setup, start) -> None:
    """libpq makes it, as psql's \\password does. The role sets it itself, and nobody reads it in PostgreSQL."""
    role = Role(setup.server)
    setup.database.admin.execute(f'grant connect on database upstream to "{role.name}"')
    with setup.database.connect(user=role.name, password=role.password) as client:
        made = client.pgconn.encrypt_password(role.password.encode(), role.name.encode(), b"scram-sha-256").decode()
        client.execute(f"alter role \"{role.name}\" password '{made}'")
    bouncer = start(users={**setup.users, role.name: made})
    assert who(bouncer, setup.database, user=role.name, password=role.password) == role.name


@control(here("int(file.stat().st_mtime)", "int(file.stat().st_mtime) - 5"))
def test_reload_passes_over_a_userlist_of_the_same_size_and_second(setup, start) -> None:
    """Rewritten in place within the second of its last change, it is not read. A second later, or moved in, it is."""
    bouncer = start(users={**setup.users, "pgbouncer_stats": secret("old")})
    file = bouncer.leash.folder / "userlist.txt"
    second = int(file.stat().st_mtime)
    old = file.read_text()
    new = re.sub('(?<="pgbouncer_stats" ").+(?=")', secret("new"), old)

    def valid(text: str, changed: float, name: str = file.name) -> list[str]:
        """Write the userlist, or another file that replaces it; reload, and return which passwords are valid now."""
        written = bouncer.leash.write(name, text)
        os.utime(written, (changed, changed))
        written.replace(file)
        bouncer.reload()
        return [password for password in ("old", "new") if looks(bouncer, password)]

    assert valid(new, second + 0.9) == ["old"]
    assert valid(new, second + 1) == ["new"]
    assert valid(old, second + 1, "next.txt") == ["old"]


def looks(bouncer, password: str) -> bool:
    """Return whether a password gives read-only access to the console."""
    address = f"host=127.0.0.1 port={bouncer.port} dbname=pgbouncer user=pgbouncer_stats password={password}"
    try:
        psycopg.connect(address, autocommit=True).close()
    except psycopg.OperationalError:
        return False
    return True


@control(here('"upstream_owner": secret', '"upstream_owner": owner.password'))
@control(here('"dbname": "other"', '"dbname": "upstream"'), fails_with="wrong password type")
@control(here("bouncer.restart()", "bouncer.reload()"))
def test_a_secret_cannot_log_in_as_another_user(setup, start) -> None:
    """With user= in an entry PgBouncer needs that user's password in plain text, even if the client is that user.

    Once that user has logged in to an entry without user=, the secret is enough until PgBouncer starts again.
    """
    owner = setup.roles["upstream_owner"]
    query = "select rolpassword from pg_authid where rolname = 'upstream_owner'"
    (secret,) = setup.database.admin.execute(query).fetchone()
    forced = {"options": "user=upstream_owner"}
    bouncer = start(users={**setup.users, "upstream_owner": secret}, **forced)
    for login in (setup.roles["upstream"], owner):
        with pytest.raises(psycopg.OperationalError, match="server login failed: wrong password type"):
            who(bouncer, setup.database, user=login.name, password=login.password)
    bouncer.entries["other"] = bouncer.entries["upstream"].replace(" user=upstream_owner", "")
    bouncer.reload()
    bouncer.set(server_login_retry=0)
    login = {"user": owner.name, "password": owner.password, "dbname": "other"}
    assert who(bouncer, setup.database, **login) == owner.name
    assert who(bouncer, setup.database) == owner.name
    bouncer.restart()
    with pytest.raises(psycopg.OperationalError, match="server login failed: wrong password type"):
        who(bouncer, setup.database)
    assert who(start(users={**setup.users, "upstream_owner": owner.password}, **forced), setup.database) == owner.name


@control(
    here(
        "dbname={database.name}", "dbname={database.name} user=upstream", of="tests.stack.pgbouncer:PgBouncer.__init__"
    ),
    fails_with="authentication failed",
)
def test_a_password_without_a_user_is_ignored(setup, start) -> None:
    """An entry with password= and no user= still logs in with the client's secret."""
    assert who(start(options="password=wrong"), setup.database) == "upstream"


# ---- looking them up -----------------------------------------------------------------------------------------


@control(
    edit("pgbouncer/auth_query.sql", "rolname = name", "rolname = 'upstream'"), fails_with="SASL authentication failed"
)
def test_auth_query_lets_in_whom_no_userlist_names(setup, looking_up) -> None:
    """The application and a role that was just created log in, each as itself."""
    assert who(looking_up, setup.database) == "upstream"
    role = Role(setup.server)
    setup.database.admin.execute(f'grant connect on database upstream to "{role.name}"')
    assert who(looking_up, setup.database, user=role.name, password=role.password) == role.name


@control(here("proven_admin, upstream", "proven_admin"))
@control(here('bouncer.entries["upstream"] = NOWHERE', "pass"))
@control(here('del lookup["auth_dbname"]', "pass"))
@control(edit("pgbouncer/auth_query.sql", "        and rolcanlogin\n", ""))
@pytest.mark.parametrize("named_in", ["admin_users", "stats_users"])
def test_the_consoles_users_are_looked_up_where_auth_dbname_is_set(named_in, setup, start) -> None:
    """Without it they hear `bouncer config error`. Whose line is in the userlist gets in without PostgreSQL, too.

    A role that may not log in to PostgreSQL is not found.
    """
    lookup = {**setup.lookup, named_in: "proven_admin, upstream, pgbouncer_admin", "query_wait_timeout": 20}
    bouncer = start(users=setup.only_pooler, **lookup)
    assert heard(setup.console, bouncer, "upstream") == ""
    assert heard(setup.console, bouncer, "pgbouncer_admin") == "FATAL:  no such user"
    bouncer.entries["upstream"] = NOWHERE
    bouncer.restart()
    bouncer.set(query_wait_timeout=0.1)
    assert heard(setup.console, bouncer, "upstream")
    bouncer.admin().close()  # it has a line
    del lookup["auth_dbname"]
    assert heard(setup.console, start(users=setup.only_pooler, **lookup), "upstream") == "FATAL:  bouncer config error"


@control(here("bouncer.restart()", "bouncer.reload()"), fails_with="SASL authentication failed")
@control(here("start()", "start(users=setup.only_pooler, **setup.lookup)"))
def test_who_had_a_line_is_looked_up_after_a_restart_alone(setup, start) -> None:
    """After RELOAD with auth_query a new user is looked up, and one whose line was removed only after a restart."""
    bouncer = start()
    file = bouncer.leash.folder / "userlist.txt"
    pooler = setup.roles["pgbouncer"]
    kept = [line for line in file.read_text().splitlines() if not line.startswith('"upstream"')]
    bouncer.leash.write("next.txt", "\n".join([*kept, f'"{pooler.name}" "{pooler.password}"', ""])).replace(file)
    bouncer.reload(**setup.lookup)
    role = Role(setup.server)
    setup.database.admin.execute(f'grant connect on database upstream to "{role.name}"')
    assert who(bouncer, setup.database, user=role.name, password=role.password) == role.name
    with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
        who(bouncer, setup.database)
    bouncer.restart()
    assert who(bouncer, setup.database) == "upstream"


@control(here("password 'another'", "password 'other'"), fails_with="SASL authentication failed")
def test_auth_query_follows_a_new_password(setup, looking_up) -> None:
    """Without a reload, a client with the new password gets in, and one with the old password does not."""
    role = Role(setup.server)
    setup.database.admin.execute(f'grant connect on database upstream to "{role.name}"')
    assert who(looking_up, setup.database, user=role.name, password=role.password) == role.name
    setup.database.admin.execute(f"alter role \"{role.name}\" password 'another'")
    assert who(looking_up, setup.database, user=role.name, password="another") == role.name
    with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
        who(looking_up, setup.database, user=role.name, password=role.password)


@control(here("password 'fourth'", "password 'third'"))
@control(here('dbname="reports"', 'dbname="upstream"'))
@control(here('("upstream", "reports")', '("upstream",)'), fails_with="password authentication failed")
def test_a_server_connection_is_opened_with_the_secret_of_the_last_login(setup, looking_up) -> None:
    """After a password change a connected client gets none and blocks its user for a while, unless a login comes first.

    After a login with the new password, clients that were connected before get one as well. Each entry under
    [databases] has a secret of its own: a login to one leaves another of the same server with the old secret.
    """
    role = Role(setup.server)
    setup.database.admin.execute(f'grant connect on database upstream to "{role.name}"')
    looking_up.entries["reports"] = looking_up.entries["upstream"]
    looking_up.reload()

    def none_left() -> None:
        for pid in setup.database.backends():
            setup.database.terminate(pid)
        until("PgBouncer knows", lambda: looking_up.show("servers") == [])

    old = {"user": role.name, "password": role.password}
    with (
        looking_up.connect(setup.database, **old) as there,
        looking_up.connect(setup.database, **old, dbname="reports") as other,
    ):
        setup.database.admin.execute(f"alter role \"{role.name}\" password 'another'")
        none_left()
        for entry in ("upstream", "reports"):
            assert who(looking_up, setup.database, user=role.name, password="another", dbname=entry) == role.name
        none_left()
        for client in (there, other):
            assert client.execute("select current_user").fetchone() == (role.name,)
        setup.database.admin.execute(f"alter role \"{role.name}\" password 'third'")
        none_left()
        assert who(looking_up, setup.database, user=role.name, password="third") == role.name
        with pytest.raises(psycopg.OperationalError, match="password authentication failed for user"):
            other.execute("select 1")
        setup.database.admin.execute(f"alter role \"{role.name}\" password 'fourth'")
        none_left()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed for user"):
            there.execute("select 1")
        with pytest.raises(psycopg.OperationalError, match="server_login_retry"):
            who(looking_up, setup.database, user=role.name, password="fourth")
    until("the new password is let in", lambda: lets_in(looking_up, setup.database, role.name, "fourth"))


@control(here("holds.commit()", "setup.database.terminate(setup.database.backends()[0])"))
def test_a_server_connection_that_is_left_serves_while_postgresql_refuses_more(setup, looking_up) -> None:
    """After a password change a client waits for the only one there is, and gets no server_login_retry.

    Neither does one that logs in with the new password.
    """
    role = Role(setup.server)
    setup.database.admin.execute(f'grant connect on database upstream to "{role.name}"')
    old = {"user": role.name, "password": role.password}
    with (
        looking_up.connect(setup.database, **old, autocommit=False) as holds,
        looking_up.connect(setup.database, **old) as waits,
    ):
        holds.execute("select 1")
        setup.database.admin.execute(f"alter role \"{role.name}\" password 'another'")
        waits.pgconn.send_query(b"select current_user")
        refused = f'password authentication failed for user "{role.name}"'
        until("PostgreSQL has refused another", lambda: refused in looking_up.leash.said())
        holds.commit()
        got = waits.pgconn.get_result()
        waits.pgconn.get_result()  # there is no more
        assert got.get_value(0, 0) == role.name.encode()
        assert who(looking_up, setup.database, user=role.name, password="another") == role.name


def lets_in(bouncer, database, user: str, password: str) -> bool:
    """Return whether a user gets through to PostgreSQL."""
    try:
        return who(bouncer, database, user=user, password=password) == user
    except psycopg.OperationalError:
        return False


@control(
    edit(
        "pgbouncer/auth_query.sql",
        "create role pgbouncer login password",
        "create role pgbouncer login connection limit 5 password",
    ),
    fails_with="every connection looks up, or a login has failed: not within",
)
@control(here("signal(sessions, SIGSTOP)", "pass", of="tests.proofs.how_to.test_authenticate:reconnected"))
def test_a_burst_of_logins_is_looked_up_on_as_many_connections_as_the_pool_has(setup, start) -> None:
    """32 clients at once are served, even after RECONNECT while PostgreSQL has not ended the old sessions yet.

    The lock makes all lookups run at once, as on a busy server. With a connection limit of 5 nobody gets in.
    """
    query = setup.lookup["auth_query"] + ", pg_advisory_xact_lock_shared(32)"
    # Longer than all these logins take.
    patience = {"query_wait_timeout": DEADLINE, "client_login_timeout": DEADLINE}
    bouncer = start(users=setup.only_pooler, **{**setup.lookup, "auth_query": query}, **patience)
    size = int(section(setup.ran[INI], "pgbouncer")["default_pool_size"])

    def client(_number: int) -> str:
        try:
            return who(bouncer, setup.database)
        except psycopg.OperationalError as error:
            return str(error)

    def looking_up_now() -> int:
        """Return on how many connections PgBouncer looks up; there is no such pool before the first client has come."""
        return sum(row["sv_active"] for row in bouncer.show("pools") if row["user"] == "pgbouncer")

    def burst() -> list[str]:
        """Return what 32 clients that log in at once get: their user, or the error."""
        with setup.server.connect("upstream") as busy, ThreadPoolExecutor(32) as clients:
            busy.execute("select pg_advisory_lock(32)")
            got = [clients.submit(client, number) for number in range(32)]
            until(
                "every connection looks up, or a login has failed",
                lambda: looking_up_now() == size or any(one.done() for one in got),
            )
            busy.execute("select pg_advisory_unlock(32)")
            return [one.result() for one in got]

    assert burst() == ["upstream"] * 32
    (counted,) = [row["current_connections"] for row in bouncer.show("databases") if row["name"] == "upstream"]
    assert counted > size  # the application's, and those of the lookups
    with reconnected(setup, bouncer):
        assert burst() == ["upstream"] * 32
        query = "select count(*) from pg_stat_activity where usename = 'pgbouncer'"
        assert setup.database.admin.execute(query).fetchone() == (2 * size,)  # the old ones as well
    setup.database.admin.execute("alter role pgbouncer connection limit 5")
    try:
        with reconnected(setup, bouncer):
            heard = burst()
            assert 'too many connections for role "pgbouncer"' in heard[0]
            assert "upstream" not in heard
    finally:
        setup.database.admin.execute("alter role pgbouncer connection limit -1")


@contextmanager
def reconnected(setup, bouncer) -> Iterator[None]:
    """Run RECONNECT, on a server that ends no session of the lookups for as long as the block lasts."""
    query = "select pid from pg_stat_activity where usename = 'pgbouncer'"
    sessions = [pid for (pid,) in setup.database.admin.execute(query)]
    signal(sessions, SIGSTOP)
    try:
        with bouncer.admin() as console:
            console.execute("reconnect")
        yield
    finally:
        signal(sessions, SIGCONT)


def signal(processes: list[int], number: int) -> None:
    """Send a signal to each process that still exists."""
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@control(here("**setup.lookup", "", of="tests.proofs.how_to.test_authenticate:looking_up"))
def test_a_user_that_auth_query_does_not_find_is_told_so(setup, looking_up) -> None:
    """It is told `no such user`, and a wrong password another text: unlike a userlist, this reveals who can log in."""
    for name, text in (("nobody", "no such user"), ("upstream", "SASL authentication failed")):
        with pytest.raises(psycopg.OperationalError, match=f"FATAL:  {text}"):
            looking_up.connect(setup.database, user=name, password="x")


@control(edit("pgbouncer/auth_query.sql", "and rolpassword is not null", ""))
def test_a_role_without_a_password_cannot_log_in_through_auth_query(setup, looking_up) -> None:
    """Such a role is not found, and a client with the password that it had is told `no such user`."""
    role = Role(setup.server)
    setup.database.admin.execute(f'grant connect on database upstream to "{role.name}"')
    setup.database.admin.execute(f'alter role "{role.name}" password null')
    with pytest.raises(psycopg.OperationalError, match="no such user"):
        looking_up.connect(setup.database, user=role.name, password=role.password)


@control(edit("pgbouncer/auth_query.sql", "and not rolsuper", ""))
def test_a_superuser_cannot_log_in_through_auth_query(setup, looking_up) -> None:
    """PgBouncer lets nobody log in to the server as a superuser, even with the right password."""
    superuser = Role(setup.server, "superuser")
    with pytest.raises(psycopg.OperationalError, match="no such user"):
        looking_up.connect(setup.database, user=superuser.name, password=superuser.password)


@control(here('{"pgbouncer": secret}', "setup.only_pooler"))
def test_auth_user_needs_its_password_in_plain(setup, start) -> None:
    """A SCRAM secret works only with the key from a client's login, and no client logs in to PgBouncer as this role."""
    query = "select rolpassword from pg_authid where rolname = 'pgbouncer'"
    (secret,) = setup.database.admin.execute(query).fetchone()
    bouncer = start(users={"pgbouncer": secret}, **setup.lookup)
    with pytest.raises(psycopg.OperationalError, match="server login failed: wrong password type"):
        bouncer.connect(setup.database)


@control(here('if key != "auth_dbname"', "if key"))
def test_auth_dbname_says_where_the_function_is(setup) -> None:
    """Without it PgBouncer looks in the client's database, and without the function there reports a config error."""
    without = {key: value for key, value in setup.lookup.items() if key != "auth_dbname"}
    with fresh(setup.server) as other:
        named = {"upstream": setup.database, "other": other}
        for settings, works in ((setup.lookup, True), (without, False)):
            bouncer = PgBouncer(named=named, users=setup.only_pooler, **settings)
            try:
                if works:
                    assert who(bouncer, other) == other.role.name
                else:
                    with pytest.raises(psycopg.OperationalError, match="FATAL:  bouncer config error"):
                        bouncer.connect(other)
                    assert 'schema "pgbouncer" does not exist' in bouncer.leash.said()
            finally:
                bouncer.stop()


@control(
    edit(
        "pgbouncer/auth_query.sql",
        "create schema pgbouncer;",
        "create schema pgbouncer; grant pg_read_all_data to pgbouncer;",
    )
)
@control(
    edit(
        "pgbouncer/auth_query.sql",
        "revoke all on function pgbouncer.get_auth(text) from public;",
        "grant usage on schema pgbouncer to public;",
    )
)
def test_only_pgbouncers_role_may_look_up_secrets(setup) -> None:
    """The application may not call the function; the role that may cannot read pg_authid or a table, or create one."""
    pooler = setup.roles["pgbouncer"]
    setup.database.admin.execute("create table if not exists public.notes ()")
    with setup.database.connect() as application, pytest.raises(psycopg.errors.InsufficientPrivilege):
        application.execute("select * from pgbouncer.get_auth('upstream')")
    with setup.database.connect(user=pooler.name, password=pooler.password) as looking:
        assert looking.execute("select username from pgbouncer.get_auth('upstream')").fetchone() == ("upstream",)
        for forbidden in ("table pg_authid", "table public.notes", "create table public.t (n int)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                looking.execute(forbidden)


@control(edit("pgbouncer/auth_query.sql", "set search_path = pg_catalog, pg_temp", ""))
def test_nobody_can_put_a_table_in_the_functions_way(setup) -> None:
    """A caller's own search_path and temporary tables do not change what the function reads."""
    pooler = setup.roles["pgbouncer"]
    setup.database.admin.execute("grant temporary on database upstream to pgbouncer")
    with setup.database.connect(user=pooler.name, password=pooler.password) as looking:
        looking.execute(
            "create temporary table pg_authid as select 'upstream'::name as rolname, 'forged' as rolpassword,"
            " true as rolcanlogin, false as rolsuper, false as rolreplication, null::timestamptz as rolvaliduntil"
        )
        looking.execute("set search_path = pg_temp, pg_catalog")
        assert looking.execute("select secret from pg_authid, lateral (select rolpassword as secret) s").fetchall()
        (secret,) = looking.execute("select secret from pgbouncer.get_auth('upstream')").fetchone()
    setup.database.admin.execute("revoke temporary on database upstream from pgbouncer")
    assert secret.startswith("SCRAM-SHA-256$")


@control(edit("pgbouncer/auth_query.sql", "and (rolvaliduntil is null or rolvaliduntil > now())", ""))
@control(here("from pgbouncer.empty($1)", "from pgbouncer.careless($1)"))
def test_an_expired_password_is_refused_by_a_function_that_looks(setup, start) -> None:
    """A query that ignores expiry lets it in, over a server connection that is still open: CVE-2025-2291.

    A role that had expired before it was first looked up is told `no such user`. Where the query gives its row without
    a secret, its password is refused like any wrong one.
    """
    with setup.server.connect("upstream") as superuser:
        superuser.execute(CARELESS + "grant execute on function pgbouncer.careless to pgbouncer;")
        superuser.execute(EMPTY + "grant execute on function pgbouncer.empty to pgbouncer;")
    role = Role(setup.server)
    setup.database.admin.execute(f'grant connect on database upstream to "{role.name}"')
    login = {"user": role.name, "password": role.password}
    careful = start(users=setup.only_pooler, **setup.lookup)
    query = "select username, secret from pgbouncer.careless($1)"
    careless = start(users=setup.only_pooler, **{**setup.lookup, "auth_query": query})
    for bouncer in (careful, careless):
        assert who(bouncer, setup.database, **login) == role.name
    setup.database.admin.execute(f"alter role \"{role.name}\" valid until '2000-01-01'")
    assert who(careless, setup.database, **login) == role.name
    with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
        careful.connect(setup.database, **login)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        setup.database.connect(**login)
    expired = Role(setup.server, "valid until '2000-01-01'")
    with pytest.raises(psycopg.OperationalError, match="FATAL:  no such user"):
        careful.connect(setup.database, user=expired.name, password=expired.password)
    query = "select username, secret from pgbouncer.empty($1)"
    empty = start(users=setup.only_pooler, **{**setup.lookup, "auth_query": query})
    assert who(empty, setup.database) == "upstream"
    with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
        empty.connect(setup.database, user=expired.name, password=expired.password)


# ---- who comes from where ------------------------------------------------------------------------------------

# A file like PostgreSQL's pg_hba.conf, which PgBouncer itself reads. The console's users are let in from here.
FROM_WHERE = """
host upstream upstream 127.0.0.1/32 scram-sha-256
host pgbouncer all 127.0.0.1/32 scram-sha-256
"""


@control(here('elsewhere = "10.99.0.0/16"', 'elsewhere = "127.0.0.1/32"'))
@control(here('kept = "scram-sha-256"', 'kept = "reject"'), fails_with="login rejected")
@control(here("bouncer.reload()", "pass"))
@control(here("as before:", "as before:\n        before.close()"), fails_with="the connection is closed")
def test_an_hba_file_says_who_comes_from_where(setup, start) -> None:
    """A user gets in with the userlist's secret from an address that the file names; after an edit and RELOAD, not.

    Where no line fits and where a line rejects, the texts differ. Who was connected before stays.
    """
    kept = "scram-sha-256"
    elsewhere = "10.99.0.0/16"
    bouncer = start(auth_type="scram-sha-256")
    file = bouncer.leash.write("hba.conf", FROM_WHERE.replace("scram-sha-256", kept, 1))
    bouncer.reload(auth_type="hba", auth_hba_file=file)
    with bouncer.connect(setup.database) as before:
        for text, changed in (
            ("no authentication method is found", FROM_WHERE.replace("127.0.0.1/32", elsewhere, 1)),
            ("login rejected", FROM_WHERE.replace("scram-sha-256", "reject", 1)),
        ):
            bouncer.leash.write("hba.conf", changed)
            bouncer.reload()
            with pytest.raises(psycopg.OperationalError, match=f"FATAL:  {text}"):
                who(bouncer, setup.database)
        assert before.execute("select current_user").fetchone() == ("upstream",)
