"""For `manage.py test`: both aliases bypass PgBouncer.

Tests create a database and drop it. PgBouncer does not know the new one, and
its idle connections would keep it from being dropped.
"""

from settings.pgbouncer import *  # noqa: F403
from settings.pgbouncer import DATABASES

DATABASES["default"] = DATABASES["direct"]
