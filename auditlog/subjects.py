"""What a fact is about."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    """The thing a fact is about: its kind ("contract", "person", ...), stable id and label for people."""

    kind: str
    id: str
    label: str = ""
