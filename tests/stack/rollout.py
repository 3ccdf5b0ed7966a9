"""Which PgBouncer serves whom while one takes over from another: clients that go through one script, drawn.

A step is one thing that the platform or one client does. The picture has steps for its time, so that every run draws
the same one.
"""

from itertools import groupby
from signal import SIGKILL, SIGTERM

import psycopg

from tests.stack.database import Database
from tests.stack.handover import Handover
from tests.stack.pgbouncer import PgBouncer
from tests.stack.wait import until

# A, B and C are connected. D comes while a node still sends it to the old one. Who "moves" has a connection that has
# reached its age, closes it and opens another; C has no request until the grace has ended.
SCRIPT = ("connected", "lead", "D comes", "A moves", "term", "D moves", "B moves", "kill", "C moves", "over")
EVENTS = {"lead": "preStop", "term": "SIGTERM", "kill": "SIGKILL"}
Trace = dict[str, list[str]]  # for each client "old", "new" or nothing, after each step


def trace(old: PgBouncer, new: PgBouncer, database: Database) -> Trace:
    """Take over from one PgBouncer, and return who served each client after each step, as their consoles showed it."""
    service = Handover(old.port)
    connections: dict[str, psycopg.Connection[tuple]] = {}

    def connect(name: str, port: int) -> None:
        url = old.url(database).replace(f":{old.port}/", f":{port}/")
        connections[name] = psycopg.connect(url, autocommit=True, application_name=name)
        connections[name].execute("select 1")

    for name in "ABC":
        connect(name, service.port)
    seen: Trace = {name: [] for name in "ABCD"}
    for step in SCRIPT:
        name, _, does = step.partition(" ")
        if step == "lead":
            service.lead(new.port)
        elif step == "term":
            old.leash.signal(SIGTERM)
            until("the old PgBouncer takes no new client", lambda: _refuses(old, database))
        elif step == "kill":
            old.leash.halt(SIGKILL)
        elif does == "comes":
            connect(name, old.port)
        elif does == "moves":
            connections[name].close()
            # It has left when PgBouncer has noticed.
            until(f"client {name} has left the old PgBouncer", lambda left=name: left not in served(old, new))
            connect(name, service.port)
        now = served(old, new)
        for each, states in seen.items():
            states.append(now.get(each, ""))
    for connection in connections.values():
        connection.close()
    service.stop()
    return seen


def served(old: PgBouncer, new: PgBouncer) -> dict[str, str]:
    """Return by which of the two each client is served, as their consoles show it."""
    poolers = {"new": new} | ({} if old.leash.ended() else {"old": old})
    return {row["application_name"]: which for which, of in poolers.items() for row in of.show("clients")}


def _refuses(bouncer: PgBouncer, database: Database) -> bool:
    try:
        bouncer.connect(database).close()
    except psycopg.OperationalError:
        return True
    return False


# ---- the drawing ---------------------------------------------------------------------------------------------

LEFT, WIDTH, STEP, ROW, TOP = 66, 360, 29, 30, 54  # no wider: a phone shows it with text of 11 px
HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" \
aria-labelledby="rollout-title rollout-text">
  <title id="rollout-title">Who is served by which PgBouncer during a rollout</title>
  <desc id="rollout-text">{text}</desc>
"""
TEXT = (
    "Four clients in the steps of a rollout, as both PgBouncers showed them. While preStop lasts, a late one still gets"
    " to the old PgBouncer, and the first moves to the new one. After SIGTERM two more move when their connections have"
    " reached their age. The last one, which has no request meanwhile, is cut off by SIGKILL and comes to the new one"
    " with its next request."
)


def draw(traced: Trace) -> str:
    """Return an SVG with a line for each client, in the classes of the site's stylesheet."""
    bottom = TOP + ROW * len(traced)
    lines = []
    for step, event in EVENTS.items():
        x = LEFT + STEP * SCRIPT.index(step)
        lines.append(f'<text class="small" x="{x + 5}" y="20">{event}</text>')
        lines.append(f'<path class="dash" d="M{x} 8V{bottom - 16}"/>')
    for row, (name, states) in enumerate(traced.items()):
        y = TOP + ROW * row
        lines.append(f'<text class="small" x="10" y="{y}">client {name}</text>')
        x = LEFT
        for state, same in groupby(states):
            width = STEP * len(list(same))
            lines += [_bar(state, x, y, width)] if state else []
            x += width
    for state, what in {"old": "served by the old PgBouncer", "new": "served by the new one"}.items():
        bottom += 26
        lines.append(_bar(state, 10, bottom, 46))
        lines.append(f'<text class="small" x="66" y="{bottom}">{what}</text>')
    return (
        HEAD.format(width=WIDTH, height=bottom + 12, text=TEXT) + "".join(f"  {line}\n" for line in lines) + "</svg>\n"
    )


def _bar(state: str, x: int, y: int, width: int) -> str:
    """Return what stands for being served by one of them for a while."""
    colour = "strong" if state == "old" else "other"
    return f'<rect class="{colour}" x="{x}" y="{y - 14}" width="{width}" height="20" rx="4"/>'
