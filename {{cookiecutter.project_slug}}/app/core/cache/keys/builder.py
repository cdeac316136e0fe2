"""The key of a call: which function it was, and what it was called with.

    {CACHE_KEY_PREFIX}:{key_prefix}:{function}:{digest}

The digest covers the function (see `identity`) and all arguments, bound to the signature with the
defaults filled in: `f(1, b=2)` and `f(a=1, b=2)` have one key. `canonical` turns arguments into
bytes. With `key=`, the key is `{CACHE_KEY_PREFIX}:{key_prefix}:{key}`.

The last keys are remembered, with those of their tags, if all arguments are short texts or small
numbers. These are immutable, and arguments that are equal and of equal types make the same keys.
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
from ..values import UnkeyableError, canonical, canonical_text, encoded, of_parameter
from .checks import checked_own, refuse_unkeyable
from .functions import KeyFunction, OwnKey
from .held import Scope, held
from .parameters import Parameters, are_small, some_kinds
from .tags import Tags
from .templates import Template
from .vary import Vary

_DIGEST_BYTES = 16
_LONGEST_READABLE = 80  # characters of the function's name in a key
_LONGEST_KEY_PREFIX = 100  # bytes
_LONGEST_OWN_KEY = 900  # bytes; with a `key_prefix` it is at most 1024, which the manager takes
_SURELY_SHORT = _LONGEST_OWN_KEY // 4  # a character has at most 4 bytes

_REMEMBERED = 4096  # keys, of all functions together
_SMALL_KINDS = frozenset({str, int, bool, object, Any})

NO_VARY = Vary()

Keys = tuple[str, tuple[str, ...]]
"""The key of a call, and the keys of its tags if they are remembered with it."""


class KeyBuilder:
    """Builds the keys of one function's calls.

    `start` is the beginning of the keys. `identity` distinguishes functions with the same name.
    `vary` is what the keys hold besides the arguments. `own` is the `key=` of the decorator: a
    template, or a function with the same parameters.

    The constructor raises `TypeError` for a parameter whose type can have no identity.
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
        self._has_response = parameters.response is not None
        self.start, self.has_own = f"{start}:", own is not None
        self._own = None if own is None else checked_own(func, parameters, own)
        self.has_own_function = isinstance(self._own, OwnKey)
        self.names: Collection[str] = parameters.keyed if self._own is None else self._own.names
        """The parameters whose arguments are in the key."""
        everything = parameters.signature.parameters
        self.unused = frozenset(everything).difference(self.names)
        """The parameters whose arguments are certainly not in the key."""
        if isinstance(self._own, OwnKey):
            is_wrapped = hasattr(own, "__wrapped__")  # its wrapper may read anything
            self.unused = frozenset(() if is_wrapped else self._own.unread)
        self.tags: Tags | None = None
        """The tags whose keys are remembered with the keys of calls."""
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

    def key(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
        """Return the key of a call by hand; raises what `keys` raises."""
        return self.keys(args, kwargs)[0]

    def keys(
        self,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        connection: HTTPConnection | None = None,
    ) -> Keys:
        """Return the key of a call, and the keys of its tags if they are remembered with it.

        `connection` is the request for which FastAPI makes the call.

        Raises `UnkeyableError`, which names the parameter, if an argument has no identity, and
        `TypeError` if the arguments do not fit the signature.
        """
        if self._has_response:
            self._refuse_filled(args, kwargs)
        if self._remembers:
            try:
                if self._takes_all:
                    return _remembered(self, *args, **kwargs)
                return _remembered(self, *self._pick(*args, **kwargs))
            except Exception:  # not small, no hash, or no key, which `built` raises again
                return self.built(args, kwargs, connection), ()
        return self.built(args, kwargs, connection), ()

    def built(
        self,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        connection: HTTPConnection | None = None,
    ) -> str:
        """Build the key of a call, without the remembered keys."""
        if isinstance(self._own, OwnKey):
            return self._within(self._own.key(args, kwargs))
        values = self._pick(*args, **kwargs)
        if self._own is not None or not self._vary:
            return self._of(values)
        return self._of(values, self._vary.write(connection or connection_among(args, kwargs)))

    def remembered(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Keys:
        """Build keys to remember; raises `ValueError` if the arguments are not small."""
        values = self._pick(*args, **kwargs) if self._takes_all else args
        if not are_small(values):
            raise ValueError("too large to be remembered")
        if not self.tags:
            return self._of(values), ()
        small = dict(zip(self.names, values, strict=True))
        return self._of(values), self.tags.keys_among(small)

    def reads(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> set[str]:
        """Return the parts of the request that the key holds, in the words of `reads.requests`."""
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

        # Not a double, which this call may have got from another watched function.
        return held(ask, changed(connection, {}).scope)

    def _values(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[object, ...]:
        """Return the values of a `key=`; if a function made them, the type of its result first."""
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
        """Put `start` in front of what `key=` made; raises `UnkeyableError` if it is too long."""
        if len(own) > _SURELY_SHORT and len(encoded(own)) > _LONGEST_OWN_KEY:
            raise UnkeyableError(
                f"its key= makes more than {_LONGEST_OWN_KEY} bytes; give the values as a tuple, in "
                f"which a digest stands for a long one"
            )
        return self.start + own

    def _refuse_filled(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        """Raise `UnkeyableError` for a `Response` with a body: FastAPI fills in an empty one."""
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
    """Whether the annotation of a parameter allows small arguments."""
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return False
    return not _SMALL_KINDS.isdisjoint(some_kinds(hints.get(parameter.name, object)))


@lru_cache(maxsize=_REMEMBERED, typed=True)
def _remembered(builder: KeyBuilder, /, *args: object, **kwargs: object) -> Keys:
    return builder.remembered(args, kwargs)


def _of_the_stack(value: object) -> str:
    """Write down objects that FastAPI fills in: they have an identity only as arguments."""
    if isinstance(value, HTTPConnection):
        return identity(value)
    if isinstance(value, SecurityScopes):
        return f"x{canonical_text((value.scopes,))}"
    return canonical_text((value,))  # raises with the reason


def connection_among(args: Iterable[object], kwargs: Mapping[str, object]) -> HTTPConnection | None:
    """Return the first request or other connection among the arguments, if there is one."""
    values = (*args, *kwargs.values())
    return next((each for each in values if isinstance(each, HTTPConnection)), None)
