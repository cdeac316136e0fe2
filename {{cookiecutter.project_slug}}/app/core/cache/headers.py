"""Status and header lines as records hold them: checked when they come back, for nobody vouches.

A line with a line break in it would be two, and one of them somebody else's.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

Lines = list[tuple[bytes, bytes]]
"""Header lines, as ASGI wants them."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token: RFC 9110, section 5.6.2
_VALUE = re.compile(r"[^\0\r\n]*")


def to_json(lines: Iterable[tuple[bytes, bytes]]) -> list[list[str]]:
    """Return header lines as JSON can say them."""
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in lines]


def from_json(content: Iterable[Iterable[object]]) -> Lines:
    """Return the lines that `to_json` told; raises `TypeError` or `ValueError` for anything else."""
    return [line(*pair) for pair in content]


@lru_cache(maxsize=1024)  # most responses have the same few
def line(name: str, value: str) -> tuple[bytes, bytes]:
    """Return a header line as bytes; raises `TypeError` or `ValueError` for what is none."""
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ValueError("a stored header is none")
    return name.encode("latin-1"), value.encode("latin-1")


def checked_status(status: object) -> int:
    """Return `status`; raises `ValueError` for what is no status of a response."""
    if type(status) is not int or not 100 <= status <= 599:
        raise ValueError("a stored status is none")
    return status
