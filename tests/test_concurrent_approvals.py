"""Eight reviewers approve one request over HTTP at the same moment: it is authorized once and runs once (N)."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connections

from auditlog import jobs
from auditlog.models import Entry, Job
from governance.models import Decision
from tests.harness.clients import Api, config_change
from tests.harness.people import People
from tests.harness.story import APPROVALS, Story
from verification.models import Contract, Execution

pytestmark = pytest.mark.django_db(transaction=True)


def test_n_eight_approvals_at_once_over_http_authorize_once_and_execute_once(var_dir: Path, users: People) -> None:
    story = Story(var_dir, users)
    file = story.sandbox / "service.json"
    file.write_text('{"workers": 2}\n')
    asked = story.propose(config_change({"workers": 4}))
    group = Group.objects.get(name="reviewers")
    people = [User.objects.create(username=f"reviewer-{number}") for number in range(8)]
    group.user_set.add(*people)
    clients = [Api(user=person) for person in people]
    barrier = threading.Barrier(len(clients))
    answers: list[Any] = []

    def approve(client: Api) -> None:
        barrier.wait(30)
        try:
            body = {"verdict": "approve", "digest": asked["digest"], "reason": "read it"}
            answers.append(client.post(f"{APPROVALS}/{asked['approval_id']}/decision", body))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=approve, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    refused = [answer.json()["code"] for answer in answers if answer.status_code == 409]
    assert set(refused) == {"request_not_pending"}
    assert Decision.objects.count() == 1
    assert Entry.objects.filter(fact="contract.authorized").count() == 1
    assert Job.objects.filter(kind="execution.run").count() == 1
    jobs.run_until_idle()
    assert Contract.objects.get(pk=asked["id"]).state == "verified"
    assert Execution.objects.count() == 1
    assert Entry.objects.filter(fact="contract.executing").count() == 1
    assert json.loads(file.read_text()) == {"workers": 4}
