"""For `manage.py test`: both aliases lead past PgBouncer.

Tests make a database and drop it. PgBouncer knows nothing of the new one, and
its idle connections would keep it from being dropped.
"""

from settings.pgbouncer import *  # noqa: F403
from settings.pgbouncer import DATABASES

DATABASES["default"] = DATABASES["direct"]
