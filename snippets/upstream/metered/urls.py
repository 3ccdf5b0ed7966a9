"""The project's URLs, and /metrics for Prometheus."""

import urls
from django.http import HttpRequest, HttpResponse
from django.urls import path
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from prometheus_client.exposition import CONTENT_TYPE_LATEST


def metrics(request: HttpRequest) -> HttpResponse:
    """Add up what all worker processes counted, and answer for all."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return HttpResponse(generate_latest(registry), CONTENT_TYPE_LATEST)


urlpatterns = [*urls.urlpatterns, path("metrics", metrics)]
