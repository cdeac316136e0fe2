"""Status and header lines in records. They are checked when they are stored and when they are read.

Data from Redis may be forged: a line break in a value would add a header (response splitting). The
same check runs before storing, so that all that is stored can be read.
"""

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

Lines = list[tuple[bytes, bytes]]
"""Header lines, as ASGI wants them."""

ByName = dict[str, list[str]]
"""The values of headers, by their names in lower case."""

MOST_LINES, MOST_BYTES = 256, 64 * 1024
"""The most header lines of a stored response, and the most bytes of all together."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token: RFC 9110, section 5.6.2
_VALUE = re.compile(r"[^\0\r\n]*")
_NUMBER = re.compile(rb"0|[1-9][0-9]{0,14}")
_SHORT = 256

FOR_ONE = frozenset(
    {
        *("set-cookie", "set-cookie2", "clear-site-data", "set-login"),
        *("www-authenticate", "authentication-info", "dpop-nonce"),
        *("sec-session-registration", "sec-session-challenge"),
        *("secure-session-registration", "secure-session-challenge"),
    }
)
"""Headers for one client: cookies and the like, and those of authentication."""

OF_A_CONNECTION = frozenset(
    {
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
        *("http2-settings", "proxy-connection", "proxy-authenticate", "proxy-authorization"),
        "proxy-authentication-info",
    }
)
"""Headers of one connection (hop-by-hop): RFC 9110, section 7.6.1."""

_OF_THE_CONTENT = frozenset(
    {
        *("cache-control", "pragma", "expires", "age", "date", "vary", "etag", "last-modified"),
        *("location", "link"),
    }
)
"""Headers that belong to the response, so `Connection` must not name them; also `content-*`."""


def is_name(text: str) -> bool:
    """Whether a text can be the name of a header."""
    return _NAME.fullmatch(text) is not None


def end_to_end(lines: Iterable[tuple[bytes, bytes]]) -> Lines:
    """Return the lines without those of the connection and those that `Connection` names."""
    lines = list(lines)
    ending = OF_A_CONNECTION | named_by_connection(lines)
    return [line for line in lines if _lower(line[0]) not in ending]


def by_name(lines: Iterable[tuple[bytes, bytes]]) -> ByName:
    """Return the values of each header by its name in lower case.

    Starlette's own mapping finds only names in lower case. An endpoint may have set others, for
    example from another server's response.
    """
    found: ByName = {}
    for name, value in lines:
        found.setdefault(_lower(name), []).append(value.decode("latin-1"))
    return found


def named_by_connection(lines: Iterable[tuple[bytes, bytes]]) -> frozenset[str]:
    """Return the names, in lower case, that the `Connection` headers list."""
    values = [value for name, value in lines if _lower(name) == "connection"]
    return frozenset(_lower(part.strip()) for value in values for part in value.split(b","))


def needed_by_all(names: Collection[str]) -> list[str]:
    """Return those of `names` that belong to the response, and not to the connection."""
    return sorted(name for name in names if name.startswith("content-") or name in _OF_THE_CONTENT)


def as_text(lines: Iterable[tuple[bytes, bytes]]) -> list[list[str]]:
    """Return header lines as text, the form that `checked` accepts."""
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in lines]


def checked(pairs: Collection[Collection[str]]) -> Lines:
    """Return these names and values as header lines that may be sent to any client.

    Raises `TypeError` or `ValueError` for an invalid line, for headers of one client or of one
    connection, and for too many lines or bytes.
    """
    if len(pairs) > MOST_LINES:
        raise ValueError(f"there are {len(pairs)} header lines, more than {MOST_LINES}")
    lines = []
    left = MOST_BYTES
    for name, value in pairs:
        left -= len(name) + len(value)
        if left < 0:
            raise ValueError(f"the header lines have more than {MOST_BYTES} bytes")
        if len(name) + len(value) <= _SHORT:
            lines.append(line(name, value))
        else:
            lines.append(line.__wrapped__(name, value))
    return lines


@lru_cache(maxsize=1024)  # most responses have the same few
def line(name: str, value: str) -> tuple[bytes, bytes]:
    """Return a header line as bytes; raises `TypeError` or `ValueError` if it is not allowed."""
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ValueError("a stored header is none")
    lower = name.lower()
    if lower in FOR_ONE or lower in OF_A_CONNECTION:
        raise ValueError(f"the header {lower} is for one client, or about one connection")
    return name.encode("latin-1"), value.encode("latin-1")


def checked_status(status: object) -> int:
    """Return `status`; raises `ValueError` if it is not an int from 200 to 599."""
    if type(status) is not int or not 200 <= status <= 599:
        raise ValueError("a stored status is none")
    return status


def told_length(lines: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Return the Content-Length; `None` if there is none, -1 if it is not one valid number."""
    lengths = [value for name, value in lines if name.lower() == b"content-length"]
    if not lengths:
        return None
    return int(lengths[0]) if len(lengths) == 1 and _NUMBER.fullmatch(lengths[0]) else -1


def _lower(name: bytes) -> str:
    return name.decode("latin-1").lower()
