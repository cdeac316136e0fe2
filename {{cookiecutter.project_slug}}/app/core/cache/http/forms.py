"""How a route renders what its endpoint returns, as text: what was sent is sent again only by such."""

import json
from hashlib import blake2b
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from ..values import KnownClasses, UnkeyableError, canonical, text

_DIGEST_BYTES = 8
_OPTIONS = (
    *("include", "exclude", "by_alias"),
    *("exclude_unset", "exclude_defaults", "exclude_none"),
)


def form_of(route: Any) -> str | None:
    """Return what tells how a route renders, the same in every process; `None` if nothing does.

    It changes with the fields of a response model, so that code of two versions can run side by
    side; that a serializer or a response class works otherwise cannot be seen.
    """
    given = isinstance(route.response_class, type)
    cls = route.response_class if given else route.response_class.value
    model = route.response_model
    options = [getattr(route, f"response_model_{name}") for name in _OPTIONS]
    name = f"{cls.__module__}.{cls.__qualname__}"
    try:
        data = canonical([given, name, route.status_code, *options])
        data += text(KnownClasses(model).fingerprint())
    except Exception:  # of options without an identity, of hints that cannot be resolved
        return None
    data += text(_schema(model, by_alias=route.response_model_by_alias))
    return blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()


def _schema(model: Any, *, by_alias: bool) -> str:
    """Return the schema of what a model is rendered as; nothing where it has none."""
    if model is None:
        return ""
    try:
        schema = TypeAdapter(model).json_schema(
            by_alias=by_alias, mode="serialization", schema_generator=_Schema
        )
    except Exception:  # for some types there is none, and Pydantic has many words for it
        return ""
    return json.dumps(schema, sort_keys=True)


class _Schema(GenerateJsonSchema):
    """A schema that is the same in every process, and no reason for a warning."""

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Say nothing."""

    def encode_default(self, dft: Any) -> Any:
        """Write a default down; sets come in another order in each process."""
        try:
            return canonical(dft).hex()
        except (UnkeyableError, RecursionError):
            return "?"
