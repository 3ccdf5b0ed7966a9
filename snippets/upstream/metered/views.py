"""/metrics for Prometheus."""

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from prometheus_client.exposition import CONTENT_TYPE_LATEST


# Under ATOMIC_REQUESTS it would wait for a connection with those it counts.
@transaction.non_atomic_requests
def metrics(request: HttpRequest) -> HttpResponse:
    """Add up what all worker processes counted, and answer for all."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return HttpResponse(generate_latest(registry), CONTENT_TYPE_LATEST)
