"""Production: connection settings come from the environment."""

from settings.base import *  # noqa: F403
from settings.environment import database, flag, seconds

DEBUG = False

# region: databases
named = database("DATABASE_URL")

DATABASES = {
    "default": {
        **named,
        "CONN_MAX_AGE": seconds("DB_CONN_MAX_AGE", default=60),
        "CONN_HEALTH_CHECKS": flag("DB_CONN_HEALTH_CHECKS", default=True),
        # The options after the URL's "?", and the name that pg_stat_activity
        # shows for these connections.
        "OPTIONS": {**named.get("OPTIONS", {}), "application_name": "upstream"},
    }
}
# endregion: databases
