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
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache, partial
from hashlib import blake2b
from operator import itemgetter
from typing import Any

from fastapi import BackgroundTasks
from fastapi.security import SecurityScopes
from starlette.background import BackgroundTasks as StarletteBackgroundTasks
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from typing_extensions import is_typeddict

from ..reads import (
    CONNECTION,
    IN_IDENTITY,
    RESPONSE,
    changed,
    handed,
    identity,
    parameters_used,
    watched,
)
from ..stored import Shown
from ..values import (
    METHODS,
    UnkeyableError,
    attribute_of,
    canonical,
    canonical_text,
    encoded,
    from_dependencies,
    has_identity,
    hints_of,
    injected,
    key_of_one,
    kinds_of,
    leave_out,
    of_parameter,
    signature_of,
)
from .functions import KeyFunction, OwnKey
from .held import held
from .patterns import WILDCARD
from .templates import Template, is_written, shortened
from .vary import Vary

_DIGEST_BYTES = 16
_LONGEST_READABLE = 80  # bytes of the function's name in a key
_LONGEST_KEY_PREFIX = 100  # bytes

_SHARED = "calls that differ in it would get each other's results"

_REMEMBERED = 4096  # keys, of all functions together
_SHORT, _SMALL = 64, 2**63  # characters of a text, and a bound of numbers
_FEW = 32  # arguments
_SMALL_KINDS = frozenset({str, int, bool, type(None), typing.Literal, Any, object})

_EXCLUDED = (BackgroundTasks, StarletteBackgroundTasks, Response)
NO_VARY = Vary()
_UNIONS = (typing.Union, type(int | str))
_PLAIN_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_Step = tuple[Callable[[Any], tuple[object, ...]], Mapping[str, object], int]
"""What picks the other arguments from those given by name, their defaults, their number."""


class Parameters:
    """A function's parameters, by the part that each plays in a key.

    `keyed` are those that are part of it. `response` is the one that FastAPI fills in with the
    response that it builds, and `connection` one of type `HTTPConnection`; they are `None` where
    there is none.
    """

    def __init__(
        self,
        signature: inspect.Signature,
        hints: Mapping[str, object],
        ignore: Collection[str] = (),
        *,
        provided: Collection[str] = (),
    ) -> None:
        self.signature, self.hints = signature, hints
        self.provided = frozenset(provided)
        """Those to which a dependency of FastAPI gives a value."""
        names = tuple(signature.parameters)
        of_type = {name: _class_of(hints.get(name)) for name in names}
        own = [name for name in names if name not in self.provided]
        self.response = next((name for name in own if issubclass(of_type[name], Response)), None)
        self.connection = next((name for name in own if of_type[name] is HTTPConnection), None)
        self.hidden = [
            *([CONNECTION] if self.connection is None else []),
            *([RESPONSE] if self.response is None else []),
        ]
        """What FastAPI is asked for besides."""
        self.keyed = tuple(
            name
            for name, kind in of_type.items()
            if name not in ignore and not issubclass(kind, _EXCLUDED)
        )
        self.ignored = tuple(ignore)
        self._names = names
        self._steps = _steps(signature)
        places = [place for place, name in enumerate(names) if name in self.keyed]
        self._keyed_of = None if len(places) == len(names) else _picker(places)

    @classmethod
    def of(cls, func: Callable[..., object], ignore: Collection[str] = ()) -> "Parameters":
        """Sort the parameters of `func`; those in `ignore` are no part of a key.

        Raises `ValueError` for names in `ignore` that `func` does not have.
        """
        signature = signature_of(func)
        if isinstance(ignore, str):
            raise TypeError(f"ignore={ignore!r} is a string; give a tuple: ignore=({ignore!r},)")
        for name in ignore:
            if name not in signature.parameters:
                raise ValueError(
                    f"ignore={tuple(ignore)!r} names {name!r}, which is no parameter of "
                    f"{func.__qualname__}; it has {', '.join(signature.parameters) or 'none'}"
                )
        hints = hints_of(func, include_extras=False)
        provided = from_dependencies(signature, hints_of(func))
        return cls(signature, hints, ignore, provided=provided)

    def arguments(
        self, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> Mapping[str, object]:
        """Bind a call and fill in defaults; raises `TypeError` where it does not fit.

        The common signatures are bound without `inspect`, for this is on the path of every hit.
        All others, and calls that do not fit, are left to it.
        """
        bound = self._bound(args, kwargs)
        if bound is not None:
            return dict(zip(self._names, bound, strict=True))
        call = self.signature.bind(*args, **kwargs)
        call.apply_defaults()
        for name in self.signature.parameters:
            if name not in call.arguments:  # which Python 3.13.0 may let pass
                raise TypeError(f"missing a required argument: {name!r}")
        return call.arguments

    def values(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[object, ...]:
        """Return the arguments that are part of a key, in the order of the signature.

        Raises `TypeError` where the call does not fit.
        """
        bound = self._bound(args, kwargs)
        if bound is None:
            arguments = self.arguments(args, kwargs)
            return tuple([arguments[name] for name in self.keyed])
        return bound if self._keyed_of is None else self._keyed_of(bound)

    def _bound(
        self, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> tuple[object, ...] | None:
        """Return all arguments in the order of the signature, or `None` where `inspect` has to."""
        if len(args) >= len(self._steps):
            return None
        pick, defaults, count = self._steps[len(args)]
        if len(kwargs) != count:
            kwargs = {**defaults, **kwargs}
            if len(kwargs) != count:
                return None
        try:
            return args + pick(kwargs)
        except KeyError:
            return None


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
        self._remembers = (
            _may_be_small(parameters) and not vary and (own is None or isinstance(own, Template))
        )
        self.start = f"{start}:"
        self.names = _names_in_key(parameters, own)
        """The parameters whose arguments are in the key."""
        self.has_own = own is not None
        self._own = None if own is None else _checked_own(func, parameters, own)
        if own is not None:
            return
        for name in parameters.keyed:
            _refuse_unkeyable(func, name, parameters.hints.get(name))
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
        if not self._remembers:
            return self.built(args, kwargs, connection)
        try:
            return _remembered(self, *args, **kwargs)
        except Exception:  # it is not small, or has no hash, or no key, which is said once more
            return self.built(args, kwargs, connection)

    def built(
        self,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        connection: HTTPConnection | None = None,
    ) -> str:
        """Build the key of a call, whether it is remembered or not."""
        if self._parameters.response is not None:
            self._refuse_filled(args, kwargs)
        if self._own is not None:
            return self.start + self._own_key(self._own, args, kwargs)
        values = self._parameters.values(args, kwargs)
        try:
            written = canonical_text(values, _of_the_stack)
        except (UnkeyableError, RecursionError):
            raise self._explained(values) from None
        if self._vary:
            written += self._vary.write(connection or connection_among(args, kwargs))
        digest = self._function.copy()
        digest.update(encoded(written))
        return self.start + digest.hexdigest()

    def reads(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> set[str]:
        """Return what of a request is in the key of a call, in the words in which it is noted."""
        if self._own is not None:
            noted: set[str] = set()
            again = tuple([_watched(each, noted) for each in args])
            self._own_key(
                self._own, again, {name: _watched(each, noted) for name, each in kwargs.items()}
            )
            if isinstance(self._own, Template):
                return noted & self._own.whole
            connection = connection_among(args, kwargs)
            make = partial(self._made, self._own, args, kwargs)
            # Of the request itself, not of a double that the function which calls was given.
            return held(noted, make, changed(connection, {}).scope) if connection else set()
        keyed = self._parameters.values(args, kwargs)
        has_request = any(isinstance(each, HTTPConnection) for each in keyed)
        return self._vary.words | (IN_IDENTITY if has_request else set())

    def _made(
        self,
        own: OwnKey,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        changes: Mapping[str, object],
    ) -> object:
        """Return what a function makes of a call where the scope of its request has this in it."""

        def other(value: object) -> object:
            return changed(value, changes) if isinstance(value, HTTPConnection) else value

        named = {name: other(each) for name, each in kwargs.items()}
        return own.made(self._parameters.arguments(tuple(map(other, args)), named))

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

    def _own_key(
        self,
        own: Template | OwnKey,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> str:
        arguments = self._parameters.arguments(args, kwargs)
        key = own.render(arguments) if isinstance(own, Template) else own(arguments)
        return shortened(key)


def _names_in_key(parameters: Parameters, own: Template | KeyFunction | None) -> Collection[str]:
    if own is None:
        return parameters.keyed
    if isinstance(own, Template):
        return own.names
    return _names_used(own, parameters.signature)


def _names_used(own: KeyFunction, signature: inspect.Signature) -> set[str]:
    """Return the parameters that a `key=` function reads, whatever it calls them."""
    read = parameters_used(own)
    try:
        taken = list(inspect.signature(own).parameters.values())
    except (TypeError, ValueError):
        return set()
    by_name = {each.name for each in taken if each.kind in _PLAIN_KINDS}
    by_name |= (
        set(signature.parameters) if any(each.kind is each.VAR_KEYWORD for each in taken) else set()
    )
    if by_name.issuperset(signature.parameters):
        return read & set(signature.parameters)
    names = zip(signature.parameters, taken, strict=False)
    return {name for name, each in names if each.name in read and each.kind in _PLAIN_KINDS}


def _checked_own(
    func: Callable[..., object], parameters: Parameters, own: Template | KeyFunction
) -> Template | OwnKey:
    """Return what makes a key of one's own; refuse what leaves out a parameter that counts."""
    hints, name = hints_of(func), func.__qualname__
    handed = injected(parameters.signature, hints)
    if not isinstance(own, Template):
        made = OwnKey(own, parameters.signature, name, handed)
        unread = made.unread().difference(handed)
        for left in parameters.keyed:
            if left in unread:
                raise ValueError(
                    f"key= of {name} does not read {left!r}, a parameter of it: {_SHARED}; let it "
                    f"return that, or an attribute of it, as in "
                    f"{_example(parameters, handed, hints)}, or, {leave_out(left)}"
                )
        return made
    if WILDCARD in own.text:
        raise ValueError(f"key={own.text!r} has a '*', which is the wildcard of patterns")
    for left in parameters.keyed:
        if left not in own.names and left not in handed:
            raise ValueError(
                f"key={own.text!r} leaves out {left!r}, a parameter of {name}: {_SHARED}; name it, "
                f"or an attribute of it, as in {_with(own, left, hints)}, or, {leave_out(left)}"
            )
    return Template(own.text, own.parameters, hints)


def _with(own: Template, left: str, hints: Mapping[str, Any]) -> str:
    """Return an example of a template that names what was left out."""
    if left in METHODS:
        return key_of_one(left, others=own.names)
    return f'key="{own.text}:{{{_place(left, hints)}}}"'


def _example(parameters: Parameters, handed: Collection[str], hints: Mapping[str, Any]) -> str:
    """Return an example of a function that reads all parameters."""
    names = ", ".join(parameters.signature.parameters)
    places = [_place(name, hints) for name in parameters.keyed if name not in handed]
    return f"key=lambda {names}: ({', '.join(places)}{',' if len(places) == 1 else ''})"


def _place(name: str, hints: Mapping[str, Any]) -> str:
    """Return what may stand for an argument: itself, or an attribute of it."""
    kinds = kinds_of(hints.get(name, object))
    is_one = all(is_written(kind) or kind is object for kind in kinds) and name not in METHODS
    return name if is_one else f"{name}.{attribute_of(name, kinds[0])}"


def _may_be_small(parameters: Parameters) -> bool:
    """Whether there can be a call whose arguments are all small, and its defaults are."""
    for name, parameter in parameters.signature.parameters.items():
        if parameter.default is not inspect.Parameter.empty and not _are_small([parameter.default]):
            return False
        hint = parameters.hints.get(name, Any)
        origin = typing.get_origin(hint)
        kinds = typing.get_args(hint) if origin in _UNIONS else (origin or hint,)
        if _SMALL_KINDS.isdisjoint(kinds):
            return False
    return True


@lru_cache(maxsize=_REMEMBERED, typed=True)
def _remembered(builder: KeyBuilder, /, *args: object, **kwargs: object) -> str:
    if len(args) + len(kwargs) > _FEW or not all(map(_are_small, (args, kwargs, kwargs.values()))):
        raise ValueError("too large to be remembered")
    return builder.built(args, kwargs)


def _are_small(values: Iterable[object]) -> bool:
    """Whether values take little room, cannot change, and are equal only where their keys are."""
    for value in values:
        kind = type(value)
        if kind is str:
            if len(value) > _SHORT:  # type: ignore[arg-type]
                return False
        elif kind is int:
            if not -_SMALL < value < _SMALL:  # type: ignore[operator]
                return False
        elif kind is not bool and value is not None:
            return False
    return True


def check_key_prefix(key_prefix: str) -> None:
    """Raise for a decorator's `key_prefix` that is no text, empty, too long, or has a `*` or braces."""
    if not isinstance(key_prefix, str):
        missing = "is missing: give a text" if key_prefix is None else "is no string: give one"
        raise TypeError(
            f"key_prefix={key_prefix!r} {missing} that begins the keys, as in "
            f'cache_response(cache_manager, key_prefix="users")'
        )
    size = len(key_prefix.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= _LONGEST_KEY_PREFIX or "*" in key_prefix or key_prefix[0] == "~":
        raise ValueError(
            f"key_prefix={str(Shown(key_prefix))!r} must have 1 to {_LONGEST_KEY_PREFIX} bytes, no "
            f"'*', which is the wildcard of patterns, and no '~' in front, as the cache's own keys have"
        )
    if not {"{", "}"}.isdisjoint(key_prefix):
        raise ValueError(
            f"key_prefix={key_prefix!r} has braces, and is the same for every call: give one without, "
            f'and name arguments in key=, as in key_prefix="user", key="{{user_id}}"'
        )


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


def _watched(value: object, noted: set[str]) -> object:
    return watched(value, noted) if isinstance(value, HTTPConnection) else value


def _steps(signature: inspect.Signature) -> list[_Step]:
    """Return, for each number of arguments given by position, how to bind the others.

    There are none for a signature with `*args`, `**kwargs` or positional-only parameters.
    """
    parameters = list(signature.parameters.values())
    kinds = [parameter.kind for parameter in parameters]
    if not set(kinds).issubset(_PLAIN_KINDS):
        return []
    steps: list[_Step] = []
    for given in range(kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) + 1):
        others = parameters[given:]
        defaults = {
            other.name: other.default
            for other in others
            if other.default is not inspect.Parameter.empty
        }
        steps.append((_picker([other.name for other in others]), defaults, len(others)))
    return steps


def _picker(places: list[Any]) -> Callable[[Any], tuple[object, ...]]:
    """Return a function that picks what stands at these places; `itemgetter`, for any number."""
    if not places:
        return lambda _: ()
    if len(places) == 1:
        return lambda items: (items[places[0]],)
    return itemgetter(*places)


def _class_of(annotation: Any) -> type:
    """Return the class that an annotation is, or may be besides `None`; else `object`.

    What only has a name of its own for something else, a `NewType` for one, is that; a `TypedDict`
    is a dict.
    """
    while annotation is not None:
        origin = typing.get_origin(annotation)
        choices = [each for each in typing.get_args(annotation) if each is not type(None)]
        is_one = origin is typing.Annotated or (origin in _UNIONS and len(choices) == 1)
        inner = choices[0] if is_one else _stands_for(origin or annotation)
        if inner is None:
            break
        annotation = inner
    kind = typing.get_origin(annotation) or annotation
    if is_typeddict(kind):
        return dict
    return kind if isinstance(kind, type) else object


def _stands_for(annotation: Any) -> Any:
    """Return what a `NewType`, a `type` alias or a bound type variable stands for, or `None`."""
    if isinstance(annotation, type):
        return None
    names = ("__supertype__", "__value__", "__bound__")
    found = (getattr(annotation, name, None) for name in names)
    return next((each for each in found if each is not None), None)


def _refuse_unkeyable(func: Callable[..., object], name: str, annotation: object) -> None:
    cls = _class_of(annotation)
    if cls in (object, type, *_UNIONS) or issubclass(cls, (Request, SecurityScopes)):
        return
    if issubclass(cls, HTTPConnection) or not (
        has_identity(cls)
        # What is abstract says nothing of its instances, and types of Pydantic stand for others.
        or inspect.isabstract(cls)
        or cls.__module__ in ("collections.abc", "typing")
        or getattr(cls, "_is_protocol", False)
        or hasattr(cls, "__get_pydantic_core_schema__")
    ):
        remedies = of_parameter(name, cls)
        raise TypeError(
            f"parameter {name!r} of {func.__qualname__} is a {cls.__module__}.{cls.__qualname__}, "
            f"which has no identity that outlives the process; {remedies}"
        )
