"""Classes of which a text is all that there is, by the name under which they are stored."""

import re
import sys
from decimal import Decimal
from fractions import Fraction
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any

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
from pydantic_core import MultiHostUrl, Url

PLAIN_TEXTS: tuple[type, ...] = (
    *(Path, PurePath, PosixPath, PurePosixPath, PureWindowsPath, WindowsPath),
    *(IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network),
    *(Fraction, Url, MultiHostUrl),
)
URL_BASES = tuple(
    {cls for kind in (AnyUrl, PostgresDsn) for cls in getattr(kind, "__mro__", ())} - {object}
)
"""What the URLs of Pydantic are; before version 2.10, annotations of `pydantic_core.Url`."""

SECRETS: tuple[type, ...] = (
    *(SecretStr, SecretBytes),
    *([pydantic.Secret] if hasattr(pydantic, "Secret") else []),
)

_URLS = [
    cls
    for cls in vars(networks).values()
    if isinstance(cls, type) and issubclass(cls, URL_BASES) and cls.__module__ == networks.__name__
]
TEXTS: dict[str, type] = {cls.__name__: cls for cls in (*PLAIN_TEXTS, *_URLS, ByteSize, NameEmail)}
"""Exactly these classes can be made of a text, which is all there is of their instances."""

_KIN: dict[Any, tuple[type, ...]] = {
    IPvAnyAddress: (IPv4Address, IPv6Address),
    IPvAnyInterface: (IPv4Interface, IPv6Interface),
    IPvAnyNetwork: (IPv4Network, IPv6Network),
}


def texts_of(cls: type) -> set[str]:
    """Return the names in `TEXTS` of what an annotation with this class stands for."""
    kin = _KIN.get(cls, (cls,))
    if kin == (cls,) and TEXTS.get(cls.__name__) is not cls:
        return set()
    return {name for name, each in TEXTS.items() if issubclass(each, kin)}


MOST_DIGITS = 1000
"""How many digits a `Decimal` or a `Fraction` may have: of a few bytes come millions of digits, and
of those hours, as soon as somebody makes an int of them or renders them."""
_LONGEST_NUMBER = 2 * MOST_DIGITS + 10  # characters
_BITS: int = (10**MOST_DIGITS - 1).bit_length()
_WHOLE = re.compile(r"-?[0-9]+(/[0-9]+)?", re.ASCII)


def is_bounded(value: Decimal | Fraction) -> bool:
    """Whether a number has no more than `MOST_DIGITS` digits, and about as many zeros as these."""
    if isinstance(value, Fraction):
        return max(value.numerator.bit_length(), value.denominator.bit_length()) <= _BITS
    is_near = abs(value.adjusted()) <= MOST_DIGITS if value.is_finite() else True
    return is_near and len(value.as_tuple().digits) <= MOST_DIGITS


def decimal_from(text: Any) -> Decimal:
    """Return the number that a text is; raises `ValueError` for what no `Decimal` was stored as."""
    if type(text) is str and len(text) <= _LONGEST_NUMBER:
        value = Decimal(text)
        if (len(text) <= MOST_DIGITS and "E" not in text.upper()) or is_bounded(value):
            return value
    raise ValueError("this is no number, or one of too many digits")


def _fraction_from(text: str) -> Fraction:
    # `Fraction` understands exponents, too, and no machine has the digits that one may ask for.
    if (
        len(text) <= _LONGEST_NUMBER
        and _WHOLE.fullmatch(text)
        and is_bounded(value := Fraction(text))
    ):
        return value
    raise ValueError("this is no fraction, or one of too many digits")


def text_of(value: Any) -> str:
    """Return the text of which an equal value can be made."""
    if type(value) is ByteSize:
        return str(int(value))
    if type(value) is NameEmail:
        return f"{value.email} {value.name}"
    return str(value)


def from_text(cls: Any, text: str) -> Any:
    """Return the value of this class that has this text."""
    if cls is Fraction:
        return _fraction_from(text)
    if cls is NameEmail:
        email, _, name = text.partition(" ")
        return cls(name=name, email=email)
    return cls(text)


FACTORIES: dict[str, Any] = {
    "None": None,
    **{
        cls.__name__: cls
        for cls in (bool, int, float, str, bytes, list, dict, set, tuple, frozenset, Decimal)
    },
}
"""What a `defaultdict` may be filled with, by name."""

_PG_MODULE, _PG_NAME = "asyncpg.pgproto.pgproto", "UUID"


def pg_uuid() -> Any:
    """Return the class of the UUIDs that asyncpg makes, or `None` while it is not in use.

    Its instances equal those of `uuid.UUID`. Their state lies below Python, and is no more.
    """
    return getattr(sys.modules.get(_PG_MODULE), _PG_NAME, None)
