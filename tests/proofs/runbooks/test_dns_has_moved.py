"""Proves docs/runbooks/dns-has-moved.md: our own name server has changed a name's address, and PgBouncer stays."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from proven.sources.controls import control, edit, here
from tests.proofs.pooled import Existing
from tests.stack.console import at_least, console
from tests.stack.leash import Leash
from tests.stack.names import Names
from tests.stack.pgbouncer import PgBouncer
from tests.stack.wait import until

WHO = "show cluster_name"
SLOWLY = "select current_setting('cluster_name') from pg_sleep(0.1)"
MOVED, STAYED = ("standby",), ("primary",)


@pytest.fixture
def names() -> Iterator[Names]:
    """A name server that resolves db.internal to the primary."""
    made = Names(db="127.0.0.1")
    yield made
    made.stop()


@pytest.fixture
def by_name(pair, pooler, names) -> Iterator[Callable[..., tuple[PgBouncer, Existing]]]:
    """Start a PgBouncer that uses that name server."""
    if not at_least(1, 24):
        pytest.skip("needs PgBouncer 1.24: the c-ares of older ones takes no port in resolv.conf")
    named = Existing(replace(pair.primary.server, host="db.internal"), pair.database.name, pair.database.role)
    home = Leash("names")
    conf = home.write("resolv.conf", f"nameserver 127.0.0.1:{names.port}\n")

    def start(**settings: object) -> tuple[PgBouncer, Existing]:
        return pooler(named, pool_mode="transaction", resolv_conf=conf, **settings), named

    yield start
    named.leave()
    home.stop()


def expired(bouncer: PgBouncer) -> bool:
    """Return whether PgBouncer may look up the name again."""
    return [row["ttl"] for row in bouncer.show("dns_hosts")] == [0]


@control(
    edit("pgbouncer/console/reconnect.sql", 'reconnect :"database";', "show version;"),
    fails_with="it moves: not within",
)
@control(here("dns_max_ttl=1", "dns_max_ttl=1, server_lifetime=0"))
def test_pgbouncer_stays_until_a_new_connection_is_needed(by_name, names, load) -> None:
    """Even after dns_max_ttl it does not look up the name, and its connections stay, until RECONNECT replaces them.

    One that is in a transaction stays until that ends; its client then gets a new one.
    """
    bouncer, named = by_name(dns_max_ttl=1)
    with bouncer.connect(named) as client, bouncer.connect(named, autocommit=False) as busy:
        assert busy.execute(WHO).fetchone() == client.execute(WHO).fetchone() == STAYED
        asked = names.asked
        names.addresses["db"] = "127.0.0.2"
        until("it may ask again", lambda: expired(bouncer))
        for _ in range(15):  # the ttl is shown in whole seconds: at 0, part of one may be left
            assert client.execute(SLOWLY).fetchone() == STAYED
        assert names.asked == asked

        console(bouncer, load("pgbouncer/console/reconnect.sql"), database=named.name)
        until("it moves", lambda: client.execute(WHO).fetchone() == MOVED)
        assert busy.execute(WHO).fetchone() == STAYED
        busy.commit()
        assert busy.execute(WHO).fetchone() == MOVED
        busy.commit()
        assert {row["addr"] for row in bouncer.show("servers")} == {"127.0.0.2"}


@control(here("names.ttl = 3600", "names.ttl = 0"))
def test_an_answer_is_kept_for_its_ttl_where_c_ares_keeps_it(by_name, names, load) -> None:
    """From c-ares 1.31 on, RECONNECT leads to the old address even after dns_max_ttl; PgBouncer logs that version."""
    names.ttl = 3600
    bouncer, named = by_name(dns_max_ttl=1)
    (release,) = set(re.findall(r"c-ares (\d+)\.(\d+)", bouncer.leash.said()))
    keeps = tuple(map(int, release)) >= (1, 31)
    with bouncer.connect(named) as client:
        assert client.execute(WHO).fetchone() == STAYED
        names.addresses["db"] = "127.0.0.2"
        until("it may ask again", lambda: expired(bouncer))
        for _ in range(15):  # the ttl is shown in whole seconds: at 0, part of one may be left
            console(bouncer, load("pgbouncer/console/reconnect.sql"), database=named.name)
            where = client.execute(SLOWLY).fetchone()
        assert where == (STAYED if keeps else MOVED)
        assert (names.asked == 1) == keeps


@control(here("dns_max_ttl=3600", "dns_max_ttl=0"))
@control(edit("pgbouncer/console/reload.sql", "reload;", "show version;"))
@control(edit("pgbouncer_console/names.sql", "show servers;", ""))
def test_within_dns_max_ttl_reconnect_leads_to_the_old_address(by_name, names, load) -> None:
    """The console says for how long. An address in place of the name, followed by RELOAD, takes effect at once."""
    bouncer, named = by_name(dns_max_ttl=3600)
    with bouncer.connect(named) as client:
        assert client.execute(WHO).fetchone() == STAYED
        names.addresses["db"] = "127.0.0.2"
        console(bouncer, load("pgbouncer/console/reconnect.sql"), database=named.name)
        assert client.execute(WHO).fetchone() == STAYED
        said = console(bouncer, load("pgbouncer_console/names.sql"))
        assert "127.0.0.1:0" in said
        assert re.search(r"^addr +\| 127\.0\.0\.1$", said, re.MULTILINE)
        assert not expired(bouncer)
        bouncer.entries = {name: entry.replace("db.internal", "127.0.0.2") for name, entry in bouncer.entries.items()}
        bouncer._configure(bouncer.port)
        console(bouncer, load("pgbouncer/console/reload.sql"))
        assert client.execute(WHO).fetchone() == MOVED
