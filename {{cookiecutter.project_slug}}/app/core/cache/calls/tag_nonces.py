"""What a record says of its tags: the nonces that they had before the function ran."""

from collections.abc import Collection, Mapping
from functools import lru_cache

from ..base import NONCE_BYTES, Nonces
from ..stored import rest_of

TAGS = "tags"
_OF_TAGS = b'{"%b":{%%b}}' % TAGS.encode()
NO_NONCE = b"0" * NONCE_BYTES
"""Stands for a nonce that is not known yet."""
_FEW = 4  # tags whose JSON is remembered as a whole


def are_current(told: Mapping[str, str], tags: Collection[str], nonces: Nonces) -> bool:
    """Whether tags have the nonces that a record says they had.

    A record that was made while the backend was away, and is shared now, has no nonces.
    """
    return {tag: told[tag] for tag in tags if tag in told} == tags_of_record(tags, nonces)


def tags_of_record(tags: Collection[str], nonces: Nonces) -> dict[str, str]:
    """Return what a record says of these tags; further nonces are left out."""
    texts = [(nonce or b"").decode("latin-1") for nonce in nonces]
    return dict(zip(tags, texts, strict=False))


def rest_of_tags(tags: tuple[str, ...], nonces: Nonces) -> bytes:
    """Return the JSON of a record that is only a value with these tags."""
    return _rest(tags, nonces) if len(tags) <= _FEW else _rest.__wrapped__(tags, nonces)


@lru_cache(maxsize=512)  # hot entries are read again and again
def _rest(tags: tuple[str, ...], nonces: Nonces) -> bytes:
    return _OF_TAGS % b",".join(map(_told, tags, nonces))


@lru_cache(maxsize=512)  # other entries share some of their tags
def _told(tag: str, nonce: bytes | None) -> bytes:
    return b'%b:"%b"' % (rest_of(tag), nonce or b"")
