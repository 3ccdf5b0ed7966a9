"""Production with its database across a network."""

from settings.prod import *  # noqa: F403
from settings.prod import DATABASES

# region: options
options = DATABASES["default"].setdefault("OPTIONS", {})
options |= {
    # Seconds until an attempt to connect times out, for each address.
    "connect_timeout": 5,
    # Milliseconds that sent data may stay unacknowledged, or unread by the
    # other side, until the connection is closed: as long as the silence and
    # all probes below, or else the first lost probe closes it.
    "tcp_user_timeout": 45_000,
    # Seconds of silence until the first keepalive probe, seconds between
    # probes, and how many lost ones close the connection.
    "keepalives_idle": 30,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
# endregion: options
