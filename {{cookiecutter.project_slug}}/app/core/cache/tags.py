"""Tags: names for groups of entries that are invalidated together, whatever their number.

A tag is one small key that holds a random nonce. An entry keeps the nonces that its tags had before
it was computed, and is of use only while they are the same; invalidating a tag gives it a new one.
No clock is compared and no two keys change together, so a cluster does as one server does; and a
nonce that was evicted is another one when it comes back, so that nothing rises from the dead.
"""

from collections.abc import Collection

from .keys import Parameters
from .templates import Template


def tag_key(key_prefix: str, tag: str) -> str:
    """Return the key that holds the nonce of `tag`."""
    return f"{key_prefix}:~tag:{tag}"


def templates_of(tags: Collection[str], parameters: Parameters) -> list[Template]:
    """Read tags that may name arguments, as in `"user:{user_id}"`.

    Raises `TypeError` for one string in place of several, and `ValueError` for what is no template
    of these parameters.
    """
    if isinstance(tags, str):
        raise TypeError(f"tags={tags!r} is a string; give a list: tags=[{tags!r}]")
    if not all(isinstance(tag, str) and tag for tag in tags):
        raise ValueError(f"tags={list(tags)!r} must be strings, none of them empty")
    return [Template(tag, parameters.signature.parameters) for tag in tags]
