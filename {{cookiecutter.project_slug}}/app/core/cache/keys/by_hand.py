"""Keys, patterns and tags as code gives them by hand, below the prefix of a manager."""

from collections.abc import Collection

from ..stored import Shown
from .patterns import KeyPattern
from .tags import tag_key, tag_start

LONGEST_KEY = 1024
"""How many bytes a key may have, without the prefix."""


def whole_key(prefix: str, key: str) -> str:
    """Return a key with its prefix; raise `TypeError` or `ValueError` for what can be none."""
    if not isinstance(key, str) or not key:
        raise TypeError(f"key={key!r} must be a string that is not empty")
    if key[0] == "~":
        raise ValueError(
            f"key='{Shown(key)}' begins with '~', as the cache's own keys do: put a name and a "
            f"colon in front, 'user:{Shown(key)}'"
        )
    if len(key) > LONGEST_KEY // 4:  # so many bytes may a character have
        size = len(key.encode("utf-8", "surrogatepass"))
        if size > LONGEST_KEY:  # it would be kept in many places
            raise ValueError(
                f"key='{Shown(key)}' has {size} bytes, more than {LONGEST_KEY}: put a digest "
                f"in place of what may be long, hashlib.sha256(text.encode()).hexdigest()"
            )
    return f"{prefix}:{key}"


def pattern_below(prefix: str, pattern: str) -> KeyPattern:
    """Return the pattern of whole keys; raise `TypeError` for what is none."""
    if not isinstance(pattern, str) or not pattern:
        raise TypeError(f"key={pattern!r} must be a string that is not empty")
    return KeyPattern.parse(pattern, prefix=f"{prefix}:")


def tag_keys_of(prefix: str, tags: Collection[str]) -> tuple[str, ...]:
    """Return the keys of tags; raise `TypeError` for what is no list of texts."""
    start = tag_start(prefix)
    return tuple([tag_key(start, tag) for tag in listed(tags, "tags")])


def listed(texts: Collection[str], name: str = "keys") -> Collection[str]:
    """Return several texts; raise `TypeError` for one text, and for what is no list of them."""
    if isinstance(texts, str):
        raise TypeError(f"{name}={texts!r} is a string; give a list: [{texts!r}]")
    if not isinstance(texts, Collection):
        raise TypeError(f"{name}={texts!r} is one {type(texts).__name__}; give a list of texts")
    if name == "tags":
        for tag in texts:
            if not isinstance(tag, str):
                raise TypeError(f"tag={tag!r} must be a string")
    return texts
