"""Production that reads from a replica and writes to the primary."""

from settings.base import MIDDLEWARE
from settings.environment import database
from settings.prod import *  # noqa: F403
from settings.prod import DATABASES

# region: replica
# DATABASE_URL points to the primary, DATABASE_REPLICA_URL to its replica.
replica = database("DATABASE_REPLICA_URL")
DATABASES["replica"] = {
    **DATABASES["default"],
    **replica,
    "OPTIONS": {
        **replica.get("OPTIONS", {}),
        "application_name": "upstream-replica",
    },
}
DATABASE_ROUTERS = ["orders.replicas.Router"]
MIDDLEWARE = ["orders.replicas.ReadYourWrites", *MIDDLEWARE]
# endregion: replica
