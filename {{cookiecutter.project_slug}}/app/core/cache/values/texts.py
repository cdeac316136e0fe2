"""Types whose values have a text that says all: how to write the text, and how to read it.

Keys and records hold these texts. A text that is read comes from Redis and may be forged. A few
bytes such as `1E9999999` can stand for millions of digits, which take hours to convert or to
render; such numbers are refused.
"""

import re
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from functools import partial
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
from pydantic import (
    AnyUrl,
    ByteSize,
    IPvAnyAddress,
    IPvAnyInterface,
    IPvAnyNetwork,
    NameEmail,
    PostgresDsn,
    SecretBytes,
    SecretStr,
    networks,
)
from pydantic_core import MultiHostUrl, TzInfo, Url

from .state import UnkeyableError, refuse_more

MOST_DIGITS = 1000
"""The most digits of a `Decimal` or a `Fraction`, and the most zeros before or after them."""
_LONGEST_NUMBER = 2 * MOST_DIGITS + 10  # characters
_BITS: int = (10**MOST_DIGITS - 1).bit_length()
_FRACTION = re.compile(r"-?[0-9]+(/[0-9]+)?", re.ASCII)
_ONE, _UTC = timedelta(microseconds=1), "0"

URL_BASES = tuple(
    {cls for kind in (AnyUrl, PostgresDsn) for cls in getattr(kind, "__mro__", ())} - {object}
)
"""The base classes of Pydantic's URLs. Before version 2.10 these were only annotations."""

SECRETS: tuple[type, ...] = (
    *(SecretStr, SecretBytes),
    *([pydantic.Secret] if hasattr(pydantic, "Secret") else []),
)


class Text(NamedTuple):
    """The name of a type in records, and how to write and to read its values.

    If `is_named`, values come back only if a return annotation names the type.
    """

    name: str
    write: Callable[[Any], str]
    read: Callable[[str], Any]
    is_named: bool = False


def _is_bounded(value: Decimal | Fraction) -> bool:
    if isinstance(value, Fraction):
        return max(value.numerator.bit_length(), value.denominator.bit_length()) <= _BITS
    is_near = abs(value.adjusted()) <= MOST_DIGITS if value.is_finite() else True
    return is_near and len(value.as_tuple().digits) <= MOST_DIGITS


def _refuse_unbounded(value: Decimal | Fraction) -> None:
    if not _is_bounded(value):
        raise UnkeyableError(
            f"a {type(value).__qualname__} in it has more than {MOST_DIGITS} digits or zeros; round "
            f"it, or give it as a str"
        )


def _write_decimal(value: Decimal) -> str:
    text = str(value)
    if len(text) > MOST_DIGITS or "E" in text:
        _refuse_unbounded(value)
    return text


def _read_decimal(text: str) -> Decimal:
    if len(text) <= _LONGEST_NUMBER:
        value = Decimal(text)
        if (len(text) <= MOST_DIGITS and "E" not in text.upper()) or _is_bounded(value):
            return value
    raise ValueError("this is no number, or one of too many digits")


def _write_fraction(value: Fraction) -> str:
    _refuse_unbounded(value)
    return str(value)


def _read_fraction(text: str) -> Fraction:
    # `Fraction` also parses exponents, and a huge one would take all memory.
    is_one = len(text) <= _LONGEST_NUMBER and _FRACTION.fullmatch(text)
    if is_one and _is_bounded(value := Fraction(text)):
        return value
    raise ValueError("this is no fraction, or one of too many digits")


def is_known_zone(zone: Any) -> bool:
    """Whether the key of a `ZoneInfo` leads to it. One read from a file may have any key."""
    try:
        return zone.key is not None and ZoneInfo(zone.key) is zone
    except (KeyError, ValueError, OSError):  # there is no zone with this key
        return False


def write_zone(zone: tzinfo | None) -> str:
    """Return the text of a zone. The offset alone would not do: zones may share an offset."""
    if zone is None:
        return ""
    if zone is UTC:
        return _UTC
    kind = type(zone)
    if kind is timezone:
        offset, name = zone.utcoffset(None) or timedelta(), zone.tzname(None)
        has_own = name != timezone(offset).tzname(None)
        return f"{offset // _ONE}/{name}" if has_own else f"{offset // _ONE}"
    if kind is TzInfo:
        return f"p{(zone.utcoffset(None) or timedelta()) // timedelta(seconds=1)}"
    if kind is ZoneInfo and is_known_zone(zone):
        return f"z{zone}"
    raise UnkeyableError(
        f"a time zone of type {kind.__qualname__} has no name by which it comes back; use "
        f"datetime.timezone or zoneinfo.ZoneInfo"
    )


def read_zone(text: str) -> tzinfo | None:
    """Return the zone that `write_zone` wrote as `text`."""
    if not text:
        return None
    if text == _UTC:
        return UTC
    if text[0] == "z":
        return ZoneInfo(text[1:])
    if text[0] == "p":
        return TzInfo(int(text[1:]))
    offset, named, name = text.partition("/")
    return timezone(int(offset) * _ONE, *([name] if named else []))


def _write_moment(value: datetime | time) -> str:
    return f"{value.replace(tzinfo=None).isoformat()}/{value.fold}/{write_zone(value.tzinfo)}"


def _read_moment(cls: Any, text: str) -> Any:
    naive, fold, zone = text.split("/", 2)
    return cls.fromisoformat(naive).replace(tzinfo=read_zone(zone), fold=int(fold))


def _read_duration(text: str) -> timedelta:
    days, seconds, microseconds = map(int, text.split("/"))
    return timedelta(days, seconds, microseconds)


def _write_size(value: ByteSize) -> str:
    refuse_more(value)
    return str(int(value))


def _write_url(value: Any) -> str:
    refuse_more(value, "_url")
    return str(value)


def _read_address(text: str) -> NameEmail:
    email, _, name = text.partition(" ")
    return NameEmail(name=name, email=email)


_ZONE = Text("zone", write_zone, read_zone)
_URLS = [
    cls
    for cls in vars(networks).values()
    if isinstance(cls, type) and issubclass(cls, URL_BASES) and cls.__module__ == networks.__name__
]
_BY_STR: tuple[Any, ...] = (
    *(Path, PurePath, PosixPath, PurePosixPath, PureWindowsPath, WindowsPath),
    *(IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network),
    *(Url, MultiHostUrl),
)
TEXTS: dict[type, Text] = {
    bytes: Text(
        "bytes", lambda value: b64encode(value).decode(), partial(b64decode, validate=True)
    ),
    Decimal: Text("decimal", _write_decimal, _read_decimal),
    UUID: Text("uuid", lambda value: value.hex, UUID),
    date: Text("date", date.isoformat, date.fromisoformat),
    datetime: Text("datetime", _write_moment, partial(_read_moment, datetime)),
    time: Text("time", _write_moment, partial(_read_moment, time)),
    timedelta: Text(
        "timedelta",
        lambda value: f"{value.days}/{value.seconds}/{value.microseconds}",
        _read_duration,
    ),
    timezone: _ZONE,
    ZoneInfo: _ZONE,
    TzInfo: _ZONE,
    Fraction: Text("Fraction", _write_fraction, _read_fraction, is_named=True),
    ByteSize: Text("ByteSize", _write_size, ByteSize, is_named=True),
    NameEmail: Text(
        "NameEmail", lambda value: f"{value.email} {value.name}", _read_address, is_named=True
    ),
    **{cls: Text(cls.__name__, str, cls, is_named=True) for cls in _BY_STR},
    **{cls: Text(cls.__name__, _write_url, cls, is_named=True) for cls in _URLS},
}
"""Exactly these types, not their subclasses."""

_KIN: dict[Any, tuple[type, ...]] = {
    IPvAnyAddress: (IPv4Address, IPv6Address),
    IPvAnyInterface: (IPv4Interface, IPv6Interface),
    IPvAnyNetwork: (IPv4Network, IPv6Network),
}


def texts_of(cls: type) -> dict[str, Text]:
    """Return the named types of `TEXTS` that an annotation with this class allows, by name."""
    kin = _KIN.get(cls) or ((cls,) if cls in TEXTS else ())
    return {
        text.name: text for each, text in TEXTS.items() if text.is_named and issubclass(each, kin)
    }


_PG_MODULE, _PG_NAME = "asyncpg.pgproto.pgproto", "UUID"


def pg_uuid() -> Any:
    """Return the class of the UUIDs that asyncpg makes, or `None` while asyncpg is not imported.

    Its instances equal those of `uuid.UUID`. Their only state is the UUID, which Python cannot see.
    """
    return getattr(sys.modules.get(_PG_MODULE), _PG_NAME, None)
