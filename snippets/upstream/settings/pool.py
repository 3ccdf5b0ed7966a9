"""Production with Django's own pool, which each process has one of."""

from settings.prod import *  # noqa: F403
from settings.prod import DATABASES

# region: pool
# As many connections as Gunicorn has threads: no request waits for one. The
# pool decides how long they live, and Django refuses an age of its own.
DATABASES["default"]["CONN_MAX_AGE"] = 0
DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 4, "max_size": 4}
# endregion: pool
