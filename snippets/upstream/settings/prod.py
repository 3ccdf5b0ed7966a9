"""Production: what matters to connections comes from the environment."""

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
        # What the URL asks for behind a "?", and what PostgreSQL shows for
        # these connections in pg_stat_activity.
        "OPTIONS": {**named.get("OPTIONS", {}), "application_name": "upstream"},
    }
}
# endregion: databases
