"""Every URL of the project."""

from django.urls import path
from orders import asynchronous, health, payments, reports, views

urlpatterns = [
    path("orders/", views.orders),
    path("orders/report/", views.report),
    path("orders/busiest/", reports.busiest),
    path("orders/pay/", payments.pay),
    path("orders/pay-and-hold/", payments.pay_and_hold),
    path("orders/invoice/", payments.invoice),
    path("orders/feed/", asynchronous.feed),
    path("orders/feed-and-hold/", asynchronous.feed_and_hold),
    path("connection/", views.which_connection),
    path("health/live/", views.live),
    path("health/ready/", views.ready),
    path("health/reachable/", health.reachable),
]
