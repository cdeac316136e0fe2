"""What the bytes at a key say of themselves, read as data: no class of the application is built."""

import re
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from zlib import crc32

from pydantic_core import from_json

from ..keys import checked_tag_keys
from ..manager import CacheManager
from ..stored import codec, is_record_of, names_its_key, owner_of, sent
from .standing import Standing

Kind = Literal["value", "response", "exception", "by hand", "computing", "unreadable", "foreign"]

_KINDS: Mapping[bytes, Kind] = {
    b"value": "value",
    b"response": "response",
    b"sent": "response",
    b"raised": "exception",
}
_ANY_VERSION = b"cache/"
_NUMBER = re.compile(rb"[0-9a-f]{16}([0-9a-f]{12})?")
_DIGEST = re.compile(rb"[0-9a-f]{16}")
_OF_HTTP = ("fastapi", "starlette")  # the names of their `HTTPException` in records
_STATUS = re.compile(r"[2-5][0-9][0-9]", re.ASCII)
_AHEAD_SECONDS = 86_400  # by which the clocks of machines may differ
_MOST_DECODED = 64 * 1024
"""Bytes of a value; a larger one is looked at only where it begins: to read it would hold up others."""
_IS_JSON = re.compile(rb'\s*([\[{"0-9-]|true|false|null)')


@dataclass(slots=True)
class Parsed:
    """What the bytes at a key are. What a record says is there for records only."""

    kind: Kind
    payload: bytes = b""
    """The whole payload, decompressed; empty if only the beginning of the bytes was read."""
    owner: bytes = b""
    """The digest of the function that has written it."""
    written: float | None = None
    """When, in seconds since 1970; `None` if it does not say."""
    until: int | None = None
    """Until when it is fresh, in milliseconds since 1970; `None` for all its life."""
    told: Mapping[str, bytes] = field(default_factory=dict)
    """The keys of its tags, and the nonces that they had."""
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()


def parsed(manager: CacheManager, key: str, standing: Standing) -> Parsed:
    """Return what stands at a whole key; never raises."""
    data = standing.data
    if not standing.is_bytes:
        return Parsed("foreign")
    if names_its_key(data) and not data.startswith(_ANY_VERSION):  # as a lease does
        return Parsed("computing")
    if data.startswith(_ANY_VERSION):
        try:
            return _record(manager, key, standing)
        except Exception:  # bytes from outside, damaged in a way of their own
            return Parsed("unreadable")
    if standing.size > manager.max_entry_bytes:
        return Parsed("foreign")
    return _by_hand(standing)


def _by_hand(standing: Standing) -> Parsed:
    if not standing.is_whole:
        return Parsed("by hand" if _IS_JSON.match(standing.data) else "foreign")
    if len(standing.data) <= _MOST_DECODED:
        try:
            codec.decode(standing.data)
        except codec.CorruptError:
            return Parsed("foreign")
    elif not _IS_JSON.match(standing.data):
        return Parsed("foreign")
    return Parsed("by hand", standing.data)


def _record(manager: CacheManager, key: str, standing: Standing) -> Parsed:
    """Read a record, as `Record.from_bytes` does for a known function; raises if it is none."""
    line, newline, payload = standing.data.partition(b"\n")
    owner, largest = owner_of(key, standing.data), manager.max_entry_bytes
    if not (_DIGEST.fullmatch(owner) and newline and is_record_of(key, line)):
        raise ValueError("it is of another key or version, or its header was not read")
    _, _, _, number, name, size, told_sum, rest = line.split(b" ", 7)
    about = from_json(rest, allow_inf_nan=False)
    if standing.size > largest or int(size) != standing.size - len(line) - 1:
        raise ValueError("it is too large, or truncated")
    found = Parsed(_KINDS[name], owner=owner, written=_written(number), until=about.get("until"))
    tags = about.get("tags", {})
    keys = checked_tag_keys([*tags], manager.key_prefix)
    found.told = {tag: tags[tag].encode("latin-1") for tag in keys}
    if type(found.until) not in (int, type(None)):
        raise ValueError("a time that is none")
    if standing.is_whole:
        if int(told_sum, 16) != crc32(payload, crc32(rest)):
            raise ValueError("it is damaged")
        found.payload = _decompressed(payload, about.get("zlib"), largest)
    _read_answer(found, about, is_whole=standing.is_whole)
    return found


def _read_answer(found: Parsed, about: Mapping[str, Any], *, is_whole: bool) -> None:
    """Read the status and the headers of a response, or the status of an exception."""
    if found.kind == "response":
        head = about["head"]
        if is_whole:
            answer = sent.restore(about, found.payload, tells_length=False)
            found.headers = tuple((_text(name), _text(value)) for name, value in answer.lines)
        if not _STATUS.match(head):
            raise ValueError("a status that is none")
        found.status = int(head[:3])
    elif is_whole and len(found.payload) <= _MOST_DECODED:
        value = from_json(found.payload, allow_inf_nan=False)
        if found.kind == "exception" and type(value) is not list:
            raise ValueError("an exception that is none")
        if found.kind == "exception" and about["class"] in _OF_HTTP:
            found.status = int(value[0])


def _written(number: bytes) -> float | None:
    match = _NUMBER.fullmatch(number)
    if match is None:
        raise ValueError("a number that is none")
    seconds = 0.0 if match[1] is None else int(match[1], 16) / 1000
    return seconds if 0 < seconds < time.time() + _AHEAD_SECONDS else None


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _decompressed(payload: bytes, size: object, largest: int) -> bytes:
    """Return the payload as it was before it was compressed; never makes more than `largest` bytes."""
    if size is None:
        return payload
    unpacking = zlib.decompressobj()
    data = unpacking.decompress(payload, largest + 1)
    if len(data) != size or len(data) > largest or not unpacking.eof or unpacking.unused_data:
        raise ValueError("a compressed payload of another size than it says")
    return data
