"""Cached functions in the body of a class: what `thing.method.invalidate(1)` needs.

A plain function has one set of attributes, whatever it is bound to, so that `invalidate` there could
not know `thing`. A `CachedMethod` can: bound to an object or a class, it has attributes that are bound
likewise. In all else it is the function that it stands for. `inspect.isfunction` says so, too, for
frameworks look for the methods of a class by that (class-based views of FastAPI among them).
"""

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, Literal

from .handles import ByHand, Handles

Kind = Literal["instance", "class", "static"]


class CachedMethod(ByHand):
    """A cached function that knows what it is bound to.

    `kind` says to what: an object, as a plain method; its class, as a `classmethod`; or nothing.
    """

    def __init__(self, cached: Callable[..., Any], handles: Handles, kind: Kind) -> None:
        super().__init__(handles)
        functools.update_wrapper(self, cached)
        self.__wrapped__: Any = cached.__wrapped__  # type: ignore[attr-defined] # of `wraps`
        self._cached, self._kind = cached, kind

    @property  # type: ignore[misc] # that of `object` can be set
    def __class__(self) -> type:
        return types.FunctionType

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if self._kind == "class":
            instance = owner or type(instance)
        if instance is None or self._kind == "static":
            return self
        return types.MethodType(_Bound(self, self._handles, instance), instance)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._cached(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Return what functions have besides: their code and their defaults."""
        if name.startswith("__") and name != "__wrapped__":
            return getattr(self._cached, name)
        raise AttributeError(f"{self.__qualname__} has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<cached {self.__qualname__}>"

    def __reduce_ex__(self, protocol: Any) -> str:
        """Pickle it by its name, as functions are."""
        return str(self.__qualname__)


class _Bound(ByHand):
    """What a bound method calls, with the object in front."""

    def __init__(self, method: CachedMethod, handles: Handles, instance: object) -> None:
        super().__init__(handles, (instance,))
        self._method, self.__doc__, self.__module__ = method, method.__doc__, method.__module__

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._method(*args, **kwargs)

    @property
    def __func__(self) -> CachedMethod:
        return self._method

    def __getattr__(self, name: str) -> Any:
        return getattr(self._method, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bound) and other._method is self._method

    def __hash__(self) -> int:
        return hash(self._method)


def attach(function: Any, handles: Handles) -> None:
    """Give a plain function the attributes that a method has bound to what it is bound to."""
    by_hand = ByHand(handles)
    function.cache_key, function.refresh = by_hand.cache_key, by_hand.refresh
    function.invalidate, function.invalidate_all = by_hand.invalidate, by_hand.invalidate_all


def unwrapped(func: Any) -> tuple[Kind | None, Any]:
    """Return what kind of method a function is, `None` for none, and the function itself."""
    if isinstance(func, classmethod):
        return "class", func.__func__
    if isinstance(func, staticmethod):
        return "static", func.__func__
    around = getattr(func, "__qualname__", "").rpartition(".")[0]
    is_in_class = inspect.isfunction(func) and around and not around.endswith("<locals>")
    return ("instance" if is_in_class else None), func
