r"""The stored record of a cached call: a header line, then the payload.

    cache/2 <digest of key> <digest of function> <number> <kind> <length> <sum> <rest>\n<payload>

The header names the key, so that a reply for another key, or a copied entry, is never served. It
names the function, because two functions may have the same `key=`. The sum is the CRC-32 of the
rest and the payload. It detects flipped bits, but does not prevent forgery. If the data does not
begin with the expected header, or has another sum, it is a miss: another version or tool wrote it,
or the reply was truncated. The number is random and different for every stored record; behind it
stands when that was made, in milliseconds since 1970, as 12 hexadecimal digits. The length
is that of the payload. The rest is JSON, `{}` for a plain value.
"""

import json
import secrets
import zlib
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from time import time
from types import MappingProxyType
from typing import Any, NamedTuple
from zlib import crc32

from pydantic_core import from_json

_MAGIC, _LEASE = b"cache/2 ", b"lease/"
_DIGEST_BYTES = 8
_TIME_DIGITS = 12
_NUMBER_END = len(_MAGIC) + 3 * (2 * _DIGEST_BYTES + 1) - 1 + _TIME_DIGITS
_FAST = 1  # zlib's level: most of the compression for a fraction of the time
_ZLIB = "zlib"
_SHORT = 1024
RECORD_HEAD = 96
"""So many bytes at its start identify a record: they hold the random number of its fill."""
SHORT_KEY = 1280
"""The most characters of a key, with its prefix, for which computed values are cached here."""


class Record:
    """The record of one call: the payload, and its kind, which tells how to read it.

    `about` is further JSON data.
    """

    __slots__ = ("about", "kind", "payload")

    def __init__(self, kind: bytes, payload: bytes, about: Mapping[str, Any] | None = None) -> None:
        self.kind = kind
        self.payload = payload
        self.about: Mapping[str, Any] = {} if about is None else about

    def to_bytes(self, key: str, owner: bytes = b"", *, compress_over: int = 0) -> bytes:
        """Return the bytes to store at `key` for the function that `owner` identifies.

        A payload of more than `compress_over` bytes is compressed with zlib, if that makes it
        smaller; 0 means never.
        """
        payload, about = self.payload, self.about
        if 0 < compress_over < len(payload):
            smaller = zlib.compress(payload, _FAST)
            if len(smaller) < len(payload):
                payload, about = smaller, {**about, _ZLIB: len(payload)}
        rest = rest_of(about)
        number = b"%b%012x" % (secrets.token_hex(_DIGEST_BYTES).encode(), int(time() * 1000))
        size, crc = len(payload), crc32(payload, crc32(rest))
        head = (_start_of(key, owner), number, self.kind, size, crc, rest)
        return b"%b%b %b %d %08x %b\n" % head + payload

    @classmethod
    def from_bytes(
        cls, key: str, data: bytes, owner: bytes = b"", *, largest: int
    ) -> "Record | None":
        """Return the record of `key` and `owner` in `data`, or `None` if it is not one.

        If `data` has more than `largest` bytes, it returns `None`. Raises an exception for a record
        that is invalid inside, and so is forged, or whose payload has more bytes when decompressed.
        """
        if len(data) > largest:
            return None
        head, newline, payload = data.partition(b"\n")
        start = _start_of(key, owner)
        if not newline or not head.startswith(start):
            return None
        _, kind, size, crc, rest = head[len(start) :].split(b" ", 4)
        if size != b"%d" % len(payload) or crc != b"%08x" % crc32(payload, crc32(rest)):
            return None
        about = _about(rest) if len(rest) <= _SHORT else _about.__wrapped__(rest)
        if _ZLIB in about:
            payload = _decompressed(payload, about[_ZLIB], largest)
        return cls(kind, payload, about)


def rest_of(about: Mapping[str, Any] | str) -> bytes:
    """Return the rest of a record's header: `about` as JSON."""
    return json.dumps(about, separators=(",", ":")).encode()


def plain_payload(
    key: str, data: bytes, owner: bytes, kind: bytes, rest: bytes = b"{}"
) -> bytes | None:
    """Return the payload of a record of this kind that has exactly this `rest`; else `None`.

    It is the payload that `Record.from_bytes` would return, in less time.
    """
    # Most hits run this, so it is written without avoidable calls.
    head, _, payload = data.partition(b"\n")
    start = _start(key, owner) if len(key) <= SHORT_KEY else _start.__wrapped__(key, owner)
    said = b" %b %d %08x %b" % (kind, len(payload), crc32(payload, crc32(rest)), rest)
    return payload if head[_NUMBER_END:] == said and head.startswith(start) else None


class Head(NamedTuple):
    """The header line of a record, with which it is read once more in less time."""

    line: bytes
    size: int
    crc: int
    """The sum of the rest of the header."""
    told: int
    """The sum that it tells."""

    @classmethod
    def of(cls, data: bytes) -> "Head | None":
        """Return the header of a valid record; `None` if its payload is compressed."""
        line, _, _ = data.partition(b"\n")
        *_, size, told, rest = line.split(b" ", 7)
        if _ZLIB in _about.__wrapped__(rest):
            return None
        return cls(line + b"\n", int(size), crc32(rest), int(told, 16))

    def payload(self, data: bytes) -> bytes | None:
        """Return the payload of the same record; `None` if it is another one, or is damaged."""
        if not data.startswith(self.line):  # which holds a random number
            return None
        payload = data[len(self.line) :]
        is_right = len(payload) == self.size and crc32(payload, self.crc) == self.told
        return payload if is_right else None


def start_of_record(key: str) -> bytes:
    """Return the bytes at the start of every record of `key`."""
    return _beginning(key) if len(key) <= SHORT_KEY else _beginning.__wrapped__(key)


def owner_digest(owner: bytes) -> bytes:
    """Return the digest of `owner` that a record has."""
    return _digest(owner)


def owner_of(key: str, data: bytes) -> bytes:
    """Return the digest of the owner in a record of `key`; empty if `data` is no such record."""
    start = start_of_record(key)
    return data[len(start) :].partition(b" ")[0] if data.startswith(start) else b""


def names_its_key(data: bytes) -> bool:
    """Whether `data` names its key: a record does, and a lease has a unique token."""
    return data.startswith((_MAGIC, _LEASE))


def is_record_of(key: str, data: bytes) -> bool:
    """Whether `data` is a record of `key`."""
    return data.startswith(start_of_record(key))


def is_plausible(key: str, data: object) -> bool:
    """Whether `data` can be the reply for `key`: `None`, a lease, or a record of this key."""
    return data is None or (
        type(data) is bytes and (is_record_of(key, data) or data.startswith(_LEASE))
    )


def is_of_another_key(key: str, data: bytes) -> bool:
    """Whether `data` is a record of another key than `key`, so a misdirected reply."""
    return is_record(data) and not is_record_of(key, data)


def is_record(data: bytes) -> bool:
    """Whether `data` is a record of any key."""
    return data.startswith(_MAGIC)


def _start_of(key: str, owner: bytes) -> bytes:
    return _start(key, owner) if len(key) <= SHORT_KEY else _start.__wrapped__(key, owner)


@lru_cache(maxsize=4096)  # hot keys are read again and again
def _beginning(key: str) -> bytes:
    return b"%b%b " % (_MAGIC, _digest(key.encode("utf-8", "surrogatepass")))


@lru_cache(maxsize=4096)
def _start(key: str, owner: bytes) -> bytes:
    """Return the bytes at the start of every record of `key` and `owner`."""
    return b"%b%b " % (start_of_record(key), _digest(owner))


@lru_cache(maxsize=1024)  # most responses have one of a few
def _about(rest: bytes) -> Mapping[str, Any]:
    about = from_json(rest, allow_inf_nan=False)
    if type(about) is not dict:
        raise TypeError("what a record says besides is no object")
    return MappingProxyType(about)


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST_BYTES).hexdigest().encode()


def _decompressed(payload: bytes, size: object, largest: int) -> bytes:
    """Return the decompressed payload, which must have `size` bytes; never makes more than that."""
    if type(size) is not int or not len(payload) < size <= largest:
        raise ValueError("a payload says that it was compressed from a size that cannot be")
    unpacking = zlib.decompressobj()
    data = unpacking.decompress(payload, size + 1)
    if len(data) != size or not unpacking.eof or unpacking.unused_data:
        raise ValueError(f"a compressed payload does not grow to {size} bytes, no more, no less")
    return data
