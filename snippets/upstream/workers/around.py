"""Look after connections around work, as Django does around a request.

It closes those that are broken or past their age, and has the rest checked.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django.db import close_old_connections

P = ParamSpec("P")
T = TypeVar("T")


def like_a_request(work: Callable[P, T]) -> Callable[P, T]:
    @wraps(work)
    def around(*args: P.args, **kwargs: P.kwargs) -> T:
        close_old_connections()
        try:
            return work(*args, **kwargs)
        finally:
            close_old_connections()

    return around
