"""Commands about entries and tags, and what their replies say."""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha1
from typing import Any

from redis.exceptions import ResponseError

from ..base import NONCE_BYTES, WRONG_TYPE, Nonces
from ..errors import UnavailableError
from ..stored import SHORT_KEY, start_of_record
from .wire.requests import Command, Get, packed

# One atomic step: compare the beginning of what stands at a key, and act if it is that. A key of
# another type than string is `WRONG_TYPE`.
IF_BEGINS = b"""
local over, verb = ARGV[1], ARGV[2]
local standing = redis.pcall('GETRANGE', KEYS[1], 0, #over - 1)
if type(standing) == 'table' then
    if string.sub(standing.err, 1, 9) ~= 'WRONGTYPE' then return standing end
    standing = '?'
end
if standing ~= over then return 0 end
if verb == 'SET' then
    redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
elseif verb == 'PEXPIRE' then
    redis.call('PEXPIRE', KEYS[1], ARGV[4])
else
    redis.call('UNLINK', KEYS[1])
end
return 1
"""
IF_BEGINS_SHA = sha1(IF_BEGINS, usedforsecurity=False).hexdigest()


def get_of(key: str) -> Get:
    """Return the GET of a key, by which its reply is known."""
    return _get_of(key) if len(key) <= SHORT_KEY else _get_of.__wrapped__(key)


@lru_cache(maxsize=4096)  # hot keys are asked for again and again
def _get_of(key: str) -> Get:
    start = start_of_record(key)
    return Get.of(encoded(key), start, start.partition(b" ")[0] + b" ")


def nonce_of(tag: str) -> tuple[bytes, bytes]:
    """Return the key of a tag, and what reads its nonce, as it is sent."""
    return _nonce_of(tag) if len(tag) <= SHORT_KEY else _nonce_of.__wrapped__(tag)


@lru_cache(maxsize=4096)  # likewise
def _nonce_of(tag: str) -> tuple[bytes, bytes]:
    name = encoded(tag)
    return name, packed(get_nonce(name))


def encoded(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def get_nonce(name: bytes) -> Command:
    # Somebody may have put there what is large: no more is read than tells that it is no nonce.
    return ("GETRANGE", name, 0, NONCE_BYTES)


def nonces_in(replies: Sequence[Any]) -> Nonces:
    """Return what stands at keys of tags; nothing is an empty text to the command."""
    return tuple([found_in(reply) or None for reply in replies])


def found_in(reply: Any) -> bytes | None:
    """Return what a GET found: `WRONG_TYPE` for a key of another type."""
    if isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE"):
        return WRONG_TYPE
    found: bytes | None = raise_on_error(reply)
    return found


def raise_on_error(reply: Any) -> Any:
    """Return a reply, or raise `UnavailableError` if it is an error."""
    if isinstance(reply, ResponseError):
        raise UnavailableError(str(reply))
    return reply
