"""Who does things, as the log knows them."""

from dataclasses import dataclass
from typing import Literal

ActorKind = Literal["person", "agent", "system"]


@dataclass(frozen=True)
class Actor:
    """Somebody or something acting; `id` is stable, `label` is for people's eyes."""

    kind: ActorKind
    id: str
    label: str
    user_id: int | None = None


SYSTEM = Actor("system", "system", "system")
