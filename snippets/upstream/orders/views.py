"""A few endpoints that read and write, and two health checks."""

import os
import threading

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_http_methods, require_safe

from orders.inputs import Pause, Placing, refused
from orders.models import Order


@require_http_methods(["GET", "POST"])
def orders(request: HttpRequest) -> JsonResponse:
    """List the latest orders, or place one."""
    if request.method == "POST":
        form = Placing(request.POST)
        if not form.is_valid():
            return refused(form)
        order = Order.objects.create(**form.cleaned_data)
        return JsonResponse({"id": order.pk}, status=201)
    latest = Order.objects.values("id", "customer")[:20]
    return JsonResponse({"orders": list(latest)})


# region: report
@require_safe
def report(request: HttpRequest) -> JsonResponse:
    """Count the orders, take a while, and count them again."""
    form = Pause(request.GET)
    if not form.is_valid():
        return refused(form)
    seconds = form.cleaned_data["seconds"]
    before = Order.objects.count()
    with connection.cursor() as cursor:
        cursor.execute(
            "select pg_sleep(%s)", [0.1 if seconds is None else seconds]
        )
    return JsonResponse({"before": before, "after": Order.objects.count()})


# endregion: report
# region: which
@require_safe
def which_connection(request: HttpRequest) -> JsonResponse:
    """Tell which process, thread and PostgreSQL backend served this request."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        (backend,) = cursor.fetchone()
    return JsonResponse(
        {
            "process": os.getpid(),
            "thread": threading.get_native_id(),
            "backend": backend,
        }
    )


# endregion: which
# region: health
@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """Answer as long as the process can.

    An orchestrator restarts the process when this fails, which would not
    bring a database back: so no query here.
    """
    return JsonResponse({"status": "live"})


@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """Answer whether requests may come here: only if the database answers."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
    except DatabaseError:
        return JsonResponse({"status": "database unreachable"}, status=503)
    return JsonResponse({"status": "ready"})


# endregion: health
