"""The orders app, which is all this project has."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    name = "orders"
