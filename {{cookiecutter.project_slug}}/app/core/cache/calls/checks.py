"""Checks of arguments when a function is decorated; each error says what to do."""

import gc
import inspect
import math
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

from fastapi.dependencies.models import Dependant
from starlette.requests import HTTPConnection

from ..defaults import CACHE_CONTROLS
from ..expiry import Expire, is_negative, milliseconds
from ..keys import Parameters
from ..values import from_dependencies, hints_of, injected, signature_of

_EARLIEST = 2.0  # the largest factor of early refresh
_FEW = 7  # references to a function that is being decorated, also by closures; a route has more


def check_manager(manager: Any, decorator: str, example: str) -> None:
    """Raise `TypeError` if `manager` is no cache manager."""
    if hasattr(manager, "delete_matching") and hasattr(manager, "fence"):
        return
    if inspect.isroutine(manager):
        raise TypeError(
            f"@{decorator} has no arguments, and decorates {manager.__qualname__}; give it the "
            f"cache manager and what it needs: @{decorator}(cache_manager, {example})"
        )
    raise TypeError(
        f"cache_manager={manager!r} is no CacheManager; it comes first: "
        f"{decorator}(get_cache_manager(), {example})"
    )


def check_times(expire: Expire | None, stale: Expire | None, early_refresh: float) -> None:
    """Raise `TypeError` or `ValueError` for times that cannot be right."""
    for name, time in (("expire", expire), ("stale", stale)):
        if time is not None:
            milliseconds(time, name)
    if stale is not None and is_negative(stale):
        raise ValueError(f"stale={stale!r} must be 0 or more: it is the time after expire")
    if isinstance(early_refresh, bool) or not isinstance(early_refresh, (int, float)):
        raise TypeError(f"early_refresh={early_refresh!r} must be a number, such as 1.0")
    if not 0 <= early_refresh <= _EARLIEST or math.isnan(early_refresh):
        raise ValueError(
            f"early_refresh={early_refresh!r} must be from 0 to {_EARLIEST:g}: it is a factor of "
            f"the time that the function takes, no seconds; 1.0 is what most want"
        )


def check_several(**given: Any) -> None:
    """Raise `TypeError` for an argument that must be a collection and is none."""
    for name, value in given.items():
        if not isinstance(value, Collection):
            example = f"{name}=({value!r},)" if value is not None else f"{name}=()"
            raise TypeError(
                f"{name}={value!r} is one {type(value).__name__}; give a tuple or a list: {example}"
            )


def check_flags(**given: Any) -> None:
    """Raise `TypeError` for an argument that is neither True nor False."""
    for name, value in given.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name}={value!r} must be True or False")


def check_setup(
    key_prefix: Any, default_ttl: Any, cache_control: Any, flags: Mapping[str, Any]
) -> None:
    """Raise `TypeError` or `ValueError` for arguments of a manager that cannot be right."""
    if isinstance(default_ttl, bool) or not isinstance(default_ttl, int) or default_ttl < 1:
        raise ValueError(f"default_ttl={default_ttl!r} must be whole seconds, 1 or more")
    if not isinstance(key_prefix, str) or not key_prefix:
        raise ValueError(f"key_prefix={key_prefix!r} must be a string that is not empty")
    check_choice("cache_control", cache_control, CACHE_CONTROLS)
    check_flags(**flags)


def check_choice(name: str, given: object, choices: Collection[object]) -> None:
    """Raise `ValueError` for an argument that is none of these."""
    if given not in choices:
        raise ValueError(f"{name}={given!r} must be {' or '.join(map(repr, choices))}")


def check_key(key: Any) -> None:
    """Raise `TypeError` for a `key` that is neither a template nor a function."""
    if key is not None and not (isinstance(key, str) or callable(key)):
        raise TypeError(
            f"key={key!r} must be a template, such as 'user:{{user_id}}', or a function"
        )


def check_background(func: Callable[..., Any]) -> None:
    """Raise `ValueError` for a function whose arguments end before it runs in the background."""
    signature, hints = signature_of(func), hints_of(func)
    dependent, handed = from_dependencies(signature, hints), injected(signature, hints)
    for name in [*dependent, *handed]:
        what = "comes from a dependency" if name in dependent else "belongs to the request"
        raise ValueError(
            f'refresh="background" of {func.__qualname__}: {name!r} {what}, which has ended by '
            f'then; use refresh="inline", or open inside the function what it needs'
        )


def may_have_request(parameters: Parameters) -> bool:
    """Whether an argument may be a request, by what the annotations say."""
    return not all(
        isinstance(hint := parameters.hints.get(name), type)
        # An object of any class may belong to an abstract class or a protocol.
        and type(hint).__module__ not in ("abc", "typing", "typing_extensions")
        and HTTPConnection not in hint.__mro__
        and hint not in HTTPConnection.__mro__
        for name in parameters.signature.parameters
    )


def checked_statuses(statuses: Collection[int]) -> frozenset[int]:
    """Return the statuses; raise `ValueError` for one that is no HTTP status."""
    for status in statuses:
        if not isinstance(status, int) or not 100 <= status <= 599:
            raise ValueError(f"cache_status has {status!r}, which is no HTTP status of 100 to 599")
    return frozenset(statuses)


def is_endpoint(func: Callable[..., Any]) -> bool:
    """Whether a function is already an endpoint, or a dependency, of FastAPI.

    A route's decorator returns the function itself. So the objects that refer to it are searched,
    if there are more than for a new function; that takes some milliseconds, once.
    """
    if not inspect.isfunction(func) or sys.getrefcount(func) <= _FEW:
        return False
    return any(_is_of(each, func) for each in gc.get_referrers(func))


def _is_of(referrer: object, func: object) -> bool:
    if isinstance(referrer, Dependant):
        return referrer.call is func
    # A class without slots keeps its attributes in a dictionary.
    return isinstance(referrer, dict) and "path_params" in referrer and referrer.get("call") is func
