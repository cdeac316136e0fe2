"""Keys and patterns that contain arguments: `"user:{user_id}"`.

Values are escaped: letters, digits, `_`, `.` and `-` stay, other characters are percent-encoded. So
a value cannot contain the `:` that ends a part of a key, nor the `*` of a pattern. Long values
are replaced by their digest.

In a key, a value differs from a text that looks like it (`1` and `"1"`, `None` and `"None"`). If a
value has the annotated type, only its text is in the key. Otherwise its type follows: `1~int`.
Without an annotation, it follows a `Decimal`, a path, and a text that looks like a number, a date,
a UUID, `None`, `True` or `False`: `1~str`. An escaped text never contains a tilde.
"""

import itertools
import re
import string
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from pathlib import PurePath
from typing import Any, NamedTuple
from urllib.parse import quote, unquote
from uuid import UUID

from ..values import UnkeyableError, annotation_of, of_text, pg_uuid
from .parameters import some_kinds
from .patterns import WILDCARD, KeyPattern

_LONGEST_BY_HAND = 1024  # bytes
_LONGEST_VALUE = 64  # characters, once escaped
_DIGEST_BYTES = 16
_UNESCAPED = frozenset(string.ascii_letters + string.digits + "_.-")
_PLAIN = (str, int, float, Decimal, UUID, date, datetime, time, PurePath, type(None))
_OF_ONE_LOOK = frozenset({int, bool, type(None), float, UUID, date, datetime, time})
"""Types whose texts `_LOOKS_TYPED` matches. No two of them share a text."""
_LOOKS_TYPED = re.compile(r"None|True|False|-?inf|nan|-?[0-9].*|[0-9a-fA-F-]{36}", re.DOTALL)
_FORMATTER = string.Formatter()
_TAME = str.maketrans({"~": "~t", WILDCARD: "~s"})


class _Part(NamedTuple):
    """A literal text, and the field after it; the last part may have no field."""

    literal: str
    field: str | None
    plain: type | None
    """The annotated type, whose values need no mark; `None` if it is not known."""


class Template:
    """Text in which `{name}` stands for an argument and `{name.attribute}` for a part of one.

    `hints` are the annotations of the parameters. The constructor raises `ValueError` for a name
    that is no parameter, an attribute that a known class does not have, braces that do not match,
    a format or conversion, and two fields without a separator such as `:` between them.
    """

    def __init__(
        self, text: str, parameters: Collection[str], hints: Mapping[str, Any] | None = None
    ) -> None:
        self.text, self.parameters = text, tuple(parameters)
        try:
            parsed = list(_FORMATTER.parse(text))
        except ValueError as error:
            raise ValueError(f"{text!r} is no template: {error}; '{{{{' is a brace") from None
        fields = [place for _, place, _, _ in parsed if place is not None]
        self.has_fields = bool(fields)
        self.names = tuple(dict.fromkeys(map(_name_in, fields)))
        """The parameters that it names."""
        for name in self.names:
            if name not in parameters:
                raise ValueError(
                    f"{text!r} names {name!r}, which is no parameter of the function; "
                    f"it has {', '.join(parameters) or 'none'}"
                )
        if any(spec or conversion for *_, spec, conversion in parsed):
            raise ValueError(f"{text!r} has a format or a conversion, which no key can have")
        for literal, field, _, _ in parsed[1:]:
            if field is not None and _UNESCAPED.issuperset(literal):
                raise ValueError(f"{text!r} needs something like ':' in front of {{{field}}}")
        self._parts = [
            _Part(literal, field, self._plain(field, hints or {}))
            for literal, field, _, _ in parsed
        ]

    def render(self, arguments: Mapping[str, object]) -> str:
        """Return the text for a key, with the escaped values of `arguments`.

        Raises `UnkeyableError` for a value that has no text of its own.
        """
        return self._filled(arguments, escape)

    def name(self, arguments: Mapping[str, object]) -> str:
        """Return the text for a tag, with the values as they are: a tag may be any text."""
        return self._filled(arguments, _text)

    def values(self, arguments: Mapping[str, object]) -> tuple[object, ...]:
        """Return the values of its fields."""
        return tuple([_value_of(part.field, arguments) for part in self._parts if part.field])

    def patterns(self, arguments: Mapping[str, object], prefix: str = "") -> list[KeyPattern]:
        """Return patterns that match each key below `prefix` with these values in these places.

        In a key, a value may be followed by its type or not. A value that has no text matches any.
        In keys that a caller or a `key=` function made, all values may be unescaped.
        """
        forms, raw = list[list[str] | list[None]](), list[str | None]()
        behind = [part.literal for part in self._parts[1:]] + [""]
        for part, literal in zip(self._parts, behind, strict=True):
            if part.field is None:
                forms.append([""])
                raw.append("")
                continue
            try:
                value = _value_of(part.field, arguments)
                text = _text(value)
            except Exception:  # a user may send anything
                forms.append([None])
                raw.append(None)
                continue
            plain, typed = [_short(quoted(text), mark) for mark in _marks(value, text)]
            is_covered = literal.startswith(WILDCARD) and not plain.startswith("~")
            forms.append([plain] if is_covered else [plain, typed])
            raw.append(text if unquote(text) == text else plain)  # else it is escaped already
        covering = [self._covering(values, prefix) for values in itertools.product(*forms)]
        as_it_is = self._covering(raw, prefix)
        if len(str(as_it_is).encode("utf-8", "surrogatepass")) - len(prefix) <= _LONGEST_BY_HAND:
            first, *rest = as_it_is.literals
            own = prefix + tame(first.removeprefix(prefix))
            covering += [as_it_is, KeyPattern((own, *map(tame, rest)))]
        return list(dict.fromkeys(covering))

    def _covering(self, values: Collection[str | None], prefix: str) -> KeyPattern:
        """Return the pattern of these values; `None` is any value, a `*` in one no wildcard."""
        literals = [prefix]
        for part, value in zip(self._parts, values, strict=True):
            first, *rest = part.literal.split(WILDCARD)
            literals[-1] += first
            literals += rest
            if value is None:
                literals.append("")
            else:
                literals[-1] += value
        return KeyPattern(tuple(literals))

    def _plain(self, field: str | None, hints: Mapping[str, Any]) -> type | None:
        if field is None:
            return None
        try:
            annotation = annotation_of(field, hints.get(_name_in(field), object))
        except AttributeError as error:
            raise ValueError(f"{self.text!r} names {{{field}}}, but {error}") from None
        kinds = some_kinds(annotation)
        if str in kinds:
            return str
        return kinds[0] if len(kinds) == 1 and is_written(kinds[0]) else None

    def _filled(
        self, arguments: Mapping[str, object], write: Callable[[object, type | None], str]
    ) -> str:
        filled, field = "", ""
        try:
            for literal, place, plain in self._parts:
                filled += literal
                if place is not None:
                    field = place
                    filled += write(_value_of(place, arguments), plain)
        except Exception as error:
            remedy = of_text(_name_in(field), self.parameters)
            raise UnkeyableError(f"{{{field}}} has no text: {error}; {remedy}") from None
        return filled


def _name_in(field: str) -> str:
    return field.partition(".")[0].partition("[")[0]


def _value_of(field: str, arguments: Mapping[str, object]) -> object:
    """Return what a field names: an argument, or a part of one."""
    if field in arguments:
        return arguments[field]
    value, _ = _FORMATTER.get_field(field, (), arguments)
    return value


def escape(value: object, plain: type | None = None) -> str:
    """Return the form of `value` in a key: letters, digits, `_`, `.`, `-`, `%` and `~`.

    `plain` is the type whose values need no mark of their type. Raises `UnkeyableError` for a value
    that has no text of its own.
    """
    text = _text(value)
    kind = type(value)
    is_usual = (kind is str and plain is str) or (kind is int and plain in (int, None))
    return _short(
        quoted(text), "" if is_usual else _marks(value, text)[not _is_plain(value, text, plain)]
    )


def is_written(kind: type) -> bool:
    """Whether the values of a type have a text of their own."""
    return issubclass(kind, (*_PLAIN, Enum))


def quoted(text: str) -> str:
    """Return the escaped text: only letters, digits, `_`, `.`, `-` and `%`."""
    if text.isascii() and text.isalnum():  # as most are
        return text
    return quote(text.encode("utf-8", "surrogatepass"), safe="").replace("~", "%7E")


def tame(own: str) -> str:
    """Escape `*` and `~` in a key that a function made, so that it is no pattern."""
    return own.translate(_TAME)


def _text(value: Any, _plain: type | None = None) -> str:
    """Return the text of a value, not escaped; raises `UnkeyableError` if it has none."""
    if type(value) in (str, int):  # as most are
        return str(value)
    content = _content(value)
    if content is not value:
        return _text(content)
    if not isinstance(value, _PLAIN):
        kind = type(value).__qualname__
        raise UnkeyableError(f"a {kind} has no text that could stand in a key")
    return _moment(value) if isinstance(value, (datetime, time)) else str(value)


def _moment(value: datetime | time) -> str:
    """Return the text of a time, with what `str` leaves out: its fold, and the name of its zone."""
    zone = getattr(value.tzinfo, "key", None)
    return " ".join(filter(None, [str(value), "fold" if value.fold else None, zone]))


def _content(value: Any) -> object:
    """Return the result of `__cache_key__`, the value of an enum's member, or `value` itself."""
    says = getattr(type(value), "__cache_key__", None)
    if says is not None:
        return says(value)
    return value.value if isinstance(value, Enum) else value


def _is_plain(value: object, text: str, plain: type | None) -> bool:
    kind = _kind(value)
    if plain is not None:
        return kind is plain
    return kind in _OF_ONE_LOOK or (kind is str and not _LOOKS_TYPED.fullmatch(text))


def _marks(value: object, text: str) -> tuple[str, str]:
    """Return the two marks that may follow the text of a value: without its type, and with it.

    A result of `__cache_key__` has a mark of its own, because `None` and "None" have the same text.
    """
    content, inner = _content(value), ""
    if content is not value:
        inner = _marks(content, text)[not _is_plain(content, text, None)].replace("~", "~~")
    kind = _kind(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return inner, f"{inner}~{quoted(module + kind.__qualname__)}"


def _kind(value: object) -> type:
    """Return the type that distinguishes a value from others with the same text."""
    return UUID if type(value) is pg_uuid() else type(value)


def _short(escaped: str, mark: str) -> str:
    if len(escaped) <= _LONGEST_VALUE:
        return escaped + mark
    # No value can look like this, because a tilde would be escaped.
    return "~" + blake2b((escaped + mark).encode(), digest_size=_DIGEST_BYTES).hexdigest()
