"""Django's own pool in front of PgBouncer: the settings of both."""

from settings.pgbouncer import *  # noqa: F403
from settings.pool import DATABASES  # noqa: F401  (the same, with a pool)
