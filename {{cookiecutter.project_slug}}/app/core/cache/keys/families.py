"""Warns of `keys=` in `invalidate_cache` that seem to match no entry of a decorated function."""

import logging
from collections.abc import Callable, Collection
from typing import Any, Protocol

from .templates import Template

_MOST = 10_000  # known prefixes; if there are more, there are no warnings


class Manager(Protocol):
    """What is needed of a cache manager."""

    key_prefix: str
    families: set[str]


def expect_keys(manager: Manager, key_prefix: str) -> None:
    """Note the `key_prefix` of a decorated function."""
    if len(manager.families) <= _MOST:
        manager.families.add(key_prefix)


def tell_of_void(
    manager: Manager,
    func: Callable[..., Any],
    templates: Collection[Template],
    logger: logging.Logger,
) -> None:
    """Warn of keys that are a `key_prefix` alone, or begin with the prefix of all keys."""
    for key in [each.text for each in templates] if len(manager.families) <= _MOST else ():
        before = f"{manager.key_prefix}:"
        if key in manager.families:
            why = "covers no entry of the functions that have this key_prefix"
            meant = f"{key}:*"
        elif key.startswith(before) and not key.startswith(tuple(manager.families)):
            why = "begins with the prefix of all keys, which stands in front of it anyway"
            meant = key.removeprefix(before)
        else:
            continue
        name = f"{func.__module__}.{func.__qualname__}"
        logger.warning("keys=%r of %s %s; did you mean %r?", key, name, why, meant)
