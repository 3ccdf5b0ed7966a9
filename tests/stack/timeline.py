"""Who holds a server connection when: clients that go through one script, as PgBouncer's console shows them, drawn.

A step is one thing that one client does. The picture has steps for its time, so that every run draws the same one.
"""

import select
import socket
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import psycopg

from tests.stack.database import Database
from tests.stack.pgbouncer import PgBouncer
from tests.stack.wait import until

# Who does what, on two server connections. A client that waits does what it wanted once it is let in.
SCRIPT = (
    *("A begin", "B begin", "A commit", "C begin", "B commit", "A begin", "C commit", "A commit"),
    *("B begin", "C begin", "B commit", "C commit", "A leave", "C begin", "C commit", "B begin", "B commit"),
)
State = tuple[str, int]  # "transaction", "idle", "waits", "free" or "gone", and which server connection, from 1
Trace = dict[str, list[State]]  # for each client, its state after each step
Show = Callable[[str], list[dict[str, Any]]]  # show("clients")


@dataclass
class Client:
    """One client, whose statements are sent without waiting for an answer."""

    connection: psycopg.Connection[tuple]
    waits: bool = False
    within: bool = False  # a transaction

    @property
    def port(self) -> int:
        """The port by which the console knows it."""
        with socket.socket(fileno=self.connection.pgconn.socket) as shared:
            port = int(shared.getsockname()[1])
            shared.detach()
            return port

    def send(self, statement: str) -> None:
        """Send a statement."""
        self.connection.pgconn.send_query(statement.encode())
        self.waits = True

    def answered(self) -> bool:
        """Return whether the answer is there."""
        pgconn = self.connection.pgconn
        if select.select([pgconn.socket], [], [], 0)[0]:
            pgconn.consume_input()
        if not pgconn.is_busy():
            while pgconn.get_result():
                pass
            self.waits = False
        return not self.waits


def trace(bouncer: PgBouncer, database: Database) -> Trace:
    """Let clients go through the script, and return what each held after each step."""
    with bouncer.admin() as console:  # one for all, because a login costs more than the rest
        return _trace(bouncer, database, lambda what: console.execute(f"show {what}".encode()).fetchall())


def _trace(bouncer: PgBouncer, database: Database, show: Show) -> Trace:
    _open_both(bouncer, database, show)
    clients = {name: Client(bouncer.connect(database)) for name in "ABC"}
    seen: Trace = {name: [] for name in clients}
    numbers: dict[str, int] = {}  # of the server connections
    for step in SCRIPT:
        name, what = step.split()
        client = clients[name]
        if what == "leave":
            client.connection.close()
            for other in clients.values():
                if other.waits:
                    until("the waiting client gets a server connection", other.answered)
                    other.within = True
        elif not client.waits and client.within == (what == "commit"):
            client.send(what)
            until(step, lambda c=client: c.answered() or _row(show("clients"), c)["state"] == "waiting")
            client.within = what == "begin" and not client.waits
        rows = show("clients")
        for each, one in clients.items():
            seen[each].append(_state(rows, one, numbers))
    for client in clients.values():
        client.connection.close()
    return seen


def _open_both(bouncer: PgBouncer, database: Database, show: Show) -> None:
    """Have both server connections open, so that nobody waits for one to be opened."""
    with bouncer.connect(database) as one, bouncer.connect(database) as other:
        for statement in ("begin", "commit"):
            one.execute(statement)
            other.execute(statement)
    until("two server connections are idle", lambda: [row["sv_idle"] for row in show("pools") if row["sv_idle"] == 2])


def _row(rows: list[dict[str, Any]], client: Client) -> dict[str, Any]:
    """Return what SHOW CLIENTS says of one client."""
    (row,) = [row for row in rows if row["port"] == client.port]
    return row


def _state(rows: list[dict[str, Any]], client: Client, numbers: dict[str, int]) -> State:
    if client.connection.closed:
        return "gone", 0
    if client.waits:
        return "waits", 0
    link = _row(rows, client)["link"]
    if not link:
        return "free", 0
    return "transaction" if client.within else "idle", numbers.setdefault(link, len(numbers) + 1)


# ---- the drawing ---------------------------------------------------------------------------------------------

LEFT, WIDTH, STEP, ROW = 66, 360, 17, 30  # no wider: a phone shows it with text of 11 px
HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" \
aria-labelledby="who-holds-title who-holds-text">
  <title id="who-holds-title">Who holds a server connection when</title>
  <desc id="who-holds-text">{text}</desc>
"""
TEXT = (
    "Two time lines of the same three clients on two server connections, as PgBouncer showed them. In session mode the"
    " first two hold one each from their first statement until they leave, idle for most of the time; the third waits"
    " until one has left. In transaction mode each holds one only within its transactions, and nobody waits."
)
KEY = (
    ("transaction", "a transaction, on either server connection"),
    ("idle", "idle, and holding a server connection"),
    ("free", "connected to PgBouncer alone"),
)


def draw(traces: dict[str, Trace]) -> str:
    """Return an SVG with a time line for each mode, in the classes of the site's stylesheet."""
    lines, y = [], 20
    for mode, traced in traces.items():
        lines.append(f'<text x="10" y="{y}">{mode} mode</text>')
        for name, states in traced.items():
            y += ROW
            lines.append(f'<text class="small" x="10" y="{y}">client {name}</text>')
            x = LEFT
            for state, same in groupby(states):
                width = STEP * len(list(same))
                lines += _shape(state, x, y, width)
                x += width
        y += 56
    for kind, what in KEY:
        for number in (1, 2) if kind == "transaction" else (1,):
            lines += _shape((kind, number), 10 + 24 * (number - 1), y - 6, 22 if kind == "transaction" else 46)
        lines.append(f'<text class="small" x="66" y="{y - 6}">{what}</text>')
        y += 22
    return HEAD.format(width=WIDTH, height=y - 16, text=TEXT) + "".join(f"  {line}\n" for line in lines) + "</svg>\n"


def _shape(state: State, x: int, y: int, width: int) -> list[str]:
    """Return what stands for a state that lasts for a while."""
    kind, number = state
    if kind in ("transaction", "idle"):
        colour = "quiet" if kind == "idle" else ("strong", "other")[number - 1]
        return [f'<rect class="{colour}" x="{x}" y="{y - 14}" width="{width}" height="20" rx="4"/>']
    if kind == "waits":
        return [f'<text class="small" x="{x + 4}" y="{y}">waits until one leaves</text>']
    return [f'<path class="dash" d="M{x} {y - 4}h{width}"/>'] if kind == "free" else []
