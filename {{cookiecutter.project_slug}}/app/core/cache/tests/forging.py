"""Records as somebody forges them who knows their form: length and checksum are right."""

import zlib
from typing import Any

import pytest

from .. import CacheManager


def resealed(data: bytes) -> bytes:
    """Return a record that was changed, with the length and the checksum of what it holds now."""
    head, _, payload = data.partition(b"\n")
    *start, _, _, rest = head.split(b" ", 7)
    crc = zlib.crc32(payload, zlib.crc32(rest))
    return b"%b %d %08x %b\n%b" % (b" ".join(start), len(payload), crc, rest, payload)


def forged(
    data: bytes,
    *,
    kind: bytes | None = None,
    rest: bytes | None = None,
    payload: bytes | None = None,
) -> bytes:
    """Return a record with another kind, another rest of its head or another payload."""
    head, _, old_payload = data.partition(b"\n")
    *start, old_kind, length, crc, old_rest = head.split(b" ", 7)
    rest = old_rest if rest is None else rest
    head = b" ".join([*start, kind or old_kind, length, crc, rest])
    return resealed(b"%b\n%b" % (head, old_payload if payload is None else payload))


async def standing_at(manager: CacheManager, key: str) -> bytes:
    """Return what stands at a key of a manager, its prefix left out."""
    data = await manager.backend.get_bytes(f"{manager.key_prefix}:{key}")
    assert data is not None
    return data


async def put(manager: CacheManager, key: str, data: bytes) -> None:
    """Put bytes at a key of a manager, as somebody else may who can write there.

    A near cache has heard of it then.
    """
    assert await manager.backend.set_bytes(f"{manager.key_prefix}:{key}", data) is True
    if manager.backend.near is not None:
        manager.backend.near.changed([f"{manager.key_prefix}:{key}"])


def no_outage(caplog: pytest.LogCaptureFixture) -> bool:
    """Whether nothing was logged that tells of an outage."""
    return not any("fails, going on without it" in text for text in _messages(caplog))


def _messages(caplog: Any) -> list[str]:
    return [record.getMessage() for record in caplog.records]
