"""Keys, patterns and tags that callers give; the manager's prefix is put in front."""

from collections.abc import Collection

from ..stored import Shown
from .patterns import KeyPattern
from .tags import tag_key, tag_start

LONGEST_KEY = 1024
"""The most bytes of a key, without the prefix."""


def whole_key(prefix: str, key: str) -> str:
    """Return `key` with its prefix; raise `TypeError` or `ValueError` for an invalid key."""
    if not isinstance(key, str) or not key:
        raise TypeError(f"key={key!r} must be a string that is not empty")
    if key[0] == "~":
        raise ValueError(
            f"key='{Shown(key)}' begins with '~', as the cache's own keys do: put a name and a "
            f"colon in front, 'user:{Shown(key)}'"
        )
    if len(key) > LONGEST_KEY // 4:  # a character has at most 4 bytes
        size = len(key.encode("utf-8", "surrogatepass"))
        if size > LONGEST_KEY:  # long keys take memory in many places
            raise ValueError(
                f"key='{Shown(key)}' has {size} bytes, more than {LONGEST_KEY}: put a digest "
                f"in place of what may be long, hashlib.sha256(text.encode()).hexdigest()"
            )
    return f"{prefix}:{key}"


def pattern_below(prefix: str, pattern: str) -> KeyPattern:
    """Return the pattern with the prefix; raise `TypeError` if it is no text or empty."""
    if not isinstance(pattern, str) or not pattern:
        raise TypeError(f"key={pattern!r} must be a string that is not empty")
    return KeyPattern.parse(pattern, prefix=f"{prefix}:")


def tag_keys_of(prefix: str, tags: Collection[str]) -> tuple[str, ...]:
    """Return the keys of tags; raise `TypeError` if `tags` is not a list of texts."""
    start = tag_start(prefix)
    return tuple([tag_key(start, tag) for tag in listed(tags, "tags")])


def listed(texts: Collection[str], name: str = "keys") -> Collection[str]:
    """Return `texts`; raise `TypeError` for a single text, and if it is no collection."""
    if isinstance(texts, str):
        raise TypeError(f"{name}={texts!r} is a string; give a list: [{texts!r}]")
    if not isinstance(texts, Collection):
        raise TypeError(f"{name}={texts!r} is one {type(texts).__name__}; give a list of texts")
    if name == "tags":
        for tag in texts:
            if not isinstance(tag, str):
                raise TypeError(f"tag={tag!r} must be a string")
    return texts
