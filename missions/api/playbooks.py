"""Playbooks: templates of steps, and running one."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import Endpoint, PageQuery, operation
from missions import missions, playbooks
from missions.api import shapes
from missions.models import Playbook

TAG = "playbooks"


class Playbooks(Endpoint):
    """`/playbooks`"""

    @operation(
        "list_playbooks",
        "Playbooks in force, by name",
        tag=TAG,
        asks="playbooks.read",
        query=PageQuery,
        answer=[shapes.PlaybookShape],
    )
    def get(self, request: Request) -> Response:
        """With their variables and steps."""
        rows = Playbook.objects.filter(is_active=True)
        return self.page(self.visible(rows), shapes.playbook, order=("name",))


class RunPlaybook(Endpoint):
    """`/playbooks/{name}/run`"""

    write_scope = "proposals"

    @operation(
        "run_playbook",
        "Run a playbook",
        tag=TAG,
        asks="playbooks.run",
        body=shapes.RunRequest,
        answer=shapes.MissionDetail,
        status=202,
        example={"variables": {"path": "billing.json"}},
    )
    def post(self, request: Request, name: str) -> Response:
        """Makes a mission, whose steps are proposed one after the other."""
        mission = playbooks.run(
            name=name,
            variables=self.body["variables"],
            mission_id=self.body["mission_id"],
            by=self.actor,
            user=self.user,
            now=self.now,
        )
        return self.answer(shapes.mission_detail(mission, missions.progress(mission_id=mission.pk)), status=202)
