"""What runs is what was approved, also when the operator edits the list of commands in between (E, M)."""

import pytest
from django.utils import timezone

from auditlog import jobs
from governance import approvals, principals, proposals, seeds
from tests.harness.people import People
from verification.executors.base import Call, Run
from verification.executors.command_run.executor import CommandRun
from verification.models import Contract, Execution

pytestmark = pytest.mark.django_db


@pytest.fixture
def commands(settings, tmp_path):
    settings.COMMANDS_FILE = tmp_path / "commands.toml"
    settings.COMMANDS_FILE.touch(mode=0o600)
    return settings.COMMANDS_FILE


def write(commands, out, *, word):
    text = f'[commands.greet]\nargv = ["/bin/sh", "-c", "echo {word} >> {out}"]\n'
    commands.write_text(text)


@pytest.fixture
def approved(commands, tmp_path, users: People) -> Contract:
    """Ada asked for `greet` while it was harmless; Bea and Cem approved it."""
    seeds.seed(now=timezone.now())
    write(commands, tmp_path / "out", word="harmless")
    body = {
        "action_type": "command.run",
        "target": "command:greet",
        "parameters": {"command": "greet"},
        "expected_effect": {"success_criteria": [{"type": "expression", "expression": "result.exit_code == 0"}]},
    }
    submitted = proposals.submit(
        proposal=proposals.Proposal.from_body(body),
        by=principals.actor_of(users.ada),
        user=users.ada,
        idempotency_key=None,
        now=timezone.now(),
    )
    for person in (users.bea, users.cem):
        approvals.decide(
            request_id=submitted.approval.pk,
            by=principals.actor_of(person),
            user=person,
            verdict="approve",
            digest=submitted.digest,
            reason="",
            edits=None,
            now=timezone.now(),
        )
    return submitted.contract


def test_m_a_command_edited_after_approval_does_not_run(approved, commands, tmp_path):
    write(commands, tmp_path / "out", word="evil")
    jobs.run_until_idle()
    approved.refresh_from_db()
    assert approved.state == "cancelled"
    assert not (tmp_path / "out").exists()
    assert not Execution.objects.exists()


def test_m_the_command_that_was_approved_runs(approved, tmp_path):
    jobs.run_until_idle()
    approved.refresh_from_db()
    assert approved.state == "verified"
    assert (tmp_path / "out").read_text() == "harmless\n"


def test_m_a_command_edited_between_the_gate_and_the_run_does_not_run(commands, tmp_path):
    executor = CommandRun()
    write(commands, tmp_path / "out", word="harmless")
    call = Call("command.run", "command:greet", {"command": "greet"})
    acting = Call(call.action_type, call.target, call.parameters, edition=executor.edition(call))
    write(commands, tmp_path / "out", word="evil, and longer")
    result = executor.execute(acting, Run())
    assert not result.ok
    assert "changed after this was authorized" in result.error
    assert not (tmp_path / "out").exists()
