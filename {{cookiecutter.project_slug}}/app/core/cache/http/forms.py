"""How a route renders what its endpoint returns, as a fingerprint.

A route sends a stored body only if it would render with the same fingerprint.
"""

import json
from hashlib import blake2b
from typing import Any

from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind
from starlette.responses import Response

from ..calls import CachedCalls, Rendering, Scope, Standing, routes_of
from ..values import canonical, described

ROUTING = ("starlette.routing", "fastapi.routing")
_DIGEST_BYTES = 8
_OPTIONS = (
    *("include", "exclude", "by_alias"),
    *("exclude_unset", "exclude_defaults", "exclude_none"),
)


def calls_of(endpoint: object) -> CachedCalls | None:
    """Return the cached calls of an endpoint that `cache_response` made, or `None`.

    `functools.wraps` copies the attribute `calls` to a decorator above; that one returns `None`.
    """
    calls = getattr(endpoint, "calls", None)
    return calls if isinstance(calls, CachedCalls) and calls.decorated is endpoint else None


def rendering_of(
    calls: CachedCalls,
    standing: Standing,
    scope: Scope,
    *,
    kind: type,
) -> Rendering | None:
    """Return how the routes of an endpoint render; `None` if they do not all do so in one way.

    `kind` is the class of the routes that count.
    """
    if standing.is_listed is None:  # not earlier: FastAPI makes the routes of a router late
        standing.is_listed, models = False, []
        for route, original in routes_of(scope["app"]):
            endpoint = getattr(original, "endpoint", None)
            if isinstance(original, kind) and calls_of(endpoint) is calls:
                is_plain = kind is not APIRoute or is_known(original)
                calls.forms.add(form_of(route) if is_plain else None)
                models.append(route.response_model)
                standing.is_listed = standing.is_listed or original is scope["route"]
        if any(model != models[0] for model in models):
            calls.forms.add(None)  # their serializers may differ, though not their schemas
        calls.form = next(iter(calls.forms)) if len(calls.forms) == 1 else None
    if calls.form is None or not standing.is_listed:
        return None
    return Rendering(calls.form, scope["route"].status_code)


def is_known(route: Any) -> bool:
    """Whether a route sends what its response class renders, and nothing else."""
    kind, app = type(route), route.app
    if getattr(app, "__globals__", {}).get("__name__") not in ROUTING:
        return False  # something has been put around it
    own = f"{__package__}.route", "CachedRoute"  # its file may be deleted
    return kind is APIRoute or (kind.__module__, kind.__name__) == own


def form_of(route: Any) -> str | None:
    """Return the fingerprint of a route, the same in every process, or `None` if it has none.

    It changes with the name and the JSON schema of the response model, so that two versions of the code can run
    side by side. A route has none if its model has no complete schema, its options have no
    identity, or its response class has its own way to send. A change in the code of a serializer or of a response class is not noticed.
    """
    is_given = isinstance(route.response_class, type)
    cls = route.response_class if is_given else route.response_class.value
    if cls.__call__ is not Response.__call__:  # it may send anything
        return None
    name = f"{cls.__module__}.{cls.__qualname__}"
    options = [getattr(route, f"response_model_{option}") for option in _OPTIONS]
    model, schema = route.response_model, None
    try:
        if model is not None:
            schema = TypeAdapter(model).json_schema(
                by_alias=route.response_model_by_alias,
                mode="serialization",
                schema_generator=_WholeSchema,
            )
        text = json.dumps(schema, sort_keys=True)
        data = canonical([is_given, name, route.status_code, *options, described(model), text])
    except Exception:  # Pydantic has many errors for a type that has no schema
        return None
    return blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()


class _WholeSchema(GenerateJsonSchema):
    """A schema that is complete, and the same in every process."""

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Raise `TypeError`: the warning says that Pydantic leaves something out."""
        raise TypeError(f"{kind}: {detail}")

    def encode_default(self, dft: Any) -> Any:
        """Return a default as text, with sets in the same order in every process."""
        return canonical(dft).hex()
