"""What the keys of the decorated functions look like, and patterns that cover none of them."""

import logging
from collections.abc import Callable, Collection
from typing import Any, Protocol

from .patterns import WILDCARD, KeyPattern
from .templates import Template


class Manager(Protocol):
    """What is needed of a cache manager."""

    key_prefix: str
    families: dict[KeyPattern, str]


def expect_keys(
    manager: Manager, key_prefix: str, family: KeyPattern, own: Template | None
) -> None:
    """Note what the keys of a decorated function look like, and its `key_prefix`."""
    if own is not None:
        first, *rest = own.literals or ("",)
        family = KeyPattern((family.literals[0] + first, *rest))
    manager.families[family] = key_prefix


def tell_of_void(
    manager: Manager,
    func: Callable[..., Any],
    templates: Collection[Template],
    logger: logging.Logger,
) -> None:
    """Warn of keys that cover no entry of the functions whose `key_prefix` they name."""
    for template in templates:
        pattern = KeyPattern.parse(
            WILDCARD.join(template.literals), prefix=f"{manager.key_prefix}:"
        )
        if any(map(pattern.overlaps, manager.families)):
            continue
        for key_prefix in dict.fromkeys(manager.families.values()):
            if f"{template.text}:".startswith(f"{key_prefix}:"):
                logger.warning(
                    "keys=%r of %s.%s covers no entry of the functions that have the key_prefix %r, "
                    "only what is set by hand; did you mean %r?",
                    template.text,
                    func.__module__,
                    func.__qualname__,
                    key_prefix,
                    f"{key_prefix}:*",
                )
