"""Production behind PgBouncer in transaction mode, and a way around it."""

from settings.environment import database
from settings.prod import *  # noqa: F403
from settings.prod import DATABASES

# region: pooled
# DATABASE_URL leads to PgBouncer. A cursor on the server would need the same
# server connection for each batch of rows, which only a transaction keeps.
DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = True
# endregion: pooled

# region: direct
# DATABASE_DIRECT_URL leads to PostgreSQL itself, for whatever needs a session.
past_the_pooler = database("DATABASE_DIRECT_URL")
DATABASES["direct"] = {
    **DATABASES["default"],
    **past_the_pooler,
    "DISABLE_SERVER_SIDE_CURSORS": False,
    # Few need it, and seldom: it is closed when they are done.
    "CONN_MAX_AGE": 0,
    "OPTIONS": {
        **past_the_pooler.get("OPTIONS", {}),
        "application_name": "upstream-direct",
    },
}
# endregion: direct
