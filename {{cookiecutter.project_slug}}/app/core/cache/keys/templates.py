"""Keys and patterns that contain arguments: `"user:{user_id}"`.

A value is escaped so that it stays within its place: letters, digits, `_`, `.` and `-` stand for
themselves, every other character is percent-encoded. So no value can hold a `:` or a `*`, end one
part of a key and begin the next, or act as a pattern. Long values are replaced by their digest.

In a key, a value and a text that reads like it differ (`1` and `"1"`, `None` and `"None"`). What the
annotation of the place says stands plainly, a text where it says `str`; what is not of that type
has its own type behind it: `1~int`. Where nothing is said, that is a text that reads like a number,
a date, a UUID, `None`, `True` or `False`: `1~str`. No escaped text holds a tilde.
"""

import itertools
import re
import string
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from pathlib import PurePath
from typing import Any
from urllib.parse import quote, unquote
from uuid import UUID

from ..values import UnkeyableError, annotation_of, kinds_of, of_text, text
from .patterns import WILDCARD, KeyPattern

_LONGEST_OWN_KEY = 300  # bytes; with the rest of the key this stays below 512
_SURELY_SHORT = _LONGEST_OWN_KEY // 4  # so many bytes may a character have
_LONGEST_BY_HAND = 1024  # bytes
_LONGEST_START = 101  # characters of a decorator's `key_prefix` and the colon behind it
_LONGEST_VALUE = 64  # characters, once escaped
_DIGEST_BYTES = 16
_UNESCAPED = frozenset(string.ascii_letters + string.digits + "_.-")
_PLAIN = (str, int, float, Decimal, UUID, date, datetime, time, PurePath)
_OF_ONE_LOOK = frozenset({int, bool, type(None), float, UUID, date, datetime, time})
"""The types whose texts `_LOOKS_TYPED` knows, all of them distinct."""
_HEX = "[0-9a-fA-F]"
_LOOKS_TYPED = re.compile(
    r"None|True|False|-?inf|nan"
    r"|-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}( .*)?|[0-9]{2}:[0-9]{2}:.*"
    rf"|{_HEX}{{8}}(-{_HEX}{{4}}){{3}}-{_HEX}{{12}}",
    re.DOTALL,
)
_FORMATTER = string.Formatter()
_WHOLE = re.compile(r"\w+\.(headers\[(?P<header>[^\]]+)\]|(?P<part>method|url\.path|url\.query))")
"""Places in which all of something stands that a request has."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A literal text, and the place behind it; the last part may have none."""

    literal: str
    field: str | None
    spec: str = ""
    plain: type | None = None
    """The type whose values stand there without a mark; `None` where the annotation says none."""


class Template:
    """Text in which `{name}` stands for an argument and `{name.attribute}` for a part of one.

    `hints` are the annotations of the parameters. Raises `ValueError` when it is made, for a name
    that is no parameter, for an attribute that a known class does not have, for braces that do not
    match, and for two places with nothing between them that would keep their values apart.
    """

    def __init__(
        self, text: str, parameters: Collection[str], hints: Mapping[str, Any] | None = None
    ) -> None:
        self.text, self.parameters = text, tuple(parameters)
        try:
            parsed = list(_FORMATTER.parse(text))
        except ValueError as error:
            raise ValueError(
                f"{text!r} is no template: {error}; write '{{{{' for a brace"
            ) from None
        fields = [place for _, place, _, _ in parsed if place is not None]
        self.has_fields = bool(fields)
        self.names = tuple(map(_name_in, fields))
        """The parameters that stand in it."""
        places = {_WHOLE.fullmatch(place) for place, spec in _bare(parsed) if not spec}
        self.whole = {_word(found) for found in places if found}
        """What of a request stands in it as it is, in the words in which it is noted there."""
        for name in self.names:
            if name not in parameters:
                raise ValueError(
                    f"{text!r} names {name!r}, which is no parameter of the function; "
                    f"it has {', '.join(parameters) or 'none'}"
                )
        if any(conversion for *_, conversion in parsed):
            raise ValueError(f"{text!r} has a conversion such as '!r', which no key can have")
        for literal, field, _, _ in parsed[1:]:
            if field is not None and _UNESCAPED.issuperset(literal):
                raise ValueError(f"{text!r} needs something like ':' in front of {{{field}}}")
        self._parts = [
            _Part(literal, field, spec or "", self._plain(field, hints or {}))
            for literal, field, spec, _ in parsed
        ]

    @property
    def literals(self) -> tuple[str, ...]:
        """The texts between the places."""
        texts = [part.literal for part in self._parts]
        return (*texts, "") if self._parts and self._parts[-1].field is not None else tuple(texts)

    def render(self, arguments: Mapping[str, object]) -> str:
        """Return the text with the escaped values of `arguments` in their places, as in keys.

        Raises `UnkeyableError` for a value that has no text of its own.
        """
        rendered = []
        for part in self._parts:
            rendered.append(part.literal)
            if part.field is not None:
                rendered.append(self._escaped(part, arguments))
        return "".join(rendered)

    def name(self, arguments: Mapping[str, object]) -> str:
        """Return the text as the name of a tag: with the values as they are, for tags are texts."""
        return "".join([part.literal + self._raw(part, arguments) for part in self._parts])

    def patterns(self, arguments: Mapping[str, object], prefix: str = "") -> list[KeyPattern]:
        """Return patterns that cover each key below `prefix` with these values in these places.

        A value may stand in a key with its type behind it or without, and one that has no text may
        be any. All may stand as they are.
        """
        options, raws = list[list[str | None]](), list[str | None]()
        following = [part.literal for part in self._parts[1:]] + [""]
        for part, literal in zip(self._parts, following, strict=True):
            try:
                forms, raw = self._forms(part, arguments)
            except UnkeyableError:
                options.append([None])
                raws.append(None)
                continue
            if literal.startswith(WILDCARD) and not forms[0].startswith("~"):
                forms = [forms[0], *forms[2:]]  # the first one covers whatever comes behind it
            options.append([*forms])
            raws.append(raw)
        chosen = dict.fromkeys([*itertools.product(*options), tuple(raws)])
        return [each for values in chosen for each in self._joined(values, prefix)]

    def _joined(self, values: Collection[str | None], prefix: str) -> list[KeyPattern]:
        """Return what covers these values, `None` for any; a star in one is no wildcard.

        Behind a `key_prefix`, which ends at a colon, a key may stand in another way.
        """
        literals, starts = [prefix], list[int]()
        for part, value in zip(self._parts, values, strict=True):
            first, *rest = part.literal.split(WILDCARD)
            colons = [place for place, character in enumerate(first, 1) if character == ":"]
            starts += [len(literals[-1]) + place for place in colons]
            literals[-1] += first
            literals += rest
            if value is None:
                literals.append("")
            else:
                literals[-1] += value
        if len(literals) > 1:
            return [KeyPattern(tuple(literals))]
        (key,) = literals
        starts = [start for start in starts if start - len(prefix) <= _LONGEST_START]
        keys = [key[:start] + own for start in starts for own in _stored_as(key[start:])]
        if _size(key) - _size(prefix) <= _LONGEST_BY_HAND:
            keys.append(key)
        return [KeyPattern((each,)) for each in keys]

    def _plain(self, field: str | None, hints: Mapping[str, Any]) -> type | None:
        if field is None:
            return None
        annotation = hints.get(_name_in(field), object)
        try:
            return _plain_type(annotation_of(field, annotation))
        except AttributeError as error:
            raise ValueError(f"{self.text!r} names {{{field}}}, but {error}") from None

    def _escaped(self, part: _Part, arguments: Mapping[str, object]) -> str:
        field = part.field or ""
        try:
            # A name alone, as most are, need not be taken to pieces.
            value = arguments[field] if field in arguments else _part_of(field, arguments)
            if part.spec:
                return _marked(value, _formatted(value, part.spec), part.plain)
            return escape(value, part.plain)
        except Exception as error:
            raise self._explained(part, error) from None

    def _forms(self, part: _Part, arguments: Mapping[str, object]) -> tuple[list[str], str]:
        """Return the ways in which a value may stand in a key, and the value as it is.

        First the one without a mark. What was set by hand, or by a function that makes keys, may
        have it as it is; unless that would be the escaped text of another value.
        """
        if part.field is None:
            return [""], ""
        value, escaped = self._text_of(part, arguments)
        inner = _inner_mark(value, escaped)
        short, raw = _short(escaped, inner), _unquoted(escaped)
        is_another = unquote(raw) != raw
        plain = [] if raw == escaped or WILDCARD in raw or is_another else [raw]
        forms = [short, _short(escaped, inner + _mark(_kind(value))), *plain]
        return forms, short if is_another else raw

    def _raw(self, part: _Part, arguments: Mapping[str, object]) -> str:
        field = part.field
        if field is None:
            return ""
        if not part.spec and field in arguments:  # as most are
            value = arguments[field]
            if type(value) is int or (type(value) is str and value.isascii()):
                return str(value)
        return _unquoted(self._text_of(part, arguments)[1])

    def _text_of(self, part: _Part, arguments: Mapping[str, object]) -> tuple[object, str]:
        try:
            value = _part_of(part.field or "", arguments)
            return value, _formatted(value, part.spec) if part.spec else _text(value)
        except Exception as error:
            raise self._explained(part, error) from None

    def _explained(self, part: _Part, error: Exception) -> UnkeyableError:
        remedy = of_text(_name_in(part.field or ""), self.parameters)
        return UnkeyableError(f"{{{part.field}}} has no text: {error}; {remedy}")


def _bare(
    parsed: Collection[tuple[str, str | None, str | None, str | None]],
) -> list[tuple[str, str]]:
    return [(place, spec or "") for _, place, spec, _ in parsed if place is not None]


def _word(found: re.Match[str]) -> str:
    name = found["header"]
    if name:
        return f"the header {name.lower()!r}"
    return {"method": "the method", "url.path": "the path", "url.query": "the query_string"}[
        found["part"]
    ]


def _name_in(field: str) -> str:
    return field.partition(".")[0].partition("[")[0]


def _part_of(field: str, arguments: Mapping[str, object]) -> object:
    value, _ = _FORMATTER.get_field(field, (), arguments)
    return value


def escape(value: object, plain: type | None = None) -> str:
    """Return what stands for `value` in a key: letters, digits, `_`, `.`, `-`, `%` and `~`.

    `plain` is the type whose values stand there as their text. Raises `UnkeyableError` for a value
    that has no text of its own.
    """
    cls = type(value)
    if cls is int and plain is None:
        return _short(str(value), "")
    if cls is str and plain is str and value.isalnum() and value.isascii():  # type: ignore[attr-defined]
        return _short(value, "")  # type: ignore[arg-type] # as most are; `quote` would take its time
    return _marked(value, _text(value), plain)


def is_written(kind: type) -> bool:
    """Whether the values of a type have a text of their own."""
    return issubclass(kind, (*_PLAIN, Enum, type(None)))


def quoted(text: str) -> str:
    """Return a text in which only letters, digits, `_`, `.`, `-` and `%` stand."""
    return quote(text.encode("utf-8", "surrogatepass"), safe="").replace("~", "%7E")


def tame(own: str) -> str:
    """Return a key that a function has made in such a way that it acts as no pattern."""
    if WILDCARD in own or own.startswith("~"):  # which no key has
        return f"~{own.replace('%', '%25').replace(WILDCARD, quoted(WILDCARD))}"
    return own


def shortened(own: str) -> str:
    """Return a key of one's own, or its digest if it is too long to stand in a key."""
    if len(own) <= _SURELY_SHORT or _size(own) <= _LONGEST_OWN_KEY:
        return own
    return "~" + blake2b(text(own), digest_size=_DIGEST_BYTES).hexdigest()


def _stored_as(own: str) -> set[str]:
    """Return in what other ways a key of one's own may stand: one of a template, or of a function."""
    return {shortened(own), shortened(tame(own))} - {own}


def _size(key: str) -> int:
    return len(key.encode("utf-8", "surrogatepass"))


def _unquoted(escaped: str) -> str:
    return unquote(escaped, errors="surrogatepass")


def _marked(value: object, text: str, plain: type | None) -> str:
    return _short(text, _mark_of(value, text, plain))


def _mark_of(value: object, text: str, plain: type | None) -> str:
    """Return what tells a value from those of other types that have its text."""
    kind, inner = _kind(value), _inner_mark(value, text)
    if plain is not None:
        is_plain = issubclass(kind, plain) if plain is PurePath else kind is plain
    else:
        is_plain = kind in _OF_ONE_LOOK or (
            kind is str and not _LOOKS_TYPED.fullmatch(unquote(text))
        )
    return inner if is_plain else inner + _mark(kind)


def _inner_mark(value: Any, text: str) -> str:
    """Return the mark of what a `__cache_key__` returned: `None` and "None" have one text."""
    says = getattr(type(value), "__cache_key__", None)
    return "" if says is None else _mark_of(says(value), text, None).replace("~", "~~")


def _short(escaped: str, mark: str) -> str:
    if len(escaped) <= _LONGEST_VALUE:
        return escaped + mark
    # No value can look like this: a tilde would be escaped.
    return "~" + blake2b((escaped + mark).encode(), digest_size=_DIGEST_BYTES).hexdigest()


def _mark(kind: type) -> str:
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return "~" + quoted(module + kind.__qualname__)


def _kind(value: object) -> type:
    """Return the type by which a value is told from others of the same text."""
    cls = type(value)
    if not isinstance(value, Enum) and isinstance(value, UUID):
        return UUID  # asyncpg has a class of its own
    return cls


def _text(value: Any) -> str:
    """Return the escaped text of a value, without the type behind it."""
    says = getattr(type(value), "__cache_key__", None)
    if says is not None:
        value = says(value)
    if isinstance(value, Enum):
        # With the type, for a class may have the members 1 and "1"; no text looks like this.
        return escape(value.value).replace("~", "~~")
    if value is not None and not isinstance(value, _PLAIN):
        cls = type(value)
        raise UnkeyableError(f"a {cls.__qualname__} has no text that could stand in a key")
    return quoted(str(value))


def _formatted(value: Any, spec: str) -> str:
    _text(value)  # which raises for what has none
    return quoted(format(value, spec))


def _plain_type(annotation: object) -> type | None:
    """Return the type whose values stand plainly where this is the annotation, or `None`."""
    kinds = [kind for kind in kinds_of(annotation) if kind is not type(None)]
    if str in kinds:
        return str
    special = [kind for kind in kinds if issubclass(kind, (Enum, Decimal, PurePath))]
    if len(special) != 1:
        return None
    return PurePath if issubclass(special[0], PurePath) else special[0]
