"""Behind PgBouncer, with Django's own pool before it: settings of both."""

from settings.pgbouncer import *  # noqa: F403
from settings.pool import DATABASES  # noqa: F401  (the same, with a pool)
