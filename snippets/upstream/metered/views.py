"""/metrics for Prometheus."""

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from prometheus_client.exposition import CONTENT_TYPE_LATEST


# With ATOMIC_REQUESTS it would itself wait for one of the connections.
@transaction.non_atomic_requests
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the sum of what all worker processes have counted."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return HttpResponse(generate_latest(registry), CONTENT_TYPE_LATEST)
