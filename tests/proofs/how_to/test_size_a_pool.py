"""Proves docs/how-to/size-a-pool.md: the model against independent results, and the queries against a known load."""

import functools
import heapq
import itertools
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from random import Random
from types import SimpleNamespace

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.configuration import set_hypothesis_home_dir

from proven import ROOT, evidence
from proven.sources.controls import control, edit, here
from tests.stack.console import pool
from tests.stack.database import Database, run_psql
from tests.stack.scripts import execute
from tests.stack.wait import until

QUEUEING = "sizing/queueing.py"
IN_SQL, IN_PGBOUNCER = "postgres/offered_load.sql", "pgbouncer/offered_load.py"
NUMBERS = [(r"\d+\.\d+", "N")]
# The same examples in every run, so no database of them; only constants of our modules are cached there.
set_hypothesis_home_dir(ROOT / "build/hypothesis")
tried = settings(derandomize=True, database=None, deadline=None, max_examples=100)
SERVERS = some.integers(1, 60)
USED = some.floats(0.01, 0.999)  # the share of the servers that is busy


@pytest.fixture
def model(load) -> SimpleNamespace:
    """The functions of the snippet."""
    return SimpleNamespace(**execute(load(QUEUEING)))


# Service times, 1 on average. Of the mixed ones, two in a hundred are eighty times as long as the others.
SERVICES: dict[str, Callable[[Random], float]] = {
    "exponential": lambda random: random.expovariate(1),
    "constant": lambda _: 1.0,
    "mixed": lambda random: (31.0 if random.random() < 0.02 else 0.3878) * random.expovariate(1),
}


def waits(servers: int, used: float, service: str, customers: int = 400_000, crowd: int = 1) -> list[float]:
    """Return the sorted waits of customers simulated one by one, who arrive `crowd` at a time."""
    random = Random(f"{servers} {used} {service}")
    takes = SERVICES[service]
    arrives, found = 0.0, []
    free = [0.0] * servers  # when each is free
    for number in range(customers):
        if number % crowd == 0:
            arrives += random.expovariate(used * servers / crowd)
        begins = max(arrives, free[0])
        heapq.heapreplace(free, begins + takes(random))
        found.append(begins - arrives)
    return sorted(found[customers // 10 :])  # without the first ones, which found it empty


def percentile(found: list[float], percent: float) -> float:
    """Return the wait that this percentage of them stays within."""
    return found[math.ceil(len(found) * percent / 100) - 1]


def erlang_c_exactly(servers: int, load: Fraction) -> Fraction:
    """Return the probability of waiting by the textbooks' sum, computed in whole numbers."""
    term = load.numerator**servers  # each of the sum's terms times servers! and a power of the denominator
    last = Fraction(term * servers) / (servers - load)
    total = 0
    for number in range(servers, 0, -1):
        term = term * number * load.denominator // load.numerator
        total += term
    return last / (total + last)


@control(edit("sizing/queueing.py", "load = rate * service_time", "load = 2 * rate * service_time"))
def test_the_script_prints_what_its_comments_say(run_script, load) -> None:
    """The script prints what the comment after each print says."""
    run_script(load(QUEUEING))


@control(edit("sizing/queueing.py", "load * blocked / (number + load * blocked)", "load * blocked / (number + load)"))
def test_a_textbooks_example_comes_out(model) -> None:
    """An eye clinic with three doctors, 6 patients an hour and 20 minutes for each: 4 of 9 wait, 8/9 stand in line."""
    # Gross, Shortle, Thompson and Harris, Fundamentals of Queueing Theory, 4th edition, section 2.3.
    rate, service_time = 6 / 3600, 20 * 60
    assert model.erlang_c(3, 2) == pytest.approx(4 / 9)
    assert model.mmc_mean_wait(rate, service_time, 3) == pytest.approx(8 / 9 / rate)


@control(edit("sizing/queueing.py", "return servers * blocked / (servers - load * (1 - blocked))", "return blocked"))
def test_the_probability_of_waiting_is_the_textbooks_sum(model) -> None:
    """For any number of servers up to 60 it agrees with the formula's sum, computed in exact fractions."""

    @settings(tried, max_examples=30)  # exact fractions take their time
    @given(SERVERS, some.fractions(Fraction(1, 1000), Fraction(999, 1000), max_denominator=1000))
    def agrees(servers: int, used: Fraction) -> None:
        exactly = erlang_c_exactly(servers, used * servers)
        assert model.erlang_c(servers, float(used * servers)) == pytest.approx(float(exactly), rel=1e-9)

    agrees()


@control(edit("sizing/queueing.py", "return servers * blocked / (servers - load * (1 - blocked))", "return blocked"))
def test_thousands_of_servers_are_computed_without_overflow(model) -> None:
    """With 5000 servers, where the sum's terms are beyond any float, it agrees with the exact fraction."""
    exactly = erlang_c_exactly(5000, Fraction(4900))
    assert model.erlang_c(5000, 4900) == pytest.approx(float(exactly), rel=1e-9)
    assert 0 < model.mmc_wait_percentile(4900 / 0.01, 0.01, 5000) < 0.01


@control(edit("sizing/queueing.py", "math.log(waiting / rest)", "math.log(1 / rest)"))
@control(
    edit("sizing/queueing.py", "return waiting * service_time / (servers - load)", "return waiting * service_time")
)
@pytest.mark.parametrize(("servers", "used"), [(1, 0.7), (4, 0.8), (20, 0.7)])
def test_a_simulated_queue_waits_as_the_model_says(model, servers: int, used: float) -> None:
    """Of 400,000 simulated arrivals the share that waits is within 3 % of the model; p50, p95, p99, mean within 6 %."""
    found = waits(servers, used, "exponential")
    rate = used * servers
    assert sum(wait > 0 for wait in found) / len(found) == pytest.approx(model.erlang_c(servers, rate), rel=0.03)
    assert sum(found) / len(found) == pytest.approx(model.mmc_mean_wait(rate, 1, servers), rel=0.06)
    for percent in (50, 95, 99):
        expected = model.mmc_wait_percentile(rate, 1, servers, percent)
        assert percentile(found, percent) == pytest.approx(expected, rel=0.06)


@control(edit("sizing/queueing.py", "(1 - used) / used * spread)) / 2", "(1 - used) / used * spread)) / 3"))
@pytest.mark.parametrize(("servers", "used"), [(1, 0.7), (4, 0.7), (10, 0.7), (10, 0.85)])
def test_constant_service_times_are_approximated_within_a_tenth(model, servers: int, used: float) -> None:
    """Against a simulation the mean is within 5 %, and the 95th percentile within 11 %."""
    found = waits(servers, used, "constant")
    rate = used * servers
    assert sum(found) / len(found) == pytest.approx(model.mdc_mean_wait(rate, 1, servers), rel=0.05)
    assert percentile(found, 95) == pytest.approx(model.mdc_wait_percentile(rate, 1, servers), rel=0.11)


@control(here("0.7, service", '0.7, "constant"'))
@pytest.mark.parametrize(("service", "crowd"), [("mixed", 1), ("exponential", 10)])
def test_crowds_and_mixed_times_wait_longer_than_the_model_says(model, service: str, crowd: int) -> None:
    """With arrivals in crowds of ten, or 2 % long service times, mean and p95 are more than twice the model's."""
    found = waits(10, 0.7, service, customers=100_000, crowd=crowd)
    assert sum(found) / len(found) > 2 * model.mmc_mean_wait(7, 1, 10)
    assert percentile(found, 95) > 2 * model.mmc_wait_percentile(7, 1, 10)


@control(edit("sizing/queueing.py", "return 0.5", "return 0.6"))
@control(edit("sizing/queueing.py", "min(0.24, (1 - used)", "max(0.24, (1 - used)"))
@control(edit("sizing/queueing.py", "min(0.24, (1 - used)", "min(0, (1 - used)"))
def test_one_server_with_constant_times_waits_half_as_long(model) -> None:
    """For one server that is exact theory; more servers wait 50 to 62 % as long, and close to half near saturation."""
    # Pollaczek and Khinchine: the mean wait is load / (2 (1 - load)) service times.
    assert model.mdc_mean_wait(0.8, 1, 1) == pytest.approx(0.8 / (2 * 0.2))
    assert model.constant_factor(20, 20 * 0.9999) == pytest.approx(0.5, abs=0.001)
    assert model.constant_factor(10, 10 * 0.4) > 0.55
    for used, least, most in ((0.9, 0.45, 0.55), (0.4, 0.6, 0.8)):  # simulated waits agree
        found = waits(10, used, "constant")
        assert least < sum(found) / len(found) / model.mmc_mean_wait(10 * used, 1, 10) < most

    @tried
    @given(SERVERS, USED)
    def is_about_half(servers: int, used: float) -> None:
        assert 0.5 <= model.constant_factor(servers, used * servers) <= 0.62

    is_about_half()


@control(edit("sizing/queueing.py", "math.log(waiting / rest)", "math.log(1 / rest)"))
def test_each_wait_is_the_distributions(model) -> None:
    """By the formula for the opposite question, the share that waits longer than a percentile is the rest of 100 %."""

    @tried
    @given(SERVERS, USED, some.floats(0, 99.9))
    def agrees(servers: int, used: float, percent: float) -> None:
        wait = model.mmc_wait_percentile(used * servers, 1, servers, percent)
        longer = model.erlang_c(servers, used * servers) * math.exp(-(servers - used * servers) * wait)
        if wait:
            assert longer == pytest.approx(1 - percent / 100)
        else:
            assert longer <= 1 - percent / 100 + 1e-9

    agrees()


@control(edit("sizing/queueing.py", "/ (servers - load) * math.log", "* (servers - load) * math.log"))
def test_waits_grow_with_the_load_and_shrink_with_servers(model) -> None:
    """A higher load never shortens the wait, one more server never lengthens it, and p99 is never below p50."""

    @tried
    @given(SERVERS, USED, USED)
    def holds(servers: int, one: float, other: float) -> None:
        low, high = sorted((one, other))
        p95 = model.mmc_wait_percentile(high * servers, 1, servers)
        assert model.mmc_wait_percentile(low * servers, 1, servers) <= p95
        assert model.mmc_wait_percentile(high * servers, 1, servers + 1) <= p95
        percentiles = [model.mmc_wait_percentile(high * servers, 1, servers, percent) for percent in (50, 95, 99)]
        assert percentiles == sorted(percentiles)

    holds()


@control(
    edit(
        "sizing/queueing.py",
        "return service_time / (servers - load) * math.log",
        "return 1 / (servers - load) * math.log",
    )
)
def test_the_wait_is_a_multiple_of_the_service_time(model) -> None:
    """Transactions half as long at twice the rate wait half as long: only the utilisation counts."""

    @tried
    @given(SERVERS, USED, some.floats(1e-4, 10))
    def holds(servers: int, used: float, service_time: float) -> None:
        wait = model.mmc_wait_percentile(used * servers, 1, servers)
        scaled = model.mmc_wait_percentile(used * servers / service_time, service_time, servers)
        assert scaled == pytest.approx(wait * service_time, rel=1e-6, abs=1e-9)

    holds()


@control(edit("sizing/queueing.py", "servers += 1", "servers += 2"))
def test_as_many_servers_as_are_needed_and_no_more(model) -> None:
    """With the number that it returns, the wait stays within the limit; with one server fewer it does not."""

    @tried
    @given(some.floats(0, 200), some.floats(0, 3), some.floats(50, 99.9))
    def holds(load: float, wait: float, percent: float) -> None:
        servers = model.servers_needed(load, 1, wait, percent)
        assert model.mmc_wait_percentile(load, 1, servers, percent) <= wait
        if servers > 1:
            assert model.mmc_wait_percentile(load, 1, servers - 1, percent) > wait

    holds()


@control(
    edit(
        "sizing/queueing.py",
        "while mmc_wait_percentile(rate, service_time, servers, percent) > wait:",
        "while servers < 1.5 * offered_load(rate, service_time):",
    )
)
@control(edit("sizing/queueing.py", "service_time, wait = 0.010, 0.005", "service_time, wait = 0.010, 0.001"))
def test_a_larger_pool_needs_a_smaller_part_to_spare(model) -> None:
    """For the same wait, the more connections are busy, the higher the utilisation; the page's table agrees."""
    loads = [2**number for number in range(8)]
    shares = [load / model.servers_needed(load, 1, 0.5) for load in loads]
    assert shares == sorted({*shares})
    table = [int(row["Utilisation"].removesuffix(" %")) for row in model.worked_sizes()]
    assert table == sorted({*table})
    for row in model.worked_sizes():  # at 10 ms each, 95 of 100 wait at most 5 ms, and not with one fewer
        rate, servers = row["Transactions a second"], row["Server connections"]
        enough, too_few = (model.mmc_wait_percentile(rate, 0.010, each) for each in (servers, servers - 1))
        assert enough <= 0.005 < too_few


@control(edit("sizing/queueing.py", "return 1.0", "return 0.99"))
@control(edit("sizing/queueing.py", "return math.inf", "return LONGEST"))
def test_a_pool_that_cannot_keep_up_waits_without_end(model) -> None:
    """At a utilisation of 1 or more everybody waits, and no percentile is finite."""
    for rate in (10, 11):
        assert model.utilisation(rate, 1, 10) >= 1
        assert model.erlang_c(10, rate) == 1
        assert model.mmc_mean_wait(rate, 1, 10) == math.inf
        assert model.mdc_wait_percentile(rate, 1, 10) == math.inf
    assert model.mmc_wait_percentile(0, 1, 10) == 0


@control(edit("sizing/queueing.py", "if servers != int(servers):", "if servers < 1:"))
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda m: m.offered_load(-1, 0.01), "rate must be from 0"),
        (lambda m: m.offered_load(math.nan, 0.01), "rate must be from 0"),
        (lambda m: m.offered_load(10, math.inf), "service_time must be from 0 to 86400"),
        (lambda m: m.offered_load(1e6, 1e3), "rate × service_time must be from 0 to 10000"),
        (lambda m: m.erlang_c(0, 1), "servers must be from 1"),
        (lambda m: m.erlang_c(2.5, 1), "servers must be a whole number"),
        (lambda m: m.mmc_wait_percentile(1, 1, 2, 100), "percent must be from 0 to 99.999"),
        (lambda m: m.servers_needed(1, 1, -0.1), "wait must be from 0"),
    ],
)
def test_a_wrong_number_gets_one_clear_error(model, wrong, said: str) -> None:
    """A ValueError names the parameter and what it may be."""
    with pytest.raises(ValueError, match=said):
        wrong(model)


@control(edit("sizing/queueing.py", "needed = pools * servers_needed", "needed = servers_needed"))
def test_dividing_a_pool_makes_everybody_wait_longer(model) -> None:
    """The more pools forty server connections are split into, the longer clients wait and the more are needed."""
    rows = model.worked_splits()
    needed = [row["To wait 5 ms or less"] for row in rows]
    assert needed == sorted(needed)
    assert needed[-1] > 2 * needed[0]
    waited = [float(row["p95 wait"].removesuffix(" ms")) for row in rows]
    assert waited == sorted(waited)
    assert waited[-1] > 10 * waited[0]
    for row in rows:
        pools, each = row["Pools"], row["To wait 5 ms or less"] // row["Pools"]
        assert pools * row["Server connections in each"] == 40
        assert model.mmc_wait_percentile(3200 / pools, 0.010, each, 95) <= 0.005
        assert model.mmc_wait_percentile(3200 / pools, 0.010, each - 1, 95) > 0.005


# Works for 0.1 s, and returns how many seconds that took by PostgreSQL's own clock.
WORK = "select extract(epoch from clock_timestamp() - statement_timestamp())::float from pg_sleep(0.1)"


def worked(database: Database) -> list[tuple[float, float]]:
    """Work six times, each time in a session of its own that is idle for twice as long and then ends, to be counted.

    Return how many seconds each took, by PostgreSQL's clock and by the client's, which starts before and ends after.
    """
    took = []
    for _ in range(6):
        with database.connect() as connection:
            began = time.monotonic()
            ((by_postgresql,),) = connection.execute(WORK).fetchall()
            took.append((by_postgresql, time.monotonic() - began))
            time.sleep(0.2)
    return took


def looked(database: Database, script: str, seconds: float) -> tuple[str, list[tuple[float, float]]] | None:
    """Have three clients work between the script's two looks; return its output and how long each piece of work took.

    Return None if the clients were not done in time: this machine needs more seconds.
    """
    asleep = "select count(*) from pg_stat_activity where datname = 'postgres' and wait_event = 'PgSleep'"

    def between() -> bool:
        return database.admin.execute(asleep).fetchone() == (1,)

    before = database.sessions()
    with ThreadPoolExecutor(4) as threads:
        options = {"database": database.name, "seconds": str(seconds)}
        look = threads.submit(run_psql, database.server.superuser, script, **options)
        until("it has looked once", lambda: between() or look.done())
        clients = [threads.submit(worked, database) for _ in range(3)]
        took = [each for client in clients for each in client.result()]
        until("each session is counted", lambda: database.sessions() - before == len(took))
        in_time = between()
    assert look.result().returncode == 0, look.result().stderr
    return (look.result().stdout, took) if in_time else None


def numbers(said: str) -> list[float]:
    """Return the numbers that a script has printed."""
    return [float(number) for number in re.findall(r"\d+\.\d+", said)]


@control(edit("postgres/offered_load.sql", "active_time + idle_in_transaction_time", "session_time"))
def test_postgresql_counts_the_busy_connections(database, load, transcript) -> None:
    """For sessions that are idle twice as long as they work, only the work counts, as they and PostgreSQL time it."""
    snippet = load(IN_SQL)
    evidence.ran(snippet)
    tries = (2.25 * 2**number for number in itertools.count())

    def undisturbed() -> tuple[str, list[tuple[float, float]]] | None:
        found = until("clients are done in time", lambda: looked(database, snippet.text, next(tries)))
        _, rate, _, sessions = numbers(found[0])
        return found if rate == sessions else None  # one transaction per session; autovacuum adds its own

    said, took = until("nobody else has transactions", undisturbed)
    transcript(snippet, said, volatile=[(r"\b\d+(\.\d+)?\b", "N")])
    busy, rate, hold, _ = numbers(said)
    least, most = (1000 * sum(times) / len(took) for times in zip(*took, strict=True))
    assert least - 0.1 < hold < most + 0.1
    assert abs(busy - rate * hold / 1000) < 0.01 + 0.05 * hold / 1000  # allows for rounding


@contextmanager
def crowding(connect: Callable[[], psycopg.Connection], clients: int) -> Iterator[None]:
    """Have this many clients run transactions of 0.1 s back to back for the duration of the block."""
    ended: list[int] = []
    stopped = threading.Event()

    def work() -> None:
        with connect() as connection:
            while not stopped.is_set():
                connection.execute("select pg_sleep(0.1)")
                ended.append(1)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        until("all of them run", lambda: len(ended) > 2 * clients)
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


@control(edit("pgbouncer/offered_load.py", "held -= waited", "pass"))
def test_pgbouncers_time_in_transactions_has_the_wait_in_it(database, pooler, printed, load, transcript) -> None:
    """Four clients share one server connection: the raw totals suggest over two busy, the corrected script fewer."""
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=1, stats_users="proven_admin")
    console = f"postgresql://proven_admin:{bouncer.password}@127.0.0.1:{bouncer.port}/pgbouncer"

    def totals() -> list[float]:
        (row,) = [row for row in bouncer.show("stats") if row["database"] == database.name]
        return [float(row[name]) / 1e6 for name in ("total_xact_time", "total_query_time")]

    with crowding(lambda: bouncer.connect(database, prepare_threshold=None), clients=4):  # for PgBouncer before 1.21
        before, began = totals(), time.monotonic()
        said = printed(load(IN_PGBOUNCER), PGBOUNCER_URL=console, SECONDS="3")
        seconds = time.monotonic() - began
        uncorrected = [(now - then) / seconds for now, then in zip(totals(), before, strict=True)]
    transcript(load(IN_PGBOUNCER), said.replace(database.name, "upstream"), volatile=NUMBERS)
    busy, _, held, waited = numbers(said)
    assert busy < 2 < min(uncorrected)
    assert held > 50  # of 100 ms each; a wait counts when it ends, perhaps before its transaction does
    assert waited > held


@control(here("for client in clients:", "for client in reversed(clients):"))
def test_pgbouncer_serves_in_the_order_of_arrival(database, pooler) -> None:
    """Five clients wait for one server connection: they begin in the order in which they asked, as in the model."""
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=1)
    first = bouncer.connect(database)
    first.execute("begin")
    clients = [bouncer.connect(database) for _ in range(5)]
    for number, client in enumerate(clients, start=1):
        client.pgconn.send_query(b"select statement_timestamp()")
        client.pgconn.flush()
        until("it waits", functools.partial(waiting, bouncer, database, number))
    first.execute("commit")
    begun = []
    for client in clients:
        begun.append(client.pgconn.get_result().get_value(0, 0))
        client.close()
    first.close()
    assert begun == sorted(begun)
    assert len({*begun}) == len(clients)


def waiting(bouncer, database, number: int) -> bool:
    """Return whether this many clients of a database wait for a server connection."""
    (row,) = [row for row in bouncer.show("pools") if row["database"] == database.name]
    return row["cl_waiting"] == number


@control(here("max_db_connections=2", "max_db_connections=3"))
def test_max_db_connections_limits_what_a_larger_pool_gets(database, pooler) -> None:
    """With max_db_connections at two, a pool of four serves two of four clients; the rest wait until it is raised."""
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=1, max_db_connections=2)
    with ThreadPoolExecutor(4) as threads, ExitStack() as stop:
        clients = [stop.enter_context(bouncer.connect(database)) for _ in range(4)]
        begun = [threads.submit(client.execute, "begin") for client in clients]
        until("three wait", lambda: pool(bouncer, database)["cl_waiting"] == 3)
        bouncer.reload(default_pool_size=4)
        until("one does no longer", lambda: pool(bouncer, database)["cl_waiting"] < 3)
        until("they have waited, or none does", lambda: waited(pool(bouncer, database)))
        assert pool(bouncer, database)["cl_waiting"] == 2
        bouncer.reload(max_db_connections=4)
        for each in begun:
            each.result()
        assert pool(bouncer, database)["sv_active"] == 4


def waited(shown) -> bool:
    """Return whether a client has waited for a second, or none waits."""
    return shown["maxwait"] >= 1 or shown["cl_waiting"] == 0


@control(here("reserve_pool_timeout=60", "reserve_pool_timeout=0.2"))
@control(here("reserve_pool_size=2", "reserve_pool_size=3"), fails_with="a second has passed: not within")
@control(here("max_db_connections=2", "max_db_connections=3"))
@control(here("reserve_pool_timeout=0.2", "reserve_pool_timeout=50"), fails_with="one is served: not within")
def test_a_reserve_is_for_who_has_waited(database, pooler) -> None:
    """After reserve_pool_timeout, waiting clients get reserve connections, as far as max_db_connections allows."""
    bouncer = pooler(
        database,
        pool_mode="transaction",
        default_pool_size=1,
        reserve_pool_size=2,
        reserve_pool_timeout=60,
        max_db_connections=2,
    )

    def wait_on(clients: int) -> bool:
        """Return whether this many still wait after another second."""
        since = pool(bouncer, database)["maxwait"]
        until("a second has passed", lambda: since < pool(bouncer, database)["maxwait"])
        return pool(bouncer, database)["cl_waiting"] == clients

    with ThreadPoolExecutor(4) as threads, ExitStack() as stop:
        clients = [stop.enter_context(bouncer.connect(database)) for _ in range(4)]
        for client in clients:
            threads.submit(client.execute, "begin")
        until("three wait", lambda: pool(bouncer, database)["cl_waiting"] == 3)
        assert wait_on(3), "they have not waited for long enough"
        bouncer.reload(reserve_pool_timeout=0.2)
        until("one is served", lambda: pool(bouncer, database)["sv_active"] == 2)
        assert wait_on(2), "no more than max_db_connections"
        bouncer.reload(max_db_connections=0)
        until("another one is", lambda: pool(bouncer, database)["sv_active"] == 3)
        assert wait_on(1), "no more than the pool and its reserve"
        bouncer.reload(default_pool_size=2)


@control(
    here('"lock table gate"', '"lock table gate in share mode"'),
    fails_with="all of them wait for one login: not within",
)
def test_a_pool_logs_in_to_postgresql_with_one_server_connection_at_a_time(database, pooler) -> None:
    """Ten clients want one each, and one login is under way; when it ends the next begins, until each has one.

    A lock on what connect_query reads holds the login up.
    """
    with database.connect() as owner:
        owner.execute("create table gate ()")
    settings = {"pool_mode": "transaction", "default_pool_size": 10}
    bouncer = pooler(database, options="connect_query='select from gate'", **settings)
    with ExitStack() as stop:
        threads = stop.enter_context(ThreadPoolExecutor(10))
        clients = [stop.enter_context(bouncer.connect(database)) for _ in range(10)]
        until("the owner's session has ended", lambda: len(database.backends()) == 1)
        (first,) = database.backends()
        database.terminate(first)
        gate = stop.enter_context(database.connect(autocommit=False))
        gate.execute("lock table gate")
        until("it is gone", lambda: database.backends() == [gate.info.backend_pid])
        begun = [threads.submit(client.execute, "begin") for client in clients]

        def shown() -> tuple[int, int]:
            row = pool(bouncer, database)
            return row["cl_waiting"], row["sv_login"]

        until("all of them wait for one login", lambda: shown() == (10, 1))
        until("PostgreSQL has it", lambda: len(database.backends()) == 2)
        assert shown() == (10, 1)
        gate.rollback()
        while not all(each.done() for each in begun):
            assert shown()[1] <= 1
        for each in begun:
            each.result()
        assert len(database.backends()) == 11


@control(here("min_pool_size=5", "min_pool_size=0"), fails_with="five are open: not within")
def test_min_pool_size_opens_them_before_they_are_asked_for_once_a_client_is_there(database, pooler) -> None:
    """With one client that does nothing there are five; in a pool that has never had a client there is none."""
    entries = {database.name: database, "other": database}
    bouncer = pooler(named=entries, pool_mode="transaction", min_pool_size=5)
    with bouncer.connect(database):
        until("five are open", lambda: len(database.backends()) == 5)
        assert {row["database"] for row in bouncer.show("servers")} == {database.name}
