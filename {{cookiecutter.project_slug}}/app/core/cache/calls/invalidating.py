"""The calls of a function that `invalidate_cache` has decorated."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any, Protocol

import anyio
from starlette.responses import Response

from ..coherence import Invalidations
from ..keys import KeyPattern, Parameters, Template, tell_of_void, templates_of
from ..loops import insist_on_asyncio
from ..reads import without_hidden
from ..values import hints_of

logger = logging.getLogger(__name__)

_Covered = tuple[list[list[KeyPattern]], list[str]]
"""The patterns of each template, and tags."""


class Manager(Protocol):
    """The part of a cache manager that is needed here."""

    key_prefix: str
    families: set[str]
    invalidations: Invalidations

    async def delete_matching(self, pattern: KeyPattern) -> object:
        """Remove the keys that a pattern covers."""

    async def invalidate_tags(self, *tags: str) -> bool:  # pyright: ignore[reportReturnType]
        """Invalidate every entry that has one of these tags."""


class InvalidatingCalls:
    """Runs a function by `run`, and then removes the entries that its templates cover."""

    def __init__(
        self,
        manager: Manager,
        func: Callable[..., Any],
        run: Callable[..., Awaitable[Any]],
        *,
        keys: Collection[str],
        tags: Collection[str],
        only_on_success: bool,
    ) -> None:
        self._manager, self._func, self._run = manager, func, run
        self._only_on_success = only_on_success
        self._parameters, hints = Parameters.of(func), hints_of(func)
        names = self._parameters.signature.parameters
        self._keys = [Template(key, names, hints) for key in keys]
        self._tags = templates_of(tags, self._parameters)
        self._has_fields = any(each.has_fields for each in (*self._keys, *self._tags))
        self._is_first = True

    async def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the function, invalidate, and return its result."""
        insist_on_asyncio()
        if self._is_first:  # by the first call, all cached functions are decorated
            self._is_first = False
            tell_of_void(self._manager, self._func, self._keys, logger)
        # Rendered before the function runs, for that may change its arguments.
        arguments = self._bound(args, without_hidden(kwargs)) if self._has_fields else {}
        covered = self._rendered(arguments or {})
        is_due = not self._only_on_success
        try:
            result = await self._run(*args, **kwargs)
            is_due = is_due or not _has_failed(result, *args, *kwargs.values())
        except TypeError:
            # If the arguments do not fit, the function has not run.
            is_due = is_due and arguments is not None
            raise
        else:
            return result
        finally:
            if is_due:
                await _to_its_end(self._invalidate(covered))

    def _bound(
        self, args: tuple[Any, ...], given: Mapping[str, object]
    ) -> Mapping[str, object] | None:
        """Return the arguments of a call; `None` if they do not fit."""
        try:
            return self._parameters.arguments(args, given)
        except TypeError:
            return None

    def _rendered(self, arguments: Mapping[str, object]) -> _Covered:
        """Return patterns and tags. A template that cannot be rendered covers everything.

        Never raises, whatever a user sends as an argument.
        """
        covered, named = list[list[KeyPattern]](), list[str]()
        for template in (*self._keys, *self._tags):
            try:
                if template in self._keys:
                    covered.append(template.patterns(arguments, f"{self._manager.key_prefix}:"))
                else:
                    named.append(template.name(arguments))
            except Exception as error:
                logger.warning("%r stands for all, as %r", template.text, error)
                covered.append([self._manager.invalidations.everything])
        return covered, named

    async def _invalidate(self, covered: _Covered) -> None:
        """Carry out invalidations; after one that was not delivered, the others are deferred.

        Never raises: the function has run, and the caller must get its result.
        """
        manager, (keys, tags) = self._manager, covered
        try:
            delivered = not tags or await manager.invalidate_tags(*tags)
            for patterns in keys:
                if delivered:
                    delivered = all(await asyncio.gather(*map(manager.delete_matching, patterns)))
                else:
                    manager.invalidations.defer(patterns)
        except Exception as error:
            logger.warning("an invalidation failed, and one of everything is put off: %r", error)
            manager.invalidations.defer([manager.invalidations.everything])


def _has_failed(*things: object) -> bool:
    """Whether one of these is a response with a status of 400 or more."""
    responses = [each for each in things if isinstance(each, Response)]
    return any((each.status_code or 0) >= 400 for each in responses)  # FastAPI's has `None`


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Await `work` to its end, even if the caller is cancelled; raise the cancellation after that.

    A cancelled scope of AnyIO cancels every await inside it, a cancelled task only its current one.
    """
    task = asyncio.ensure_future(work)
    with anyio.CancelScope(shield=True):
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
