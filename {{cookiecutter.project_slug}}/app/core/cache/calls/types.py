"""What type checkers know of decorated functions, and what calls need of a manager."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, overload

from ..coherence import Fence, Invalidations, Removal

if TYPE_CHECKING:
    from ..base import CacheBackend
    from ..defaults import CacheControl
    from ..events import Events
    from ..keys import Identity, OfFunctions
    from ..switch import Switch
    from .reading import Reader

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")


class CachedFunction(Protocol[P, R_co]):
    """A function that `cache_response` has decorated, with functions that handle its entries.

    On a method they are bound like the method: `thing.method.invalidate(1)` is the same as
    `Class.method.invalidate(thing, 1)`. Arguments that are no part of the key may be left out.
    """

    __name__: str
    __wrapped__: Callable[P, Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:  # pyright: ignore[reportReturnType]
        """Return what the function returned for this call before, or run it."""

    @overload
    def __get__(self, instance: None, owner: Any) -> Self: ...

    @overload
    def __get__(
        self: "CachedFunction[Concatenate[S, Q], R_co]", instance: S, owner: Any
    ) -> "CachedFunction[Q, R_co]": ...

    def cache_key(self, *args: Any, **kwargs: Any) -> str:  # pyright: ignore[reportReturnType]
        """Return the key of a call, as `get`, `delete`, `exists` and `invalidate` take it.

        Raises `TypeError` for a call that does not fit, and for one that has no key.
        """

    async def invalidate(self, *args: Any, **kwargs: Any) -> Removal:  # pyright: ignore[reportReturnType]
        """Remove the entry of this call, and no other; the result is true if that was done.

        Raises `TypeError` for a call that does not fit, and for one that has no key.
        """

    async def invalidate_all(self) -> Removal:  # pyright: ignore[reportReturnType]
        """Remove every entry of this function; the result is true if that was done.

        If the function has a `key=`, these are all entries below its `key_prefix`.
        """

    async def set(self, value: Any, /, *args: Any, **kwargs: Any) -> bool:  # pyright: ignore[reportReturnType]
        """Store `value` as the result of this call; return whether it is stored.

        If it is not, the old entry is removed. Raises `TypeError` as `invalidate` does, and for an
        argument that was left out and is named by the tags or by `expire=`.
        """

    async def refresh(self, *args: Any, **kwargs: Any) -> R_co:  # pyright: ignore[reportReturnType]
        """Run the function and store its result, whatever is stored for this call now."""


class CacheDecorator(Protocol):
    """Turns a function into a cached one of the same parameters, name and docstring."""

    @overload
    def __call__(self, func: Callable[P, Coroutine[Any, Any, R]], /) -> CachedFunction[P, R]: ...

    @overload
    def __call__(self, func: Callable[P, R], /) -> CachedFunction[P, R]: ...


class Decorator(Protocol):
    """Turns a function into a coroutine function of the same parameters, name and docstring."""

    @overload
    def __call__(
        self, func: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Callable[P, Coroutine[Any, Any, R]]: ...

    @overload
    def __call__(self, func: Callable[P, R], /) -> Callable[P, Coroutine[Any, Any, R]]: ...


class Store(Protocol):
    """The part of a manager that calls need."""

    backend: "CacheBackend"
    key_prefix: str
    cache_control: "CacheControl"
    client_control: bool
    events: "Events"
    switch: "Switch"
    is_special: bool
    """Whether it has listeners, or may be switched off."""
    compress_over: int
    max_entry_bytes: int
    fence: Fence
    invalidations: Invalidations
    functions: "OfFunctions[Identity]"
    readers: "OfFunctions[Reader]"
