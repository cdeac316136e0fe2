"""A decorator above that of the route, which is wrong: FastAPI never calls its function there."""

import gc
import inspect
import sys
from collections.abc import Callable
from typing import Any

from fastapi.dependencies.models import Dependant

_FEW = 5  # references to a function that is being decorated; a route has several more


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
