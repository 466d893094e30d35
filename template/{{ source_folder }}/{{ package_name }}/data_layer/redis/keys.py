"""What every write in Redis needs: a name of the one format, and a time to live."""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self
from urllib.parse import quote, unquote_to_bytes

from .errors import InvalidKey, InvalidTimeToLive

LONGEST = 1024
SHORTEST_LIFE, LONGEST_LIFE = timedelta(seconds=1), timedelta(days=366)
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+")
_VERSION = re.compile(r"v([1-9][0-9]{0,8})")
_COMPANION = re.compile(r"[a-z][a-z0-9-]{0,31}")
# The id of an entry in a stream. 20 digits may be more than the 64 bits that Redis takes.
ENTRY_ID = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Key:
    """The name of one value: `Key("users", "profile", "user-123")` is `users:profile:user-123:v1`.

    Every part may hold any text. A character that is not a letter or digit of ASCII, `-`, `_`, `.`
    or `~` is written as `%` and two hexadecimal digits for each byte of UTF-8. So no text looks
    like a separator, a hash tag or a pattern, and two different keys never have the same text.
    Serves DL-RD-05.

    Attributes:
        service: who owns the value; `REDIS_SERVICE` for everything of this project.
        entity: what kind of value it is.
        identifier: which one.
        version: the version of the stored value's schema, from 1. Raise it when the schema
            changes, so that old and new code never use the same value.
    """

    service: str
    entity: str
    identifier: str
    version: int = 1
    _text: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("service", "entity", "identifier"):
            if not getattr(self, name):
                raise InvalidKey(f"The {name} of a key is empty; give it at least one character.")
        if not _VERSION.fullmatch(f"v{self.version}"):
            raise InvalidKey(f"The version of a key is {self.version}; count versions from 1.")
        parts = map(_escaped, (self.service, self.entity, self.identifier))
        text = ":".join((*parts, f"v{self.version}"))
        object.__setattr__(self, "_text", text)
        if (length := len(text)) > LONGEST:
            raise InvalidKey(
                f"A key of the entity {self.entity[:100]} is {length} bytes long, more than "
                f"{LONGEST}; identify the value by `digest(identifier)` instead."
            )

    def __str__(self) -> str:
        return self._text

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """The key that has this text.

        Raises:
            InvalidKey: no key has it.
        """
        shown = text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text
        *parts, last = shown.split(":")
        version = _VERSION.fullmatch(last)
        if len(parts) != 3 or version is None:
            raise InvalidKey(
                f"{shown[:200]!r} is not of the form service:entity:identifier:version."
            )
        try:
            service, entity, identifier = map(_unescaped, parts)
            key = cls(service, entity, identifier, int(version[1]))
        except UnicodeError:
            raise InvalidKey(f"{shown[:200]!r} is not UTF-8 where it is escaped.") from None
        if str(key) != shown:
            raise InvalidKey(f"{shown[:200]!r} is not escaped as Key escapes it.")
        return key

    def companion(self, name: str) -> str:
        """The name of something that belongs to this key, such as its lock: `{key}:name`.

        The braces are a hash tag: Redis Cluster chooses the slot by the text within them alone,
        which is the key itself. So the companion is in its key's slot, and a script may use both.
        """
        if not _COMPANION.fullmatch(name):
            raise InvalidKey(f"{name[:100]!r} is no name of a companion; use lowercase letters.")
        return f"{{{self}}}:{name}"


@dataclass(frozen=True, slots=True, order=True)
class TimeToLive:
    """The time after which a value is gone: `TimeToLive(timedelta(minutes=5))`.

    It is at least one second, since a shorter time is mostly spent on the way to Redis, and at most
    a year, since a value that stays longer belongs into PostgreSQL.
    """

    value: timedelta

    def __post_init__(self) -> None:
        if not SHORTEST_LIFE <= self.value <= LONGEST_LIFE:
            raise InvalidTimeToLive(
                f"A time to live of {self.value} is not between {SHORTEST_LIFE.seconds} second and "
                f"{LONGEST_LIFE.days} days; what must stay longer belongs into PostgreSQL."
            )

    @property
    def seconds(self) -> float:
        """The time in seconds."""
        return self.value.total_seconds()

    @property
    def milliseconds(self) -> int:
        """The time in milliseconds, as Redis takes it."""
        return self.value // timedelta(milliseconds=1)


def digest(identifier: str) -> str:
    """A hash that replaces an identifier that is too long, or that nobody may read."""
    encoded = identifier.encode("utf-8", "surrogatepass")
    return f"sha256-{hashlib.sha256(encoded).hexdigest()}"


def owner(text: str | bytes) -> Key:
    """The key that this text is, or whose companion it is.

    Raises:
        InvalidKey: it is neither.
    """
    shown = text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text
    inner, brace, name = shown[1:].rpartition("}:")
    if shown.startswith("{") and brace and _COMPANION.fullmatch(name):
        return Key.parse(inner)
    return Key.parse(shown)


def _escaped(part: str) -> str:
    # Most parts need no escape, and looking is far cheaper than quoting.
    return part if _PLAIN.fullmatch(part) else quote(part, safe="", errors="surrogatepass")


def _unescaped(part: str) -> str:
    return unquote_to_bytes(part).decode("utf-8", "surrogatepass")
