"""Keys and patterns that contain arguments: `"user:{user_id}"`.

A value is escaped so that it stays within its place: letters, digits, `_`, `.` and `-` stand for
themselves, every other character is percent-encoded. So no value can hold a `:` or a `*`, end one
part of a key and begin the next, or act as a pattern. Long values are replaced by their digest.
"""

import string
from collections.abc import Collection, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from pathlib import PurePath
from urllib.parse import quote
from uuid import UUID

from .canonical import UnkeyableError

_LONGEST_VALUE = 64  # characters, once escaped
_DIGEST_BYTES = 16
_UNESCAPED = frozenset(string.ascii_letters + string.digits + "_.-")
_PLAIN = (str, int, float, Decimal, UUID, date, datetime, time, PurePath)
_FORMATTER = string.Formatter()


class Template:
    """Text in which `{name}` stands for an argument and `{name.attribute}` for a part of one.

    Raises `ValueError` when it is made, for a name that is no parameter, for braces that do not
    match, and for two places with nothing between them that would keep their values apart.
    """

    def __init__(self, text: str, parameters: Collection[str]) -> None:
        self.text = text
        try:
            self._parts = list(_FORMATTER.parse(text))
        except ValueError as error:
            raise ValueError(
                f"{text!r} is no template: {error}; write '{{{{' for a brace"
            ) from None
        fields = [place for _, place, _, _ in self._parts if place is not None]
        self.has_fields = bool(fields)
        self.names = frozenset(_name_of(place) for place in fields)
        """The parameters that it names."""
        for place in fields:
            name = _name_of(place)
            if name not in parameters:
                raise ValueError(
                    f"{text!r} names {name!r}, which is no parameter of the function; "
                    f"it has {', '.join(parameters) or 'none'}"
                )
        if any(conversion for *_, conversion in self._parts):
            raise ValueError(f"{text!r} has a conversion such as '!r', which no key can have")
        for literal, field, _, _ in self._parts[1:]:
            if field is not None and _UNESCAPED.issuperset(literal):
                raise ValueError(f"{text!r} needs something like ':' in front of {{{field}}}")

    def render(self, arguments: Mapping[str, object], *, unknown: str | None = None) -> str:
        """Return the text with the escaped values of `arguments` in their places.

        A value that has no text of its own is replaced by `unknown`; without that, it raises
        `UnkeyableError`.
        """
        rendered = []
        for literal, field, spec, _ in self._parts:
            rendered.append(literal)
            if field is None:
                continue
            try:
                # A name alone, as most are, need not be taken to pieces.
                value = arguments[field] if field in arguments else _part(field, arguments)
                rendered.append(escape(format(value, spec) if spec else value))
            except Exception as error:
                if unknown is None:
                    raise UnkeyableError(f"{{{field}}} has no text: {error}") from None
                rendered.append(unknown)
        return "".join(rendered)


def _name_of(field: str) -> str:
    return field.partition(".")[0].partition("[")[0]


def _part(field: str, arguments: Mapping[str, object]) -> object:
    value, _ = _FORMATTER.get_field(field, (), arguments)
    return value


def escape(value: object) -> str:
    """Return the text of `value`, in which only letters, digits, `_`, `.`, `-` and `%` stand.

    Raises `UnkeyableError` for a value that has no text of its own.
    """
    if type(value) is int:
        value = str(value)
    if type(value) is str and value.isalnum() and value.isascii() and len(value) <= _LONGEST_VALUE:
        return value  # as most are; `quote` would take its time to say the same
    if isinstance(value, Enum):
        value = value.value
    if value is not None and not isinstance(value, _PLAIN):
        raise UnkeyableError(f"a {type(value).__qualname__} has no text that could stand in a key")
    escaped = quote(str(value).encode("utf-8", "surrogatepass"), safe="").replace("~", "%7E")
    if len(escaped) <= _LONGEST_VALUE:
        return escaped
    # No value can look like this: a tilde would be escaped.
    return "~" + blake2b(escaped.encode(), digest_size=_DIGEST_BYTES).hexdigest()
