"""Parses a `REDIS_URL` into settings, so that the same rules check both.

Of a URL, messages show only the names of options.
"""

import logging
import re
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

logger = logging.getLogger(__name__)

_SETTINGS = {
    "db": "redis_db",
    "username": "redis_username",
    "password": "redis_password",
    "max_connections": "redis_max_connections",
    "socket_timeout": "redis_timeout",
    "socket_connect_timeout": "redis_timeout",
    "ssl_ca_certs": "redis_tls_ca_file",
    "ssl_certfile": "redis_tls_cert_file",
    "ssl_keyfile": "redis_tls_key_file",
    "ssl_check_hostname": "redis_tls_check_hostname",
}
"""Options of redis-py, and the settings that they are here."""
_ALWAYS = {("protocol", "3"), ("ssl_cert_reqs", "required"), ("ssl_cert_reqs", "CERT_REQUIRED")}
"""Options of redis-py that ask for what the cache does anyway."""
_ESCAPES = (
    "in a password write %23 for #, %2F for /, %3F for ?, %40 for @, %5B for [, %20 for a space"
)


class RedisUrlError(ValueError):
    """A URL cannot be used. The message shows no part of it that may be secret."""


def read_url(text: str) -> tuple[dict[str, Any], str | None]:
    """Return the settings that a URL holds, and the path of its Unix socket.

    Raises `RedisUrlError`. Options that are not used here are logged by name; `ssl_` ones raise.
    """
    try:
        return _read(text.strip())
    except RedisUrlError:
        raise
    except ValueError:  # its message may quote a secret
        pass
    raise RedisUrlError(f"it cannot be read; options have the form option=value; {_ESCAPES}")


def _read(text: str) -> tuple[dict[str, Any], str | None]:
    parts = urlsplit(text)
    _check(text, parts)
    settings: dict[str, Any] = {"redis_db": "0"}
    socket = None
    if parts.scheme == "unix":
        socket = unquote(parts.path, errors="strict")
    else:
        settings["redis_host"] = parts.netloc.rpartition("@")[2]
        settings["redis_db"] = parts.path.strip("/") or "0"
    if parts.scheme == "rediss":
        settings["redis_tls"] = True
    settings |= _options(parts.query)
    for name, value in (("redis_username", parts.username), ("redis_password", parts.password)):
        if value:
            settings[name] = unquote(value, errors="strict")
    return settings, socket


def _check(text: str, parts: SplitResult) -> None:
    """Raise `RedisUrlError` if it is not a URL of Redis, or has an unescaped character."""
    if not re.match(r"(rediss?|unix)://", text, re.IGNORECASE):
        raise RedisUrlError("it begins with none of redis://, rediss:// and unix://")
    if re.search(r"[\s\x00-\x1f#]", text) or text.count("@") > min(1, parts.netloc.count("@")):
        raise RedisUrlError(f"it holds a character that has to be escaped: {_ESCAPES}")
    if parts.scheme == "unix" and not parts.path:
        raise RedisUrlError("it names no path: unix:///path/of/the/socket")


def _options(query: str) -> dict[str, str]:
    options = parse_qsl(query, strict_parsing=True) if query else []
    settings = {_SETTINGS[name]: value for name, value in options if name in _SETTINGS}
    others = [each for each in options if each[0] not in _SETTINGS and each not in _ALWAYS]
    unused = ", ".join([repr(name) for name, _ in others])
    if any(name.startswith("ssl_") for name, _ in others):
        raise RedisUrlError(
            f"leave out {unused}: certificates are always checked; "
            f"REDIS_TLS_CA_FILE names whom to trust, and REDIS_TLS_CHECK_HOSTNAME=false lets the "
            f"host's name differ"
        )
    if unused:
        logger.warning("options of REDIS_URL that are of no use here: %s", unused)
    return settings
