"""The cached calls of one function: from a call to its key, to its entry, or to the function.

All that can be known when the function is decorated is worked out then. At the call, a hit is a
key, a read and a decoding (see `reading`); any other call goes to the fence (see `filling`).
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextvars import ContextVar
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import Response

from ..coherence import Freshness, Outcome
from ..keys import (
    Identity,
    KeyBuilder,
    KeyFunction,
    KeyPattern,
    Parameters,
    Tag,
    Tags,
    Template,
    Vary,
    Varying,
    connection_among,
)
from ..reads import Variable, context_variables, follow
from ..stored import Shown, owner_digest, responses
from ..values import KnownClasses, UnkeyableError, text
from .asked import BY_HAND, Asked, handed_out
from .checks import checked_statuses, may_have_request
from .dependencies import UNSEEN, reaches
from .exchange import EXCHANGE, Exchange, joined
from .filling import OneCall
from .places import SHARES_NOT, take_place
from .reading import Reader, Store
from .routes import Routes
from .warn import Warnings, why_no_key
from .wishes import NO_CACHE, granted, not_cached


class CachedCalls:
    """The entries of one decorated function. The arguments are those of `cache_response`."""

    def __init__(
        self,
        store: Store,
        func: Callable[..., Any],
        run: Callable[..., Awaitable[Any]],
        *,
        key_prefix: str,
        ignore: Collection[str | Variable],
        key: str | KeyFunction | None,
        vary: Varying,
        statuses: Collection[int],
        tags: Collection[Tag],
        freshness: Freshness,
        in_background: bool,
        method: str,
        shared: bool,
        cache_control: str | None,
        logger: logging.Logger,
    ) -> None:
        self.store, self.run, self._func = store, run, func
        self.freshness, self.in_background = freshness, in_background
        self.cache_control = cache_control or store.cache_control
        self.decorated: Callable[..., Any] | None = None
        self.unseen: list[Any] = []
        """Decorators above it that hide which request a call belongs to: see `hidden`."""
        self.forms: set[str | None] = set()
        """How routes of class `CachedRoute` render its results, as far as they are known."""
        self.form: str | None = None
        """How its routes of class `CachedRoute` render its results, if all do so in one way."""
        self.warnings = Warnings(f"{func.__module__}.{func.__qualname__}", logger)
        self._is_logged = logger.isEnabledFor
        self.is_shared = shared
        self._read_the_key(func, key, vary, ignore, f"{store.key_prefix}:{key_prefix}")
        self.statuses = checked_statuses(statuses)
        self.tags = self.keys.tags = Tags(tags, self.parameters, store.key_prefix)
        self._is_tagged, self.derives = bool(self.tags), bool(self.tags.derivations)
        self._routes = Routes(method, self._is_this, self.keys.names, self.vary, self.ignored)
        self._handed_on: set[Variable] | None = None
        self._has_begun = self._is_open = False
        """Whether it was called before; whether a call by hand goes to its key without a check."""
        self._take_place(func, key, f"{store.key_prefix}:{key_prefix}")

    def _read_the_key(
        self,
        func: Callable[..., Any],
        key: str | KeyFunction | None,
        vary: Varying,
        ignore: Collection[str | Variable],
        start: str,
    ) -> None:
        """Work out how the key of a call is made."""
        self.ignored = frozenset(each for each in ignore if isinstance(each, ContextVar))
        names = [each for each in ignore if not isinstance(each, ContextVar)]
        self.parameters = Parameters.of(func, ignore if isinstance(ignore, str) else names)
        self.vary = Vary(vary)
        if self.vary and key is not None:
            raise ValueError(
                f"vary= has no place in a key of one's own, {key!r}: let that hold what "
                f"{', '.join(self.vary.names)} says"
            )
        own = Template(key, self.parameters.signature.parameters) if isinstance(key, str) else key
        follow(func)
        self._classes = KnownClasses.returned_by(func)
        self.identity = Identity(func, self._classes, names, shared=self.is_shared)
        self.keys = KeyBuilder(
            func, self.parameters, start=start, identity=self.identity.who, vary=self.vary, own=own
        )
        self.may_hold_a_request = self.keys.has_own and may_have_request(self.parameters)
        self.family = KeyPattern((self.keys.start, ""))
        """The pattern of all keys of this function."""

    def _take_place(
        self, func: Callable[..., Any], key: str | KeyFunction | None, place: str
    ) -> None:
        """Take a place among the keys, and make the reader of the entries."""
        taken = text(place) + (text(key) if isinstance(key, str) else self.identity.who)
        take_place(self.store.functions, func, taken, self.identity, self.warnings)
        kinds, returned = responses.kinds_returned_by(func)
        self.reader = Reader(
            self.store,
            self.identity.owner,
            self._classes,
            kinds=kinds,
            returned=returned,
            statuses=self.statuses,
        )
        self._let_be_read()

    def _let_be_read(self) -> None:
        """Let `get` read the entries of this function."""
        self.owner_digest = owner_digest(self.reader.owner)
        self.store.readers.keep(self._func, self.owner_digest, self.reader)

    async def requested(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        connection: HTTPConnection | None,
        injected: Response | None,
    ) -> Any:
        """Answer a call by FastAPI, for the request and the response that belong to it."""
        if self.parameters.connection is not None:
            connection = connection_among((), kwargs)
        if connection is None:
            return await self.call(args, kwargs)
        known = self._routes.standing(connection.scope)
        if self.parameters.response is not None:
            injected = kwargs.get(self.parameters.response)
        exchange = connection.scope.get(EXCHANGE) if known.is_endpoint else None
        if exchange is not None and not exchange.begin(self, known, connection.scope, injected):
            exchange = None
        if not self.is_shared and (known.reason is not None or known.silent):
            private = known.why_private(kwargs)
            if private is not None:
                self.warnings.once("runs uncached", private)
                return await self._uncached(args, kwargs, exchange, "dependency")
        if known.is_endpoint and not self._answers(connection.scope):
            return await self._uncached(args, kwargs, exchange, "method")
        asked = Asked(connection, injected, known.headers, exchange)
        if exchange is None or exchange.wish is None:
            return await self.call(args, kwargs, asked)
        if not exchange.wish.stores:
            return await self._uncached(args, kwargs, exchange, "request")
        return await self.renew(args, kwargs, asked)

    def _is_for_all(self, asked: Asked, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether a call may have an entry, as far as that is known before its key."""
        if asked is BY_HAND and self._is_write(args, kwargs):
            return False
        if not self._has_begun:
            self._begin()
        if asked is not BY_HAND or self.is_shared or not self.unseen:
            return True
        self.warnings.once("runs uncached", UNSEEN)
        return False

    @property
    def handed_on(self) -> set[Variable]:
        """The context variables that its code passes on; found at the first use."""
        if self._handed_on is None:
            self._handed_on = context_variables(self._func, handed_on=True)
        return self._handed_on

    def _begin(self) -> None:
        """At the first call, compare the captured values with those at the decoration."""
        told = self.identity.settle()
        if self.identity.owner != self.reader.owner:
            self.reader.owner = self.identity.owner
            self._let_be_read()
        self._is_open = not may_have_request(self.parameters)
        self._has_begun = True  # last, for another thread may call meanwhile
        if told:
            self.warnings.once(SHARES_NOT, told)

    def _is_this(self, call: object) -> bool:
        return reaches(call, self.decorated)

    def _answers(self, scope: Mapping[str, Any]) -> bool:
        """Whether a request has an entry, by its method; else warn once, if that is unexpected."""
        why_not = self._routes.why_no_entry(scope)
        if why_not:
            self.warnings.once("runs uncached", why_not)
        return why_not is None

    async def call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], asked: Asked = BY_HAND
    ) -> Any:
        """Return what the function returned for this call before, or run it and store that."""
        # This is the path of every hit, so small steps are written out and not called.
        exchange = asked.exchange
        if (not self._is_open or self.unseen) and not self._is_for_all(asked, args, kwargs):
            return await self._uncached(args, kwargs, exchange, "method")
        try:
            key, tags = self.keys.keys(args, kwargs, asked.connection)
            tags = tags or (self.tags.keys(args, kwargs) if self._is_tagged else ())
            if exchange is not None and exchange.more_tags:
                tags = joined(tags, exchange.more_tags)
        except Exception as error:  # from a `__cache_key__`, `key=` or an attribute in a template
            self._tell(error, args, kwargs)
            return await self._uncached(args, kwargs, exchange, "key")
        fence, own = self.store.fence, tags[:-1] if self.derives else tags
        form = None if exchange is None else exchange.form
        hit, look = None, None
        if fence.near is not None and fence.may_read_near():
            hit = self.reader.near_hit(key, fence.near, own, self.freshness, form)
        if hit is None:
            look = None if exchange is None else exchange.looked(key, tags)
            look = look or (fence.look_now(key, tags) if fence.looks_now else None)
            look = look or await fence.looks.look(key, tags)
            hit = self.reader.hit(key, look, own, self.freshness, form)
        if hit is None:
            call = OneCall(self, key, args, kwargs, own, asked)
            return call.finished(await fence.run(key, tags, call, seen=look))
        if exchange is not None:
            exchange.outcome, exchange.is_near = Outcome.HIT, look is None
            exchange.key, exchange.tags = key, own
        if self._is_logged(logging.DEBUG):
            self.warnings.logger.debug("%s %s", Outcome.HIT.value, Shown(key))
        if exchange is None and hit[1] is None:
            return hit[0]
        return handed_out(hit, args, kwargs, asked)

    def _is_write(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether Starlette calls this function, its endpoint, for a method without entries."""
        connection = connection_among(args, kwargs)
        if connection is None or not self._is_this(connection.scope.get("endpoint")):
            return False
        return not self._answers(connection.scope)

    async def renew(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], asked: Asked = BY_HAND
    ) -> Any:
        """Run the function and store what it returns, whatever the key holds.

        If the request wants something else, do that.
        """
        exchange = asked.exchange
        if not self._has_begun:
            self._begin()
        try:
            key, _ = self.keys.keys(args, kwargs, asked.connection)
            tags = joined(self.tags.keys(args, kwargs), exchange.more_tags if exchange else ())
        except Exception as error:  # as in `call`
            self._tell(error, args, kwargs)
            return await self._uncached(args, kwargs, exchange, "key")
        own = tags[:-1] if self.derives else tags
        call = OneCall(self, key, args, kwargs, own, asked)
        wish = (exchange and exchange.wish) or NO_CACHE
        return call.finished(await granted(wish, self.store.fence, key, tags, call))

    async def _uncached(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        exchange: Exchange | None = None,
        why: str = "",
    ) -> Any:
        if exchange is not None:
            if exchange.wish is not None and exchange.wish.only_if_cached:
                raise not_cached()
            exchange.outcome = Outcome.BYPASS
            exchange.refused(why)
        return await self.run(*args, **kwargs)

    def _tell(self, error: Exception, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Warn of a call without a key, unless its arguments do not fit: the function says that."""
        try:
            self.parameters.signature.bind(*args, **kwargs)
        except TypeError:
            if not isinstance(error, UnkeyableError):
                return
        self.warnings.once("runs uncached", why_no_key(error))
