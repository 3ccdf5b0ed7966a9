"""A report whose cost grows with the orders that it reads."""

from django.db.models import Count
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_GET

from orders.inputs import Among, refused
from orders.models import Order


# region: busiest
@require_GET
def busiest(request: HttpRequest) -> JsonResponse:
    """Name the customers with the most orders among the first orders."""
    form = Among(request.GET)
    if not form.is_valid():
        return refused(form)
    first = form.cleaned_data["first"] or 1
    customers = (
        Order.objects.filter(pk__lte=first)
        .values("customer")
        .annotate(orders=Count("pk"))
        .order_by("-orders", "customer")[:5]
    )
    return JsonResponse({"customers": list(customers)})


# endregion: busiest
