"""The key of a call: which function it was, and what it was called with.

    {CACHE_KEY_PREFIX}:{key_prefix}:{function}:{digest}

The digest covers the function (see `identity`) and every argument, after binding them to the
signature and filling in the defaults: `f(1, b=2)` and `f(a=1, b=2)` are one call. Arguments are
written down by `canonical`. With a key of one's own it is `{CACHE_KEY_PREFIX}:{key_prefix}:{key}`.

Hot entries are asked for again and again, so the last keys of short texts and small numbers are
remembered: such arguments cannot change, and equal ones of equal types make one key.
"""

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from fastapi.security import SecurityScopes
from starlette.requests import HTTPConnection
from starlette.responses import Response

from ..reads import IN_IDENTITY, changed, handed, identity, watched
from ..values import (
    UnkeyableError,
    canonical,
    canonical_text,
    encoded,
    of_parameter,
)
from .checks import checked_own, refuse_unkeyable
from .functions import KeyFunction, OwnKey
from .held import Scope, held
from .parameters import Parameters, are_small, some_kinds
from .templates import Template
from .vary import Vary

_DIGEST_BYTES = 16
_LONGEST_READABLE = 80  # bytes of the function's name in a key
_LONGEST_KEY_PREFIX = 100  # bytes
_LONGEST_OWN_KEY = 900  # bytes; with a `key_prefix` the manager takes it
_SURELY_SHORT = _LONGEST_OWN_KEY // 4  # so many bytes may a character have

_REMEMBERED = 4096  # keys, of all functions together
_SMALL_KINDS = frozenset({str, int, bool, object, Any})

NO_VARY = Vary()


class KeyBuilder:
    """Builds the keys of one function's calls.

    `start` is what they begin with, `identity` tells the function from others of its name, and
    `vary` is what they hold besides the arguments. With `own`, a template or a function of the same
    parameters, the arguments make a key that can be read.

    Raises `TypeError` when it is made, for a parameter whose type can have no identity.
    """

    def __init__(
        self,
        func: Callable[..., object],
        parameters: Parameters,
        *,
        start: str,
        identity: bytes,
        vary: Vary = NO_VARY,
        own: Template | KeyFunction | None = None,
    ) -> None:
        self._parameters, self._vary = parameters, vary
        self.start, self.has_own = f"{start}:", own is not None
        self._own = None if own is None else checked_own(func, parameters, own)
        self.names: Collection[str] = parameters.keyed if self._own is None else self._own.names
        """The parameters whose arguments are in the key."""
        everything = parameters.signature.parameters
        self.unused = frozenset(everything).difference(self.names)
        """Those whose arguments are not, and that is sure."""
        if isinstance(self._own, OwnKey):
            is_wrapped = hasattr(own, "__wrapped__")  # what is around it may read anything
            self.unused = frozenset(() if is_wrapped else self._own.unread)
        self._pick = parameters.picking(self.names)
        self._takes_all = list(self.names) == list(everything)
        self._remembers = not (vary or isinstance(self._own, OwnKey)) and all(
            _may_be_small(everything[name], parameters.hints) for name in self.names
        )
        if own is None:
            for name in parameters.keyed:
                refuse_unkeyable(func, name, parameters.hints.get(name, object))
            readable = re.sub(r"[^A-Za-z0-9_.]", "", func.__qualname__.replace("<locals>.", ""))
            self.start += f"{readable[-_LONGEST_READABLE:]}:"
        self._function = blake2b(
            identity + canonical([*parameters.keyed, None, *vary.names]),
            digest_size=_DIGEST_BYTES,
        )

    def key(
        self,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        connection: HTTPConnection | None = None,
    ) -> str:
        """Return the key of a call; `connection` is the request that it answers, if there is one.

        Raises `UnkeyableError`, which names the parameter, where an argument has no identity, and
        `TypeError` where the arguments do not fit the signature.
        """
        if self._parameters.response is not None:
            self._refuse_filled(args, kwargs)
        if self._remembers:
            try:
                if self._takes_all:
                    return _remembered(self, *args, **kwargs)
                return _remembered(self, *self._pick(*args, **kwargs))
            except Exception:  # it is not small, or has no hash, or no key, which is said once more
                return self.built(args, kwargs, connection)
        return self.built(args, kwargs, connection)

    def built(
        self,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        connection: HTTPConnection | None = None,
    ) -> str:
        """Build the key of a call, whether it is remembered or not."""
        if isinstance(self._own, OwnKey):
            return self._within(self._own.key(args, kwargs))
        values = self._pick(*args, **kwargs)
        if self._own is not None or not self._vary:
            return self._of(values)
        return self._of(values, self._vary.write(connection or connection_among(args, kwargs)))

    def remembered(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
        """Build a key that can be remembered; raises `ValueError` where it cannot be."""
        values = self._pick(*args, **kwargs) if self._takes_all else args
        if not are_small(values):
            raise ValueError("too large to be remembered")
        return self._of(values)

    def reads(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> set[str]:
        """Return what of a request is in the key of a call, in the words in which it is noted."""
        connection = connection_among(args, kwargs)
        if self._own is None:
            keyed = self._pick(*args, **kwargs)
            has_request = any(isinstance(each, HTTPConnection) for each in keyed)
            return self._vary.words | (IN_IDENTITY if has_request else set())
        if connection is None:
            return set()

        def ask(changes: Scope, noted: set[str]) -> tuple[object, ...]:
            def other(value: object) -> object:
                if isinstance(value, HTTPConnection):
                    return watched(changed(value, changes), noted)
                return value

            named = {name: other(each) for name, each in kwargs.items()}
            return self._values(tuple(map(other, args)), named)

        # Of the request itself, not of a double that the function which calls was given.
        return held(ask, changed(connection, {}).scope)

    def _values(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[object, ...]:
        """Return the values of which a key of one's own is made, and what they are for."""
        if isinstance(self._own, OwnKey):
            made = self._own.made(args, kwargs)
            return (type(made), *(made if isinstance(made, tuple) else (made,)))
        arguments = self._parameters.arguments(args, kwargs)
        return () if self._own is None else self._own.values(arguments)

    def _of(self, values: tuple[object, ...], varied: str = "") -> str:
        if isinstance(self._own, Template):
            return self._within(self._own.render(dict(zip(self.names, values, strict=True))))
        try:
            written = canonical_text(values, _of_the_stack)
        except (UnkeyableError, RecursionError):
            raise self._explained(values) from None
        digest = self._function.copy()
        digest.update(encoded(written + varied))
        return self.start + digest.hexdigest()

    def _within(self, own: str) -> str:
        """Return a key of one's own below `start`; raises `UnkeyableError` if it is too long."""
        if len(own) > _SURELY_SHORT and len(encoded(own)) > _LONGEST_OWN_KEY:
            raise UnkeyableError(
                f"its key= makes more than {_LONGEST_OWN_KEY} bytes; give the values as a tuple, in "
                f"which a digest stands for a long one"
            )
        return self.start + own

    def _refuse_filled(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        """Raise `UnkeyableError` for a response that is no empty one, as FastAPI fills in."""
        name = self._parameters.response or ""
        response = handed.original(self._parameters.arguments(args, kwargs).get(name))
        if isinstance(response, Response) and vars(response).get("body"):
            raise UnkeyableError(f"parameter {name!r}: a response with a body has no identity")

    def _explained(self, values: Iterable[object]) -> UnkeyableError:
        for name, value in zip(self._parameters.keyed, values, strict=True):
            try:
                canonical_text((value,), _of_the_stack)
            except (UnkeyableError, RecursionError) as error:
                remedies = of_parameter(name, type(value), self._parameters.keyed)
                return UnkeyableError(f"parameter {name!r}: {error}; {remedies}")
        return UnkeyableError("an argument has no identity")


def _may_be_small(parameter: inspect.Parameter, hints: Mapping[str, object]) -> bool:
    """Whether there can be small arguments of a parameter, by its annotation."""
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return False
    return not _SMALL_KINDS.isdisjoint(some_kinds(hints.get(parameter.name, object)))


@lru_cache(maxsize=_REMEMBERED, typed=True)
def _remembered(builder: KeyBuilder, /, *args: object, **kwargs: object) -> str:
    return builder.remembered(args, kwargs)


def _of_the_stack(value: object) -> str:
    """Write down what has an identity as an argument only: what FastAPI fills in."""
    if isinstance(value, HTTPConnection):
        return identity(value)
    if isinstance(value, SecurityScopes):
        return f"x{canonical_text((value.scopes,))}"
    return canonical_text((value,))  # which says what it is that has none


def connection_among(args: Iterable[object], kwargs: Mapping[str, object]) -> HTTPConnection | None:
    """Return the first request or other connection among the arguments, if there is one."""
    values = (*args, *kwargs.values())
    return next((each for each in values if isinstance(each, HTTPConnection)), None)
