"""Commands for entries and tags, and how their replies are read."""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha1
from typing import Any

from redis.exceptions import ResponseError

from ..base import NONCE_BYTES, WRONG_TYPE, Nonces
from ..errors import UnavailableError
from ..stored import SHORT_KEY, start_of_record
from .wire.requests import Command, Get, packed

# One atomic step: act only if the value of a key begins with given bytes. A key that holds no
# string counts as `WRONG_TYPE`.
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
# Count, with a time to live for a new key only. What is no whole number is as a key of a wrong type.
INCREMENT = b"""
local is_new = redis.call('EXISTS', KEYS[1]) == 0
local total = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(total) == 'table' then return redis.error_reply('WRONGTYPE ' .. total.err) end
if is_new then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return total
"""
IF_BEGINS_SHA = sha1(IF_BEGINS, usedforsecurity=False).hexdigest()


def get_of(key: str) -> Get:
    """Return the GET of a key, with the beginnings of values that identify its reply."""
    return _get_of(key) if len(key) <= SHORT_KEY else _get_of.__wrapped__(key)


@lru_cache(maxsize=4096)  # hot keys are read again and again
def _get_of(key: str) -> Get:
    start = start_of_record(key)
    return Get.of(encoded(key), start, start.partition(b" ")[0] + b" ")


def nonce_of(tag: str) -> tuple[bytes, bytes]:
    """Return the key of a tag, and the packed command that reads its nonce."""
    return _nonce_of(tag) if len(tag) <= SHORT_KEY else _nonce_of.__wrapped__(tag)


@lru_cache(maxsize=4096)  # likewise
def _nonce_of(tag: str) -> tuple[bytes, bytes]:
    name = encoded(tag)
    return name, packed(get_nonce(name))


def encoded(key: str) -> bytes:
    """Return the name that a key has in Redis."""
    return key.encode("utf-8", "surrogatepass")


def decoded(name: bytes) -> str | None:
    """Return a key; `None` for a name that is no key of ours, whose bytes are no text."""
    try:
        return name.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None


def get_nonce(name: bytes) -> Command:
    """Return the command that reads the nonce of a tag."""
    # Another program may have put a large value there: one byte more than a nonce is enough.
    return ("GETRANGE", name, 0, NONCE_BYTES)


def nonces_in(replies: Sequence[Any]) -> Nonces:
    """Return the nonces in replies to GETRANGE, which returns an empty text for a missing key."""
    return tuple([found_in(reply) or None for reply in replies])


def found_in(reply: Any) -> bytes | None:
    """Return the value in the reply to a GET; `WRONG_TYPE` for a key of another type."""
    if isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE"):
        return WRONG_TYPE
    found: bytes | None = raise_on_error(reply)
    return found


def raise_on_error(reply: Any) -> Any:
    """Return a reply, or raise `UnavailableError` if it is an error."""
    if isinstance(reply, ResponseError):
        raise UnavailableError(str(reply))
    return reply
