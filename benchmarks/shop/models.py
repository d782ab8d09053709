"""What the contenders save: the slimmest model there can be, and one as shops have them."""

from django.db import models


class Item(models.Model):
    """Four columns, none of which is indexed: hardly any model is so quickly saved."""

    name = models.CharField(max_length=100)
    owner = models.CharField(max_length=100)
    amount = models.IntegerField(default=0)
    changed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "bench_item"

    def __str__(self) -> str:
        return self.name


class Customer(models.Model):
    """Whose orders there are."""

    name = models.CharField(max_length=100)

    class Meta:
        db_table = "bench_customer"

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    """A model as many are: something to know it by, a state, a few values, and when it was made and changed."""

    name = models.CharField(max_length=100, unique=True)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT)
    owner = models.CharField(max_length=100)
    status = models.CharField(max_length=20, db_index=True)
    amount = models.IntegerField(default=0)
    price = models.DecimalField(max_digits=12, decimal_places=2, default=0)
    currency = models.CharField(max_length=3, default="EUR")
    address = models.TextField(blank=True)
    note = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True, db_index=True)

    class Meta:
        db_table = "bench_order"

    def __str__(self) -> str:
        return self.name
