"""What parameters and dependencies of a route take of the request."""

from collections.abc import Iterator
from typing import Any

from fastapi.security.base import SecurityBase
from pydantic import BaseModel

from ..reads import CONNECTION, only_reads

OF_WHO_ASKS = ("header", "cookie")
"""Places that may say who asks."""
_FIELDS = ("path", "query", "header", "cookie", "body")
_REQUEST = ("request_param_name", "websocket_param_name", "http_connection_param_name")

Holding = tuple[str, Any]
"""What a dependency reads of a request: the place, such as "header", and the name there.

If it takes the whole request, or is a security scheme of the user, nobody knows what it reads: then
the second part is that dependency.
"""


def subtree(dependant: Any) -> Iterator[Any]:
    """Yield a dependency, and all those that it depends on."""
    yield dependant
    for each in dependant.dependencies:
        yield from subtree(each)


def fields_of(dependant: Any, *, whole: bool = False) -> list[tuple[str, Holding]]:
    """Return the parameters that FastAPI fills in from the request, and what each may hold.

    With `whole`, only those that hold one thing, and so all of it.
    """
    found = []
    for where in _FIELDS:
        for field in getattr(dependant, f"{where}_params"):
            names = _names_of(field)
            if len(names) == 1 or not whole:
                names = {name.lower() for name in names} if where == "header" else names
                found += [(field.name, (where, name)) for name in names]
    return found


def _names_of(field: Any) -> set[str]:
    """Return the names, one of which a parameter has in the request.

    `alias` is not enough: some versions of FastAPI look for a `validation_alias`, others do not.
    """
    kind = getattr(field.field_info, "annotation", None)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {f"*{field.alias}"}  # a model of several
    more = getattr(field.field_info, "validation_alias", None)
    exact = getattr(field, "validation_alias", None) or field.alias  # FastAPI looks for this one
    return {exact, *(each for each in getattr(more, "choices", ()) if isinstance(each, str))}


def secrets_of(dependency: Any) -> set[Holding]:
    """Return what a dependency, with those that it depends on, may learn about the client."""
    found = {holding for _, holding in fields_of(dependency) if holding[0] in OF_WHO_ASKS}
    call = dependency.call
    names = {getattr(dependency, each) for each in _REQUEST} - {None, CONNECTION}
    if isinstance(call, SecurityBase):
        found.add(_of_scheme(call))
    elif not all(only_reads(call, name, "app") for name in names):
        found.add(("request", call))
    return found.union(*map(secrets_of, dependency.dependencies))


def _of_scheme(scheme: Any) -> Holding:
    """Return what a security scheme reads, by its model; see FastAPI's `fastapi.security`."""
    if not type(scheme).__call__.__module__.startswith("fastapi.security."):
        return "scheme", scheme  # its own code reads the request
    model = scheme.model
    place = getattr(getattr(model, "in_", None), "value", None)
    if place in ("header", "query", "cookie"):
        return place, model.name.lower() if place == "header" else model.name
    return "header", "authorization"
