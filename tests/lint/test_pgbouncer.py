"""PgBouncer's ini files: names, types and ranges, with no PgBouncer at hand.

pgbouncer.json lists the settings of the newest PgBouncer that proofs ran on, with their defaults. The proof that
compares an ini with SHOW CONFIG records it. PgBouncer itself takes negative sizes, and of a number that is too large
what is left in 32 bits, so ranges are for a linter to look at.
"""

import json
import re
from pathlib import Path

from proven import ROOT
from proven.problems import Problem, nearest
from tests.lint import files
from tests.lint.findings import refuse

SETTINGS: dict[str, str | None] = json.loads(Path(__file__).with_name("pgbouncer.json").read_text())["settings"]
WORDS = {
    "auth_type": ("cert", "hba", "ldap", "md5", "pam", "plain", "scram-sha-256"),  # not trust, not any
    "pool_mode": ("session", "statement", "transaction"),
    "sslmode": ("allow", "disable", "prefer", "require", "verify-ca", "verify-full"),
}
# What may stand behind the name of a database and of a user, from "Section [databases]", "Section [peers]" and "Section
# [users]" of PgBouncer's documentation.
SHARED = {"pool_size", "reserve_pool_size", "pool_mode"}
ENTRIES = {
    "databases": SHARED
    | {"auth_dbname", "auth_query", "auth_user", "application_name", "client_encoding", "connect_query", "datestyle"}
    | {"dbname", "host", "load_balance_hosts", "max_db_client_connections", "max_db_connections", "min_pool_size"}
    | {"port", "server_lifetime", "timezone", "user"},
    "peers": {"host", "pool_size", "port"},
    "users": SHARED
    | {"client_idle_timeout", "idle_transaction_timeout", "max_user_client_connections", "max_user_connections"}
    | {"query_timeout", "transaction_timeout"},
}
NUMBER = re.compile(r"-?\d+(\.\d+)?")
FRACTIONS = ("_delay", "_lifetime", "_period", "_retry", "_timeout", "_ttl")  # seconds, of which there may be parts
LARGEST = 2**31 - 1
ENTRY = re.compile(r"(\w+)=('(?:[^']|'')*'|\S*)(?:\s+|$)")


def test_pgbouncer_would_understand_every_ini_as_it_is_meant() -> None:
    """Each setting is known, and its value is of its type and makes sense."""
    refuse(
        problem
        for path in files.matching("snippets/*.ini")
        for problem in problems(path, (ROOT / path).read_text(encoding="utf-8"))
    )


def problems(path: str, text: str) -> list[Problem]:
    """Return the lines that PgBouncer would refuse, or take for something else. A part of an ini has no section."""
    found: list[Problem] = []
    section = "pgbouncer"
    seen: set[tuple[str, str]] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith((";", "#", "%include ")):
            continue
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = header[1]
            if section not in {"pgbouncer", *ENTRIES}:
                hint = nearest(section, {"pgbouncer", *ENTRIES})
                found.append(Problem(path, number, f"no section is called [{section}]{hint}"))
            continue
        setting = re.fullmatch(r"([\w*]+) = (.*)", line)
        if setting is None:
            found.append(Problem(path, number, "not a setting: write name = value, and comments on lines of their own"))
            continue
        name, value = setting[1], setting[2]
        if (section, name) in seen:
            found.append(Problem(path, number, f"{name} has a value already, which this one would replace"))
        seen.add((section, name))
        wrong = setting_of(name, value) if section == "pgbouncer" else entry_of(section, value)
        found += [Problem(path, number, message) for message in wrong]
    return found


def setting_of(name: str, value: str) -> list[str]:
    """Return what is wrong with a setting of PgBouncer's own."""
    if name not in SETTINGS:
        return [f"PgBouncer has no setting called {name}{nearest(name, SETTINGS)}"]
    words = WORDS.get(name) or (WORDS["sslmode"] if name.endswith("_sslmode") else ())
    if words and value not in words:
        return [f"{name} is one of {', '.join(words)}"]
    default = SETTINGS[name]
    if default is None or not NUMBER.fullmatch(default) or name == "unix_socket_mode":
        return [] if value else [f"{name} has no value"]
    return number(name, value)


def entry_of(section: str, value: str) -> list[str]:
    """Return what is wrong behind the name of a database or a user."""
    known = ENTRIES.get(section, set())
    if ENTRY.sub("", value):
        return ["not an entry: write name=value, without spaces around the ="]
    found = []
    for name, given in ENTRY.findall(value):
        if name == "password":
            found.append("a file that people copy is no place for a password")
        elif name not in known:
            found.append(f"nothing in [{section}] is called {name}{nearest(name, known)}")
        elif name == "pool_mode" and given not in WORDS["pool_mode"]:
            found.append(f"{name} is one of {', '.join(WORDS['pool_mode'])}")
        elif name == "port" or name.endswith(("_size", "_connections", "_timeout", "_lifetime")):
            found += number(name, given)
    return found


def number(name: str, value: str) -> list[str]:
    """Return what is wrong with a number."""
    if not NUMBER.fullmatch(value):
        return [f"{name} is a number"]
    if "." in value and not name.endswith(FRACTIONS):
        return [f"{name} is a whole number"]
    if name.endswith("port") and not 1 <= float(value) <= 65535:
        return [f"{name} is between 1 and 65535"]
    if not 0 <= float(value) <= LARGEST:
        return [f"{name} is between 0 and {LARGEST}"]
    return []
