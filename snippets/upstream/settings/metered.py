"""Production, with metrics of its connections at /metrics."""

from settings.prod import *  # noqa: F403
from settings.prod import DATABASES

DATABASES["default"]["ENGINE"] = "metered"
ROOT_URLCONF = "metered.urls"
