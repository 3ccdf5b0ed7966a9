"""Place an order and charge for it, through another company's service."""

import http.client
import os

from django.db import connection, transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_POST

from orders.models import Order


def charge() -> int:
    """Call the other service; return its status. It uses no database."""
    host = os.environ.get("PAYMENTS_HOST", "127.0.0.1:9000")
    seconds = float(os.environ.get("PAYMENTS_TIMEOUT", "10"))
    service = http.client.HTTPConnection(host, timeout=seconds)
    try:
        service.request("POST", "/charge")
        return service.getresponse().status
    finally:
        service.close()


# region: held
@require_POST
def pay_and_hold(request: HttpRequest) -> JsonResponse:
    """Hold the transaction of ATOMIC_REQUESTS open during the call."""
    order = Order.objects.create(customer="Ada")
    return JsonResponse({"id": order.pk, "charged": charge() == 200})


# endregion: held
# region: released
@transaction.non_atomic_requests
@require_POST
def pay(request: HttpRequest) -> JsonResponse:
    """Write, call, write: two short transactions and none during the call."""
    with transaction.atomic():
        order = Order.objects.create(customer="Ada")
    charged = False
    try:
        charged = charge() == 200
    finally:  # even if the service did not answer
        if not charged:
            with transaction.atomic():
                order.delete()
    return JsonResponse({"id": order.pk, "charged": charged})


# endregion: released
# region: given-back
@transaction.non_atomic_requests
@require_POST
def invoice(request: HttpRequest) -> JsonResponse:
    """Charge for all orders; others get the connection during the call."""
    orders = Order.objects.count()
    connection.close()  # back into Django's own pool
    return JsonResponse({"orders": orders, "charged": charge() == 200})


# endregion: given-back
