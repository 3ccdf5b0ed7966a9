"""Who the tenants are, and under which host name each one is reached."""

from django_tenants.models import DomainMixin, TenantMixin


class Tenant(TenantMixin):
    """A customer with a schema of its own, which is made with it."""


class Domain(DomainMixin):
    """A host name of a tenant's."""
