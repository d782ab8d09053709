"""django-maker-checker: an action behind a policy of one approver, submitted by one person and approved by another.

The project of its quick start on Django's default SQLite settings. The action itself does nothing.
"""

from pathlib import Path

import django
from django.conf import settings
from line import serve


def prepare(home: Path):
    """A project as the quick start makes it, and one request from beginning to end."""
    settings.configure(
        SECRET_KEY="x" * 50,
        USE_TZ=True,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": home / "db.sqlite3"}},
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_maker_checker"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()
    from django.contrib.auth.models import Group, Permission, User
    from django.core.management import call_command
    from django.db import connection
    from django_maker_checker import policies, services
    from django_maker_checker.actions import approval_action
    from django_maker_checker.constants import Decision, RequestStatus
    from django_maker_checker.models import ApprovalRequest, Tenant

    @approval_action("noop", label="Nothing", category="Bench", lock_key=lambda p: f"account:{p['account_id']}")
    def change(*, tenant, maker, context, account_id):
        """Do nothing."""

    call_command("migrate", verbosity=0)
    officers = Group.objects.create(name="officers")
    officers.permissions.add(Permission.objects.get(codename="approve_noop"))
    ada, bea = User.objects.create_user("ada"), User.objects.create_user("bea")
    bea.groups.add(officers)
    tenant = Tenant.default()
    policy = policies.PolicySpec(approvers=[f"r:{officers.pk}"])
    policies.save_policy(policies.policy_for(tenant, "noop"), policy, by=ada)

    def live(number: int) -> None:
        maker = User.objects.get(pk=ada.pk)
        outcome = change(tenant=tenant, maker=maker, justification="Annual review", account_id=number)
        assert outcome.pending
        checker = User.objects.get(pk=bea.pk)
        services.decide(outcome.approval_request.pk, checker, Decision.APPROVE, "Within appetite")

    live(0)
    assert ApprovalRequest.objects.get().status == RequestStatus.EXECUTED
    connection.ensure_connection()
    return live, [connection.connection]


serve(prepare)
