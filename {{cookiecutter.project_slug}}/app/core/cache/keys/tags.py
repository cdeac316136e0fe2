"""Tags: names for groups of entries that are invalidated together, whatever their number.

A tag is one small key that holds a random nonce. An entry keeps the nonces that its tags had before
it was computed, and is of use only while they are the same; invalidating a tag gives it a new one.
No clock is compared and no two keys change together, so a cluster does as one server does; and a
nonce that was evicted is another one when it comes back, so that nothing rises from the dead.
"""

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from .parameters import Parameters, are_small
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


class Tags:
    """The tags of one function's calls, below a manager's `key_prefix`.

    Raises `TypeError` for one string in place of several and for an asynchronous function, and
    `ValueError` for what is no template of these parameters.
    """

    def __init__(self, tags: Collection[Tag], parameters: Parameters, key_prefix: str) -> None:
        self._prefix, self._start = key_prefix, tag_start(key_prefix)
        self._templates = templates_of(tags, parameters)
        self.derivations = [tag for tag in tags if callable(tag)]
        """Those that are functions of the result."""
        for each in filter(inspect.iscoroutinefunction, self.derivations):
            raise TypeError(f"tags= has {each!r}, which is asynchronous; tags are needed at once")
        self._names = tuple(
            dict.fromkeys([name for each in self._templates for name in each.names])
        )
        self._pick = parameters.picking(self._names)

    def __bool__(self) -> bool:
        return bool(self._templates or self.derivations)

    def keys(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[str, ...]:
        """Return the keys of the tags that are known before the function runs.

        Where others are derived from its result, the last of them is that of all tags.
        """
        values = self._pick(*args, **kwargs)
        return _remembered(self, *values) if are_small(values) else self.keys_for(values)

    def keys_for(self, values: Collection[object]) -> tuple[str, ...]:
        """Return the keys for the values of the arguments that the tags name."""
        arguments = dict(zip(self._names, values, strict=True))
        keys = [tag_key(self._start, each.name(arguments)) for each in self._templates]
        return (*keys, all_tags_key(self._prefix)) if self.derivations else tuple(keys)

    def derived(self, value: object) -> tuple[str, ...]:
        """Return the keys of the tags that are derived from a result; raises what a function raises."""
        tags = [tag for derive in self.derivations for tag in _listed(derive(value))]
        return checked_tag_keys([tag_key(self._start, tag) for tag in tags], self._prefix)


@lru_cache(maxsize=4096, typed=True)  # hot entries are asked for again and again
def _remembered(tags: Tags, /, *values: object) -> tuple[str, ...]:
    return tags.keys_for(values)


def _listed(tags: Any) -> Collection[str]:
    """Return the tags that a function has derived; raises `TypeError` for what is no list of them."""
    if isinstance(tags, str) or not isinstance(tags, Collection):
        raise TypeError(f"its tags function returned {tags!r}; return a list of texts")
    return tags


def templates_of(tags: Collection[Tag], parameters: Parameters) -> list[Template]:
    """Read those of `tags` that are texts; they may name arguments, as in `"user:{user_id}"`.

    Raises `TypeError` and `ValueError` as `Tags` does.
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
