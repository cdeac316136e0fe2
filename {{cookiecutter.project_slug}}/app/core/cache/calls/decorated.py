"""A decorated function: all that can be known of it before it is called."""

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextvars import ContextVar
from typing import Any

from ..coherence import Freshness
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
)
from ..reads import Variable, context_variables, follow
from ..stored import owner_digest, responses
from ..values import KnownClasses, text
from .checks import checked_statuses, may_have_request
from .dependencies import reaches
from .keeping import Keeping
from .places import SHARES_NOT, take_place
from .reading import Reader
from .routes import Routes
from .types import Store
from .warn import Warnings


class Decorated:
    """What is known of one decorated function. The arguments are those of `cache_response`.

    `keep` has those of `Keeping`.
    """

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
        keep: Mapping[str, Any],
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
        self.name, self.key_prefix = f"{func.__module__}.{func.__qualname__}", key_prefix
        self.warnings = Warnings(self.name, logger)
        self._is_logged = logger.isEnabledFor
        self.is_shared = shared
        self._read_the_key(func, key, vary, ignore, f"{store.key_prefix}:{key_prefix}")
        self.statuses = checked_statuses(statuses)
        self.keeping = Keeping(self.parameters, freshness, **keep)
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
            exceptions=self.keeping.exceptions,
        )
        self._let_be_read()

    def _let_be_read(self) -> None:
        """Let `get` read the entries of this function."""
        self.owner_digest = owner_digest(self.reader.owner)
        self.store.readers.keep(self._func, self.owner_digest, self.reader)

    @property
    def handed_on(self) -> set[Variable]:
        """The context variables that its code passes on; found at the first use."""
        if self._handed_on is None:
            self._handed_on = context_variables(self._func, handed_on=True)
        return self._handed_on

    def begin(self) -> None:
        """At the first call, compare the captured values with those at the decoration."""
        if self._has_begun:
            return
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
