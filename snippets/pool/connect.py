"""Ask Django's own pool for a connection. Run it in the example project."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.prod")
django.setup()

from django.db import connection  # noqa: E402

connection.settings_dict["CONN_MAX_AGE"] = 0
connection.settings_dict["OPTIONS"]["pool"] = True
try:
    connection.ensure_connection()
    print("connected")
except Exception as error:
    print(f"{type(error).__module__}.{type(error).__name__}: {error}")
