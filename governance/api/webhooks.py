"""Webhooks: who is told of which facts, and what was delivered."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import Endpoint, PageQuery, operation
from governance import callbacks, webhooks
from governance.api import shapes
from governance.models import Delivery, Webhook

TAG = "webhooks"


class WebhookQuery(PageQuery):
    """Filters of the list."""

    is_active = s.BooleanField(required=False, allow_null=True, default=None)


class DeliveryQuery(PageQuery):
    """Filters of the list."""

    state = s.ChoiceField(Delivery.State.choices, required=False)
    fact = s.CharField(required=False, max_length=100)


class AllDeliveriesQuery(DeliveryQuery):
    """Filters of the list."""

    contract_id = s.UUIDField(required=False, help_text="Callbacks of this contract.")


class Webhooks(Endpoint):
    """`/webhooks`"""

    write_scope = "proposals"

    @operation(
        "list_webhooks",
        "Receivers of facts, newest first",
        tag=TAG,
        asks="webhooks.read",
        query=WebhookQuery,
        answer=[shapes.WebhookShape],
    )
    def get(self, request: Request) -> Response:
        """Without their secrets."""
        rows = Webhook.objects.all()
        if self.query["is_active"] is not None:
            rows = rows.filter(is_active=self.query["is_active"])
        return self.page(self.visible(rows), shapes.webhook)

    @operation(
        "create_webhook",
        "Tell an address of facts",
        tag=TAG,
        asks="webhooks.manage",
        body=shapes.WebhookRequest,
        answer=shapes.WebhookWithSecret,
        status=201,
        example={"url": "https://hooks.example.org/grace", "facts": ["approval.*", "contract.verified"]},
        description="Deliveries are CloudEvents 1.0, signed to the Standard Webhooks specification, retried with "
        "backoff. An address that is not public is refused unless HTTP_ALLOWED_URLS names it.",
    )
    def post(self, request: Request) -> Response:
        """The secret is in this answer and nowhere else."""
        created = webhooks.create(url=self.body["url"], facts=self.body["facts"], by=self.actor, now=self.now)
        return self.answer_once({**shapes.webhook(created.webhook), "secret": created.secret}, status=201)


class OneWebhook(Endpoint):
    """`/webhooks/{id}`"""

    write_scope = "proposals"

    @operation("get_webhook", "One receiver", tag=TAG, asks="webhooks.read", answer=shapes.WebhookShape)
    def get(self, request: Request, id: UUID) -> Response:
        """Without its secret."""
        return self.answer(shapes.webhook(self.find(Webhook.objects.all(), id=id)))

    @operation("delete_webhook", "Tell an address no more", tag=TAG, asks="webhooks.manage")
    def delete(self, request: Request, id: UUID) -> Response:
        """It is switched off; what was delivered stays listed."""
        webhooks.switch_off(webhook_id=id, by=self.actor, now=self.now)
        return Response(status=204)


class RotateWebhook(Endpoint):
    """`/webhooks/{id}/rotate`"""

    write_scope = "proposals"

    @operation(
        "rotate_webhook_secret",
        "A new signing secret",
        tag=TAG,
        asks="webhooks.manage",
        body=shapes.RotateSecretRequest,
        answer=shapes.WebhookWithSecret,
        example={"overlap_minutes": 60},
        description="For the overlap (a day unless said otherwise, none for 0) every delivery carries two signatures, "
        "as Standard Webhooks describes it, so that no delivery is lost while the receiver changes over.",
    )
    def post(self, request: Request, id: UUID) -> Response:
        """The secret is in this answer and nowhere else."""
        overlap = timedelta(minutes=self.body["overlap_minutes"])
        rotated = webhooks.rotate(webhook_id=id, overlap=overlap, by=self.actor, now=self.now)
        return self.answer_once({**shapes.webhook(rotated.webhook), "secret": rotated.secret})


class Deliveries(Endpoint):
    """`/webhooks/{id}/deliveries`"""

    @operation(
        "list_deliveries",
        "What was sent to a receiver, newest first",
        tag=TAG,
        asks="webhooks.read",
        query=DeliveryQuery,
        answer=[shapes.DeliveryShape],
    )
    def get(self, request: Request, id: UUID) -> Response:
        """Each with the state of its last attempt."""
        webhook = self.find(Webhook.objects.all(), id=id)
        wanted = {name: self.query[name] for name in ("state", "fact") if name in self.query}
        return self.page(webhook.deliveries.filter(**wanted).defer("payload"), shapes.delivery)


class AllDeliveries(Endpoint):
    """`/deliveries`"""

    @operation(
        "list_all_deliveries",
        "What was sent to webhooks and callbacks, newest first",
        tag=TAG,
        asks="webhooks.read",
        query=AllDeliveriesQuery,
        answer=[shapes.DeliveryShape],
    )
    def get(self, request: Request) -> Response:
        """Each with the state of its last attempt; `state=dead` lists what nobody will try again by itself."""
        wanted = {name: self.query[name] for name in ("state", "fact", "contract_id") if name in self.query}
        return self.page(self.visible(Delivery.objects.filter(**wanted).defer("payload")), shapes.delivery)


class Redeliver(Endpoint):
    """`/deliveries/{id}/redeliver`"""

    write_scope = "proposals"

    @operation(
        "redeliver",
        "Send a delivery again",
        tag=TAG,
        asks="webhooks.manage",
        answer=shapes.DeliveryShape,
        status=202,
    )
    def post(self, request: Request, id: UUID) -> Response:
        """Under the same id and with the same body, so that the receiver can tell."""
        delivery = webhooks.redeliver(delivery_id=id, by=self.actor, now=self.now)
        return self.answer(shapes.delivery(delivery), status=202)


class CallbackSecret(Endpoint):
    """`/callback-secret`"""

    @operation(
        "get_callback_secret",
        "What verifies callbacks",
        tag=TAG,
        asks="contracts.propose",
        answer=shapes.CallbackSecretShape,
        description="The secret that belongs to the key this is asked with. Callbacks carry a signature for every good "
        "key of the agent, so that each copy of it verifies them with the secret of its own.",
    )
    def get(self, request: Request) -> Response:
        """Agents only."""
        secret = callbacks.secret_for(getattr(request.auth, "digest", ""))
        return self.answer_once({"secret": secret})
