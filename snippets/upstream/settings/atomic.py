"""Production with one transaction around each request."""

from settings.prod import *  # noqa: F403
from settings.prod import DATABASES

DATABASES["default"]["ATOMIC_REQUESTS"] = True
