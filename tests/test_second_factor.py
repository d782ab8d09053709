"""A code from a device: added with the password, counted once, and asked for where a policy says so, at every door."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from django_otp.oath import totp
from django_otp.plugins.otp_totp.models import TOTPDevice

from auditlog.models import Entry
from auditlog.refusals import Refused
from governance import principals, second_factor
from governance.models import Decision
from tests.harness.clients import Api
from tests.harness.governed import Governed, at_once, contract_of
from tests.harness.people import PASSWORD, People

pytestmark = pytest.mark.django_db

PAGE = "/account/second-factor"
G = "/api/governance"
ASKED = {"tier_2": {"approvals": [{"group": "reviewers", "count": 1}], "second_factor": True}}


def code_of(user: User, *, ahead: int = 0) -> str:
    """What the person's device shows now, or a few steps of 30 s later."""
    device = TOTPDevice.objects.filter(user=user).latest("pk")
    return f"{totp(device.bin_key, drift=ahead):06d}"


def enrol(user: User) -> None:
    """A device that was added a while ago."""
    TOTPDevice.objects.create(user=user, name="app", confirmed=True)


def page_of(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def said() -> list[str]:
    return [fact for fact in Entry.objects.order_by("id").values_list("fact", flat=True) if "second_factor" in fact]


@pytest.fixture
def world(var_dir: Any, users: People) -> Governed:
    made = Governed(var_dir / "sandbox", users)
    made.policy(tiers=ASKED)
    for each in (users.bea, users.cem):
        each.set_password(PASSWORD)
        each.save()
    return made


def test_a_device_is_added_with_the_password_and_its_first_code(users: People) -> None:
    client = page_of(users.bea)
    assert "Add a device" in client.get(PAGE).content.decode()
    begun = client.post(f"{PAGE}/begin", {"password": PASSWORD}, follow=True).content.decode()
    [secret] = re.findall(r"data-secret>([A-Z2-7 ]+)<", begun)
    assert "<svg" in begun
    assert TOTPDevice.objects.get().config_url.count(secret.replace(" ", "")) == 1
    assert not second_factor.is_enrolled(users.bea)
    client.post(f"{PAGE}/confirm", {"code": code_of(users.bea)})
    assert second_factor.is_enrolled(users.bea)
    after = client.get(PAGE).content.decode()
    assert "You have proved it in this session" in after
    assert secret not in after
    assert said() == ["auth.second_factor_added"]


def test_a_session_left_open_adds_no_strangers_device(users: People) -> None:
    refused = page_of(users.bea).post(f"{PAGE}/begin", {"password": "not hers"})
    assert refused.status_code == 422
    assert "not your password" in refused.content.decode()
    assert "not hers" not in refused.content.decode()
    assert not TOTPDevice.objects.exists()
    assert Entry.objects.filter(fact="auth.login_failed").count() == 1


def test_a_secret_that_was_begun_is_not_shown_for_ever(users: People, clock: Any) -> None:
    second_factor.begin(by=principals.actor_of(users.bea), user=users.bea, now=timezone.now())
    code = code_of(users.bea)
    clock.shift(timedelta(minutes=16))
    assert "data-secret" not in page_of(users.bea).get(PAGE).content.decode()
    with pytest.raises(second_factor.NotEnrolled):
        second_factor.confirm(code=code, by=principals.actor_of(users.bea), user=users.bea, now=timezone.now())


def test_a_second_device_does_not_push_out_the_first(users: People) -> None:
    enrol(users.bea)
    with pytest.raises(second_factor.AlreadyEnrolled):
        second_factor.begin(by=principals.actor_of(users.bea), user=users.bea, now=timezone.now())


def test_each_code_counts_once(users: People, clock: Any) -> None:
    enrol(users.bea)
    who: dict[str, Any] = {"by": principals.actor_of(users.bea), "user": users.bea}
    code = code_of(users.bea)
    second_factor.prove(code=code, **who, now=timezone.now())
    with pytest.raises(second_factor.WrongCode):
        second_factor.prove(code=code, **who, now=timezone.now())
    assert said() == ["auth.second_factor_proved", "auth.second_factor_failed"]


@pytest.mark.django_db(transaction=True)
def test_n_one_code_used_twice_at_once_counts_once(users: People) -> None:
    enrol(users.bea)
    code, by, bea = code_of(users.bea), principals.actor_of(users.bea), users.bea
    acts = [lambda: second_factor.prove(code=code, by=by, user=bea, now=timezone.now())] * 4
    answers = at_once(acts)
    assert answers.count("ok") == 1
    assert set(answers) <= {"ok", "wrong_code", "too_many_codes"}


@pytest.mark.parametrize("code", ["", "12345x", "\u0661\u0662\u0663\u0664\u0665\u0666", "-00001", "000000000000"])
def test_what_is_no_code_is_refused_and_counted(users: People, code: str) -> None:
    enrol(users.bea)
    with pytest.raises(second_factor.WrongCode) as refusal:
        second_factor.prove(code=code, by=principals.actor_of(users.bea), user=users.bea, now=timezone.now())
    assert [error.pointer for error in refusal.value.errors] == ["/code"]
    assert TOTPDevice.objects.get().throttling_failure_count == 1


def test_after_a_wrong_code_the_right_one_has_to_wait(users: People, clock: Any) -> None:
    enrol(users.bea)
    who: dict[str, Any] = {"by": principals.actor_of(users.bea), "user": users.bea}
    for _ in range(3):
        with pytest.raises(Refused):
            second_factor.prove(code="000000", **who, now=timezone.now())
        clock.shift(timedelta(seconds=10))
    clock.shift(timedelta(seconds=-9))
    with pytest.raises(second_factor.TooManyCodes) as refusal:
        second_factor.prove(code=code_of(users.bea), **who, now=timezone.now())
    assert refusal.value.retry_after is not None
    assert refusal.value.retry_after >= 1
    clock.shift(timedelta(seconds=60))
    second_factor.prove(code=code_of(users.bea), **who, now=timezone.now())


# --- deciding ---


def decision(world: Governed, asked: Any) -> dict[str, str]:
    return {"verdict": "approve", "digest": asked.digest, "reason": "read it"}


def test_over_the_api_it_is_asked_for_and_proved(world: Governed, clock: Any) -> None:
    bea = world.people.bea
    enrol(bea)
    asked, api = world.ask(), Api(user=bea)
    refused = api.post(f"{G}/approvals/{asked.pk}/decision", decision(world, asked))
    assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_required")
    assert api.data(f"{G}/me")["second_factor"] is False
    wrong = api.post(f"{G}/session/second-factor", {"code": "nothing"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/code")
    clock.shift(timedelta(seconds=2))
    assert api.post(f"{G}/session/second-factor", {"code": code_of(bea)}).json()["data"]["second_factor"] is True
    assert api.post(f"{G}/approvals/{asked.pk}/decision", decision(world, asked)).status_code == 200
    assert contract_of(asked).state == "authorized"


def test_a_batch_needs_it_item_by_item(world: Governed) -> None:
    bea = world.people.bea
    enrol(bea)
    asked, api = world.ask(), Api(user=bea)
    body = {"decisions": [{"approval_id": str(asked.pk), **decision(world, asked)}]}
    assert api.post(f"{G}/approvals/decisions", body).json()["data"][0]["code"] == "second_factor_required"
    api.post(f"{G}/session/second-factor", {"code": code_of(bea)})
    assert api.post(f"{G}/approvals/decisions", body).json()["data"][0]["code"] is None


def test_in_the_console_the_page_says_so_and_leads_there_and_back(world: Governed) -> None:
    bea = world.people.bea
    enrol(bea)
    asked, client = world.ask(), page_of(bea)
    assert "data-wants-second-factor" in client.get(f"/approvals/{asked.pk}").content.decode()
    refused = client.post(f"/approvals/{asked.pk}/decide", decision(world, asked))
    assert refused.status_code == 403
    assert not Decision.objects.exists()
    proved = client.post(f"{PAGE}/prove", {"code": code_of(bea), "next": f"/approvals/{asked.pk}"})
    assert proved.headers["Location"] == f"/approvals/{asked.pk}"
    assert "data-wants-second-factor" not in client.get(f"/approvals/{asked.pk}").content.decode()
    client.post(f"/approvals/{asked.pk}/decide", decision(world, asked))
    assert contract_of(asked).state == "authorized"


def test_in_the_admin_too(world: Governed) -> None:
    bea = world.people.bea
    enrol(bea)
    asked, client = world.ask(), page_of(bea)
    address = f"/admin/governance/approvalrequest/{asked.pk}/verb/approve/"
    client.post(address, {"digest": asked.digest, "reason": "read it"})
    assert not Decision.objects.exists()
    client.post(f"{PAGE}/prove", {"code": code_of(bea)})
    client.post(address, {"digest": asked.digest, "reason": "read it"})
    assert contract_of(asked).state == "authorized"


def test_it_leads_to_no_other_host(users: People) -> None:
    enrol(users.bea)
    proved = page_of(users.bea).post(f"{PAGE}/prove", {"code": code_of(users.bea), "next": "https://evil.example/"})
    assert proved.headers["Location"] == PAGE


def test_it_counts_for_a_while_and_in_its_session_only(world: Governed, clock: Any) -> None:
    bea = world.people.bea
    enrol(bea)
    api = Api(user=bea)
    api.post(f"{G}/session/second-factor", {"code": code_of(bea)})
    assert Api(user=bea).data(f"{G}/me")["second_factor"] is False
    clock.shift(timedelta(minutes=59))
    assert api.data(f"{G}/me")["second_factor"] is True
    clock.shift(timedelta(minutes=1))
    assert api.data(f"{G}/me")["second_factor"] is False


def test_without_its_device_what_was_proved_counts_no_more(world: Governed, clock: Any) -> None:
    bea, administrator = world.people.bea, world.people.administrator
    enrol(bea)
    api = Api(user=bea)
    api.post(f"{G}/session/second-factor", {"code": code_of(bea)})
    address = f"/admin/otp_totp/totpdevice/{TOTPDevice.objects.get().pk}/verb/take_off/"
    assert page_of(world.people.cem).post(address, {"reason": "hers"}).status_code == 403
    page_of(administrator).post(address, {"reason": "it fell into the harbour"})
    assert not TOTPDevice.objects.exists()
    assert api.data(f"{G}/me")["second_factor"] is False
    last = Entry.objects.filter(fact="auth.second_factor_removed").get()
    assert last.actor_id == str(administrator.pk)
    assert last.document()["data"] == {"reason": "it fell into the harbour"}


def test_ones_own_is_removed_with_a_code_of_it(users: People, clock: Any) -> None:
    enrol(users.bea)
    client = page_of(users.bea)
    client.post(f"{PAGE}/remove", {"code": "000000"})
    assert second_factor.is_enrolled(users.bea)
    clock.shift(timedelta(seconds=2))
    client.post(f"{PAGE}/remove", {"code": code_of(users.bea)})
    assert not second_factor.is_enrolled(users.bea)


def test_the_admin_shows_no_secret(users: People) -> None:
    enrol(users.bea)
    device = TOTPDevice.objects.get()
    client = page_of(users.administrator)
    for address in ("/admin/otp_totp/totpdevice/", f"/admin/otp_totp/totpdevice/{device.pk}/change/"):
        shown = client.get(address)
        assert shown.status_code == 200
        assert device.key not in shown.content.decode()


def test_an_edit_into_what_asks_for_it_is_no_way_around_it(users: People, var_dir: Any) -> None:
    world = Governed(var_dir / "sandbox", users)
    rule = {
        "name": "high ports",
        "effect": "tier_2",
        "action_types": ["config.update"],
        "when": "parameters.merge.port > 9400",
        "requirements": {"second_factor": True},
    }
    world.policy(rule)
    asked = world.ask()
    body = world.body(9500)
    edits = {"parameters": body["parameters"], "expected_effect": body["expected_effect"]}
    with pytest.raises(Refused) as no:
        world.decide(asked, users.bea, edits=edits)
    assert no.value.code == "second_factor_required"
    assert contract_of(asked).state == "awaiting_approval"
    opened = world.decide(asked, users.bea, edits=edits, second_factor=True)
    assert opened.state == "approved"
