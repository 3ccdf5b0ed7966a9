"""The example project with a schema for each tenant, by django-tenants."""

from settings.prod import *  # noqa: F403
from settings.prod import DATABASES, MIDDLEWARE

DATABASES["default"]["ENGINE"] = "django_tenants.postgresql_backend"
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
# What all tenants share, in the schema public, and what each has of its own.
SHARED_APPS = ["django_tenants", "django.contrib.contenttypes", "tenants"]
TENANT_APPS = ["orders"]
INSTALLED_APPS = [*SHARED_APPS, *TENANT_APPS]
TENANT_MODEL = "tenants.Tenant"
TENANT_DOMAIN_MODEL = "tenants.Domain"
MIDDLEWARE = [
    "django_tenants.middleware.main.TenantMainMiddleware",
    *MIDDLEWARE,
]
