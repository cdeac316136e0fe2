r"""The stored record of a cached call: a header line, then the payload as it will be needed.

    cache/2 <digest of key> <digest of function> <number> <kind> <length> <sum> <rest>\n<payload>

The header names the key, so that bytes which belong to another key, be it by a fault of a
connection or of a person, are never taken for an answer; and the function, for a key of one's own
may be given to two of them. The sum is the CRC-32 of the rest and the payload, so that a bit that
was flipped is noticed; it keeps nobody from forging a record. Whatever does not begin with exactly
the expected header, or has another sum, is a miss: another version, another tool, a truncated
reply. The number is random, another one for every record that is stored; the length is the
payload's; the rest is JSON, `{}` for a plain value.
"""

import json
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from types import MappingProxyType
from typing import Any
from zlib import crc32

from pydantic_core import from_json

_MAGIC, _LEASE = b"cache/2 ", b"lease/"
_DIGEST_BYTES = 8
_NUMBER_END = len(_MAGIC) + 3 * (2 * _DIGEST_BYTES + 1) - 1
_FAST = 1  # zlib's level: most of the gain for a fraction of the time
_ZLIB = "zlib"
_SHORT = 1024
SHORT_KEY = 1280
"""So many characters may a key have, its prefix included, that is remembered with what it makes."""


@dataclass(slots=True)
class Record:
    """What is stored for one call: a kind, which says how to read the payload, and the payload.

    `about` is what else there is to say, as JSON can.
    """

    kind: bytes
    payload: bytes
    about: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self, key: str, owner: bytes = b"", *, compress_over: int = 0) -> bytes:
        """Return the record as it is stored at `key` for the function that `owner` tells.

        A payload of more than `compress_over` bytes is compressed, with zlib, if that makes it
        smaller; with 0 none is.
        """
        payload, about = self.payload, self.about
        if 0 < compress_over < len(payload):
            smaller = zlib.compress(payload, _FAST)
            if len(smaller) < len(payload):
                payload, about = smaller, {**about, _ZLIB: len(payload)}
        rest = rest_of(about)
        number = secrets.token_hex(_DIGEST_BYTES).encode()
        size, crc = len(payload), crc32(payload, crc32(rest))
        head = (_start_of(key, owner), number, self.kind, size, crc, rest)
        return b"%b%b %b %d %08x %b\n" % head + payload

    @classmethod
    def from_bytes(
        cls, key: str, data: bytes, owner: bytes = b"", *, largest: int
    ) -> "Record | None":
        """Return the record that was stored at `key` by `owner`, or `None` if `data` is not one.

        None has more than `largest` bytes, and a payload that was compressed grows to no more.
        Raises an exception for a record whose inside makes no sense: somebody has forged it.
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
    """Return what else there is to say of a record, as it is stored."""
    return json.dumps(about, separators=(",", ":")).encode()


def plain_payload(
    key: str, data: bytes, owner: bytes, kind: bytes, rest: bytes = b"{}"
) -> bytes | None:
    """Return the payload of a record of this kind that says exactly this; `None` for any other.

    That is what `Record.from_bytes` would find, in less time.
    """
    # Nothing is called here that can be said at once: this is on the path of most hits.
    head, _, payload = data.partition(b"\n")
    start = _start(key, owner) if len(key) <= SHORT_KEY else _start.__wrapped__(key, owner)
    said = b" %b %d %08x %b" % (kind, len(payload), crc32(payload, crc32(rest)), rest)
    return payload if head[_NUMBER_END:] == said and head.startswith(start) else None


def start_of_record(key: str) -> bytes:
    """Return what every record of `key` begins with."""
    return _beginning(key) if len(key) <= SHORT_KEY else _beginning.__wrapped__(key)


def owner_digest(owner: bytes) -> bytes:
    """Return how a record names the function that `owner` tells."""
    return _digest(owner)


def owner_of(key: str, data: bytes) -> bytes:
    """Return how a record of `key` names its function; empty for what is none."""
    start = start_of_record(key)
    return data[len(start) :].partition(b" ")[0] if data.startswith(start) else b""


def names_its_key(data: bytes) -> bool:
    """Whether `data` is a record, or a lease, which bears a token that nobody else has."""
    return data.startswith((_MAGIC, _LEASE))


def is_record_of(key: str, data: bytes) -> bool:
    """Whether `data` is a record of `key`."""
    return data.startswith(start_of_record(key))


def is_plausible(key: str, data: object) -> bool:
    """Whether `data` can be what a backend has at `key`: nothing, a lease, or a record of it."""
    return data is None or (
        type(data) is bytes and (is_record_of(key, data) or data.startswith(_LEASE))
    )


def is_of_another_key(key: str, data: bytes) -> bool:
    """Whether `data` is a record, and not that of `key`: a reply that went astray."""
    return is_record(data) and not is_record_of(key, data)


def is_record(data: bytes) -> bool:
    """Whether `data` is a record of any key."""
    return data.startswith(_MAGIC)


def _start_of(key: str, owner: bytes) -> bytes:
    return _start(key, owner) if len(key) <= SHORT_KEY else _start.__wrapped__(key, owner)


@lru_cache(maxsize=4096)  # hot keys are asked for again and again
def _beginning(key: str) -> bytes:
    return b"%b%b " % (_MAGIC, _digest(key.encode("utf-8", "surrogatepass")))


@lru_cache(maxsize=4096)
def _start(key: str, owner: bytes) -> bytes:
    """Return what every record of `key` begins with that was stored for `owner`."""
    return b"%b%b " % (start_of_record(key), _digest(owner))


@lru_cache(maxsize=1024)  # that of most responses is one of few
def _about(rest: bytes) -> Mapping[str, Any]:
    about = from_json(rest, allow_inf_nan=False)
    if type(about) is not dict:
        raise TypeError("what a record says besides is no object")
    return MappingProxyType(about)


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST_BYTES).hexdigest().encode()


def _decompressed(payload: bytes, size: object, largest: int) -> bytes:
    """Return the `size` bytes that a payload grows to; no more are made, whatever it holds."""
    if type(size) is not int or not len(payload) < size <= largest:
        raise ValueError("a payload says that it was compressed from a size that cannot be")
    unpacking = zlib.decompressobj()
    data = unpacking.decompress(payload, size + 1)
    if len(data) != size or not unpacking.eof or unpacking.unused_data:
        raise ValueError(f"a compressed payload does not grow to {size} bytes, no more, no less")
    return data
