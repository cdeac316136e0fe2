"""The entries of a cached function, by hand: `cache_key`, `invalidate`, `refresh`.

They take the arguments of a call. Those that are no part of its key, ignored ones and what FastAPI
hands to an endpoint, may be left out. What does not fit raises `TypeError`, and so does a call that
has no key: nothing is ever removed but the entry that was meant.
"""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fastapi.params import Depends
from pydantic.fields import FieldInfo

from ..keys import KeyPattern
from ..values import hints_of, injected
from .cached_calls import CachedCalls

if TYPE_CHECKING:
    from ..manager import CacheManager

_MISSING: Any = object()


class LeftOut:
    """Stands for an argument that was left out; what makes a key may not look at it."""

    def __init__(self, name: str) -> None:
        self._says = f"{name!r} was left out, and the key needs it: give it, too"

    def _refuse(self, *_: object) -> Any:
        raise TypeError(self._says)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(self._says)

    __cache_key__ = __str__ = __repr__ = __format__ = __bool__ = __iter__ = __len__ = (
        __getitem__
    ) = _refuse
    __eq__, __hash__ = _refuse, object.__hash__


class Handles:
    """What can be done with the entries of one cached function.

    `is_method` says that its first parameter is an object or a class, which is part of a call as of
    any other: `Class.method.invalidate(thing, 1)`. Where it is bound, it is given as `bound`.
    """

    def __init__(
        self,
        manager: "CacheManager",
        calls: CachedCalls,
        func: Callable[..., Any],
        *,
        has_own_key: bool,
        is_method: bool,
    ) -> None:
        self._manager, self._calls, self._name = manager, calls, func.__qualname__
        self._whole = whole = calls.parameters.signature
        handed = injected(whole, hints_of(func)) if has_own_key else []
        keyed = [name for name in calls.parameters.keyed if name not in handed]
        self._left = frozenset(whole.parameters).difference(keyed)
        self._first = next(iter(whole.parameters), "") if is_method else ""
        defaults = [each.default for each in whole.parameters.values()]
        filled_in = any(isinstance(each, (FieldInfo, Depends)) for each in defaults)
        self._is_plain = not (self._left or filled_in)  # a call is what it looks like
        # As it is meant, with nothing in the places of what is left out, or as the function has it.
        ways = [[self._first, *keyed], list(whole.parameters), keyed]
        self._ways = list(map(self._of, ways))
        self._ways_bound = [self._of(way, but=self._first) for way in ways[:2]]

    def cache_key(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], bound: tuple[Any, ...] = ()
    ) -> str:
        """Return the key of a call, below the manager's prefix."""
        keys = self._keys("cache_key", args, kwargs, bound)
        return keys[0].removeprefix(f"{self._manager.key_prefix}:")

    async def invalidate(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], bound: tuple[Any, ...] = ()
    ) -> bool:
        """Remove the entry of a call; return whether that was done.

        What could be meant in two ways, by place, is removed in both.
        """
        keys = self._keys("invalidate", args, kwargs, bound)
        return all([await self._manager.delete_matching(KeyPattern((key,))) for key in keys])

    async def invalidate_all(self) -> bool:
        """Remove every entry of the function; return whether that was done."""
        return await self._manager.delete_matching(self._calls.family)

    async def refresh(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], bound: tuple[Any, ...] = ()
    ) -> Any:
        """Run the function and store its result, whatever is stored for this call now."""
        meant = self._meant("refresh", args, kwargs, bound)
        whole = [call for call in meant if not _left_out(call)]
        if not whole:
            raise TypeError(
                f"{self._name}.refresh() runs the function, which needs "
                f"{', '.join(map(repr, _left_out(meant[0])))}: give it, too"
            )
        first: TypeError | None = None
        for call in whole:
            try:
                self._calls.key_or_raise(call.args, call.kwargs)
            except TypeError as error:
                first = first or error
            else:
                return await self._calls.renew(call.args, call.kwargs)
        raise TypeError(f"{self._name}.refresh(): {first}") from first

    def _keys(
        self, what: str, args: tuple[Any, ...], kwargs: dict[str, Any], bound: tuple[Any, ...]
    ) -> list[str]:
        """Return the keys that may be meant; raises `TypeError` where there is none."""
        if self._is_plain:
            with suppress(TypeError):  # which is told below
                return [self._calls.key_or_raise((*bound, *args), kwargs)]
        keys, first = [], None
        for call in self._meant(what, args, kwargs, bound):
            try:
                keys.append(self._calls.key_or_raise(call.args, call.kwargs))
            except TypeError as error:
                first = first or error
        if not keys:
            raise TypeError(f"{self._name}.{what}(): {first}") from first
        return list(dict.fromkeys(keys))

    def _meant(
        self, what: str, args: tuple[Any, ...], kwargs: dict[str, Any], bound: tuple[Any, ...]
    ) -> list[inspect.BoundArguments]:
        """Return the calls that arguments may mean; raises `TypeError` where there is none."""
        meant, first = list[inspect.BoundArguments](), None
        ways = self._ways_bound if bound else self._ways
        for way in ways:
            try:
                call = self._read(way, args, kwargs, bound)
            except TypeError as error:
                first = first or error
            else:
                meant.append(call)
        if not meant:
            taken = ", ".join(map(str, ways[0].parameters.values()))
            is_class = self._first == "cls" and not bound
            hint = "; put @cache_response above @classmethod to have it bound" if is_class else ""
            raise TypeError(f"{self._name}.{what}(): {first}; it takes ({taken}){hint}")
        return meant

    def _read(
        self,
        way: inspect.Signature,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        bound: tuple[Any, ...],
    ) -> inspect.BoundArguments:
        """Return the call that is meant where the parameters of `way` may be given by place."""
        hidden = self._left.difference(way.parameters)
        away = {name: kwargs[name] for name in hidden if name in kwargs}
        rest = {name: value for name, value in kwargs.items() if name not in away}
        given = way.bind_partial(*args, **rest).arguments
        if bound:
            given[self._first] = bound[0]
        return inspect.BoundArguments(self._whole, self._filled({**given, **away}))

    def _of(self, names: list[str], *, but: str = "") -> inspect.Signature:
        taken = set(names) - {but}
        parameters = self._whole.parameters.values()
        return self._whole.replace(parameters=[each for each in parameters if each.name in taken])

    def _filled(self, given: Mapping[str, Any]) -> OrderedDict[str, Any]:
        filled = OrderedDict[str, Any]()
        for name, parameter in self._whole.parameters.items():
            value = given[name] if name in given else _default(parameter)
            if value is _MISSING and name not in self._left:
                raise TypeError(f"missing a required argument: {name!r}")
            filled[name] = LeftOut(name) if value is _MISSING else value
        return filled


class ByHand:
    """The public side of `Handles`: attributes of a cached function, or of a method that is bound."""

    def __init__(self, handles: Handles, bound: tuple[Any, ...] = ()) -> None:
        self._handles, self._bound = handles, bound

    def cache_key(self, /, *args: Any, **kwargs: Any) -> str:
        """Return the key of a call, as `get`, `delete`, `exists` and `invalidate` take it."""
        return self._handles.cache_key(args, kwargs, self._bound)

    async def invalidate(self, /, *args: Any, **kwargs: Any) -> bool:
        """Remove the entry of one call; return whether that was done."""
        return await self._handles.invalidate(args, kwargs, self._bound)

    async def invalidate_all(self) -> bool:
        """Remove every entry of the function; return whether that was done."""
        return await self._handles.invalidate_all()

    async def refresh(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the function and store its result, whatever is stored for this call now."""
        return await self._handles.refresh(args, kwargs, self._bound)


def _default(parameter: inspect.Parameter) -> Any:
    """Return what a parameter is where it is not given, as FastAPI fills it in."""
    default = parameter.default
    if parameter.kind is parameter.VAR_POSITIONAL:
        return ()
    if parameter.kind is parameter.VAR_KEYWORD:
        return {}
    if isinstance(default, FieldInfo):  # `Query(1)`
        required = default.is_required()
        return _MISSING if required else default.get_default(call_default_factory=True)
    return _MISSING if default is parameter.empty or isinstance(default, Depends) else default


def _left_out(call: inspect.BoundArguments) -> list[str]:
    return [name for name, value in call.arguments.items() if type(value) is LeftOut]
