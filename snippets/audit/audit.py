# region: how
"""Find what transaction mode, forks, threads and ASGI break in Django code.

    python audit.py [--json | --sarif] [--baseline FILE] PATH…

It reads .py and .sql files and PgBouncer's .ini files, and runs nothing in
them. Run it with your project's own Python: an older one cannot read newer
code. The exit status is 0 if nothing was found, 1 if something was, and 2 for
a path or a baseline that cannot be used. --baseline leaves out what that file
lists; --write-baseline writes it. A comment on the line, or on a line of
its own above it, silences a finding, with a reason: # pooling: ok goes direct
"""
# endregion: how

import sys

if __name__ == "__main__" and not sys.flags.isolated:
    # Python looks beside a script first, where a project's queue.py may be.
    del sys.path[0]

import argparse
import ast
import json
import os
import re
import threading
import warnings
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import decode_source
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

GUIDE = "https://guide.example/"  # the address of the findings' pages
LARGEST = 2_000_000  # bytes: a larger file was generated
LONGEST = 200  # characters of a line that are shown
SKIPPED = {"__pycache__", "node_modules", "site-packages", "venv"}
SKIPPED |= {"test", "tests", "testing"}  # they run without a pooler
TEST = re.compile(r"(test_.*|.*_tests?|tests?|conftest)\.py")


class Rule(NamedTuple):
    sure: str  # sure: it breaks. likely: from what is seen. look: perhaps
    breaks: str
    instead: str
    page: str


MODE = "explanation/transaction-mode/"
RULES = {
    "session-setting": Rule(
        "sure",
        "SET stays on the server connection: another client gets the setting, "
        "and you do not",
        "use SET LOCAL inside atomic(), or ALTER ROLE … SET",
        MODE,
    ),
    "session-lock": Rule(
        "sure",
        "two clients can hold this lock at the same time, and the unlock can "
        "miss it",
        "use pg_advisory_xact_lock inside atomic(), or a direct connection",
        MODE,
    ),
    "listen": Rule(
        "sure",
        "LISTEN may get no notifications, and raises no error",
        "listen on a direct connection",
        "how-to/direct-connection/",
    ),
    "temporary-table": Rule(
        "sure",
        "the table exists for another client, and not for you",
        "use ON COMMIT DROP inside atomic()",
        MODE,
    ),
    "sql-prepare": Rule(
        "sure",
        "the statement is missing for you, and its name is already taken for "
        "another client",
        "let the driver prepare statements, or prepare none",
        "runbooks/pgbouncer-prepared-statement/",
    ),
    "driver-prepare": Rule(
        "look",
        "if PgBouncer does not track prepared statements, this fails or runs "
        "another client's statement",
        "use PgBouncer 1.24 or newer, or leave prepare_threshold out",
        "runbooks/pgbouncer-prepared-statement/",
    ),
    "cursor": Rule(
        "likely",
        "outside a transaction, the cursor is lost between two batches",
        "use atomic() around the loop, or DISABLE_SERVER_SIDE_CURSORS",
        "runbooks/pgbouncer-cursor-does-not-exist/",
    ),
    "held-cursor": Rule(
        "sure",
        "a cursor WITH HOLD stays on the server connection, with its rows",
        "use a cursor inside atomic(), or a direct connection",
        MODE,
    ),
    "session-library": Rule(
        "look",
        "what this library receives or sets may belong to another client",
        "give the library a direct connection",
        "how-to/direct-connection/",
    ),
    "startup-options": Rule(
        "likely",
        "PgBouncer refuses settings in options that it does not track",
        "use ALTER ROLE … SET",
        "runbooks/pgbouncer-unsupported-startup-parameter/",
    ),
    "assume-role": Rule(
        "sure",
        "the role is set once, and another client gets it",
        "log in as that role",
        MODE,
    ),
    "cursors-behind-pooler": Rule(
        "likely",
        "this entry leads to a pooler, where iterator() would lose its cursor",
        'set "DISABLE_SERVER_SIDE_CURSORS": True',
        "how-to/pgbouncer/",
    ),
    "pool-and-age": Rule(
        "sure",
        "Django refuses a pool together with CONN_MAX_AGE",
        'set "CONN_MAX_AGE": 0, as the pool decides how long connections live',
        "how-to/django-pool/",
    ),
    "age-under-asgi": Rule(
        "likely",
        "under ASGI, each request leaves a connection open",
        'set "CONN_MAX_AGE": 0, or use the pool',
        "how-to/find-the-leak/",
    ),
    "ini-options": Rule(
        "sure",
        "clients connect, but their settings are silently lost",
        "use ALTER ROLE … SET",
        "runbooks/pgbouncer-unsupported-startup-parameter/",
    ),
    "ini-prepare": Rule(
        "sure",
        "PgBouncer tracks no prepared statements, so drivers must make none",
        "set max_prepared_statements = 200",
        "runbooks/pgbouncer-prepared-statement/",
    ),
    "query-while-loading": Rule(
        "likely",
        "the query's connection stays open, and a fork after that shares it",
        "run the query when the value is first needed",
        "how-to/forks/",
    ),
    "query-after-request": Rule(
        "likely",
        "with CONN_MAX_AGE 0, Django has closed the connection by then, and "
        "this opens one that stays",
        "call connection.close() at the end, or query before the response is "
        "sent",
        "how-to/find-the-leak/",
    ),
    "fork": Rule(
        "look",
        "two processes then share one connection: without TLS, each can get "
        "the other's answers",
        "close the connection before the fork: the page has a module for that",
        "how-to/forks/",
    ),
    "thread-keeps-connection": Rule(
        "likely",
        "the thread keeps its connection, and does not return it to a pool",
        "call connection.close() at the end of the work",
        "how-to/find-the-leak/",
    ),
    "asyncio-run": Rule(
        "likely",
        "a connection stays open that the caller cannot close",
        "give the connection back where the async code ends",
        "how-to/asgi/",
    ),
    "sync-in-async": Rule(
        "likely",
        "Django refuses this in async code",
        "use the async ORM, or sync_to_async around a function that does this",
        "how-to/asgi/",
    ),
    "stream-keeps-connection": Rule(
        "likely",
        "the stream keeps its connection until it ends",
        "give the connection back before each pause, or query before the "
        "stream begins",
        "how-to/asgi/",
    ),
    "no-reason": Rule(
        "sure",
        "this comment silences nothing, because it gives no reason",
        "write # pooling: ok and why the line may stay",
        "how-to/audit-your-code/",
    ),
    "not-read": Rule(
        "sure",
        "this file could not be read, so nothing in it was checked",
        "repair the file, or add it to the baseline",
        "how-to/audit-your-code/",
    ),
}


class Finding(NamedTuple):
    file: str
    line: int
    rule: str
    text: str  # the line as it is written, or why a file was not read


# How a statement begins that leaves something on its connection. PgBouncer
# tracks some settings for each client; others are other databases'.
SAFE = (
    r"local|transaction|session\s+transaction|constraints|time zone|timezone"
    "|datestyle|names|global"
    "|client_encoding|standard_conforming_strings|application_name|sql_\\w+"
    "|foreign_key_checks|unique_checks|identity_insert|statistics|profiling"
)
BEGINS = {
    "session-setting": rf"set\s+(?:session\s+)?(?!(?:{SAFE})\b)[\w\"{{%]",
    "listen": r"listen\s+[\w\"{%]",
    "temporary-table": r"create\s+(?:(?:global|local)\s+)?temp(?:orary)?\s"
    r"(?!.*\bon\s+commit\s+drop\b)",
    "sql-prepare": r"prepare\s+(?!transaction\b).+\sas\s",
    "held-cursor": r"declare\s.+\scursor\s+with\s+hold\b",
}
HOLDS = {  # anywhere in a statement
    "session-setting": r"\bset_config\s*"
    r"\((?:[^()]|\([^()]*\))*,\s*false\s*\)",
    "session-lock": r"\bpg_(?:try_)?advisory_lock(?:_shared)?\b",
}
HOW = re.IGNORECASE | re.DOTALL
# What begins a comment or a dollar-quoted body, and what may end one.
OPENS = re.compile(r"--[^\n]*|/\*|\$(?:[^\W\d]\w*)?\$")
ENDS = re.compile(r"(?=(\*/|\$(?:[^\W\d]\w*)?\$))")


def bare(sql: str) -> str:
    """Return SQL with comments and function bodies, which run later, blanked.

    One that never ends stays: a search for its end each time would take long
    in a file that begins many.
    """
    last = {end[1]: end.start() for end in ENDS.finditer(sql)}
    parts, at = [], 0
    while begins := OPENS.search(sql, at):
        parts.append(sql[at : begins.start()])
        at = begins.end()
        ends = "*/" if begins[0] == "/*" else begins[0]
        if last.get(ends, -1) >= at:
            at = sql.index(ends, at) + len(ends)
        unread = sql[begins.start() : at]
        stays = at == begins.end() and not unread.startswith("--")
        parts.append(unread if stays else re.sub(r"[^\n]", " ", unread))
    return "".join([*parts, sql[at:]])


def judged(sql: str) -> Iterator[tuple[str, int]]:
    """Return the rules that SQL breaks, and the position of each."""
    at = 0
    for statement in bare(sql).split(";"):
        said = statement.lstrip()
        first = at + len(statement) - len(said)
        for rule, pattern in BEGINS.items():
            if re.match(pattern, said.rstrip(), HOW):
                yield rule, first
        for rule, pattern in HOLDS.items():
            if held := re.search(pattern, statement, HOW):
                yield rule, at + held.start()
        at += len(statement) + 1


MANAGERS = {"objects", "_default_manager", "_base_manager"}
EVALUATES = {  # each sends a query at once
    *("get", "first", "last", "count", "exists", "aggregate", "in_bulk"),
    *("create", "get_or_create", "bulk_create", "update_or_create"),
    *("update", "bulk_update", "delete", "latest", "earliest"),
}
CLOSES = {"close_old_connections", "close_all", "give_back", "close_pool"}
LIBRARIES = {
    "channels_postgres",
    "django_tenants",
    "pgpubsub",
    "procrastinate",
    "tenant_schemas",
}
DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
LINKS = (ast.Attribute, ast.Call, ast.Subscript, ast.Await)
MANY = 100  # at most: links of a chain, functions that one leads to


class Context(NamedTuple):
    """What is known about where a piece of code is."""

    loading: bool = True  # it runs while the module is imported
    atomic: bool = False
    asynchronous: bool = False
    function: ast.AST | None = None


Within = Callable[[ast.AST], Iterator[ast.AST]]
Does = tuple[set[str], list[ast.AST]]  # what it does, and what it calls
Found = Iterator[tuple[str, Any]]
Look = Callable[["Module", Any, Context], Found]


def dotted(node: ast.AST | None) -> str:
    """Return a name as it is written, without arguments of calls."""
    parts = []
    for _ in range(MANY):
        if not isinstance(node, LINKS):
            break
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
        node = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, ast.Name):
        parts.append(node.id)
    return ".".join(reversed(parts))


def called(node: ast.AST | None) -> str:
    """Return the last part of the name of what is called, or named."""
    function = node.func if isinstance(node, ast.Call) else node
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def constant(node: ast.AST | None) -> object:
    """Return the value of a literal, else the node."""
    return node.value if isinstance(node, ast.Constant) else node


def argument(call: ast.Call, place: int, *names: str) -> ast.expr | None:
    """Return an argument by its name, else by its position."""
    named = [each.value for each in call.keywords if each.arg in names]
    return next(iter([*named, *call.args[place : place + 1]]), None)


def age(node: ast.AST | None) -> object:
    """Return an age that is a literal, or the default of what reads it."""
    if isinstance(node, ast.BinOp):
        return age(node.left) and age(node.right)
    if isinstance(node, ast.Call):
        last = argument(node, max(len(node.args) - 1, 0), "default")
        return age(last) if last else node
    return constant(node)


def is_atomic(node: ast.AST) -> bool:
    """Return whether a with or a decorator opens a transaction."""
    return any(called(n) in {"atomic", "transaction"} for n in ast.walk(node))


def of_rows(node: ast.AST | None) -> bool:
    """Return whether a chain goes through a model's manager."""
    return not MANAGERS.isdisjoint(dotted(node).split("."))


def is_cursor(node: ast.AST) -> bool:
    """Return whether a node opens a cursor of Django's connection."""
    opens = isinstance(node, ast.Call) and called(node) == "cursor"
    return opens and "connection" in dotted(node)


def asks(node: ast.AST) -> bool:
    """Return whether a node is a query, or begins one."""
    return getattr(node, "attr", None) in MANAGERS or is_cursor(node)


def closes(node: ast.AST) -> bool:
    """Return whether a node closes a connection, or names a function for it."""
    name = called(node)
    return name in CLOSES or (name == "close" and "conn" in dotted(node))


def runs(function: ast.AST) -> Iterator[ast.AST]:
    """Return what runs when a function does, nested functions aside."""
    nodes = [function]
    for node in nodes:  # which grows
        yield node
        if node is function or type(node) not in DEFINES:
            nodes += ast.iter_child_nodes(node)


def generates(function: ast.AST) -> bool:
    """Return whether it is a generator, which outlasts its decorator."""
    yields = (ast.Yield, ast.YieldFrom)
    return any(isinstance(node, yields) for node in runs(function))


def evaluates(node: ast.AST) -> bool:
    """Return whether a call sends a query at once."""
    if not isinstance(node, ast.Call):
        return False
    if called(node) in {"list", "tuple", "set", "len"} and node.args:
        return of_rows(node.args[0])
    return is_cursor(node) or (called(node) in EVALUATES and of_rows(node))


def wraps(node: ast.AST) -> bool:
    """Return whether a node has async code run sync code."""
    return called(node).endswith("sync_to_async")


DOES = {each.__name__: each for each in (asks, closes, evaluates, wraps)}


class Module:
    """A Python file: what it defines, and what is found in it."""

    def __init__(self, tree: ast.Module, migration: bool) -> None:
        self.found: list[tuple[str, Any]] = []
        self.facts: set[str] = set()
        self.functions: dict[str, list[ast.AST]] = defaultdict(list)
        self.values: dict[str, list[ast.expr]] = defaultdict(list)
        self.imports: dict[str, str] = {}
        self.read: dict[tuple[ast.AST, Within], Does] = {}
        for node in ast.walk(tree):
            self.index(node)
        off = any(constant(value) is False for value in self.values["atomic"])
        self.atomic = migration and not off  # around each of its functions
        # A process that serves requests, and may fork, loads no migrations.
        self.walk(tree, Context(loading=not migration))

    def index(self, node: Any) -> None:
        """Note what a node binds to a name."""
        kind = type(node)
        if kind in DEFINES[:2]:
            self.functions[node.name].append(node)
        elif kind in (ast.Assign, ast.AnnAssign, ast.AugAssign) and node.value:
            for target in getattr(node, "targets", None) or [node.target]:
                self.values[called(target)].append(node.value)
        elif kind in (ast.Import, ast.ImportFrom):
            whole = getattr(node, "module", None)
            for name in node.names:
                full = f"{whole}.{name.name}" if whole else name.name
                self.imports[name.asname or name.name] = full

    def walk(self, node: Any, at: Context) -> None:
        """Look at a node and everything below it."""
        kind = type(node)
        if look := LOOKS.get(kind):
            self.found += look(self, node, at)
        below = at
        if kind in DEFINES:
            decorators = getattr(node, "decorator_list", [])
            opens = any(map(is_atomic, decorators)) and not generates(node)
            below = Context(
                loading=False,
                atomic=self.atomic or opens,
                asynchronous=kind is ast.AsyncFunctionDef,
                function=node,
            )
        elif kind in (ast.With, ast.AsyncWith):
            opens = at.atomic or any(map(is_atomic, node.items))
            below = at._replace(atomic=opens)
        elif kind is ast.If:
            asked = called(getattr(node.test, "left", None))
            below = at._replace(loading=at.loading and asked != "__name__")
        for field in node._fields:
            value = getattr(node, field, None)
            inner = below if field == "body" else at
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and child._fields:
                    self.walk(child, inner)

    def text(self, node: ast.AST | None, follow: bool = True) -> str:
        """Return the text of an expression, with a ; between alternatives.

        A name stands for all values this file gives it, not for names in those.
        """
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else ""
        if isinstance(node, ast.JoinedStr):
            parts = (self.text(part, False) or "{}" for part in node.values)
            return "".join(parts)
        if isinstance(node, ast.BinOp):
            adds = isinstance(node.op, ast.Add)
            right = self.text(node.right, follow) if adds else ""
            return self.text(node.left, follow) + right
        if isinstance(node, ast.Call):  # "…".format(…), SQL("…"), dedent("…")
            of = getattr(node.func, "value", None)
            return self.text(of, follow) or self.text(
                next(iter(node.args), None), follow
            )
        choices: list[ast.expr] = getattr(node, "elts", [])
        if isinstance(node, ast.IfExp):
            choices = [node.body, node.orelse]
        elif follow and (name := called(node)):
            choices, follow = self.values.get(name, []), False
        return ";".join(self.text(each, follow) for each in choices)

    def full(self, node: ast.AST) -> str:
        """Return a name in full, as imported: multiprocessing.Process."""
        first, dot, rest = dotted(node).partition(".")
        return self.imports.get(first, first) + dot + rest

    def bodies(self, node: ast.AST | None) -> list[ast.AST]:
        """Return the functions of this file that an argument may name."""
        if isinstance(node, (ast.Lambda, ast.GeneratorExp)):
            return [node]
        if isinstance(node, ast.Call) and called(node) == "partial":
            node = next(iter(node.args), None)
        return self.functions.get(called(node), [])

    def itself(self, body: ast.AST, within: Within) -> Does:
        """Return what a function does, and the functions of its file it calls.

        It is read once, however many others call it.
        """
        if (body, within) not in self.read:
            nodes = [*within(body)]
            does = {name for name in DOES if any(map(DOES[name], nodes))}
            calls = (called(n) for n in nodes if isinstance(n, ast.Call))
            more = (self.functions.get(n, []) for n in dict.fromkeys(calls))
            self.read[body, within] = does, [*chain(*more)][:MANY]
        return self.read[body, within]

    def does(self, node: ast.AST, within: Within = ast.walk) -> set[str]:
        """Return what a function does, including those of its file it calls."""
        done: set[str] = set()
        bodies = [node]
        for body in bodies:  # which grows
            does, calls = self.itself(body, within)
            more = [each for each in calls if each not in bodies]
            bodies += more[: MANY - len(bodies)]
            done |= does
        return done

    def keep(self, bodies: list[ast.AST]) -> bool:
        """Return whether one of these functions queries, and never closes."""
        each = map(self.does, bodies)
        return any("asks" in does and "closes" not in does for does in each)


LOOKS: dict[type, Look] = {}
CALLS: dict[str, Look] = {}


def on(*whats: type | str) -> Callable[[Look], Look]:
    """Register a function for such nodes, or for calls of such names."""

    def register(look: Look) -> Look:
        for what in whats:
            (CALLS if isinstance(what, str) else LOOKS)[what] = look
        return look

    return register


@on(ast.Call)
def a_call(module: Module, call: ast.Call, at: Context) -> Found:
    full = module.full(call)
    to, _, how = full.rpartition(".")
    if look := CALLS.get(called(call)) or CALLS.get(how):
        yield from look(module, call, at)
    if to == "INSTALLED_APPS" and how in {"append", "extend", "insert"}:
        yield from installed(module, call.args)
    asked = evaluates(call)
    if asked and at.loading:
        yield "query-while-loading", call
    django = full.startswith("django.db.")
    closing = full == "django.db.connection.close"
    if at.asynchronous and (closing or (asked and (django or of_rows(call)))):
        yield "sync-in-async", call
    for each in call.keywords:
        yield from setting(module, each.arg or "", each.value)


@on(ast.For)
def a_loop(module: Module, node: ast.For, at: Context) -> Found:
    if of_rows(node.iter) and at.loading:
        yield "query-while-loading", node.iter
    if of_rows(node.iter) and at.asynchronous:
        yield "sync-in-async", node.iter


@on(ast.ClassDef)
def a_class(module: Module, node: ast.ClassDef, at: Context) -> Found:
    bases = " ".join(map(called, node.bases))
    methods = {getattr(each, "name", ""): each for each in node.body}
    if "Thread" in bases and module.keep([methods.get("run", node)]):
        yield "thread-keeps-connection", node
    ready = methods.get("ready") if "Config" in bases else None
    does = module.does(ready, runs) if ready else set()
    if ready and "evaluates" in does and "closes" not in does:
        yield "query-while-loading", ready


@on(*DEFINES[:2])
def a_receiver(module: Module, node: Any, at: Context) -> Found:
    said = [n for each in node.decorator_list for n in ast.walk(each)]
    listens = {"receiver", "request_finished"} <= set(map(called, said))
    if listens and module.keep([node]):
        yield "query-after-request", node


@on("connect")
def a_signal(module: Module, call: ast.Call, at: Context) -> Found:
    whose = called(getattr(call.func, "value", None))
    bodies = module.bodies(argument(call, 0, "receiver"))
    if whose == "request_finished" and module.keep(bodies):
        yield "query-after-request", call


@on("execute", "executemany", "raw", "RunSQL", "RawSQL")
def sql(module: Module, call: ast.Call, at: Context) -> Found:
    text = module.text(argument(call, 0, "sql"))
    if called(call) == "RunSQL":
        text += f";{module.text(argument(call, 1, 'reverse_sql'))}"
    found = dict.fromkeys(rule for rule, _ in judged(text))
    if at.atomic and "temporary-table" in found:
        others = (
            str(constant(n)).lower() for n in ast.walk(at.function or call)
        )
        if any(text.lstrip().startswith("drop ") for text in others):
            found.pop("temporary-table")  # within its transaction
    yield from ((rule, call) for rule in found)


@on("iterator", "aiterator")
def iterator(module: Module, call: ast.Call, at: Context) -> Found:
    rows = {each.arg for each in call.keywords} <= {"chunk_size", None}
    whose = dotted(call.func)
    own = whose in {"self.iterator", "self.aiterator"} and call.args
    # A method that only calls super() is not yet a use.
    other = own or whose in {"super.iterator", "super.aiterator"}
    # Django itself requires a transaction for select_for_update().
    if rows and not (at.atomic or other or "select_for_update" in whose):
        yield "cursor", call


@on("cursor", "ServerCursor", "AsyncServerCursor")
def held(module: Module, call: ast.Call, at: Context) -> Found:
    if constant(argument(call, 9, "withhold")) is True:
        yield "held-cursor", call


@on("advisory", "advisory_lock")
def lock(module: Module, call: ast.Call, at: Context) -> Found:
    library = module.full(call.func).partition(".")[0]
    whole = constant(argument(call, 9, "xact", "transaction"))
    if library in {"pglock", "django_pglocks"} and whole is not True:
        yield "session-lock", call


@on("fork", "Process", "Pool", "ProcessPoolExecutor")
def fork(module: Module, call: ast.Call, at: Context) -> Found:
    forks = ("os.", "multiprocessing.", "concurrent.", "billiard.")
    django = "django" in " ".join(module.imports.values())
    closed = at.function and any(map(closes, ast.walk(at.function)))
    if django and not closed and module.full(call.func).startswith(forks):
        yield "fork", call


@on("Thread", "Timer", "submit", "map", "run_in_executor", "to_thread")
def thread(module: Module, call: ast.Call, at: Context) -> Found:
    places = {"Thread": 9, "Timer": 1, "run_in_executor": 1}  # Thread: by name
    target = argument(call, places.get(called(call), 0), "target", "function")
    whose = dotted(call.func).lower()
    if called(call) in {"submit", "map"} and not re.search("pool|exec", whose):
        return
    if module.keep(module.bodies(target)):
        yield "thread-keeps-connection", call


@on("sync_to_async", "database_sync_to_async")
def wrapped(module: Module, call: ast.Call, at: Context) -> Found:
    work = argument(call, 0)
    beside = constant(argument(call, 9, "thread_sensitive")) is False
    if isinstance(work, ast.Attribute) and dotted(work) == "connection.close":
        yield "sync-in-async", call
    if beside and module.keep(module.bodies(work)):
        yield "thread-keeps-connection", call


@on("run")
def run(module: Module, call: ast.Call, at: Context) -> Found:
    # A command ends when what it runs this way does.
    command = getattr(at.function, "name", "") == "handle"
    if command or module.full(call.func) != "asyncio.run":
        return
    for body in module.bodies(argument(call, 0)):
        does = module.does(body)
        if does & {"asks", "wraps"} and "closes" not in does:
            yield "asyncio-run", call


@on("StreamingHttpResponse")
def stream(module: Module, call: ast.Call, at: Context) -> Found:
    rows = argument(call, 0, "streaming_content")
    if isinstance(rows, ast.Name) and at.function:
        made = (n for n in ast.walk(at.function) if isinstance(n, ast.Assign))
        named = (n.value for n in made if called(n.targets[0]) == rows.id)
        rows = next(named, rows)
    if module.keep(module.bodies(rows)):
        yield "stream-keeps-connection", call


def setting(module: Module, name: str, value: ast.expr) -> Found:
    """Check a setting: a keyword, an item of a dict, or an assignment."""
    said = constant(value)
    if name == "options" and re.search(r"-c\s*\w+\s*=", module.text(value)):
        yield "startup-options", value
    elif name == "assume_role" and said:
        yield "assume-role", value
    elif name == "prepare_threshold" and isinstance(said, int):
        yield "driver-prepare", value
    elif name in {"CONN_MAX_AGE", "conn_max_age"}:
        said = age(value)
        if said is None or (isinstance(said, int) and said):
            yield "age-under-asgi", value
    elif name == "DISABLE_SERVER_SIDE_CURSORS" and said is not False:
        module.facts.add("no cursors")


def entries(node: ast.AST | None) -> dict[str, ast.expr]:
    """Return the items of a dict literal, by their keys."""
    if not isinstance(node, ast.Dict):
        return {}
    pairs = zip(node.keys, node.values, strict=True)
    return {str(constant(key)): value for key, value in pairs}


@on(ast.Dict)
def a_dict(module: Module, node: ast.Dict, at: Context) -> Found:
    items = entries(node)
    engine = module.text(items.get("ENGINE"))
    if re.search("sqlite|mysql|oracle|mssql", engine):
        return
    for name, value in items.items():
        yield from setting(module, name, value)
    pool = constant(entries(items.get("OPTIONS")).get("pool"))
    kept = age(items["CONN_MAX_AGE"]) if "CONN_MAX_AGE" in items else 0
    if pool and isinstance(kept, int) and kept:
        yield "pool-and-age", node
    where = module.text(items.get("HOST")) + str(constant(items.get("PORT")))
    open_ = "DISABLE_SERVER_SIDE_CURSORS" not in items
    if engine and open_ and re.search("6432|pgbouncer|pooler", where):
        yield "cursors-behind-pooler", node


def installed(module: Module, values: list[ast.expr]) -> Found:
    """Check the installed applications, and lists that are named there."""
    parts = [n for value in values for n in ast.walk(value)]
    named = sorted({n.id for n in parts if isinstance(n, ast.Name)})
    lists = [value for name in named for value in module.values[name]]
    for value in [*values, *lists]:
        for each in ast.walk(value):
            if str(constant(each)).partition(".")[0] in LIBRARIES:
                yield "session-library", each


@on(ast.Assign, ast.AnnAssign, ast.AugAssign)
def a_value(module: Module, node: Any, at: Context) -> Found:
    if not node.value:  # only an annotation
        return
    for target in getattr(node, "targets", None) or [node.target]:
        key = constant(getattr(target, "slice", None)) or called(target)
        yield from setting(module, str(key), node.value)
        if key == "ASGI_APPLICATION":
            module.facts.add("asgi")
        elif key == "INSTALLED_APPS":
            yield from installed(module, [node.value])


INI = {
    "ini-options": r"\s*ignore_startup_parameters\s*=.*\boptions\b",
    "ini-prepare": r"\s*max_prepared_statements\s*=\s*0\s*$",
}
Places = Iterator[tuple[str, int, int]]  # a rule, the first line and the last


def parsed(text: str) -> ast.Module:
    """Return Python's syntax tree.

    Python 3.10 recurses as deep as the text nests, and crashes where its stack
    ends: this one is enough for the largest. Newer ones raise RecursionError.
    """
    if sys.version_info.minor > 10:
        return ast.parse(text)
    before = threading.stack_size(1 << 29)
    with ThreadPoolExecutor(1) as pool:
        tree = pool.submit(ast.parse, text)
    threading.stack_size(before)
    return tree.result()


def in_python(text: str, migration: bool, facts: set[str]) -> Places:
    """Return what is found in Python, and add what it says about all files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes in strings
        module = Module(parsed(text), migration)
    facts |= module.facts
    for rule, node in module.found:
        yield rule, node.lineno, node.end_lineno or node.lineno


def in_ini(text: str) -> Places:
    """Return what is found in settings of PgBouncer."""
    for number, line in enumerate(text.split("\n"), start=1):
        for rule, pattern in INI.items():
            if re.match(pattern, line):
                yield rule, number, number


# How pg_dump and pg_dumpall begin what they write.
DUMP = re.compile(r"^-- PostgreSQL database (?:cluster )?dump$", re.M)


def in_sql(text: str) -> Places:
    """Return what is found in SQL, except in PostgreSQL's own dumps."""
    if DUMP.search(text[:200]):
        return
    lines = [end.start() for end in re.finditer("\n", text)]
    drops = re.search(r"^[ \t]*drop\s+(?:table|view)\b", text, re.I | re.M)
    for rule, at in judged(text):
        if rule != "temporary-table" or not drops:
            line = bisect_right(lines, at) + 1
            yield rule, line, line


READERS = {".ini": in_ini, ".sql": in_sql}
CODE = (".py", *READERS)


def files(path: Path) -> Iterator[Path]:
    """Return the files below a path that are code of the project."""
    if not path.is_dir():
        yield path
    refused: list[OSError] = []
    for folder, below, names in os.walk(path, onerror=refused.append):
        ours = {name for name in below if not name.startswith(".")} - SKIPPED
        links = [name for name in ours if Path(folder, name).is_symlink()]
        below[:] = sorted(ours - set(links))
        code = (name for name in names if name.endswith(CODE))
        ours = {name for name in code if not TEST.fullmatch(name)}
        yield from (Path(folder, name) for name in sorted([*links, *ours]))
    yield from (Path(error.filename) for error in refused)


def read(file: Path, path: Path) -> str:
    """Return a file's text. Raises OSError, ValueError or SyntaxError."""
    # Not resolve(), which up to Python 3.12 fails on circular links.
    if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(path)):
        raise ValueError(f"a link that leads out of {path}")
    if file.is_symlink() and file.is_dir():
        return ""  # its target is read where it is
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise ValueError("not a regular file")
    if file.stat().st_size > LARGEST:
        raise ValueError(f"larger than {LARGEST:,} bytes")
    return decode_source(file.read_bytes())


SILENT = re.compile(r"(.*?)(?:[#;]|--)\s*pooling:\s*ok\b[\s:,.-]*(.*)")


def audited(file: Path, path: Path, facts: set[str]) -> Iterator[Finding]:
    """Return what is found in a file, except what a comment silences."""
    name = file.as_posix()
    try:
        text = read(file, path)
        migration = "migrations" in file.with_suffix("").parts
        other = READERS.get(file.suffix)
        found = other(text) if other else in_python(text, migration, facts)
        places = [*found]
    except (OSError, ValueError, SyntaxError) as error:
        said = [getattr(error, of, None) for of in ("strerror", "msg")]
        why = next(filter(None, said), str(error))
        if isinstance(error, SyntaxError):
            version = f"{sys.version_info[0]}.{sys.version_info[1]}"
            why += f" (read with Python {version})"
        line = getattr(error, "lineno", None) or 1
        yield Finding(name, line, "not-read", why)
        return
    except (RecursionError, MemoryError):  # raised by Python's parser
        yield Finding(name, 1, "not-read", "nested too deeply")
        return
    lines = text.split("\n")
    silent = set()
    for number, line in enumerate(lines, start=1):
        comment = SILENT.match(line) if "pooling:" in line else None
        if comment and comment[2]:
            silent.add(number if comment[1].strip() else number + 1)
        elif comment:
            yield Finding(name, number, "no-reason", line.strip()[:LONGEST])
    for rule, first, last in places:
        if not {first, last} & silent:
            text = lines[first - 1].strip()[:LONGEST]
            yield Finding(name, first, rule, text)


def audit(paths: list[Path]) -> list[Finding]:
    """Return what is found in all files together, in the order of files."""
    facts: set[str] = set()
    found: set[Finding] = set()
    for path in paths:
        for file in files(path):
            found.update(audited(file, path, facts))
    # What one file says about all: settings that disable cursors, or name ASGI.
    left_out = {"cursor"} if "no cursors" in facts else set()
    left_out |= set() if "asgi" in facts else {"age-under-asgi"}
    return sorted(each for each in found if each.rule not in left_out)


def for_people(found: list[Finding]) -> str:
    lines = []
    for each in found:
        lines += [f"{each.file}:{each.line}: {each.rule}", f"    {each.text}"]
    for name in sorted({each.rule for each in found}):
        rule = RULES[name]
        lines += ["", f"{name} ({rule.sure}): {rule.breaks}"]
        lines += [f"    {rule.instead}", f"    {GUIDE}{rule.page}"]
    safe = (line if line.isprintable() else ascii(line) for line in lines)
    return "\n".join([*safe, "", f"findings: {len(found)}"]).lstrip("\n")


def for_programs(found: list[Finding]) -> str:
    each = [one._asdict() | RULES[one.rule]._asdict() for one in found]
    return json.dumps({"guide": GUIDE, "findings": each}, indent=1)


def as_sarif(found: list[Finding]) -> str:
    """Return SARIF 2.1.0, which code hosts show beside the lines."""
    levels = {"sure": "error", "likely": "warning", "look": "note"}
    rules = [
        {
            "id": name,
            "shortDescription": {"text": rule.breaks},
            "help": {"text": f"Instead: {rule.instead}"},
            "helpUri": GUIDE + rule.page,
            "defaultConfiguration": {"level": levels[rule.sure]},
        }
        for name, rule in RULES.items()
    ]
    results = [
        {
            "ruleId": each.rule,
            "level": levels[RULES[each.rule].sure],
            "message": {"text": f"{each.text}: {RULES[each.rule].breaks}"},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {
                            "uri": quote(os.fsencode(each.file))
                        },
                        "region": {"startLine": each.line},
                    }
                }
            ],
        }
        for each in found
    ]
    driver = {"name": "audit.py", "informationUri": GUIDE, "rules": rules}
    run = {"tool": {"driver": driver}, "results": results}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    sarif = {"$schema": schema, "version": "2.1.0", "runs": [run]}
    return json.dumps(sarif, indent=1)


def known(finding: Finding) -> tuple[str, str, str]:
    """Return what a baseline has of a finding: not its line, which may move."""
    return finding.file, finding.rule, finding.text


def is_known(row: Any) -> bool:
    """Return whether this is a row of a baseline: three strings."""
    texts = isinstance(row, list) and [type(each) for each in row]
    return texts == [str, str, str]


def without(baseline: Path, found: list[Finding]) -> list[Finding]:
    """Return findings that a baseline does not list, or lists fewer times."""
    rows = json.loads(baseline.read_bytes())
    if not isinstance(rows, list) or not all(map(is_known, rows)):
        raise ValueError("give a file that --write-baseline wrote")
    listed = Counter(map(tuple, rows))
    fresh = []
    for each in found:
        listed[known(each)] -= 1
        if listed[known(each)] < 0:
            fresh.append(each)
    return fresh


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--sarif", action="store_true")
    parser.add_argument("--baseline", type=Path, metavar="FILE")
    parser.add_argument("--write-baseline", action="store_true")
    given = parser.parse_args()
    if given.write_baseline and not given.baseline:
        parser.error("--write-baseline also needs --baseline FILE")
    for path in given.paths:
        name = str(path) if str(path).isprintable() else ascii(str(path))
        try:
            path.stat()
        except OSError as error:
            parser.error(f"{name}: {error.strerror}")
        if path.is_file() and path.suffix not in CODE:
            parser.error(f"{name}: its name ends with none of {' '.join(CODE)}")
    found = audit(given.paths)
    try:
        if given.write_baseline:
            rows = ",\n".join(json.dumps(known(each)) for each in found)
            given.baseline.write_text(f"[\n{rows}\n]\n", encoding="utf-8")
            print(f"{given.baseline}: findings written: {len(found)}")
            return 0
        if given.baseline:
            found = without(given.baseline, found)
    except (OSError, ValueError, RecursionError) as error:
        parser.error(f"{given.baseline} is not a baseline: {error}")
    forms = {given.json: for_programs, given.sarif: as_sarif}
    say(forms.get(True, for_people)(found))
    return 1 if found else 0


def say(text: str) -> None:
    """Print, even if the output's encoding lacks some characters."""
    letters = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        print(text.encode(letters, "backslashreplace").decode(letters))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has stopped, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
