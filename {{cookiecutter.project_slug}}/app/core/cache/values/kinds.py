"""The classes that an annotation names, and the parameters that FastAPI fills in."""

import typing
from collections.abc import Mapping
from inspect import Signature
from typing import Any

from fastapi.params import Depends
from starlette.background import BackgroundTasks
from starlette.requests import HTTPConnection
from starlette.responses import Response

_UNIONS = (typing.Union, type(int | str))
_INJECTED = (HTTPConnection, Response, BackgroundTasks)


def kinds_of(annotation: Any) -> list[type]:
    """Return the classes that an annotation stands for; `object` if that is not known."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return kinds_of(typing.get_args(annotation)[0])
    if origin in _UNIONS:
        return [kind for each in typing.get_args(annotation) for kind in kinds_of(each)]
    if origin is typing.Literal:
        return [type(each) for each in typing.get_args(annotation)]
    for further in ("__supertype__", "__value__", "__bound__"):  # NewType, `type X =`, TypeVar
        if not isinstance(annotation, type) and getattr(annotation, further, None) is not None:
            return kinds_of(getattr(annotation, further))
    if annotation is None:
        return [type(None)]
    kind = origin or annotation
    return [kind if isinstance(kind, type) else object]


def injected(signature: Signature, hints: Mapping[str, Any]) -> list[str]:
    """Return the parameters that may be objects of the current request, by their annotations."""
    return [
        name
        for name in signature.parameters
        if any(issubclass(kind, _INJECTED) for kind in kinds_of(hints.get(name, object)))
    ]


def from_dependencies(signature: Signature, hints: Mapping[str, Any]) -> list[str]:
    """Return the parameters that have a dependency in their default or annotation."""
    return [
        name
        for name, parameter in signature.parameters.items()
        if dependencies_in(parameter.default, hints.get(name))
    ]


def dependencies_in(default: object, hint: Any) -> list[Depends]:
    """Return the dependencies that a default and an annotation name."""
    marks = (default, *getattr(hint, "__metadata__", ()))
    return [mark for mark in marks if isinstance(mark, Depends)]
