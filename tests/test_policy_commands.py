"""The commands of governance: what they do, what they print, and how they end."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from auditlog.models import Entry
from governance import policy
from governance.models import Agent, Hold
from tests.harness.governed import Governed

pytestmark = pytest.mark.django_db
SAMPLE = Path(__file__).parents[1] / "docs" / "sample-policy.yaml"


@pytest.fixture
def world(var_dir, users):
    return Governed(var_dir / "sandbox", users)


def run(*words):
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def ends(code, *words):
    with pytest.raises(CommandError) as error:
        run(*words)
    assert error.value.returncode == code
    return str(error.value)


def test_policy_test_says_what_would_happen_and_changes_nothing(world):
    before = Entry.objects.count()
    told = run("policy", "test", "--action", "config.update", "--target", "file:a", "--agent", "deployer")
    assert "tier_2, asks 1 of reviewers" in told
    assert "change configuration" in told
    [answer] = json.loads(run("policy", "test", "--action", "no.such", "--json"))
    assert (answer["effect"], answer["requirements"]["approvals"]) == (
        "tier_3",
        [{"group": "reviewers", "count": 2}],
    )
    assert Entry.objects.count() == before


def test_policy_test_fails_when_another_effect_was_expected(world):
    assert "1 of 1" in ends(1, "policy", "test", "--action", "config.update", "--expect", "tier_1")


def test_the_sample_policy_of_the_documents_passes_its_own_tests(world):
    told = run("policy", "test", "--file", str(SAMPLE))
    assert "in production it asks two kinds: tier_3, asks 2 of reviewers and 1 of security" in told


def test_a_file_that_is_no_policy_names_the_field(world, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("rules: [{name: a, effect: allow}]")
    assert "/rules/0/effect" in ends(1, "policy", "test", "--file", str(bad))
    bad.write_text("[: ")
    ends(2, "policy", "test", "--file", str(bad))
    ends(2, "policy", "test", "--file", str(tmp_path / "none"))
    ends(2, "policy", "test", "--action", "a", "--parameters", "[]")


def test_policy_show_prints_what_can_be_read_back(world):
    shown = json.loads(run("policy", "show"))
    assert shown.pop("version") == 1
    assert shown.pop("digest")
    assert policy.parse(shown).as_dict() == shown


def test_an_agent_is_made_rotated_and_ended_from_a_terminal(world):
    boss = world.people.administrator.username
    words = ("--owner", "ada", "--allow", "config.update", "--json", "--as", boss)
    made = json.loads(run("agent", "create", "robot", *words))
    assert made["key"].startswith("grace_")
    assert Agent.objects.get(name="robot").allowed_action_types == ["config.update"]
    assert "not shown again" in run("agent", "rotate", "robot")
    assert "revoked" in run("agent", "revoke", "robot", "--reason", "gone")
    told = Entry.objects.filter(fact__startswith="agent.", subject_id=made["id"])
    assert set(told.values_list("fact", "actor_kind")) == {
        ("agent.created", "person"),
        ("agent.key_rotated", "system"),
        ("agent.revoked", "system"),
    }


def test_an_agent_command_that_may_not_says_so(world):
    assert world.people.bea
    assert "not_permitted" in ends(1, "agent", "create", "x", "--owner", "ada", "--as", "bea")
    ends(2, "agent", "create", "x", "--owner", "nobody")
    ends(2, "agent", "create", "x", "--owner", "ada", "--as", "nobody")
    ends(1, "agent", "rotate", "nobody")
    ends(1, "agent", "create", "deployer", "--owner", "ada")


def test_everything_is_held_from_a_terminal(world):
    assert "nothing is held" in run("hold", "list")
    assert "held: everything" in run("hold", "everything", "--reason", "smoke")
    run("hold", "target:file:app.json", "--reason", "it too", "--as", "ada")
    assert [each["pattern"] for each in json.loads(run("hold", "list", "--json"))] == ["file:app.json", ""]
    assert Hold.objects.get(scope="everything").source == "command"
    assert "/reason" in ends(1, "hold", "everything")
    assert "/scope" in ends(1, "hold", "galaxy", "--reason", "x")
