"""Settings whose password is in a file. libpq reads it at each connect."""

import os

from settings.prod import *  # noqa: F403
from settings.prod import DATABASES

DATABASES["default"].pop("PASSWORD", None)  # or libpq ignores the file
options = DATABASES["default"].setdefault("OPTIONS", {})
options["passfile"] = os.environ["DATABASE_PASSFILE"]
