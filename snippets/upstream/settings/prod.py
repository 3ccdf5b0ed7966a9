"""Production: what matters to connections comes from the environment."""

from settings.base import *  # noqa: F403
from settings.environment import database, flag, seconds

DEBUG = False

# region: databases
DATABASES = {
    "default": {
        **database("DATABASE_URL"),
        "CONN_MAX_AGE": seconds("DB_CONN_MAX_AGE", default=60),
        "CONN_HEALTH_CHECKS": flag("DB_CONN_HEALTH_CHECKS", default=True),
        # What PostgreSQL shows for these connections in pg_stat_activity.
        "OPTIONS": {"application_name": "upstream"},
    }
}
# endregion: databases
