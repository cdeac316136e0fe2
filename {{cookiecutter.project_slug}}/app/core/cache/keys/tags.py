"""Tags: names for groups of entries that are invalidated together, whatever their number.

A tag is one small key that holds a random nonce. An entry keeps the nonces that its tags had before
it was computed, and is of use only while they are the same; invalidating a tag gives it a new one.
No clock is compared and no two keys change together, so a cluster does as one server does; and a
nonce that was evicted is another one when it comes back, so that nothing rises from the dead.
"""

import inspect
from collections.abc import Callable, Collection
from hashlib import blake2b
from typing import Any

from .parameters import Parameters
from .templates import Template

MOST_TAGS = 1000
"""How many tags an entry may have: the nonce of each is read with it."""
_LONGEST_TAG = 1024  # bytes; so many a character may have: four
_SURELY_SHORT = _LONGEST_TAG // 4
_DIGEST_BYTES = 16

Tag = str | Callable[[Any], Collection[str]]
"""A tag, which may name arguments, or a function that derives tags from a result."""


def all_tags_key(key_prefix: str) -> str:
    """Return the key whose nonce changes, before any other, with every invalidation of a tag.

    Tags that are derived from a result are not known before the function runs, so their nonces can
    be read only after it. If this one is the same then as before, so were they.
    """
    return f"{key_prefix}:~tags"


def is_tag_key(key: str, key_prefix: str) -> bool:
    """Whether a key is one of those that hold nonces."""
    return key.startswith(f"{key_prefix}:~tag")


def tag_start(key_prefix: str) -> str:
    """Return what the keys of all tags begin with."""
    return f"{key_prefix}:~tag:"


def tag_key(start: str, tag: str) -> str:
    """Return the key that holds the nonce of `tag`, whoever reads or invalidates it.

    `start` is what the keys of all tags begin with. Any text makes one, for an invalidation is no
    place to fail: a digest stands for one of more than 1024 bytes. A tag that reads like a digest
    shares its nonce, and is invalidated with it.
    """
    key = f"{start}{tag}"
    if len(key) - len(start) <= _SURELY_SHORT:
        return key
    written = key[len(start) :].encode("utf-8", "surrogatepass")
    if len(written) <= _LONGEST_TAG:
        return key
    return f"{start}~{blake2b(written, digest_size=_DIGEST_BYTES).hexdigest()}"


def derivations_of(tags: Collection[Tag]) -> list[Callable[[Any], Collection[str]]]:
    """Return those of `tags` that are functions of the result."""
    found = [tag for tag in tags if callable(tag)]
    for each in found:
        if inspect.iscoroutinefunction(each):
            raise TypeError(f"tags= has {each!r}, which is asynchronous; tags are needed at once")
    return found


def listed(tags: Any) -> Collection[str]:
    """Return the tags that a function has derived; raises `TypeError` for what is no list of them."""
    if isinstance(tags, str) or not isinstance(tags, Collection):
        raise TypeError(f"its tags function returned {tags!r}; return a list of texts")
    return tags


def templates_of(tags: Collection[Tag], parameters: Parameters) -> list[Template]:
    """Read those of `tags` that are texts; they may name arguments, as in `"user:{user_id}"`.

    Raises `TypeError` for one string in place of several, and `ValueError` for what is no template
    of these parameters.
    """
    if isinstance(tags, str):
        raise TypeError(f"tags={tags!r} is a string; give a list: tags=[{tags!r}]")
    texts = [tag for tag in tags if not callable(tag)]
    if not all(isinstance(tag, str) and tag for tag in texts):
        raise ValueError(f"tags={list(tags)!r} must be strings, none of them empty, or functions")
    names = parameters.signature.parameters
    return [Template(tag, names, parameters.hints) for tag in texts]


def checked_tag_keys(content: object, key_prefix: str) -> tuple[str, ...]:
    """Return the keys of tags that a record names; raises `ValueError` for any other keys."""
    start = tag_start(key_prefix)
    if type(content) is not list or len(content) > MOST_TAGS:
        raise ValueError("the tags of a record are no list, or too many")
    for key in content:
        if type(key) is not str or key != tag_key(start, key.removeprefix(start)):
            raise ValueError("a record names a key that is not that of a tag")
    return tuple(content)
