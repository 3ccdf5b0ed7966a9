"""The tenants, and the host names under which each is reached."""

from django_tenants.models import DomainMixin, TenantMixin


class Tenant(TenantMixin):
    """A customer with a schema of its own, created along with it."""


class Domain(DomainMixin):
    """A tenant's host name."""
