"""The entries of a cached function, by hand: `cache_key`, `invalidate`, `refresh`.

They take the arguments of a call. Arguments that are no part of its key may be left out: ignored
ones, and those that FastAPI passes to an endpoint. Arguments that do not fit raise `TypeError`, and
so does a call without a key: no other entry is ever removed than the one that was meant.
"""

import copy
import inspect
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fastapi.params import Depends
from pydantic.fields import FieldInfo

from ..coherence import Removal, is_answer
from ..keys import KeyPattern
from ..values import UnkeyableError
from .cached_calls import CachedCalls
from .priming import put
from .warn import why_no_key

if TYPE_CHECKING:
    from ..manager import CacheManager


class _LeftOut:
    """Stands for an argument that was left out: it is no part of the key."""

    def __repr__(self) -> str:
        return "..."


_LEFT_OUT = _LeftOut()


class Handles:
    """The functions that handle the entries of one cached function.

    `is_method` says that its first parameter is an object or a class. It belongs to a call like any
    other argument: `Class.method.invalidate(thing, 1)`.
    """

    def __init__(
        self, manager: "CacheManager", calls: CachedCalls, name: str, *, is_method: bool
    ) -> None:
        self._manager, self._calls, self._name = manager, calls, name
        self._whole = calls.parameters.signature
        self._first = next(iter(self._whole.parameters), "") if is_method else ""
        self._signature = _by_hand(self._whole, calls.keys.unused - {self._first})
        self._is_plain = all(
            shown.default is each.default and shown.kind is each.kind
            for shown, each in zip(
                self._signature.parameters.values(), self._whole.parameters.values(), strict=False
            )
        )
        """Whether calls by hand have the function's signature: then the key is made at once."""
        self._bound: tuple[Any, ...] = ()

    def bound_to(self, instance: object) -> "Handles":
        """Return the handles of the method, bound to an object or to a class."""
        bound = copy.copy(self)
        bound._bound = (instance,)
        return bound

    def cache_key(self, /, *args: Any, **kwargs: Any) -> str:
        """Return the key of a call, as `get`, `delete`, `exists` and `invalidate` take it."""
        key = self._key("cache_key", args, kwargs)
        return key.removeprefix(f"{self._manager.key_prefix}:")

    async def invalidate(self, /, *args: Any, **kwargs: Any) -> Removal:
        """Remove the entry of one call; the result is true if that was done."""
        key = self._key("invalidate", args, kwargs)
        return await self._manager.delete_matching(KeyPattern((key,)))

    async def invalidate_all(self) -> Removal:
        """Remove every entry of the function; the result is true if that was done."""
        return await self._manager.delete_matching(self._calls.family)

    async def set(self, value: Any, /, *args: Any, **kwargs: Any) -> bool:
        """Store `value` as the result of a call; return whether it is stored.

        If it is not, the old entry is removed. The arguments are those of the call; what the tags, or
        `expire=`, name must be given, too.
        """
        call = self._call("set", args, kwargs)
        named = {*self._calls.tags.names, *self._calls.keeping.names}
        self._insist_on("set", call, named, "has tags or a time to live that need")
        key = self._key("set", args, kwargs)
        return await put(self._calls, key, value, call.args, call.kwargs)

    async def refresh(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the function and store its result, whatever is stored for this call now.

        Raises what the function raises. Then the old entry lives on, unless that is an answer: an
        `HTTPException` with a status below 500.
        """
        call = self._call("refresh", args, kwargs)
        self._insist_on("refresh", call, call.arguments, "runs the function, which needs")
        self._key("refresh", args, kwargs)
        is_done = False
        try:
            result = await self._calls.renew(call.args, call.kwargs)
            is_done = True
        except Exception as error:
            is_done = is_answer(error) or type(error) in self._calls.keeping.exceptions.values()
            raise
        finally:
            if is_done and self._manager.switch.is_off:  # what it would have replaced is old now
                await self.invalidate(*args, **kwargs)
        return result

    def _insist_on(
        self, what: str, call: inspect.BoundArguments, names: Collection[str], needs: str
    ) -> None:
        """Raise `TypeError` if one of these arguments was left out."""
        missing = [repr(name) for name in names if call.arguments.get(name) is _LEFT_OUT]
        if missing:
            raise TypeError(
                f"{self._name}.{what}() {needs} {', '.join(sorted(missing))}: give it, too"
            )

    def _call(
        self, what: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> inspect.BoundArguments:
        """Return the call that is meant; raises `TypeError` for arguments that do not fit."""
        given = (*self._bound, *args)
        try:
            call = self._signature.bind(*given, **kwargs)
        except TypeError as error:
            is_class = self._first == "cls" and not self._bound
            hint = "; put @cache_response above @classmethod to have it bound" if is_class else ""
            why = self._typo(given, kwargs) or error
            raise TypeError(
                f"{self._name}.{what}(): {why}; it takes {self._signature}{hint}"
            ) from None
        call.apply_defaults()
        return inspect.BoundArguments(self._whole, call.arguments)

    def _typo(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TypeError | None:
        """Return what is wrong with the given arguments; those that are missing do not count."""
        try:
            self._signature.bind_partial(*args, **kwargs)
        except TypeError as error:
            return error
        return None

    def _key_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return the key of a call; raise `TypeError` if it has none, or does not fit."""
        try:
            return self._calls.keys.key(args, kwargs)
        except TypeError:
            raise
        except Exception as error:
            raise UnkeyableError(why_no_key(error)) from error

    def _key(self, what: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        if self._is_plain:
            with suppress(TypeError):  # it is raised below, with more words
                return self._key_of((*self._bound, *args), kwargs)
        call = self._call(what, args, kwargs)
        try:
            return self._key_of(call.args, call.kwargs)
        except TypeError as error:
            raise TypeError(f"{self._name}.{what}(): {error}") from error


def _by_hand(signature: inspect.Signature, unused: Collection[str]) -> inspect.Signature:
    """Return the signature of calls by hand: parameters that are `unused` may be left out.

    If any used one follows, the first unused one and all after it are given by name, so that each
    argument has one meaning only. Defaults are those that FastAPI fills in.
    """
    taken, is_by_name = list[inspect.Parameter](), False
    parameters = list(signature.parameters.values())
    for place, each in enumerate(parameters):
        if each.kind is each.VAR_KEYWORD or (each.kind is each.VAR_POSITIONAL and not is_by_name):
            taken.append(each)
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            continue
        default = _default(each)
        if each.name in unused:
            default = _LEFT_OUT if default is each.empty else default
            behind = [other for other in parameters[place:] if other.kind < each.KEYWORD_ONLY]
            is_by_name = is_by_name or any(other.name not in unused for other in behind)
        elif default is each.empty and any(other.default is not each.empty for other in taken):
            is_by_name = True
        kind = each.KEYWORD_ONLY if is_by_name else each.kind
        taken.append(each.replace(kind=kind, default=default))
    return inspect.Signature(sorted(taken, key=lambda each: each.kind))


def _default(parameter: inspect.Parameter) -> Any:
    """Return the default of a parameter; `empty` if only FastAPI knows what to fill in."""
    default = parameter.default
    if isinstance(default, FieldInfo):  # `Query(1)`
        is_known = not default.is_required() and default.default_factory is None
        return default.get_default() if is_known else parameter.empty
    return parameter.empty if isinstance(default, Depends) else default
