"""The project's URLs, and /metrics for Prometheus."""

import urls
from django.urls import path

from metered.views import metrics

urlpatterns = [*urls.urlpatterns, path("metrics", metrics)]
