"""Production with ATOMIC_REQUESTS, where each query names its view."""

from settings.atomic import *  # noqa: F403
from settings.base import MIDDLEWARE

MIDDLEWARE = [*MIDDLEWARE, "orders.naming.name_the_view"]
