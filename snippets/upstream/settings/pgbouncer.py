"""Production behind PgBouncer in transaction mode, with a direct alias."""

from settings.environment import database
from settings.prod import *  # noqa: F403
from settings.prod import DATABASES

# region: pooled
# DATABASE_URL points to PgBouncer. A server-side cursor needs the same server
# connection for every batch of rows, which only a transaction guarantees.
DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = True
# endregion: pooled

# region: direct
# DATABASE_DIRECT_URL points to PostgreSQL itself, for what needs a session.
past_the_pooler = database("DATABASE_DIRECT_URL")
DATABASES["direct"] = {
    **DATABASES["default"],
    **past_the_pooler,
    "DISABLE_SERVER_SIDE_CURSORS": False,
    # Rarely needed, so it is closed when the request ends.
    "CONN_MAX_AGE": 0,
    "OPTIONS": {
        **past_the_pooler.get("OPTIONS", {}),
        "application_name": "upstream-direct",
    },
}
# endregion: direct
