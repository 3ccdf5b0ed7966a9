"""System checks for database connections: name the app in INSTALLED_APPS."""

import sys

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db.backends.signals import connection_created

from . import keeping, loaded, production, server, told, transaction_mode

# Before any other app is ready; and only to find what is asked for too early.
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
        # By this tag Django knows that it wants a server.
        register(server.check, "pooling", Tags.database)
