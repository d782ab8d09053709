"""The typed faces of what comes in: the body of a proposal and the edits of a reviewer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from auditlog.refusals import FieldError, Refused
from verification.contracts import Draft

from . import digest

JsonDict = dict[str, Any]

MAX_BYTES = 256 * 1024
MAX_TEXT_CHARS = 4_000
MAX_TARGET_CHARS = 500
MAX_ACTION_TYPE_CHARS = 100
MAX_URL_CHARS = 500
MAX_PRECONDITIONS = 20
LATEST_START = timedelta(days=366)


class Malformed(Refused):
    """The body does not have the shape of a proposal; `errors` names each field."""

    code = "malformed"
    kind = Refused.Kind.MALFORMED


class NotStorable(Refused):
    """Something in the body would not come back from the database as it was sent."""

    code = "not_storable"
    kind = Refused.Kind.INVALID


class TooLarge(Refused):
    """The body is larger than anybody could review."""

    code = "too_large"
    kind = Refused.Kind.TOO_LARGE


@dataclass(frozen=True)
class Proposal:
    """An action somebody asks for. The last five members are Grace's own and never come from a request.

    `minimum_tier` is the least the action is put before, whatever the policy says; `on_behalf_of_id` is the user who
    brought Grace to ask for it by itself, and who answers for it.
    """

    action_type: str
    target: str
    parameters: JsonDict = field(default_factory=dict)
    expected_effect: JsonDict = field(default_factory=dict)
    preconditions: list[Any] = field(default_factory=list)
    mission_id: UUID | None = None
    confidence: Decimal | None = None
    justification: str = ""
    not_before: datetime | None = None
    callback_url: str = ""
    incident_id: UUID | None = None
    playbook: str = ""
    error_pattern: str = ""
    minimum_tier: str = ""
    on_behalf_of_id: int | None = None

    @classmethod
    def from_body(cls, body: Any) -> Proposal:
        """Read the body of a request (without `dry_run`). Raises Malformed, NotStorable and TooLarge."""
        reader = Reader(body, at="")
        proposal = cls(
            action_type=reader.text("action_type", longest=MAX_ACTION_TYPE_CHARS, required=True),
            target=reader.text("target", longest=MAX_TARGET_CHARS, required=True),
            parameters=reader.mapping("parameters"),
            expected_effect=reader.mapping("expected_effect"),
            preconditions=reader.sequence("preconditions", longest=MAX_PRECONDITIONS),
            mission_id=reader.uuid("mission_id"),
            confidence=reader.fraction("confidence"),
            justification=reader.text("justification"),
            not_before=reader.time("not_before"),
            callback_url=reader.text("callback_url", longest=MAX_URL_CHARS),
        )
        reader.finish()
        return proposal

    def as_dict(self) -> JsonDict:
        """The proposal as JSON, the same for every spelling of the same body."""
        document = asdict(self)
        for name in ("mission_id", "incident_id", "confidence"):
            document[name] = None if document[name] is None else str(document[name])
        document["not_before"] = self.not_before.astimezone(UTC).isoformat() if self.not_before else None
        return document

    def sha256(self) -> str:
        """SHA-256 (hex) of the proposal: what an idempotency key stands for."""
        return digest.sha256(digest.canonical(self.as_dict()))

    def draft(self, *, max_attempts: int) -> Draft:
        """The proposal as verification takes it."""
        return Draft(
            action_type=self.action_type,
            target=self.target,
            parameters=self.parameters,
            expected_effect=self.expected_effect,
            preconditions=self.preconditions,
            mission_id=self.mission_id,
            incident_id=self.incident_id,
            playbook=self.playbook,
            error_pattern=self.error_pattern,
            stated_confidence=self.confidence,
            justification=self.justification,
            not_before=self.not_before,
            callback_url=self.callback_url,
            max_attempts=max_attempts,
            on_behalf_of_id=self.on_behalf_of_id,
        )


@dataclass(frozen=True)
class Changes:
    """A new wording of a contract: members that are None stay as they are."""

    parameters: JsonDict | None = None
    expected_effect: JsonDict | None = None
    preconditions: list[Any] | None = None
    not_before: datetime | None = None

    @classmethod
    def from_body(cls, body: Any, *, at: str = "") -> Changes:
        """Read a revision or the edits of a decision. Raises Malformed, NotStorable and TooLarge."""
        reader = Reader(body, at=at)
        changes = cls(
            parameters=reader.mapping("parameters") if "parameters" in reader else None,
            expected_effect=reader.mapping("expected_effect") if "expected_effect" in reader else None,
            preconditions=(
                reader.sequence("preconditions", longest=MAX_PRECONDITIONS) if "preconditions" in reader else None
            ),
            not_before=reader.time("not_before"),
        )
        if not reader.members:
            reader.problem("", "missing", "At least one of parameters, expected_effect and not_before is expected.")
        reader.finish()
        return changes


class Reader:
    """Takes members out of a JSON object, notes what is wrong with each, and what nobody asked for."""

    def __init__(self, body: Any, *, at: str) -> None:
        """`at` is the pointer of the object in the request's body."""
        self.at = at
        self.errors: list[FieldError] = []
        self.asked: set[str] = set()
        self.members: Mapping[str, Any] = body if isinstance(body, Mapping) else {}
        if not isinstance(body, Mapping):
            self.problem("", "wrong_type", "An object is expected.")

    def __contains__(self, name: str) -> bool:
        self.asked.add(name)
        return self.members.get(name) is not None

    def problem(self, name: str, code: str, detail: str) -> None:
        """Note what is wrong with a member (or with the object itself)."""
        pointer = f"{self.at}/{name.replace('~', '~0').replace('/', '~1')}" if name else self.at
        self.errors.append(FieldError(pointer, code, detail))

    def take(self, name: str, wanted: type | tuple[type, ...], what: str) -> Any:
        """The member, or None when it is absent, null or of another type (which is noted)."""
        if name not in self:
            return None
        value = self.members[name]
        if isinstance(value, wanted) and not isinstance(value, bool):
            return value
        self.problem(name, "wrong_type", f"{what} is expected.")
        return None

    def text(self, name: str, *, longest: int = MAX_TEXT_CHARS, required: bool = False) -> str:
        """A text; empty when absent."""
        value = self.take(name, str, "A text") or ""
        if len(value) > longest:
            self.problem(name, "too_long", f"At most {longest} characters.")
        if required and not value and not any(error.pointer == f"{self.at}/{name}" for error in self.errors):
            self.problem(name, "missing", "It is required.")
        return str(value)

    def mapping(self, name: str) -> JsonDict:
        """An object; empty when absent."""
        return dict(self.take(name, Mapping, "An object") or {})

    def sequence(self, name: str, *, longest: int) -> list[Any]:
        """A list; empty when absent."""
        value = list(self.take(name, list, "A list") or [])
        if len(value) > longest:
            self.problem(name, "too_long", f"At most {longest} items.")
        return value

    def uuid(self, name: str) -> UUID | None:
        """A UUID, or None."""
        found: UUID | None = self._converted(name, str, "A UUID", UUID)
        return found

    def fraction(self, name: str) -> Decimal | None:
        """A number from 0 to 1, kept to four places."""
        value = self.take(name, (int, float), "A number")
        if value is None:
            return None
        if not 0 <= value <= 1:
            self.problem(name, "out_of_range", "It is from 0 to 1.")
            return None
        return Decimal(str(value)).quantize(Decimal("0.0001"))

    def time(self, name: str) -> datetime | None:
        """An RFC 3339 time with an offset, in UTC."""
        found: datetime | None = self._converted(name, str, "A time such as 2026-11-23T12:00:00Z", _utc)
        return found

    def _converted(self, name: str, wanted: type, what: str, convert: Callable[[str], Any]) -> Any:
        value = self.take(name, wanted, what)
        if value is None:
            return None
        try:
            return convert(value)
        except (ValueError, OverflowError):
            self.problem(name, "wrong_type", f"{what} is expected.")
            return None

    def finish(self) -> None:
        """Raise what was found: unknown members and wrong shapes, then what cannot be stored, then the size."""
        for name in self.members.keys() - self.asked:
            self.problem(str(name)[:100], "unknown_member", f"{str(name)[:80]!r} is not known here.")
        lossy = digest.unfaithful(self.members, at=self.at)
        if lossy:
            raise NotStorable("Something in the body would not be kept as it is.", errors=lossy)
        if self.errors:
            raise Malformed("The body does not have the expected shape.", errors=self.errors)
        size = len(digest.canonical(self.members))
        if size > MAX_BYTES:
            raise TooLarge(f"The body has {size} bytes; {MAX_BYTES} is the most.")


@contextmanager
def repointed(**named: str) -> Iterator[None]:
    """Refusals of a proposal that was made from another body name the fields of that body.

    What is below /parameters stands in it by itself; `named` says where the other members came from:
    `justification="/reason"` unless told otherwise.
    """
    moved = {"parameters": "", "justification": "/reason", **named}
    try:
        yield
    except Refused as refusal:
        refusal.errors = tuple(
            FieldError(_moved(error.pointer, moved), error.code, error.detail) for error in refusal.errors
        )
        raise


def _moved(pointer: str, moved: Mapping[str, str]) -> str:
    for name, place in moved.items():
        if pointer.startswith(f"/{name}/") or pointer == f"/{name}":
            return place + pointer.removeprefix(f"/{name}")
    return pointer


def too_late(not_before: datetime | None, *, now: datetime, at: str = "") -> list[FieldError]:
    """What is wrong with a start that lies so far ahead that nobody can approve of it now."""
    if not_before is None or not_before <= now + LATEST_START:
        return []
    return [FieldError(f"{at}/not_before", "out_of_range", f"At most {LATEST_START.days} days ahead.")]


def _utc(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("no offset")
    return found.astimezone(UTC)
