"""What a `REDIS_URL` says, options of redis-py included.

Each of those is used, is of no use here, or is refused: `Connection.from_url` of redis-py takes many
that would be dangerous to drop in silence. No message repeats more of a URL than options' names.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

T = TypeVar("T")

_ESCAPES = {"#": "%23", "/": "%2F", "?": "%3F", "@": "%40"}
_UNUSED = frozenset(
    [
        "client_name",
        "decode_responses",
        "driver_info",
        "encoding",
        "encoding_errors",
        "health_check_interval",
        "lib_name",
        "lib_version",
        "protocol",
        "retry_on_error",
        "retry_on_timeout",
        "single_connection_client",
        "socket_keepalive",
        "socket_read_size",
        "timeout",
    ]
)
"""Options of redis-py that change nothing here, or nothing that anybody could see."""


class RedisUrlError(ValueError):
    """A URL cannot be used; the message has no part of it that may be secret."""


@dataclass(slots=True)
class RedisUrl:
    """What a URL says: `options` by the names of `RedisBackend`, `tls` by those of `Tls`."""

    secure: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    tls: dict[str, Any] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    """The options of redis-py that are of no use here."""


def read_url(text: str) -> RedisUrl:
    """Return what `text` says; raises `RedisUrlError` for what is no such URL."""
    parts = _split(text.strip())
    found = RedisUrl(secure=parts.scheme == "rediss")
    path = _decoded(parts.path)
    if parts.scheme == "unix":
        if not path.startswith("/"):
            raise RedisUrlError("it names no path: unix:///path/of/the/socket")
        found.options["unix_socket"] = path
        number = ""
    else:
        found.options |= _address(parts)
        number = path.strip("/")
    found.options["db"] = _whole(number or "0", "the number of its database", 0, 2**31 - 1)
    for name, value in _query(parts.query):
        _take(found, name, value)
    if parts.username:
        found.options["username"] = _decoded(parts.username)
    if parts.password:
        found.options["password"] = _decoded(parts.password)
    return found


def _split(text: str) -> SplitResult:
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in ("redis", "rediss", "unix"):
        raise RedisUrlError("it begins with none of redis://, rediss:// and unix://")
    if re.search(r"[\s\x00-\x1f]", text):
        raise RedisUrlError(
            "it holds a space or a line break: in a password, write %20 for a space"
        )
    authority, delimiter = _authority(rest)
    if "@" in rest[len(authority) :]:
        raise RedisUrlError(
            f"it holds a {delimiter} before an @: in a password, write {_ESCAPES[delimiter]} for "
            f"the {delimiter}; in what follows the host, write %40 for the @"
        )
    if "#" in rest:
        raise RedisUrlError("it holds a #: in a password, write %23 for it")
    if authority.count("@") > 1:
        raise RedisUrlError("it holds more than one @: in a password, write %40 for it")
    parts = _or_none(urlsplit, text)
    if parts is None:
        raise RedisUrlError(
            "it holds a character that has to be escaped: write %5B for [, %5D for ]"
        )
    return parts


def _authority(rest: str) -> tuple[str, str]:
    """Return what stands before the path, and the character that ends it."""
    end = re.search(r"[/?#]", rest)
    return (rest, "") if end is None else (rest[: end.start()], end[0])


def _address(parts: SplitResult) -> dict[str, Any]:
    place = parts.netloc.rpartition("@")[2]
    if "," in place:
        raise RedisUrlError(
            "it names several servers: unset it, and set REDIS_CLUSTER=true and "
            "REDIS_HOST=host:port,host:port"
        )
    if not parts.hostname:
        raise RedisUrlError("it names no host")
    port = place.removeprefix("[").rpartition("]")[2].partition(":")[2]
    port = port if "[" in place or ":" in place else ""
    options: dict[str, Any] = {"host": parts.hostname}
    options["port"] = _whole(port, "its port", 1, 65535) if port else 6379
    return options


def _query(text: str) -> list[tuple[str, str]]:
    if not text:
        return []
    pairs = _or_none(partial(parse_qsl, strict_parsing=True, keep_blank_values=True), text)
    if pairs is None:
        raise RedisUrlError("what follows its ? is not of the form option=value&option=value")
    return pairs


def _take(found: RedisUrl, name: str, value: str) -> None:
    """Take one option of redis-py."""
    options, tls = found.options, found.tls
    if name == "db":
        options[name] = _whole(value, "the option db", 0, 2**31 - 1)
    elif name in ("username", "password"):
        options[name] = value
    elif name == "max_connections":
        options[name] = _whole(value, f"the option {name}", 1, 10_000)
    elif name in ("socket_timeout", "socket_connect_timeout"):
        seconds = _seconds(value, name)
        options["timeout"] = min(seconds, options.get("timeout", seconds))
    elif name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        names = {"ssl_ca_certs": "ca_file", "ssl_certfile": "cert_file", "ssl_keyfile": "key_file"}
        tls[names[name]] = value
    elif name == "ssl_check_hostname":
        tls["check_hostname"] = _truth(value, name)
    elif name == "ssl_cert_reqs":
        if value.lower().removeprefix("cert_") not in ("required", "2"):
            raise RedisUrlError(
                "its option ssl_cert_reqs wants certificates that nobody checks, and the cache "
                "checks them always: leave the option out, and name in REDIS_TLS_CA_FILE whom to "
                "trust; REDIS_TLS_CHECK_HOSTNAME=false lets the host's name differ"
            )
    elif name in _UNUSED:
        if (name, value) != ("protocol", "3"):  # which is spoken anyway
            found.unused.append(name)
    else:
        what = f"option {name}" if re.fullmatch(r"[a-z_]{1,40}", name) else "option"
        raise RedisUrlError(f"its {what} is not known here: leave it out")


def _whole(text: str, what: str, low: int, high: int) -> int:
    number = int(text) if re.fullmatch(r"[0-9]{1,10}", text) else -1
    if not low <= number <= high:
        raise RedisUrlError(f"{what} must be a whole number, {low} to {high}")
    return number


def _seconds(text: str, name: str) -> float:
    seconds = _or_none(float, text)
    if seconds is None or not 0 < seconds <= 3600:
        raise RedisUrlError(f"its option {name} must be seconds, more than 0, at most 3600")
    return seconds


def _truth(text: str, name: str) -> bool:
    truths = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    truth = truths.get(text.lower())
    if truth is None:
        raise RedisUrlError(f"its option {name} must be true or false")
    return truth


def _decoded(text: str) -> str:
    decoded = _or_none(partial(unquote, errors="strict"), text)
    if decoded is None:
        raise RedisUrlError("what it escapes by % is no UTF-8")
    return decoded


def _or_none(read: Callable[[str], T], text: str) -> T | None:
    """Return what `read` does, or `None` where it raises: its message may quote what is secret."""
    try:
        return read(text)
    except ValueError:
        return None
