"""The cached calls of one function: from a call to its key, to its entry, or to the function.

What is known before a call is worked out when the function is decorated (see `decorated`). At the
call, a hit is a key, a read and a decoding (see `reading`); any other call goes to the fence (see
`filling`).
"""

import logging
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import Response

from ..coherence import Outcome
from ..keys import connection_among
from ..stored import Shown
from ..values import UnkeyableError
from .asked import BY_HAND, Asked, handed_out
from .decorated import Decorated
from .dependencies import UNSEEN
from .exchange import EXCHANGE, Exchange, joined
from .filling import OneCall
from .told import tell_of_call, told
from .warn import why_no_key
from .wishes import NO_CACHE, granted, not_cached


class CachedCalls(Decorated):
    """The calls of one decorated function. The arguments are those of `cache_response`."""

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
                return await self.uncached(args, kwargs, exchange, "dependency")
        if known.is_endpoint and not self._answers(connection.scope):
            return await self.uncached(args, kwargs, exchange, "method")
        asked = Asked(connection, injected, known.headers, exchange)
        if exchange is None or exchange.wish is None:
            return await self.call(args, kwargs, asked)
        if not (exchange.wish.stores or exchange.wish.only_if_cached):
            return await self.uncached(args, kwargs, exchange, "request")
        return await self.renew(args, kwargs, asked)

    def _is_for_all(self, asked: Asked, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether a call may have an entry, as far as that is known before its key."""
        is_by_hand = asked.connection is None
        if is_by_hand and self._is_write(args, kwargs):
            return False
        if not self._has_begun:
            self.begin()
        if not is_by_hand or self.is_shared or not self.unseen:
            return True
        self.warnings.once("runs uncached", UNSEEN)
        return False

    async def call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], asked: Asked = BY_HAND
    ) -> Any:
        """Return what the function returned for this call before, or run it and store that."""
        # This is the path of every hit, so small steps are written out and not called.
        if self.store.is_special and not asked.is_told:
            return await told(self.call, self, args, kwargs, asked)
        exchange = asked.exchange
        if (not self._is_open or self.unseen) and not self._is_for_all(asked, args, kwargs):
            return await self.uncached(args, kwargs, exchange, "method")
        try:
            key, tags = self.keys.keys(args, kwargs, asked.connection)
            tags = tags or (self.tags.keys(args, kwargs) if self._is_tagged else ())
            if exchange is not None and exchange.more_tags:
                tags = joined(tags, exchange.more_tags)
        except Exception as error:  # from a `__cache_key__`, `key=` or an attribute in a template
            self._tell(error, args, kwargs)
            return await self.uncached(args, kwargs, exchange, "key")
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
        if self.store.is_special and not asked.is_told:
            return await told(self.renew, self, args, kwargs, asked)
        exchange = asked.exchange
        if not self._has_begun:
            self.begin()
        try:
            key, _ = self.keys.keys(args, kwargs, asked.connection)
            tags = joined(self.tags.keys(args, kwargs), exchange.more_tags if exchange else ())
        except Exception as error:  # as in `call`
            self._tell(error, args, kwargs)
            return await self.uncached(args, kwargs, exchange, "key")
        own = tags[:-1] if self.derives else tags
        call = OneCall(self, key, args, kwargs, own, asked)
        wish = (exchange and exchange.wish) or NO_CACHE
        return call.finished(await granted(wish, self.store.fence, key, tags, call))

    async def uncached(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        exchange: Exchange | None,
        why: str,
    ) -> Any:
        """Run the function as if there were no cache; `why` is one word."""
        if exchange is not None:
            if exchange.wish is not None and exchange.wish.only_if_cached:
                raise not_cached()
            exchange.outcome = Outcome.BYPASS
            exchange.refused(why)
        if not self.store.is_special:
            return await self.run(*args, **kwargs)
        began = perf_counter()
        try:
            return await self.run(*args, **kwargs)
        finally:
            note = Exchange()
            note.outcome, note.why = Outcome.BYPASS, why
            tell_of_call(self, exchange or note, perf_counter() - began)

    def _tell(self, error: Exception, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Warn of a call without a key, unless its arguments do not fit: the function says that."""
        try:
            self.parameters.signature.bind(*args, **kwargs)
        except TypeError:
            if not isinstance(error, UnkeyableError):
                return
        self.warnings.once("runs uncached", why_no_key(error))
