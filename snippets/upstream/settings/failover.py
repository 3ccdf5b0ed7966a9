"""Production on several servers, of which one takes writes: which one changes.

DATABASE_URL names them all: postgresql://…@db1,db2,db3:5432/upstream
"""

from settings.prod import *  # noqa: F403
from settings.prod import DATABASES

# region: options
options = DATABASES["default"].setdefault("OPTIONS", {})
options |= {
    # Of the hosts, take the one that writes.
    "target_session_attrs": "read-write",
    # Seconds until the next host is asked.
    "connect_timeout": 3,
    # Milliseconds until a connection is given up on which something was sent
    # that nobody confirms, or that the other side does not read, and seconds
    # of silence until it is asked whether the other side is there.
    "tcp_user_timeout": 9_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
}
# endregion: options
