"""Checks of keys when a function is decorated. Each error says what to do."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from fastapi.security import SecurityScopes
from starlette.requests import HTTPConnection, Request
from typing_extensions import is_typeddict

from ..stored import Shown
from ..values import (
    METHODS,
    attribute_of,
    has_identity,
    hints_of,
    injected,
    leave_out,
    of_parameter,
)
from .functions import KeyFunction, OwnKey
from .parameters import Parameters, some_kinds
from .patterns import WILDCARD
from .templates import Template, is_written

_LONGEST_KEY_PREFIX = 100  # bytes


def check_key_prefix(key_prefix: str) -> None:
    """Raise if `key_prefix` is not a text, is empty or too long, or has `*`, `~` or braces."""
    if not isinstance(key_prefix, str):
        missing = "is missing: give a text" if key_prefix is None else "is no string: give one"
        raise TypeError(
            f"key_prefix={key_prefix!r} {missing} that begins the keys, as in "
            f'cache_response(cache_manager, key_prefix="users")'
        )
    size = len(key_prefix.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= _LONGEST_KEY_PREFIX or not {"*", "~"}.isdisjoint(key_prefix):
        raise ValueError(
            f"key_prefix={str(Shown(key_prefix))!r} must have 1 to {_LONGEST_KEY_PREFIX} bytes, no "
            f"'*', which is the wildcard of patterns, and no '~', which the cache's own keys have"
        )
    if not {"{", "}"}.isdisjoint(key_prefix):
        raise ValueError(
            f"key_prefix={key_prefix!r} has braces, and is the same for every call: give one without, "
            f'and name arguments in key=, as in key_prefix="user", key="{{user_id}}"'
        )


def checked_own(
    func: Callable[..., object], parameters: Parameters, own: Template | KeyFunction
) -> Template | OwnKey:
    """Return the checked `key=`; raise `ValueError` if it leaves out a parameter that counts."""
    hints, name = hints_of(func), func.__qualname__
    handed_over = injected(parameters.signature, hints)
    checked: Template | OwnKey
    if isinstance(own, Template):
        if WILDCARD in own.text:
            raise ValueError(f"key={own.text!r} has a '*', which is the wildcard of patterns")
        checked = Template(own.text, own.parameters, hints)
        left = [each for each in parameters.keyed if each not in own.names]
    else:
        checked = OwnKey(own, parameters.signature, name, handed_over)
        left = [each for each in parameters.keyed if each in checked.unread]
    for each in left:
        if each not in handed_over:
            places = [_place(one, hints) for one in parameters.keyed if one not in handed_over]
            if isinstance(own, Template) and not {*own.text.split(":")} <= {*places}:
                places = [own.text, _place(each, hints)]
            raise ValueError(
                f"key= of {name} leaves out {each!r}, a parameter of it: calls that differ in it "
                f"would get each other's results; name it, or an attribute of it, as in "
                f'key="{":".join(places)}", or, {leave_out(each)}'
            )
    return checked


def _place(name: str, hints: Mapping[str, Any]) -> str:
    """Return an example of an argument in a template: the argument, or an attribute of it."""
    kinds = some_kinds(hints.get(name, object))
    is_one = all(is_written(kind) or kind is object for kind in kinds) and name not in METHODS
    return f"{{{name if is_one else f'{name}.{attribute_of(name, kinds[0])}'}}}"


def refuse_unkeyable(func: Callable[..., object], name: str, annotation: object) -> None:
    """Raise `TypeError` for a parameter if no argument of its type can have an identity."""
    kinds = some_kinds(annotation)
    if kinds and not any(map(may_have_identity, kinds)):
        remedies = of_parameter(name, kinds[0])
        raise TypeError(
            f"parameter {name!r} of {func.__qualname__} is a "
            f"{kinds[0].__module__}.{kinds[0].__qualname__}, which has no identity that outlives "
            f"the process; {remedies}"
        )


def may_have_identity(kind: type) -> bool:
    """Whether a value of a class may be part of a key."""
    if issubclass(kind, HTTPConnection):
        return issubclass(kind, Request)
    return (
        kind in (object, SecurityScopes)
        or has_identity(kind)
        or is_typeddict(kind)
        # An abstract class does not tell about its subclasses; types of Pydantic stand for others.
        or inspect.isabstract(kind)
        or kind.__module__ in ("collections.abc", "typing")
        or getattr(kind, "_is_protocol", False)
        or hasattr(kind, "__get_pydantic_core_schema__")
    )
