"""Reading objects of the API server tolerantly, and writing parts of them exactly.

Unknown fields are ignored, absent ones have the model's defaults, and null is absence. What cannot
be understood raises Malformed: the CRDs forbid it, so somebody has gone past them.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar

from respawn.model.conditions import Reason
from respawn.model.units import parse_duration, parse_quantity
from respawn.ports.errors import Refused

E = TypeVar("E", bound=Enum)


class Malformed(Refused):
    """An object that makes no sense; the message names the field."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(Reason.MALFORMED, f"{where}: {message}")


class Fields:
    """One mapping of an object, and where in the object it is."""

    def __init__(self, content: object, where: str = "") -> None:
        if not isinstance(content, Mapping):
            raise Malformed(where or "the object", "must be a mapping")
        self.content = content
        self.where = where

    def __contains__(self, key: str) -> bool:
        return self.content.get(key) is not None

    def bad(self, key: str, message: str) -> Malformed:
        """The complaint about the field `key`."""
        return Malformed(f"{self.where}.{key}".strip("."), message)

    def part(self, key: str) -> "Fields":
        """The mapping at `key`; empty if absent."""
        found = self.content.get(key)
        return Fields({} if found is None else found, f"{self.where}.{key}".lstrip("."))

    def maybe(self, key: str) -> "Fields | None":
        """The mapping at `key`, if it is there."""
        return self.part(key) if key in self else None

    def parts(self, key: str) -> list["Fields"]:
        """The list of mappings at `key`."""
        return [Fields(x, f"{self.where}.{key}[{n}]") for n, x in enumerate(self._list(key))]

    def texts(self, key: str) -> tuple[str, ...]:
        """The list of texts at `key`."""
        found = self._list(key)
        if not all(isinstance(item, str) for item in found):
            raise self.bad(key, "must be a list of texts")
        return tuple(found)

    def addresses(self, key: str) -> tuple[str, ...]:
        """The list of IP addresses at `key`, each once, as the kernel and Ceph write them.

        `2001:DB8:0::9` and `2001:db8::9` are one address. What is none is left as it is.
        """
        return tuple(dict.fromkeys(_canonical(text) for text in self.texts(key)))

    def mapping(self, key: str) -> dict[str, str]:
        """The mapping of texts at `key`."""
        return {str(name): str(value) for name, value in self.part(key).content.items()}

    def text(self, key: str, otherwise: str = "") -> str:
        """The text at `key`."""
        found = self.content.get(key)
        if found is None:
            return otherwise
        if not isinstance(found, str):
            raise self.bad(key, "must be a text")
        return found

    def needed(self, key: str) -> str:
        """The text at `key`, which must be there."""
        if not self.text(key):
            raise self.bad(key, "is missing")
        return self.text(key)

    def text_or_none(self, key: str) -> str | None:
        """The text at `key`, if it is there."""
        return self.text(key) or None

    def number(self, key: str, otherwise: int = 0) -> int:
        """The whole number at `key`."""
        found = self.content.get(key)
        if found is None:
            return otherwise
        if not isinstance(found, int) or isinstance(found, bool):
            raise self.bad(key, "must be a whole number")
        return found

    def flag(self, key: str) -> bool:
        """The boolean at `key`; absent is false."""
        found = self.content.get(key, False)
        if not isinstance(found, bool | None):
            raise self.bad(key, "must be true or false")
        return bool(found)

    def word(self, key: str, otherwise: E) -> E:
        """The member of `otherwise`'s enum at `key`."""
        found = self.text(key)
        try:
            return type(otherwise)(found) if found else otherwise
        except ValueError:
            known = ", ".join(str(member.value) for member in type(otherwise))
            raise self.bad(key, f"must be one of {known}, not {found!r}") from None

    def size(self, key: str, otherwise: int = 0) -> int:
        """Bytes of the quantity at `key`."""
        found = self.text(key)
        try:
            return parse_quantity(found) if found else otherwise
        except ValueError as error:
            raise self.bad(key, str(error)) from None

    def duration(self, key: str, otherwise: float) -> float:
        """Seconds of the duration at `key`."""
        found = self.text(key)
        try:
            return parse_duration(found) if found else otherwise
        except ValueError as error:
            raise self.bad(key, str(error)) from None

    def time(self, key: str) -> datetime | None:
        """The moment at `key`, if it is there."""
        found = self.text(key)
        try:
            moment = datetime.fromisoformat(found) if found else None
        except ValueError:
            raise self.bad(key, f"must be a time in RFC 3339, not {found!r}") from None
        if moment is not None and moment.tzinfo is None:
            raise self.bad(key, f"must name its time zone: {found!r}")
        return moment.astimezone(UTC) if moment else None

    def needed_time(self, key: str) -> datetime:
        """The moment at `key`, which must be there."""
        found = self.time(key)
        if found is None:
            raise self.bad(key, "is missing")
        return found

    def _list(self, key: str) -> list[Any]:
        found = self.content.get(key)
        if not isinstance(found, list | None):
            raise self.bad(key, "must be a list")
        return found or []


def _canonical(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def time_text(moment: datetime | None) -> str | None:
    """A moment as RFC 3339 in UTC, to the millisecond."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def compact(item: Mapping[str, Any]) -> dict[str, Any]:
    """`item` without what is absent: inside lists a merge patch takes null for a value."""
    return {key: value for key, value in item.items() if value is not None}


def listed(items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """A list of mappings; an empty one is absence."""
    return [compact(item) for item in items] or None


def texts(items: Iterable[str], most: int | None = None) -> list[str] | None:
    """A list of (at most `most`) texts, each once; an empty one is absence."""
    return list(dict.fromkeys(items))[:most] or None
