"""Tags: names for groups of entries that are invalidated together, whatever their number.

A tag is one small key that holds a random nonce. An entry stores the nonces that its tags had
before it was computed, and is valid only while they are the same. To invalidate a tag, store a new
nonce. This compares no clocks and never changes two keys at once, so it works in a cluster. If a
nonce is evicted, the next one differs, so an invalidated entry never becomes valid again.
"""

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from .parameters import Parameters, are_small
from .templates import Template

MOST_TAGS = 1000
"""The most tags of an entry: every hit reads the nonces of all."""
_LONGEST_TAG = 1024  # bytes; a character has at most 4
_SURELY_SHORT = _LONGEST_TAG // 4
_DIGEST_BYTES = 16

Tag = str | Callable[[Any], Collection[str]]
"""A tag, which may name arguments, or a function that derives tags from a result."""


def all_tags_key(key_prefix: str) -> str:
    """Return the key whose nonce changes first in every invalidation of any tag.

    Tags that are derived from a result are known only after the function has run, and so are their
    nonces. If this nonce is then the same as before the run, no tag was invalidated meanwhile.
    """
    return f"{key_prefix}:~tags"


def is_tag_key(key: str, key_prefix: str) -> bool:
    """Whether a key holds a nonce."""
    return key.startswith(f"{key_prefix}:~tag")


def tag_start(key_prefix: str) -> str:
    """Return the prefix of the keys of all tags."""
    return f"{key_prefix}:~tag:"


def tag_key(start: str, tag: str) -> str:
    """Return the key that holds the nonce of `tag`.

    `start` is the prefix of the keys of all tags. Every text has a key, as an invalidation must
    not fail: a digest replaces a tag of more than 1024 bytes. A tag that looks like such a digest
    shares the nonce of the long tag, and is invalidated with it.
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

    Raises `TypeError` for a single string and for an asynchronous function, and `ValueError` for a
    text that is no template of these parameters.
    """

    def __init__(self, tags: Collection[Tag], parameters: Parameters, key_prefix: str) -> None:
        self._prefix, self._start = key_prefix, tag_start(key_prefix)
        self._templates = templates_of(tags, parameters)
        self.derivations = [tag for tag in tags if callable(tag)]
        """The tags that are functions of the result."""
        for each in filter(inspect.iscoroutinefunction, self.derivations):
            raise TypeError(f"tags= has {each!r}, which is asynchronous; tags are needed at once")
        self.names = tuple(dict.fromkeys([name for each in self._templates for name in each.names]))
        """The arguments that they name."""
        self._pick = parameters.picking(self.names)

    def __bool__(self) -> bool:
        return bool(self._templates or self.derivations)

    def keys(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[str, ...]:
        """Return the keys of the tags that are known before the function runs.

        If other tags are derived from the result, `all_tags_key` is the last one.
        """
        values = self._pick(*args, **kwargs)
        return _remembered(self, *values) if are_small(values) else self.keys_for(values)

    def keys_among(self, small: Mapping[str, object]) -> tuple[str, ...]:
        """Return what `keys` does, given small arguments; nothing if the tags name others."""
        named = [small[name] for name in self.names if name in small]
        return _remembered(self, *named) if len(named) == len(self.names) else ()

    def keys_for(self, values: Collection[object]) -> tuple[str, ...]:
        """Return the keys for the values of the arguments that the tags name."""
        arguments = dict(zip(self.names, values, strict=True))
        keys = [tag_key(self._start, each.name(arguments)) for each in self._templates]
        return (*keys, all_tags_key(self._prefix)) if self.derivations else tuple(keys)

    def derived(self, value: object) -> tuple[str, ...]:
        """Return the keys of the tags derived from a result; raises what the functions raise."""
        tags = [tag for derive in self.derivations for tag in _listed(derive(value))]
        return checked_tag_keys([tag_key(self._start, tag) for tag in tags], self._prefix)


@lru_cache(maxsize=4096, typed=True)  # hot entries are read again and again
def _remembered(tags: Tags, /, *values: object) -> tuple[str, ...]:
    return tags.keys_for(values)


def _listed(tags: Any) -> Collection[str]:
    """Return the tags that a function has derived; raises `TypeError` if they are no collection."""
    if isinstance(tags, str) or not isinstance(tags, Collection):
        raise TypeError(f"its tags function returned {tags!r}; return a list of texts")
    return tags


def templates_of(tags: Collection[Tag], parameters: Parameters) -> list[Template]:
    """Parse those of `tags` that are texts; they may name arguments, as in `"user:{user_id}"`.

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
