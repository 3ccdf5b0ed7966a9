"""Production with Django's own pool, which each process has one of."""

from settings.environment import connections
from settings.prod import *  # noqa: F403
from settings.prod import DATABASES

# region: pool
# As many connections as Gunicorn has threads: no request waits for another's.
# The pool decides how long they live, and Django refuses an age of its own.
size = connections("DB_POOL_SIZE", default=4)
DATABASES["default"]["CONN_MAX_AGE"] = 0
options = DATABASES["default"].setdefault("OPTIONS", {})
options["pool"] = {"min_size": size, "max_size": size}
# endregion: pool
