"""What a fact is about."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    """The thing a fact is about: its kind ("contract", "person", ...), stable id, and label for people.

    A label is given whole: the log withholds secrets from it and then cuts it.
    """

    kind: str
    id: str
    label: str = ""
