"""Production with a database on the other side of a network."""

from settings.prod import *  # noqa: F403
from settings.prod import DATABASES

# region: options
options = DATABASES["default"].setdefault("OPTIONS", {})
options |= {
    # Seconds until a connect is given up, for each address that a name has.
    "connect_timeout": 5,
    # Milliseconds until a connection is given up on which something was sent
    # that nobody confirms, or that the other side does not read: as long as
    # the silence and all probes below, or the first one that is lost ends it.
    "tcp_user_timeout": 45_000,
    # Seconds of silence until it is asked whether the other side is there,
    # seconds between two such probes, and how many may be lost.
    "keepalives_idle": 30,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
# endregion: options
