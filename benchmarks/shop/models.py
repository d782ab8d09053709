"""What the contenders save."""

from django.db import models


class Item(models.Model):
    """What is saved."""

    name = models.CharField(max_length=100)
    owner = models.CharField(max_length=100)
    amount = models.IntegerField(default=0)
    changed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "bench_item"

    def __str__(self) -> str:
        return self.name
