"""Facts: the closed vocabulary of the log. Each app lists its own in one enum, each with the shape of its data."""

from __future__ import annotations

import functools
import types
import typing
from dataclasses import dataclass
from enum import Enum
from typing import Any

import typing_extensions
from django.utils.module_loading import autodiscover_modules
from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from . import canonical


class Personal:
    """Marks a member of a shape as personal data: `Annotated[str, PERSONAL]`. It enters as a commitment."""


PERSONAL = Personal()


class NoData(TypedDict):
    """The shape of a fact that carries nothing."""


class FactAlreadyRegistered(RuntimeError):
    """Two facts were given the same dotted name."""


class WrongShape(ValueError):
    """Data does not have the shape its fact was registered with."""


@dataclass(frozen=True)
class Spec:
    """What an enum's author writes: the dotted name and the shape of the data."""

    name: str
    shape: type


def fact(name: str, shape: type = NoData) -> Spec:
    """Declare a fact: `CREATED = fact("contract.created", CreatedData)`; `shape` is a TypedDict of JSON types."""
    return Spec(name, shape)


_registry: dict[str, Facts] = {}
_QUALIFIERS = (typing_extensions.Required, typing_extensions.NotRequired)


class Facts(Enum):
    """Base of each app's enum of facts; `.value` and `.name_` are the dotted name, `.shape` the TypedDict."""

    name_: str
    shape: type

    def __new__(cls, spec: Spec) -> Facts:
        if spec.name in _registry:
            raise FactAlreadyRegistered(spec.name)
        member = object.__new__(cls)
        member._value_ = spec.name
        member.name_ = spec.name
        member.shape = spec.shape
        _registry[spec.name] = member
        return member

    @property
    def subsystem(self) -> str:
        """The label of the app that declares this fact."""
        return type(self).__module__.partition(".")[0]


def named(name: str) -> Facts:
    """The registered fact called `name`. Raises KeyError."""
    return _registry[name]


def registered() -> dict[str, Facts]:
    """All facts by dotted name, sorted."""
    return dict(sorted(_registry.items()))


def checked(member: Facts, data: object) -> Any:
    """A copy of `data` that has the shape of the fact. Raises WrongShape, and NotCanonical for what is not JSON."""
    validator = adapter(member).validator
    try:
        return validator.validate_python(data)
    except ValidationError:
        # Times, ids and enums become text first, which most data does not need.
        clean = canonical.plain(data, "/data")
    try:
        return validator.validate_python(clean)
    except ValidationError as error:
        problems = "; ".join(
            f"/{'/'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()
        )
        raise WrongShape(f"{member.name_}: {problems}") from None


def personal(member: Facts) -> frozenset[str]:
    """Names of the top-level members that are personal data."""
    return _personal(member.shape)


def schema(member: Facts) -> dict[str, Any]:
    """The JSON Schema of the fact's data."""
    return adapter(member).json_schema()


@functools.cache
def adapter(member: Facts) -> TypeAdapter[Any]:
    """The validator of the fact's data: strict, unknown members refused."""
    return TypeAdapter(_modern(member.shape))


@functools.cache
def _personal(shape: type) -> frozenset[str]:
    hints = typing_extensions.get_type_hints(shape, include_extras=True)
    return frozenset(name for name, hint in hints.items() if PERSONAL in _metadata(hint))


def _metadata(hint: Any) -> tuple[Any, ...]:
    if typing_extensions.get_origin(hint) in _QUALIFIERS:
        return _metadata(typing_extensions.get_args(hint)[0])
    return getattr(hint, "__metadata__", ())


@functools.cache
def _modern(shape: type) -> type:
    """`shape` as a strict, closed TypedDict that pydantic takes on Python 3.11, whichever module it came from."""
    hints = typing_extensions.get_type_hints(shape, include_extras=True)
    members: dict[str, Any] = {}
    for name, hint in hints.items():
        qualifier: Any = typing_extensions.get_origin(hint)
        if qualifier in _QUALIFIERS:
            bare = typing_extensions.get_args(hint)[0]
        else:
            # A class's own record of what is required cannot be asked first: it misses qualifiers in annotations
            # that are text (`from __future__ import annotations`).
            bare = hint
            required = name in shape.__required_keys__  # type: ignore[attr-defined]
            qualifier = typing_extensions.Required if required else typing_extensions.NotRequired
        members[name] = qualifier[_rebuilt(bare)]
    make: Any = typing_extensions.TypedDict
    modern: Any = make(shape.__name__, members)
    modern.__pydantic_config__ = ConfigDict(strict=True, extra="forbid")
    modern.__doc__ = shape.__doc__
    return typing.cast("type", modern)


def _rebuilt(hint: Any) -> Any:
    """`hint` with the TypedDicts inside it made modern."""
    if typing_extensions.is_typeddict(hint):
        return _modern(hint)
    arguments = typing_extensions.get_args(hint)
    origin = typing_extensions.get_origin(hint)
    if not arguments or origin is typing.Literal:
        return hint
    if origin is typing.Annotated:
        return typing.Annotated[(_rebuilt(arguments[0]), *arguments[1:])]
    rebuilt = tuple(_rebuilt(each) for each in arguments)
    if origin in (typing.Union, types.UnionType):
        return typing.Union[rebuilt]  # noqa: UP007 - built from a tuple
    return origin[rebuilt] if origin is not None else hint


def load_all() -> None:
    """Import every installed app's `facts` module, so that the registry is complete."""
    autodiscover_modules("facts")


class JobData(TypedDict):
    """A visible job; `attempt` counts from 1."""

    job_id: str
    kind: str
    attempt: int


class JobEndedData(JobData):
    """A visible job that ended or failed an attempt; `error` names the class of the failure."""

    error: typing_extensions.NotRequired[str]
    reason: typing_extensions.NotRequired[str]
    dead: typing_extensions.NotRequired[bool]


class CheckpointData(TypedDict):
    """A signed checkpoint; `root` is hex, `anchors` are the places that took it."""

    size: int
    root: str
    anchors: list[str]


class IntegrityData(TypedDict):
    """An integrity run over leaves `from_index` (inclusive) to `size` (exclusive)."""

    level: str
    from_index: int
    size: int
    findings: list[str]
    duration_ms: int


class AcknowledgedData(TypedDict):
    """A person took note of an integrity finding; `digest` (hex) is what it says, `seal` that Grace wrote this."""

    finding_id: str
    kind: str
    reason: str
    digest: str
    seal: str


class ErasedData(TypedDict):
    """Side rows of a subject were erased; nothing of what was erased is named."""

    disclosures: int
    reason: str


class ExportedData(TypedDict):
    """A bundle was exported; `subset` says that it does not hold every entry of its range."""

    size: int
    entries: int
    subset: bool


class HeartbeatData(TypedDict):
    """A subsystem is alive."""

    name: str


class JobFact(Facts):
    """What happens to visible jobs."""

    ENQUEUED = fact("job.enqueued", JobData)
    STARTED = fact("job.started", JobData)
    RETRIED = fact("job.retried", JobEndedData)
    COMPLETED = fact("job.completed", JobEndedData)
    FAILED = fact("job.failed", JobEndedData)
    CANCELLED = fact("job.cancelled", JobEndedData)


class AuditlogFact(Facts):
    """What the log says about itself."""

    CHECKPOINT_SIGNED = fact("auditlog.checkpoint_signed", CheckpointData)
    INTEGRITY_VERIFIED = fact("auditlog.integrity_verified", IntegrityData)
    INTEGRITY_FAILED = fact("auditlog.integrity_failed", IntegrityData)
    FINDING_ACKNOWLEDGED = fact("auditlog.finding_acknowledged", AcknowledgedData)
    ERASED = fact("auditlog.erased", ErasedData)
    EXPORTED = fact("auditlog.exported", ExportedData)


class SystemFact(Facts):
    """Signs of life."""

    HEARTBEAT = fact("system.heartbeat", HeartbeatData)
