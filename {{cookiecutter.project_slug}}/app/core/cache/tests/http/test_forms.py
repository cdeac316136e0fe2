"""How a route renders, as text (promise P1)."""

from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, computed_field

from ... import CacheManager, MemoryBackend
from ...http.forms import form_of
from ..endpoints import Endpoint, Enveloped, application, get, model_of, sent
from ..processes import printed_by


class Opaque:
    """What has no JSON schema."""


class Plain(BaseModel):
    """A model."""

    id: int


class Computed(Plain):
    """One that shows more."""

    @computed_field
    def twice(self) -> int:
        return 2


@dataclass
class Point:
    """A dataclass."""

    x: int


def form(**options: Any) -> str | None:
    """Return the form of a route with these options."""
    app = FastAPI()
    app.get("/", **options)(lambda: None)
    return form_of(app.routes[-1])


DIFFERENT: list[dict[str, Any]] = [
    {},
    {"response_model": model_of(id=(int, 0))},
    {"response_model": model_of(id=(str, ""))},
    {"response_model": model_of(id=(int, 1))},
    {"response_model": model_of(id=(int, 0), name=(str, ""))},
    {"response_model": model_of(id=(int, Field(0, serialization_alias="key")))},
    {"response_model": Plain},
    {"response_model": Computed},
    {"response_model": list[Plain]},
    {"response_model": Point},
    {"response_model": Plain, "response_model_include": {"id"}},
    {"response_model": Plain, "response_model_exclude": {"id"}},
    {"response_model": Plain, "response_model_by_alias": False},
    {"response_model": Plain, "response_model_exclude_unset": True},
    {"response_model": Plain, "response_model_exclude_defaults": True},
    {"response_model": Plain, "response_model_exclude_none": True},
    {"response_model": Plain, "response_class": JSONResponse},
    {"response_model": Plain, "response_class": Enveloped},
    {"response_model": Plain, "status_code": 201},
]


def test_p1_routes_that_may_render_differently_differ() -> None:
    """Each in one thing; two of the same options do not."""
    forms = [form(**options) for options in DIFFERENT]
    assert None not in forms
    assert len(set(forms)) == len(DIFFERENT)
    assert [form(**options) for options in DIFFERENT] == forms


class Undescribed(BaseModel):
    """A model that Pydantic can render, and cannot say as what."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    opaque: Opaque


class Partly(BaseModel):
    """One of which Pydantic would leave a part out of the schema."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    opaque: int | Opaque


class Defaulting(BaseModel):
    """One with a default that has no identity."""

    value: Any = object()


@pytest.mark.parametrize("model", [Undescribed, list[Undescribed], Partly, Defaulting])
def test_p1_a_model_without_a_whole_schema_has_no_form(model: Any) -> None:
    """How it renders is not known: another version could do it in another way."""
    assert form(response_model=model) is None


def test_options_without_an_identity_have_no_form() -> None:
    """They are nothing that could be compared in another process."""
    assert form(response_model=Plain, response_model_include={"id": object()}) is None


PROGRAM = """
from {package}.http.forms import form_of
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

class Model(BaseModel):
    names: dict[str, set[str]] = {"a": set("qwertyuiop")}

app = FastAPI()
app.get("/", response_model=Model, response_model_include=set("qwertyuiop"))(lambda: None)
print(form_of(app.routes[-1]))
"""


def test_a_form_is_the_same_in_every_process() -> None:
    """Whatever seed the hashes of a process have."""
    forms = printed_by(PROGRAM, seeds=("1", "2", "3"))
    assert len(forms) == 1
    assert len(forms.pop().strip()) == 16


BASE: dict[str, Any] = {"response_model": model_of(id=(int, 0))}


async def anything() -> Any:
    return {"id": "1", "name": "x"}


@pytest.mark.parametrize(
    "options",
    [
        {"response_model": model_of(id=(str, ""))},
        {"response_model": model_of(id=(int, 0), name=(str, ""))},
        {"response_model": model_of(id=(int, Field(0, serialization_alias="key")))},
        {**BASE, "response_model_exclude": {"id"}},
        {**BASE, "response_class": Enveloped},
        {**BASE, "status_code": 201},
        {"response_model": None},
    ],
)
async def test_p1_another_version_of_a_route_does_not_send_what_this_one_has_sent(
    options: dict[str, Any],
) -> None:
    """It differs in the model, in what is shown of it, in the status or in the response class."""
    backend = MemoryBackend()

    async def versions(options: dict[str, Any]) -> None:
        endpoint = Endpoint(CacheManager(backend))

        def register(router: APIRouter, endpoint: Endpoint) -> None:
            router.get("/it", **options)(endpoint(anything))

        app, plain = application(register, endpoint), application(register, Endpoint(None))
        assert sent(await get(app)) == sent(await get(plain)) == sent(await get(app))
        assert (endpoint.runs, await endpoint.kind()) == (1, "sent")

    await versions(BASE)
    await versions(options)
