"""Production with Django's own pool: one in each process."""

from settings.environment import connections
from settings.prod import *  # noqa: F403
from settings.prod import DATABASES

# region: pool
# As many connections as Gunicorn has threads, so no request waits for one.
# The pool decides how long they live: Django refuses any CONN_MAX_AGE but 0.
size = connections("DB_POOL_SIZE", default=4)
DATABASES["default"]["CONN_MAX_AGE"] = 0
options = DATABASES["default"].setdefault("OPTIONS", {})
options["pool"] = {"min_size": size, "max_size": size}
# endregion: pool
