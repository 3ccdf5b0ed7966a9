"""The same behind PgBouncer in transaction mode."""

from tenants.settings import *  # noqa: F403
from tenants.settings import DATABASES

# Each request is a transaction, and each transaction sets its tenant.
DATABASES["default"]["ENGINE"] = "tenants.local"
DATABASES["default"]["ATOMIC_REQUESTS"] = True
