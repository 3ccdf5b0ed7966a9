"""Let each query name its view, for logs and pg_stat_activity."""

from collections.abc import Callable
from typing import Any

from django.db import connection
from django.http import HttpRequest, HttpResponse

Answer = Callable[[HttpRequest], HttpResponse]


def name_the_view(get_response: Answer) -> Answer:
    """Middleware that puts the view's name before each query."""

    def answer(request: HttpRequest) -> HttpResponse:
        def named(execute: Any, sql: Any, *others: Any) -> Any:
            match = request.resolver_match
            name = match.view_name if match else "middleware"
            if isinstance(sql, str):  # else the driver composes it later
                sql = f"/* {name} */ {sql}"
            return execute(sql, *others)

        with connection.execute_wrapper(named):
            return get_response(request)

    return answer
