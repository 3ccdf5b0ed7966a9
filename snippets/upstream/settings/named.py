"""Production with ATOMIC_REQUESTS, and each statement naming its view."""

from settings.atomic import *  # noqa: F403
from settings.base import MIDDLEWARE

MIDDLEWARE = [*MIDDLEWARE, "orders.naming.name_the_view"]
