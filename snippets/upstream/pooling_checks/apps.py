"""System checks for database connections: add the app to INSTALLED_APPS."""

import sys

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db.backends.signals import connection_created

from . import keeping, loaded, production, server, told, transaction_mode

# Before any other app is ready, and only to find queries that come too early.
if sys.argv[1:2] == ["check"]:
    connection_created.connect(loaded.note)


class PoolingChecksConfig(AppConfig):
    name = __name__.rpartition(".")[0]  # wherever you put the folder
    label = "pooling_checks"

    def ready(self) -> None:
        for check in (told.check, keeping.check, loaded.check):
            register(check, "pooling")
        register(transaction_mode.check, "pooling")
        register(production.check, "pooling", deploy=True)
        # The tag tells Django that it needs a server.
        register(server.check, "pooling", Tags.database)
