"""Mail, through a real mail server: to whom, what it says, what it keeps to itself, and a server that is down."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core import checks
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from auditlog import integrity, jobs, mesh, sequencer, signer, tree
from auditlog.actors import SYSTEM
from auditlog.models import Entry, Job, Subscription
from auditlog.testing import flushable
from governance import approvals, breakglass, delegations, holds, letters, mailing, pressing, principals
from governance.models import ApprovalRequest, Decision
from governance.proposals import Proposal
from grace_site.env import Environment
from tests.harness import mail_server
from tests.harness.governed import Governed, fresh
from tests.harness.mail_server import MailServer
from tests.harness.people import People

pytestmark = pytest.mark.django_db(transaction=True)

ON_CALL = "on-call@example.org"


@pytest.fixture
def server(settings: Any) -> Iterator[MailServer]:
    """A mail server Grace is set up to use."""
    cache.clear()
    with mail_server.running() as running:
        settings.MAIL_ENABLED = True
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", running.port, 5
        settings.DEFAULT_FROM_EMAIL = "Grace <grace@example.org>"
        settings.NOTIFY_EMAILS = [ON_CALL]
        settings.PUBLIC_URL = "https://grace.example.org"
        yield running


@pytest.fixture
def governed(server: MailServer, var_dir: Path, users: People) -> Governed:
    """Bea, Cem and Dee review; Eve audits; there is an administrator; everybody has heard everything so far."""
    assert [users.ada, *users.reviewers, users.eve, users.cleo, users.administrator], "with an address each"
    found = Governed(var_dir / "sandbox", users)
    jobs.run_until_idle()
    return found


def hear(governed: Governed) -> None:
    """Everything that is owed is done."""
    governed.settle()


def addresses(server: MailServer) -> list[str]:
    return sorted(str(each["To"]) for each in server.sent)


def text(mail: EmailMessage) -> str:
    return str(mail.get_content())


def everywhere(server: MailServer) -> str:
    return "\n".join(f"{each['Subject']}\n{text(each)}" for each in server.sent)


# --- to whom, and what -----------------------------------------------------------------------------------------


def test_who_can_decide_is_asked_and_nobody_else(governed: Governed, server: MailServer) -> None:
    request = governed.ask()
    hear(governed)
    assert addresses(server) == ["bea@example.org", "cem@example.org", "dee@example.org"]
    mail = server.to("bea@example.org")[0]
    assert mail["Subject"] == "[Grace] Please decide: config.update on file:app.json (tier_2)"
    assert mail["From"] == "Grace <grace@example.org>"
    assert mail.get_content_type() == "text/plain"
    assert not mail.is_multipart()
    assert f"https://grace.example.org/approvals/{request.pk}" in text(mail)
    assert "deployer asks to run config.update on file:app.json." in text(mail)
    assert "Risk: " in text(mail)


def test_whoever_answers_for_the_agent_is_never_asked(governed: Governed, server: MailServer) -> None:
    governed.people.ada.groups.add(Group.objects.get(name="reviewers"))
    governed.ask()
    hear(governed)
    assert "ada@example.org" not in addresses(server)
    assert "bea@example.org" in addresses(server)


def test_a_delegate_is_asked_too(governed: Governed, server: MailServer) -> None:
    users = governed.people
    users.cleo.groups.add(Group.objects.get(name="operators"))
    now = timezone.now()
    delegations.create(
        delegate="cleo",
        ends_at=now + timedelta(days=1),
        reason="away",
        by=principals.actor_of(users.bea),
        user=users.bea,
        now=now,
    )
    governed.ask()
    hear(governed)
    assert "cleo@example.org" in addresses(server)


def test_who_has_decided_is_not_reminded(governed: Governed, server: MailServer) -> None:
    governed.policy({"name": "two", "effect": "tier_3", "action_types": ["config.update"]})
    two = governed.ask()
    governed.decide(two, governed.people.bea)
    hear(governed)
    server.sent.clear()
    later = two.created_at + (two.expires_at - two.created_at) * 6 / 10
    assert pressing.press_due(now=later) == 1
    hear(governed)
    assert addresses(server) == ["cem@example.org", "dee@example.org"]
    assert server.sent[0]["Subject"].startswith("[Grace] Still waiting: config.update on file:app.json")


def test_after_escalation_the_backup_group_is_asked(governed: Governed, server: MailServer) -> None:
    backup = Group.objects.create(name="backup")
    fay = User.objects.create_user("fay", "fay@example.org", first_name="Fay")
    fay.groups.add(backup)
    asked = {"approvals": [{"group": "reviewers", "count": 1}]}
    governed.policy(tiers={"tier_2": {**asked, "escalate_to": "backup", "escalate_after_seconds": 3600}})
    request = governed.ask()
    hear(governed)
    assert "fay@example.org" not in addresses(server)
    pressing.press_due(now=request.created_at + timedelta(minutes=61))
    hear(governed)
    assert fresh(request).escalated_at is not None
    (mail,) = server.to("fay@example.org")
    assert mail["Subject"].startswith("[Grace] Now asked of you too: config.update")


def test_a_hold_is_told_to_who_can_act_and_to_the_people_on_call(governed: Governed, server: MailServer) -> None:
    holds.engage(scope="everything", reason="the database fails over", by=SYSTEM, user=None, now=timezone.now())
    hear(governed)
    assert addresses(server) == [
        "administrator@example.org",
        "bea@example.org",
        "cem@example.org",
        "dee@example.org",
        ON_CALL,
    ]
    assert "Why: the database fails over" in text(server.sent[0])
    assert "https://grace.example.org/holds" in text(server.sent[0])


def test_of_broken_glass_everybody_is_told(governed: Governed, server: MailServer) -> None:
    users = governed.people
    breakglass.use(
        proposal=Proposal.from_body(governed.body()),
        reason="it burns",
        by=principals.actor_of(users.cem),
        user=users.cem,
        now=timezone.now(),
    )
    hear(governed)
    about = [each for each in server.sent if "Glass broken" in each["Subject"]]
    told = {str(each["To"]) for each in about}
    assert {"ada@example.org", "bea@example.org", "eve@example.org", "administrator@example.org", ON_CALL} <= told
    assert "cleo@example.org" not in told
    assert "Cem ran config.update on file:app.json without waiting for approval." in text(about[0])
    assert "Why: it burns" in text(about[0])


def test_a_finding_is_told_once_however_often_it_is_seen(governed: Governed, server: MailServer) -> None:
    with flushable():
        Entry.objects.filter(leaf__index=1).update(outcome="failure")
    for _ in range(3):
        assert not integrity.check_incrementally(timezone.now()).passed
        hear(governed)
    assert addresses(server) == ["administrator@example.org", "eve@example.org", ON_CALL]
    assert server.sent[0]["Subject"] == "[Grace] The log: projection_edited"
    assert "leaf 1" in text(server.sent[0])
    assert "https://grace.example.org/audit" in text(server.sent[0])


def test_what_the_signer_found_between_two_checks_is_told_once_too(governed: Governed, server: MailServer) -> None:
    start = timezone.now()
    assert integrity.check_incrementally(start).passed
    head = tree.head()
    with flushable():
        tree.Tree.objects.update(root=bytes(32))
    with pytest.raises(signer.SigningRefused):
        signer.sign(start + timedelta(minutes=10))
    with flushable():
        tree.Tree.objects.update(root=head.root)
    for number in range(1, 4):
        run = integrity.check_incrementally(start + timedelta(minutes=15 * number))
        assert (run.passed, run.findings) == (False, ["tree_edited"]), "it is not seen any more, and signing waits"
        hear(governed)
    assert addresses(server) == ["administrator@example.org", "eve@example.org", ON_CALL]
    assert server.sent[0]["Subject"] == "[Grace] The log: tree_edited"
    assert Entry.objects.filter(fact="auditlog.integrity_failed").count() == 3


def test_without_a_server_nothing_is_owed(governed: Governed, server: MailServer, settings: Any) -> None:
    settings.MAIL_ENABLED = False
    governed.ask()
    hear(governed)
    assert server.sent == []
    assert not Job.objects.filter(kind=mailing.JOB).exists()


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("smtp://localhost", ("localhost", 25, "", "", False, False)),
        ("smtp://[::1]:2525", ("::1", 2525, "", "", False, False)),
        ("smtp+tls://grace:p%40ss@mail.example.org", ("mail.example.org", 587, "grace", "p@ss", True, False)),
        ("smtp+ssl://mail.example.org:4650", ("mail.example.org", 4650, "", "", False, True)),
    ],
)
def test_a_server_is_named_by_a_url(url: str, meant: tuple[object, ...]) -> None:
    reader = Environment({"EMAIL_URL": url})
    found = reader.mail_server("EMAIL_URL")
    assert reader.complaints == []
    names = ("HOST", "PORT", "HOST_USER", "HOST_PASSWORD", "USE_TLS", "USE_SSL")
    assert tuple(found[f"EMAIL_{name}"] for name in names) == meant


@pytest.mark.parametrize("url", ["http://mail.example.org", "smtp://", "mail.example.org", "smtp://host:port"])
def test_nonsense_stops_the_start_and_is_not_repeated(url: str) -> None:
    reader = Environment({"EMAIL_URL": url})
    assert reader.mail_server("EMAIL_URL") == {}
    assert len(reader.complaints) == 1
    assert f"'{url}'" not in reader.complaints[0]


@pytest.mark.parametrize(
    ("host", "user", "tls", "warned"),
    [
        ("mail.example.org", "grace", False, True),
        ("mail.example.org", "grace", True, False),
        ("mail.example.org", "", False, False),
        ("localhost", "grace", False, False),
    ],
)
def test_a_password_in_the_clear_is_warned_of(settings: Any, host: str, user: str, tls: bool, warned: bool) -> None:
    settings.EMAIL_HOST, settings.EMAIL_HOST_USER, settings.EMAIL_USE_TLS = host, user, tls
    found = checks.run_checks(include_deployment_checks=True)
    assert ("grace.W009" in {message.id for message in found}) is warned


# --- what it keeps to itself -----------------------------------------------------------------------------------


def test_no_parameter_goes_out_let_alone_a_secret(governed: Governed, server: MailServer) -> None:
    body = governed.body()
    body["parameters"]["merge"] = {"port": 9000, "password": "hunter2-hunter2", "note": "between-us"}
    body["justification"] = "the token is sk-very-secret"
    assert governed.submit(body).approval is not None
    hear(governed)
    assert len(server.sent) == 3
    for private in ("hunter2", "between-us", "9000", "sk-very-secret"):
        assert private not in everywhere(server)


def test_opening_a_link_changes_nothing(governed: Governed, server: MailServer) -> None:
    request = governed.ask()
    holds.engage(scope="everything", reason="a test", by=SYSTEM, user=None, now=timezone.now())
    hear(governed)
    before = Entry.objects.count()
    links = set(re.findall(r"https://grace\.example\.org(/\S*)", everywhere(server)))
    assert links == {f"/approvals/{request.pk}", "/holds"}
    for user in (governed.people.bea, None):
        client = Client()
        if user:
            client.force_login(user)
        for link in links:
            assert client.get(link).status_code == (200 if user else 302)
    assert fresh(request).state == ApprovalRequest.State.PENDING
    assert not Decision.objects.exists()
    assert not Entry.objects.exclude(fact="auth.login").order_by("id")[before:].exists()


def test_a_subject_is_one_line_whatever_somebody_calls_a_target() -> None:
    data = {"scope": "target", "pattern": "x\r\nBcc: mallory@example.org\u202e", "reason": "a\x00b\nc"}
    letter = letters.hold(data, url="https://grace.example.org")
    assert letter.subject == "[Grace] Held: target x  Bcc: mallory@example.org "
    assert "Why: a b\nc" in letter.body


# --- a server that is down -------------------------------------------------------------------------------------


def mails(state: str | None = None) -> list[Job]:
    found = Job.objects.filter(kind=mailing.JOB).order_by("created_at", "pk")
    return list(found.filter(state=state) if state else found)


def test_a_server_that_is_down_holds_up_nobody_and_gets_everything_once_it_is_up(
    governed: Governed, server: MailServer
) -> None:
    server.stop()
    request = governed.ask()
    hear(governed)
    assert [job.state for job in mails()] == ["queued"] * 3
    assert [job.attempts for job in mails()] == [1, 0, 0], "one knocked; the others did not add to it"
    governed.decide(request, governed.people.bea)
    hear(governed)
    assert governed.read() == {"port": 9000}, "the contract was carried out all the same"
    other = governed.ask(port=9001)
    hear(governed)
    assert not Subscription.objects.filter(failures__gt=0).exists()
    server.start()
    for minutes in range(1, 4):
        jobs.run_until_idle(timezone.now() + timedelta(minutes=minutes))
        cache.clear()
    assert addresses(server) == ["bea@example.org", "cem@example.org", "dee@example.org"]
    assert all(str(other.pk) in text(each) for each in server.sent), "what was decided meanwhile is not asked any more"
    assert {job.state for job in mails()} == {"completed"}


def test_a_mail_that_is_refused_for_good_is_dead_and_can_be_sent_again_by_hand(
    governed: Governed, server: MailServer
) -> None:
    server.refuses["bea@example.org"] = "550 no such mailbox"
    server.refuses["cem@example.org"] = "450 come back later"
    governed.ask()
    hear(governed)
    assert addresses(server) == ["dee@example.org"]
    (dead,) = mails("dead")
    assert dead.error == "Refused: The mail server answered 550 to this mail."
    (later,) = mails("queued")
    assert later.attempts == 1
    server.refuses.clear()
    jobs.run_until_idle(timezone.now() + timedelta(minutes=1))
    jobs.retry(job_id=dead.pk, by=SYSTEM, now=timezone.now())
    jobs.run_until_idle(timezone.now() + timedelta(minutes=1))
    assert addresses(server) == ["bea@example.org", "cem@example.org", "dee@example.org"]


def test_a_server_that_never_comes_back_leaves_dead_letters_that_are_listed(
    governed: Governed, server: MailServer
) -> None:
    server.stop()
    governed.ask()
    hear(governed)
    for job in mails():
        Job.objects.filter(pk=job.pk).update(attempts=mailing.MAX_ATTEMPTS - 1, due_at=timezone.now())
        cache.clear()
        jobs.run(job.pk)
    assert len(mails("dead")) == 3
    assert "@" not in mails("dead")[0].error
    client = Client()
    client.force_login(governed.people.bea)
    assert "mail.send" in client.get("/jobs?state=dead").content.decode()


def test_hearing_of_a_fact_twice_writes_once(governed: Governed, server: MailServer) -> None:
    governed.ask()
    sequencer.run(None)
    mesh.deliver_all()
    entry = Entry.objects.get(fact="approval.requested")
    assert mailing.owe(entry, now=timezone.now()) == 0
    hear(governed)
    assert len(server.sent) == 3
    assert len({each["Message-ID"] for each in server.sent}) == 3
    assert approvals.refusal(ApprovalRequest.objects.get(), governed.people.bea, now=timezone.now()) is None
