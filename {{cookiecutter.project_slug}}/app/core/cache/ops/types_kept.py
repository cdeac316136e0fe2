"""What the annotations of a decorated function tell: arguments without a key, results without a way back."""

import inspect
import typing
from collections import Counter, OrderedDict, abc, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import is_dataclass
from enum import Enum
from functools import partial
from types import MethodType, NoneType
from typing import Any

from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from typing_extensions import is_typeddict

from ..calls import Made
from ..keys import is_written, may_have_identity
from ..reads import function_of
from ..values import (
    RETURN,
    SECRETS,
    TEXTS,
    KnownClasses,
    UnkeyableError,
    annotation_of,
    canonical_text,
    hints_of,
    is_named_tuple,
    kinds_of,
    of_parameter,
    of_text,
)
from .at_routes import dependency_of
from .endpoints import Use, is_cached
from .findings import Finding, short_name
from .shapes import fields_of, name_in

_PLAIN = (NoneType, bool, int, str, float, list, dict, tuple, set, frozenset)
_HOLDERS = (OrderedDict, Counter, defaultdict, deque)
_STREAMS = (StreamingResponse, FileResponse)
_ITERATORS = (abc.Iterator, abc.AsyncIterator, abc.Generator, abc.AsyncGenerator)
_UNIONS = (typing.Union, type(int | str))
_FUNCTIONS: tuple[Any, ...] = (abc.Callable,)
_YIELDED = (*_ITERATORS, abc.Iterable, abc.AsyncIterable, abc.Awaitable, abc.Coroutine)
_ABSTRACT = ("collections.abc", "typing", "typing_extensions")
_DEEPEST = 20
_HOOK = "__get_pydantic_core_schema__"

IsBad = Callable[[type], bool]


def first_bad(annotation: Any, is_bad: IsBad, seen: tuple[Any, ...] = ()) -> type | None:
    """Return a class that keeps each value of an annotation from being kept; `None` if there is none.

    An empty list, and `None` where it may stand for a value, do not count.
    """
    if typing.get_origin(annotation) is typing.Annotated:
        return first_bad(typing.get_args(annotation)[0], is_bad, seen)
    members = [annotation]
    if typing.get_origin(annotation) in _UNIONS:
        members = [each for each in typing.get_args(annotation) if each is not NoneType]
    found = [_bad_in(each, is_bad, seen) for each in members]
    return found[0] if found and all(found) else None


def _bad_in(annotation: Any, is_bad: IsBad, seen: tuple[Any, ...]) -> type | None:
    kinds = [kind for kind in kinds_of(annotation) if kind is not NoneType]
    if kinds and all(map(is_bad, kinds)):
        return kinds[0]
    if len(kinds) != 1 or any(each is annotation for each in seen) or len(seen) > _DEEPEST:
        return None
    for part in _parts(annotation, kinds[0]):
        found = first_bad(part, is_bad, (*seen, annotation))
        if found is not None:
            return found
    return None


def _parts(annotation: Any, kind: type) -> list[Any]:
    """Return the annotations of what a value of an annotation holds, as far as that is known."""
    if issubclass(kind, BaseModel):
        return [field.annotation for field in kind.model_fields.values()]
    parts = []
    holds = kind in (*_PLAIN, *_HOLDERS) or (
        kind.__module__ in _ABSTRACT and kind not in _FUNCTIONS
    )
    if holds or is_dataclass(kind):
        parts += [each for each in typing.get_args(annotation) if each is not ...]
    if is_dataclass(kind) or is_named_tuple(kind) or is_typeddict(kind):
        with suppress(Exception):  # a name of `TYPE_CHECKING` may fail in many ways
            parts += list(typing.get_type_hints(kind).values())
    return parts


def _is_open(kind: type) -> bool:
    """Whether a class does not tell what its values are."""
    return (
        kind is object
        or inspect.isabstract(kind)
        or kind.__module__ in _ABSTRACT
        or getattr(kind, "_is_protocol", False)
    )


def _has_no_identity(kind: type) -> bool:
    return issubclass(kind, UploadFile) or not may_have_identity(kind)


def parameters(made: Made, use: Use | None, where: str) -> Iterator[Finding]:
    """Find parameters whose arguments have no identity, or no text where a template names them."""
    calls: Any = made.calls
    if not is_cached(made):
        hints = hints_of(made.below, include_extras=False)
        yield from _without_text(made, hints, where)
        return
    hints, keyed = dict(calls.parameters.hints), calls.parameters.keyed
    for name in keyed:
        if use is not None and _is_untold(hints.get(name, object)):
            hints[name] = _made_by(dependency_of(use, name))
    yield from _without_text(made, hints, where)
    if calls.keys.has_own:
        return
    for name in keyed:
        bad = first_bad(hints.get(name, object), _has_no_identity)
        why = "" if bad is None else f"a {bad.__qualname__} has no identity"
        if use is not None and name == next(iter(calls.parameters.signature.parameters)):
            why = why or _why_not_bound(use)
        if why:
            yield Finding(
                "parameter",
                where,
                f"its parameter {name!r} cannot be part of a key, so it runs uncached: {why}",
                f"in {short_name(made.below)}, {of_parameter(name, bad or object, keyed)}",
            )


def _is_untold(annotation: Any) -> bool:
    return all(kind in (object, Any) for kind in kinds_of(annotation))


def _made_by(dependency: Any) -> Any:
    """Return the annotation of what a dependency makes; `object` if that is not known."""
    if dependency is None or inspect.isclass(dependency):
        return dependency or object
    made = hints_of(function_of(dependency)).get(RETURN, object)
    if typing.get_origin(made) in _YIELDED and typing.get_args(made):
        return typing.get_args(made)[0]
    return made


def _why_not_bound(use: Use) -> str:
    """Return why the object of a bound method is no part of a key; empty if it may be."""
    bound = use.place.endpoint
    if not use.is_endpoint or not isinstance(bound, MethodType):
        return ""
    try:
        canonical_text((bound.__self__,))
    except (UnkeyableError, RecursionError) as error:
        return str(error)
    except Exception:  # code of a class may raise anything
        return ""
    return ""


def _without_text(made: Made, hints: dict[str, Any], where: str) -> Iterator[Finding]:
    """Find fields of templates whose values have no text."""
    given, name = made.given, short_name(made.below)
    own = {"key": [given.get("key")], "tags": given["tags"], "keys": given.get("keys", ())}
    runs = (
        "the call runs uncached" if is_cached(made) else "everything that it may cover is removed"
    )
    for option, value in own.items():
        for text in value:
            for field in fields_of(text) if isinstance(text, str) else ():
                first = name_in(field)
                kinds = _kinds_of_field(field, hints.get(first, object))
                if kinds and all(map(_has_no_text, kinds)):
                    yield Finding(
                        "parameter",
                        where,
                        f"{option}={text!r} names {{{field}}}, and a {kinds[0].__qualname__} has no "
                        f"text: {runs}",
                        f"in {name}, {of_text(first, list(hints.keys() - {RETURN}))}",
                    )


def _kinds_of_field(field: str, hint: Any) -> list[type]:
    try:
        kinds = kinds_of(annotation_of(field, hint))
    except AttributeError:  # the decorator has refused it, or it is one of a tag
        return []
    return [kind for kind in kinds if kind is not NoneType]


def _has_no_text(kind: type) -> bool:
    is_known = not hasattr(kind, _HOOK) or issubclass(kind, (BaseModel, *SECRETS))
    says = is_written(kind) or hasattr(kind, "__cache_key__")
    return not says and not _is_open(kind) and is_known


def result(made: Made, use: Use | None, where: str, *, is_rendered: bool) -> Iterator[Finding]:
    """Find results that cannot come back. `is_rendered` says that the sent bytes are stored."""
    calls: Any = made.calls
    hints, source = hints_of(made.below), "its return annotation"
    annotation = hints.get(RETURN, object)
    if RETURN not in hints and use is not None and use.is_endpoint:
        annotation = getattr(use.place.route, "response_model", None) or object
        source = "its response_model"
    try:
        classes = KnownClasses(annotation)
        is_bad = partial(_comes_not_back, calls.statuses, None if is_rendered else classes)
        bad = first_bad(annotation, is_bad)
    except Exception:  # code of a class or metaclass may raise anything
        return
    if bad is not None:
        mend = _remedy(bad, short_name(made.below), has_route=use is not None and use.is_endpoint)
        what = f"{source} has {bad.__qualname__}, which is not stored, or not as it was"
        yield Finding("result", where, what, mend)


def _comes_not_back(statuses: frozenset[int], classes: KnownClasses | None, kind: type) -> bool:
    """Whether no value of a class comes back; without `classes`, the response does, if it can."""
    if issubclass(kind, RedirectResponse):
        return not any(300 <= status < 400 for status in statuses)
    if issubclass(kind, (*_STREAMS, *_ITERATORS)):
        return True
    if classes is None or issubclass(kind, Response) or kind in (*_PLAIN, *_HOLDERS, *TEXTS):
        return False
    if issubclass(kind, SECRETS) or kind in _FUNCTIONS:
        return True
    if issubclass(kind, (BaseModel, Enum)) or is_dataclass(kind) or is_named_tuple(kind):
        known = classes.known(kind)
        return known is None or not (known.whole is None or known.whole.is_open)
    return not (_is_open(kind) or is_typeddict(kind) or hasattr(kind, _HOOK))


def _remedy(bad: type, name: str, *, has_route: bool) -> str:
    if issubclass(bad, RedirectResponse):
        return f"say cache_status={{307}}, or the status that {name} redirects with"
    if issubclass(bad, (*_STREAMS, *_ITERATORS)):
        return f"take cache_response off {name}, and put it on a function that returns what is streamed"
    sent = (
        ", or have stored what is sent, by CacheMiddleware or on a CachedRoute" if has_route else ""
    )
    return (
        f"let {name} return plain data, a dataclass or a Pydantic model made of the "
        f"{bad.__qualname__}, and name that class in its return annotation{sent}"
    )
