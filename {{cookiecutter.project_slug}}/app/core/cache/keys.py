"""The key of a call: which function it was, and what it was called with.

    {CACHE_KEY_PREFIX}:{key_prefix}:{function}:{digest}

The digest covers the function (see `identity`) and every argument, after binding them to the
signature and filling in the defaults: `f(1, b=2)` and `f(a=1, b=2)` are one call. Arguments are
written down by `canonical`. With a key of one's own it is `{CACHE_KEY_PREFIX}:{key_prefix}:{key}`.
"""

import inspect
import re
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from fastapi import BackgroundTasks
from fastapi.security import SecurityScopes
from starlette.background import BackgroundTasks as StarletteBackgroundTasks
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from . import requests
from .canonical import WRITERS, UnkeyableError, canonical, has_identity, text
from .templates import Template, escape

_DIGEST_BYTES = 16
_LONGEST_READABLE = 80  # bytes of the function's name in a key
_LONGEST_KEY_PREFIX = 100  # bytes
_LONGEST_OWN_KEY = 300  # bytes; with the rest of the key this stays below 512

_EXCLUDED = (BackgroundTasks, StarletteBackgroundTasks, Response, SecurityScopes)
_REMEDIES = 'name it in ignore=("{name}",), give key=, or give its class a __cache_key__ method'
_MISSING: Any = object()

KeyFunction = Callable[..., object]


@dataclass(frozen=True, slots=True)
class Parameters:
    """A function's parameters, by the part that each plays in a key."""

    signature: inspect.Signature
    keyed: tuple[str, ...]
    request: str | None = None
    response: str | None = None
    background: str | None = None
    hints: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, func: Callable[..., object], ignore: Collection[str] = ()) -> "Parameters":
        """Sort the parameters of `func`; those in `ignore` are no part of a key.

        Raises `ValueError` for names in `ignore` that `func` does not have.
        """
        signature = inspect.signature(func)
        if isinstance(ignore, str):
            raise TypeError(f"ignore={ignore!r} is a string; give a tuple: ignore=({ignore!r},)")
        for name in ignore:
            if name not in signature.parameters:
                raise ValueError(
                    f"ignore={tuple(ignore)!r} names {name!r}, which is no parameter of "
                    f"{func.__qualname__}; it has {', '.join(signature.parameters) or 'none'}"
                )
        try:
            hints = typing.get_type_hints(func)
        except Exception:  # a name that exists for type checkers only fails in many ways
            hints = {}
        of_type = {name: _class_of(hints.get(name)) for name in signature.parameters}

        def first(*kinds: type) -> str | None:
            return next((name for name, kind in of_type.items() if issubclass(kind, kinds)), None)

        return cls(
            signature,
            keyed=tuple(
                name
                for name, kind in of_type.items()
                if name not in ignore and not issubclass(kind, _EXCLUDED)
            ),
            request=first(Request),
            response=first(Response),
            background=first(StarletteBackgroundTasks),
            hints=hints,
        )

    def arguments(
        self, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> Mapping[str, object]:
        """Bind a call and fill in defaults; raises `TypeError` where it does not fit."""
        call = self.signature.bind(*args, **kwargs)
        call.apply_defaults()
        for name in self.keyed:
            if name not in call.arguments:  # which Python 3.13.0 may let pass
                raise TypeError(f"missing a required argument: {name!r}")
        return call.arguments


class KeyBuilder:
    """Builds the keys of one function's calls.

    `start` is what they begin with, `identity` tells the function from others of its name, and
    `vary` are headers in lower case. With `own`, a template or a function of the same parameters,
    the arguments make a key that can be read.

    Raises `TypeError` when it is made, for a parameter whose type can have no identity.
    """

    def __init__(
        self,
        func: Callable[..., object],
        parameters: Parameters,
        *,
        start: str,
        identity: bytes,
        vary: Collection[str] = (),
        own: Template | KeyFunction | None = None,
    ) -> None:
        self._parameters = parameters
        self._vary = tuple(sorted(vary))
        self.start = f"{start}:"
        self._own = own
        if own is not None:
            return
        for name in parameters.keyed:
            _refuse_unkeyable(func, name, parameters.hints.get(name))
        readable = re.sub(r"[^A-Za-z0-9_.]", "", func.__qualname__.replace("<locals>.", ""))
        self.start += f"{readable[-_LONGEST_READABLE:]}:"
        self._function = blake2b(
            identity + canonical([*parameters.keyed, None, *self._vary]),
            digest_size=_DIGEST_BYTES,
        )
        self._plan = _plan(parameters)

    def key(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
        """Return the key of a call.

        Raises `UnkeyableError`, which names the parameter, where an argument has no identity, and
        `TypeError` where the arguments do not fit the signature.
        """
        if self._own is not None:
            return self.start + self._own_key(self._own, args, kwargs)
        values = self._values(args, kwargs)
        try:
            data = [
                writer(value) if (writer := WRITERS.get(type(value))) else self._instance(value)
                for value in values
            ]
        except (UnkeyableError, RecursionError):
            raise self._explained(values) from None
        digest = self._function.copy()
        digest.update(b"".join(data))
        return self.start + digest.hexdigest()

    def _values(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> list[object]:
        """Return the arguments that count, in the order of the signature.

        The common signatures are bound by a plan made in advance, for this is on the path of
        every hit. All others, and calls that do not fit, are left to `inspect`.
        """
        if self._plan is not None and len(args) <= self._plan.positional:
            values, used = [], len(args)
            for position, name, default, counts in self._plan.steps:
                if position < len(args):
                    value = args[position]
                elif name in kwargs:
                    value = kwargs[name]
                    used += 1
                else:
                    value = default
                if value is _MISSING:
                    break
                if counts:
                    values.append(value)
            else:
                if used == len(args) + len(kwargs):
                    return values
        arguments = self._parameters.arguments(args, kwargs)
        return [arguments[name] for name in self._parameters.keyed]

    def _instance(self, value: object) -> bytes:
        if isinstance(value, Request):
            return requests.identity(value, self._vary)
        return canonical(value)

    def _explained(self, values: list[object]) -> UnkeyableError:
        for name, value in zip(self._parameters.keyed, values, strict=True):
            try:
                self._instance(value)
            except (UnkeyableError, RecursionError) as error:
                remedies = _REMEDIES.format(name=name)
                return UnkeyableError(f"parameter {name!r}: {error}; {remedies}")
        return UnkeyableError("an argument has no identity")

    def _own_key(
        self,
        own: Template | KeyFunction,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> str:
        if isinstance(own, Template):
            key = own.render(self._parameters.arguments(args, kwargs))
        else:
            made = own(*args, **kwargs)
            if isinstance(made, tuple):
                made = ":".join(map(escape, made))
            if not isinstance(made, str) or not made:
                raise UnkeyableError(f"key= returned {made!r}, which makes no key")
            key = made
        if len(key.encode("utf-8", "surrogatepass")) <= _LONGEST_OWN_KEY:
            return key
        return "~" + blake2b(text(key), digest_size=_DIGEST_BYTES).hexdigest()


def check_key_prefix(key_prefix: str) -> None:
    """Raise for a decorator's `key_prefix` that is no text, empty, too long, or has a `*`."""
    if not isinstance(key_prefix, str):
        raise TypeError(f"key_prefix={key_prefix!r} is no string")
    if not key_prefix or "*" in key_prefix or len(key_prefix.encode()) > _LONGEST_KEY_PREFIX:
        raise ValueError(
            f"key_prefix={key_prefix!r} must have 1 to {_LONGEST_KEY_PREFIX} bytes and no '*', "
            f"which is the wildcard of patterns"
        )


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to bind a call: for each parameter its position, name, default, and whether it counts."""

    positional: int
    steps: tuple[tuple[int, str, object, bool], ...]


def _plan(parameters: Parameters) -> _Plan | None:
    """Make the plan for a signature without `*args`, `**kwargs` and positional-only parameters."""
    steps = []
    positional = 0
    for position, (name, parameter) in enumerate(parameters.signature.parameters.items()):
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            positional += 1
        elif parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            return None
        default = parameter.default
        steps.append(
            (
                position,
                name,
                _MISSING if default is inspect.Parameter.empty else default,
                name in parameters.keyed,
            )
        )
    return _Plan(positional, tuple(steps))


def _class_of(annotation: object) -> type:
    """Return the class that an annotation is, or may be besides `None`; else `object`."""
    choices = [each for each in typing.get_args(annotation) if each is not type(None)]
    if len(choices) == 1 and typing.get_origin(annotation) in _UNIONS:
        annotation = choices[0]
    kind = typing.get_origin(annotation) or annotation
    return kind if isinstance(kind, type) else object


def _refuse_unkeyable(func: Callable[..., object], name: str, annotation: object) -> None:
    cls = _class_of(annotation)
    if cls in (object, type, *_UNIONS) or issubclass(cls, Request):
        return
    if issubclass(cls, HTTPConnection) or not (
        has_identity(cls)
        # What is abstract says nothing of its instances, and types of Pydantic stand for others.
        or inspect.isabstract(cls)
        or cls.__module__ in ("collections.abc", "typing")
        or getattr(cls, "_is_protocol", False)
        or hasattr(cls, "__get_pydantic_core_schema__")
    ):
        raise TypeError(
            f"parameter {name!r} of {func.__qualname__} is a {cls.__module__}.{cls.__qualname__}, "
            f"which has no identity that outlives the process; {_REMEDIES.format(name=name)}"
        )


_UNIONS = (typing.Union, type(int | str))
