"""A channel is one viewer and the facts they asked for. Nobody can read a channel of somebody else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django_eventstream.channelmanager import ChannelManagerBase

from auditlog import entries
from auditlog.refusals import FieldError, Refused
from governance import access

MAX_GLOBS = 10
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyz_.*")


class NotAFactPattern(Refused):
    """The query parameter `facts` is not a list of patterns."""

    code = "not_a_fact_pattern"
    kind = Refused.Kind.MALFORMED


@dataclass(frozen=True)
class Channel:
    """Whose, and which facts (globs such as `approval.*`)."""

    user_id: int
    globs: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.user_id}|{','.join(self.globs)}"

    @classmethod
    def parse(cls, text: str) -> Channel:
        """The channel with this name; raises ValueError."""
        user_id, _, globs = text.partition("|")
        return cls(int(user_id), tuple(globs.split(",")))

    def takes(self, fact: str) -> bool:
        """Whether these facts were asked for."""
        return entries.matches(",".join(self.globs), fact)


def channel_of(user: Any, facts: str) -> Channel:
    """The channel for a user and a comma-separated list of globs; raises NotAFactPattern."""
    globs = tuple(sorted({part.strip() for part in facts.split(",") if part.strip()})) or ("*",)
    try:
        if len(globs) > MAX_GLOBS or any(not _ALLOWED.issuperset(glob) or len(glob) > 100 for glob in globs):
            raise ValueError(facts)
        entries.matching(",".join(globs))
    except ValueError:
        detail = f"facts is a list of up to {MAX_GLOBS} patterns such as approval.* separated by commas."
        raise NotAFactPattern(detail, errors=[FieldError("/facts", NotAFactPattern.code, detail)]) from None
    return Channel(user.pk, globs)


class Channels(ChannelManagerBase):
    """Deny by default: the package's own manager lets everybody read everything."""

    def get_channels_for_request(self, request: Any, view_kwargs: Any) -> set[str]:
        """No channel can be asked for by name; our view makes the one there is."""
        return set()

    def can_read_channel(self, user: Any, channel: str) -> bool:
        """Only the viewer it was made for, as long as they are active and may read the stream."""
        if user is None or Channel.parse(channel).user_id != user.pk:
            return False
        # Asked again on every read from the log: the account may have been closed since the stream began.
        fresh = get_user_model().objects.filter(pk=user.pk, is_active=True).first()
        return fresh is not None and access.may(fresh, "stream.read")

    def is_channel_reliable(self, channel: str) -> bool:
        """Always: what was missed is read from the log."""
        return True
