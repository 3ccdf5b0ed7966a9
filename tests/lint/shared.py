"""What files of settings say of each other: what one names, another has under that name, at that port, in that place.

Each value that has such a partner is compared with it. What has none (how often, how many, where you keep it) is free.
"""

import re
from collections.abc import Iterator

from proven.problems import Problem
from proven.sources import settings, snippets
from tests.lint import promised
from tests.lint.pods import SSLMODES

INI, PEERS, LOOKUP = (f"pgbouncer/{name}.ini" for name in ("pgbouncer", "peers", "auth_query"))
TLS, CLIENT = "pgbouncer/tls.ini", "pgbouncer/tls.env"
POSTGRES, POOLER, LOGS = (f"monitoring/{name}.env" for name in ("postgres_exporter", "pgbouncer_exporter", "mtail"))
PROMETHEUS, QUERIES, RULES = (f"monitoring/{name}.yml" for name in ("prometheus", "queries", "rules"))
EXAMPLE, MANAGED = "upstream/.env.example", "cloud/sql/pooling.env"
ODYSSEY, AGROAL, PGPOOL = "odyssey/odyssey.conf", "poolers/pgagroal.conf", "poolers/pgpool.conf"
PROCESS, SERVER = "sizing/process.env", "sizing/postgresql.conf"
GUNICORN, PRODUCTION, COMPOSE = "upstream/gunicorn.conf.py", "upstream/settings/prod.py", "upstream/compose.yaml"
FUNCTION = "pgbouncer.get_auth"


def problems() -> list[Problem]:
    """Return each value that is another than its partner's."""
    found = []
    for path, key, wanted in partners():
        value = next((each for each in _values(path) if each.key == key), None)
        if value is None:
            found.append(Problem(f"{snippets.FOLDER}/{path}", 1, f"{key} is not there"))
        elif plain(value.text) not in wanted:
            snippet = snippets.read(path)
            line = snippet.source_line(snippet.text.count("\n", 0, value.begin) + 1)
            message = f"{key} is {plain(value.text)}, elsewhere it is {' or '.join(sorted(wanted))}"
            found.append(Problem(snippet.place, line, message))
    return found


def partners() -> Iterator[tuple[str, str, set[str]]]:
    """Return a value's file and key, and what it may be by what other files say."""
    server = (
        of(INI, "databases.upstream.host"),
        of(INI, "databases.upstream.port"),
        of(INI, "databases.upstream.dbname"),
    )
    host, port = of(INI, "pgbouncer.listen_addr"), of(INI, "pgbouncer.listen_port")

    for path in (PEERS, TLS, LOOKUP):
        yield from _of_pgbouncer(path)
    yield CLIENT, "PGSSLROOTCERT", {"/etc/ssl/upstream/ca.crt"} & {f"/etc/ssl/upstream/{name}" for name in made()}

    yield from _of_monitoring(host, port, server)
    yield from _of_poolers(host, port, server)
    yield from _of_the_example(server)
    yield from _of_sizes()
    yield MANAGED, "PGSSLMODE", {"verify-ca", "verify-full"}  # as its comment says


def _of_pgbouncer(path: str) -> Iterator[tuple[str, str, set[str]]]:
    if path == PEERS:
        number = of(PEERS, "pgbouncer.peer_id")
        for peer in ("1", "2"):
            yield PEERS, f"peers.{peer}.host", {f"/run/pgbouncer/{peer}"}
        yield PEERS, "pgbouncer.peer_id", {"1", "2"}
        yield PEERS, "pgbouncer.unix_socket_dir", {f"/run/pgbouncer/{number}"}
        yield PEERS, "pgbouncer.so_reuseport", {"1"}
        yield PEERS, "pgbouncer.default_pool_size", {str(int(of(INI, "pgbouncer.default_pool_size")) // 2)}
    elif path == LOOKUP:
        script = snippets.read("pgbouncer/auth_query.sql").text
        yield LOOKUP, "auth_user", set(re.findall(r"^create role (\w+) login", script, re.MULTILINE))
        yield LOOKUP, "auth_dbname", set(re.findall(r"^grant connect on database (\w+)", script, re.MULTILINE))
        yield LOOKUP, "auth_query", {f"select username, secret from {FUNCTION}($1)"} if FUNCTION in script else set()  # noqa: S608
    else:
        folder = {f"/etc/pgbouncer/{name}" for name in made("pooler.internal")}
        yield TLS, "client_tls_key_file", {name for name in folder if name.endswith("internal.key")}
        yield TLS, "client_tls_cert_file", {name for name in folder if name.endswith("internal.crt")}
        yield TLS, "server_tls_ca_file", {name for name in folder if name.endswith("ca.crt")}


def _of_monitoring(host: str, port: str, server: tuple[str, str, str]) -> Iterator[tuple[str, str, set[str]]]:
    roles, modes = promised.roles(), set(SSLMODES)
    targets = {n: f"scrape_configs.{n}.static_configs.0.targets.0" for n in range(4)}
    yield PROMETHEUS, targets[0], {_listens(POSTGRES)}
    yield PROMETHEUS, targets[1], {_listens(POOLER)}
    yield PROMETHEUS, targets[2], {f"{of(LOGS, 'HOST')}:{of(LOGS, 'PORT')}"}
    yield PROMETHEUS, targets[3], {in_text(GUNICORN, r'"GUNICORN_BIND", "([^"]+)"')}
    yield POSTGRES, "ARGS", {f"--web.listen-address={of(PROMETHEUS, targets[0])}"}
    yield POOLER, "ARGS", {f"--web.listen-address={of(PROMETHEUS, targets[1])}"}
    yield LOGS, "HOST", {of(PROMETHEUS, targets[2]).partition(":")[0]}
    yield LOGS, "PORT", {of(PROMETHEUS, targets[2]).partition(":")[2]}
    yield PROMETHEUS, "rule_files.0", {RULES.partition("/")[2]}
    yield POSTGRES, "DATA_SOURCE_URI", {f"{server[0]}:{server[1]}/{server[2]}?sslmode={mode}" for mode in modes}
    yield POSTGRES, "DATA_SOURCE_USER", roles
    yield POSTGRES, "PG_EXPORTER_EXTEND_QUERY_PATH", {f"/etc/prometheus/{QUERIES.partition('/')[2]}"}
    yield POOLER, "PGHOST", {host}
    yield POOLER, "PGPORT", {port}
    yield POOLER, "PGUSER", {of(INI, "pgbouncer.stats_users")}
    yield POOLER, "PGSSLMODE", modes
    yield POOLER, "PGBOUNCER_EXPORTER_CONNECTION_STRING.dbname", {"pgbouncer"}  # the console's name
    for value in _values(QUERIES):
        if value.key.endswith(".usage"):
            yield (
                QUERIES,
                value.key,
                {"GAUGE" if "pg_slots" in value.key else "LABEL" if "datname" in value.key else "COUNTER"},
            )


def _of_the_example(server: tuple[str, str, str]) -> Iterator[tuple[str, str, set[str]]]:
    direct = f"postgresql://upstream:change-me@{server[0]}:{server[1]}/{server[2]}"
    yield EXAMPLE, "DJANGO_SECRET_KEY", {""}  # one that many have copied is no secret
    yield EXAMPLE, "DATABASE_URL", {direct}
    yield EXAMPLE, "DATABASE_DIRECT_URL", {direct}
    # On one machine it takes another port.
    yield EXAMPLE, "DATABASE_REPLICA_URL", {direct.replace(f":{server[1]}/", f":{int(server[1]) + 1}/")}
    yield EXAMPLE, "DB_CONN_MAX_AGE", {in_text(PRODUCTION, r'"DB_CONN_MAX_AGE", default=(\w+)')}
    yield EXAMPLE, "DB_CONN_HEALTH_CHECKS", {in_text(PRODUCTION, r'"DB_CONN_HEALTH_CHECKS", default=(\w+)')}
    yield EXAMPLE, "WEB_PORT", {in_text(COMPOSE, r"\$\{WEB_PORT:-(\d+)\}")}


def _of_sizes() -> Iterator[tuple[str, str, set[str]]]:
    yield PROCESS, "DJANGO_SETTINGS_MODULE", {f"settings.{name}" for name in _settings()}
    yield PROCESS, "GUNICORN_WORKERS", {in_text(GUNICORN, r'"GUNICORN_WORKERS", "(\d+)"')}
    yield PROCESS, "GUNICORN_THREADS", {in_text(GUNICORN, r'"GUNICORN_THREADS", "(\d+)"')}
    yield SERVER, "max_connections", {str(promised.SLOTS + int(of(SERVER, "superuser_reserved_connections")))}
    yield SERVER, "superuser_reserved_connections", {str(int(of(SERVER, "max_connections")) - promised.SLOTS)}


def _of_poolers(host: str, port: str, server: tuple[str, str, str]) -> Iterator[tuple[str, str, set[str]]]:
    """Return what the other poolers' files must say to do what pgbouncer.ini says."""
    size, login, name = of(INI, "pgbouncer.default_pool_size"), of(INI, "pgbouncer.auth_type"), server[2]
    mode, tls = of(INI, "pgbouncer.pool_mode"), of(TLS, "client_tls_sslmode")
    rule = f"database {name}.user {name}"
    console = "database console.user odyssey_admin"
    yield from ((ODYSSEY, key, {value}) for key, value in {"listen.host": host, "listen.port": port}.items())
    yield from ((ODYSSEY, f"storage postgres.{key}", {server[at]}) for at, key in enumerate(("host", "port")))
    yield ODYSSEY, "storage postgres.type", {"remote"}
    yield ODYSSEY, "listen.tls", {tls}
    wanted = {"authentication": login, "storage": "postgres", "pool": mode, "pool_size": size}
    yield from ((ODYSSEY, f"{rule}.{key}", {value}) for key, value in wanted.items())
    yield ODYSSEY, "storage console.type", {"local"}
    wanted = {"authentication": login, "storage": "console", "pool": "session", "role": "admin"}
    yield from ((ODYSSEY, f"{console}.{key}", {value}) for key, value in wanted.items())
    wanted = {"host": host, "port": port, "pipeline": mode, "max_connections": size, "tls": "on"}
    wanted |= {"allow_unknown_users": "false", "blocking_timeout": "0"}  # as the comments say
    yield from ((AGROAL, f"pgagroal.{key}", {value}) for key, value in wanted.items())
    yield from ((AGROAL, f"primary.{key}", {server[at]}) for at, key in enumerate(("host", "port")))
    for rules in ("poolers/pgagroal_hba.conf", "poolers/pool_hba.conf"):
        yield rules, "hostssl", {f"{name}  {name}  {host}/32  {login}"}
    yield "poolers/pgagroal_databases.conf", name, {f"{name}  {size}        {size}            1"}
    wanted = {"listen_addresses": host, "port": port, "num_init_children": size, "max_pool": "1", "ssl": "on"}
    wanted |= {"backend_hostname0": server[0], "backend_port0": server[1], "enable_pool_hba": "on"}
    wanted |= {"backend_clustering_mode": "raw", "backend_flag0": "DISALLOW_TO_FAILOVER", "pcp_listen_addresses": ""}
    yield from ((PGPOOL, key, {value}) for key, value in wanted.items())
    pairs = {ODYSSEY: ("listen.tls_cert_file", "listen.tls_key_file"), PGPOOL: ("ssl_cert", "ssl_key")}
    pairs[AGROAL] = ("pgagroal.tls_cert_file", "pgagroal.tls_key_file")
    for path, keys in pairs.items():
        folder = {ODYSSEY: "odyssey", AGROAL: "pgagroal", PGPOOL: "pgpool2"}[path]
        for key, end in zip(keys, ("internal.crt", "internal.key"), strict=True):
            yield path, key, {f"/etc/{folder}/{file}" for file in made("pooler.internal") if file.endswith(end)}


def made(name: str = "") -> set[str]:
    """Return the files that certificates.sh makes for a host."""
    script = snippets.read("pgbouncer/certificates.sh").text
    return {found.replace("$name", name) for found in re.findall(r'-(?:key)?out "?([\w.$]+)"?', script)}


def of(path: str, key: str) -> str:
    """Return a value of a file, without its quotes; nothing where it has none."""
    return next((plain(value.text) for value in _values(path) if value.key == key), "")


def in_text(path: str, pattern: str) -> str:
    """Return what a pattern finds in a snippet."""
    found = re.search(pattern, snippets.read(path).text)
    return found[1] if found else ""


def plain(text: str) -> str:
    """Return a value without quotes."""
    return text.strip("\"'")


def _listens(path: str) -> str:
    return of(path, "ARGS").partition("--web.listen-address=")[2]


def _settings() -> set[str]:
    found = (re.fullmatch(r"upstream/settings/(\w+)\.py", path) for path in snippets.paths())
    return {each[1] for each in found if each}


def _values(path: str) -> list[settings.Value]:
    return settings.values(path, snippets.read(path).text)
