"""Production, with Celery."""

import os

from settings.prod import *  # noqa: F403

CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL", "redis://127.0.0.1")
