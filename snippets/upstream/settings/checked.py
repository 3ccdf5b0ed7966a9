"""Production, with the checks of pooling_checks."""

from settings.base import INSTALLED_APPS
from settings.prod import *  # noqa: F403

INSTALLED_APPS = ["pooling_checks", *INSTALLED_APPS]
# As in gunicorn.conf.py, unless its environment variables differ.
POOLING_CHECKS = {"PROCESSES": 2, "THREADS": 4}
