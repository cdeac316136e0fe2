"""Which route answers a path, and the key that its endpoint then has, as far as nothing has to run.

Values are converted by Pydantic, for plain types only. No function of the application is called.
"""

from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from starlette.routing import compile_path

from ..calls import Made
from ..values import kinds_of
from .endpoints import Place

_PLAIN = {str, int, float, bool, UUID, Decimal}


class Answer(NamedTuple):
    """The route that answers a request."""

    place: Place
    path: str
    """Its path, with the names of parameters."""
    values: Mapping[str, str]
    """The parameters in the path, as they stand there."""


def answers(places: list[Place], path: str, method: str) -> list[Answer]:
    """Return the routes whose path fits, those for the method first, in the order of the application.

    The first one answers. Mounted files and web sockets are no routes here.
    """
    fitting = [answer for place in places for answer in _fitting(place, unquote(path))]
    return sorted(fitting, key=lambda answer: not takes(answer.place, method))


def takes(place: Place, method: str) -> bool:
    """Whether a route takes requests by a method."""
    return place.methods is None or method in place.methods


def _fitting(place: Place, path: str) -> Iterator[Answer]:
    for each in place.paths:
        match = compile_path(each)[0].match(path)
        if match is not None:
            yield Answer(place, each, match.groupdict())


def key_of(made: Made, answer: Answer, query: str) -> tuple[str | None, str]:
    """Return the key of the entry, without the prefix of all keys, or `None` and why it is not known."""
    calls: Any = made.calls
    if calls.keys.has_own_function:
        return None, "key= is a function, which would have to run"
    if calls.vary:
        return None, f"it also depends on {', '.join(map(str, calls.vary.names))}"
    try:
        function: Any = made.function
        return function.cache_key(**_given(calls.parameters.keyed, answer, query)), ""
    except _UnknownError as error:
        return None, str(error)
    except Exception as error:  # a template may name an attribute that has code of its own
        return None, f"{type(error).__name__}: {error}"


class _UnknownError(Exception):
    """An argument is not known without running something; the message says why."""


def _given(keyed: Collection[str], answer: Answer, query: str) -> dict[str, Any]:
    """Return the arguments that a key holds; those with their defaults are left out."""
    fields, given = _fields(answer), dict[str, Any]()
    asked = parse_qs(query, keep_blank_values=True)
    for name in keyed:
        if name not in fields:
            raise _UnknownError(
                f"it also depends on {name!r}, which is not in the path or the query"
            )
        where, field = fields[name]
        texts = asked.get(field.alias, [])
        if where == "path":
            texts = [value for at, value in answer.values.items() if at == field.alias]
        if texts or where == "path":  # else FastAPI fills in the default, and so does the key
            given[name] = _converted(name, field, texts)
    return given


def _fields(answer: Answer) -> dict[str, tuple[str, Any]]:
    """Return the parameters of an endpoint that are in the path or the query, by their names."""
    return {
        field.name: (where, field)
        for tree in answer.place.trees[:1]
        for where in ("path", "query")
        for field in getattr(tree, f"{where}_params")
    }


def _converted(name: str, field: Any, texts: list[str]) -> Any:
    annotation = field.field_info.annotation
    if len(texts) != 1 or not _PLAIN.issuperset({*kinds_of(annotation)} - {type(None)}):
        raise _UnknownError(f"{name!r} is of a type that code of the application may convert")
    try:
        return TypeAdapter(annotation).validate_python(texts[0])
    except ValidationError:
        pass
    raise _UnknownError(f"{texts[0]!r} is no {name!r}, so the answer is an error")
