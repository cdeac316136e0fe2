"""Addresses of servers, as settings name them."""

import re
from urllib.parse import urlsplit

from ..errors import shown

_HOST = re.compile(r"[\w.:%-]+")

Address = tuple[str, int]
"""A host and a port."""


def addresses(text: str, port: int) -> list[Address]:
    """Read "host:port,host:port"; `port` is the default.

    Raises `ValueError` for any other text; its message shows no password.
    """
    return [_address(each, port) for each in text.split(",")]


def _address(text: str, port: int) -> Address:
    item, own_port = text.strip(), None
    if item.count(":") > 1 and not item.startswith("["):  # an IPv6 address without a port
        item = f"[{item}]"
    try:
        parts = urlsplit(f"//{item}")
        host, own_port = parts.hostname, parts.port
    except ValueError:  # its message may quote a password
        host = None
    if not host or not _HOST.fullmatch(host) or parts.netloc != item or "@" in item:  # pyright: ignore[reportPossiblyUnboundVariable]
        host = None
    if host is None or own_port == 0:
        raise ValueError(f"{shown(text)} is not of the form host:port")
    return host, port if own_port is None else own_port
