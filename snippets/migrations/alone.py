"""Migrate in one container at a time: python alone.py, beside manage.py."""

import time

import django

django.setup()

from django.core.management import call_command  # noqa: E402  (Django is set up)
from orders.locks import exclusive  # noqa: E402

migrated = False
while not migrated:
    with exclusive(1) as alone:
        if alone:
            call_command("migrate", database="direct", verbosity=0)
            migrated = True
    if not migrated:
        time.sleep(1)  # no wait in the database: that can deadlock an index
