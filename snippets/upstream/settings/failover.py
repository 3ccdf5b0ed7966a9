"""Production on several servers, where the one that takes writes can change.

DATABASE_URL names them all: postgresql://…@db1,db2,db3:5432/upstream
"""

from settings.prod import *  # noqa: F403
from settings.prod import DATABASES

# region: options
options = DATABASES["default"].setdefault("OPTIONS", {})
options |= {
    # Of the hosts, use the one that takes writes.
    "target_session_attrs": "read-write",
    # Seconds until the next host is tried.
    "connect_timeout": 3,
    # Milliseconds that sent data may stay unacknowledged, or unread by the
    # other side, until the connection is closed; seconds of silence until the
    # first keepalive probe, and between probes; how many lost ones close it.
    "tcp_user_timeout": 9_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
}
# endregion: options
