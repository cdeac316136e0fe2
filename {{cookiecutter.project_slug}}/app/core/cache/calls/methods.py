"""Cached functions in the body of a class: what `thing.method.invalidate(1)` needs.

A plain function has the same attributes for every object, so its `invalidate` could not know
`thing`. If a `CachedMethod` is bound to an object or a class, its attributes are bound, too. In all
other ways it is like the function. `inspect.isfunction` is true for it, as frameworks find the
methods of a class by that (class-based views of FastAPI among them).
"""

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, Literal

from .handles import Handles

Kind = Literal["instance", "class", "static"]
_HANDLES = ("cache_key", "invalidate", "invalidate_all", "refresh", "set")


class CachedMethod:
    """A cached function that knows what it is bound to.

    `kind` is "instance" for a plain method, "class" for a `classmethod`, "static" for neither.
    """

    def __init__(self, cached: Callable[..., Any], handles: Handles, kind: Kind) -> None:
        functools.update_wrapper(self, cached)
        self.__wrapped__: Any = cached.__wrapped__  # type: ignore[attr-defined] # of `wraps`
        self._cached, self._handles, self._kind = cached, handles, kind
        attach(self, handles)

    @property  # type: ignore[misc] # that of `object` can be set
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        return types.FunctionType

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if self._kind == "class":
            instance = owner or type(instance)
        if instance is None or self._kind == "static":
            return self
        return types.MethodType(_Bound(self, instance), instance)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._cached(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Return the special attributes of functions, such as `__code__` and `__defaults__`."""
        if name.startswith("__") and name != "__wrapped__":
            return getattr(self._cached, name)
        raise AttributeError(f"{self.__qualname__} has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<cached {self.__qualname__}>"

    def __reduce_ex__(self, protocol: Any) -> str:
        """Pickle it by its name, as functions are."""
        return str(self.__qualname__)


class _Bound:
    """The function of a bound method; the object comes as the first argument."""

    def __init__(self, method: CachedMethod, instance: object) -> None:
        self._method, self._instance = method, instance
        self.__doc__, self.__module__ = method.__doc__, method.__module__

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._method(*args, **kwargs)

    @property
    def __func__(self) -> CachedMethod:
        return self._method

    def __getattr__(self, name: str) -> Any:
        if name in _HANDLES:
            return getattr(self._method._handles.bound_to(self._instance), name)
        return getattr(self._method, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bound) and other._method is self._method

    def __hash__(self) -> int:
        return hash(self._method)


def attach(function: Any, handles: Handles) -> None:
    """Give a function, or a method that is not bound, the attributes `invalidate` and so on."""
    for name in _HANDLES:
        setattr(function, name, getattr(handles, name))


def unwrapped(func: Any) -> tuple[Kind | None, Any]:
    """Return what kind of method a function is, `None` for none, and the function itself."""
    if isinstance(func, classmethod):
        return "class", func.__func__
    if isinstance(func, staticmethod):
        return "static", func.__func__
    around = getattr(func, "__qualname__", "").rpartition(".")[0]
    is_in_class = inspect.isfunction(func) and around and not around.endswith("<locals>")
    return ("instance" if is_in_class else None), func
