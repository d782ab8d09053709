"""Missions: why, and in what order."""

from __future__ import annotations

from uuid import UUID

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import Endpoint, PageQuery, operation
from governance.api import events
from missions import missions
from missions.api import shapes
from missions.models import Mission
from missions.progress import Progress
from verification.api.shapes import Event

TAG = "missions"
NOTHING = Progress(0, 0, 0, 0)


class MissionQuery(PageQuery):
    """Filters of the list."""

    state = s.ChoiceField(Mission.State.choices, required=False)
    playbook = s.CharField(required=False, max_length=100)


class Missions(Endpoint):
    """`/missions`"""

    @operation(
        "list_missions",
        "Missions, newest first",
        tag=TAG,
        asks="missions.read",
        query=MissionQuery,
        answer=[shapes.MissionShape],
    )
    def get(self, request: Request) -> Response:
        """Each with its progress."""
        wanted = {name: self.query[name] for name in ("state", "playbook") if name in self.query}
        return self.page_of(self.visible(Mission.objects.filter(**wanted)), self._shown)

    def _shown(self, rows: list[Mission]) -> list[dict[str, object]]:
        progress = missions.progress_of([row.pk for row in rows])
        return [shapes.mission(row, progress.get(row.pk, NOTHING)) for row in rows]

    @operation(
        "start_mission",
        "Begin a mission",
        tag=TAG,
        asks="missions.start",
        body=shapes.MissionRequest,
        answer=shapes.MissionDetail,
        status=201,
        example={"goal": "Move the queue to the new broker"},
    )
    def post(self, request: Request) -> Response:
        """Contracts proposed with its id become its steps."""
        mission = missions.start(goal=self.body["goal"], by=self.actor, user=self.user, now=self.now)
        return self.answer(shapes.mission_detail(mission, NOTHING), status=201)


class OneMission(Endpoint):
    """`/missions/{id}`"""

    @operation("get_mission", "One mission", tag=TAG, asks="missions.read", answer=shapes.MissionDetail)
    def get(self, request: Request, id: UUID) -> Response:
        """With its steps and safe points."""
        mission = self.find(Mission.objects.all(), id=id)
        return self.answer(shapes.mission_detail(mission, missions.progress(mission_id=id)))


class MissionTimeline(Endpoint):
    """`/missions/{id}/timeline`"""

    @operation(
        "mission_timeline",
        "What happened in a mission",
        tag=TAG,
        asks="missions.read",
        query=PageQuery,
        answer=[Event],
    )
    def get(self, request: Request, id: UUID) -> Response:
        """Everything the log says of it, in the order of the log."""
        self.find(Mission.objects.all(), id=id)
        timeline = events.shown(request, missions.timeline(mission_id=id))
        return self.page(timeline, events.event, order=events.ORDER)


class CompleteMission(Endpoint):
    """`/missions/{id}/complete`"""

    @operation(
        "complete_mission",
        "End a mission well",
        tag=TAG,
        asks="missions.manage",
        body=shapes.EndRequest,
        answer=shapes.MissionDetail,
    )
    def post(self, request: Request, id: UUID) -> Response:
        """All its steps must be settled; those that are not are named."""
        mission = missions.complete(mission_id=id, reason=self.body["reason"], by=self.actor, now=self.now)
        return self.answer(shapes.mission_detail(mission, missions.progress(mission_id=id)))


class AbandonMission(Endpoint):
    """`/missions/{id}/abandon`"""

    @operation(
        "abandon_mission",
        "Give a mission up",
        tag=TAG,
        asks="missions.manage",
        body=shapes.EndRequest,
        answer=shapes.MissionDetail,
    )
    def post(self, request: Request, id: UUID) -> Response:
        """What has not started is cancelled; what runs settles by itself."""
        mission = missions.abandon(
            mission_id=id, reason=self.body["reason"], by=self.actor, user=self.user, now=self.now
        )
        return self.answer(shapes.mission_detail(mission, missions.progress(mission_id=id)))
