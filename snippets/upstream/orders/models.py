"""What the example stores."""

from django.db import models


class Order(models.Model):
    """An order that a customer placed."""

    customer = models.CharField(max_length=100)
    placed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-placed_at",)

    def __str__(self) -> str:
        return f"order {self.pk} of {self.customer}"
