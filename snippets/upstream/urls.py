"""Every URL of the project."""

from django.urls import path
from orders import views

urlpatterns = [
    path("orders/", views.orders),
    path("orders/report/", views.report),
    path("connection/", views.which_connection),
    path("health/live/", views.live),
    path("health/ready/", views.ready),
]
