"""`explain` of a path (promise P10): which route answers, from which entry, and what the audit finds."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ...ops.cli import application
from ..package import program
from .command_line import CommandLine, Ran

SHOP = '''
"""An application that must not run while it is explained."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI, Header, Request

from {package} import CacheFactory, CacheMiddleware, cache_response, invalidate_cache

cache = CacheFactory.create_cache_manager()
app, inner = FastAPI(), FastAPI()
app.add_middleware(CacheMiddleware)
ran = []


def session() -> str:
    ran.append("session")
    return "open"


class Odd(str):
    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        from pydantic_core import core_schema
        return core_schema.no_info_plain_validator_function(lambda text: ran.append(text) or text)


@app.get("/users/me")
async def read_me() -> int:
    return 1


@app.get("/users/{user_id}")
@cache_response(cache, "users", tags=["user:{user_id}"], ignore=["db"])
async def read_user(
    user_id: int, full: bool = False, db: Annotated[str, Depends(session)] = "",
) -> dict[str, int]:
    ran.append(user_id)
    return {"id": user_id}


@app.put("/users/{user_id}")
@invalidate_cache(cache, keys="users:*", tags=["user:{user_id}"])
async def write_user(user_id: int) -> int:
    return 1


@app.api_route("/files/{name:path}", methods=["GET", "HEAD"])
@cache_response(cache, "files", key="{name}")
async def read_file(name: str) -> str:
    return name


@app.get("/things/{uid}")
@cache_response(cache, "things")
async def read_thing(uid: UUID, at: int | None = None) -> str:
    return str(uid)


@app.get("/odd/{it}")
@cache_response(cache, "odd")
async def read_odd(it: Odd) -> str:
    return it


@app.get("/varied")
@cache_response(cache, "varied", vary=["Accept-Language"])
async def read_varied() -> str:
    return ""


@app.get("/made")
@cache_response(cache, "made", key=lambda: ran.append("key") or "it")
async def read_made() -> str:
    return ""


@app.get("/header")
@cache_response(cache, "header")
async def read_header(token: Annotated[str, Header()] = "") -> str:
    return token


@app.get("/request")
@cache_response(cache, "request")
async def read_request(request: Request) -> str:
    return ""


@app.post("/wrong")
@cache_response(cache, "wrong")
async def write_wrong() -> int:
    return 1


@inner.get("/deep/{number}")
@cache_response(cache, "deep")
async def read_deep(number: int) -> int:
    return number


app.mount("/inner", inner)
'''


class Shop:
    """Explains the paths of the application."""

    def __init__(self, command: CommandLine, name: str) -> None:
        self.command, self.name = command, name

    def __call__(self, path: str, *more: str) -> Ran:
        found = self.command("explain", path, "--app", f"{self.name}:app", *more)
        assert sys.modules[self.name].ran == []
        return found


@pytest.fixture
def shop(command: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Lend an application in a module of its own."""
    name = f"shop_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(program(SHOP))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Shop(command, name)
    sys.modules.pop(name, None)


def test_a_path_without_an_entry(shop: Shop) -> None:
    """The route, the function, the key, and that nothing is there."""
    found = shop("/users/7")
    assert found.code == 1
    assert found.out.startswith(
        f"/users/{{user_id}} of {shop.name}:app answers, by {shop.name}.read_user\n"
    )
    assert "before routing: no, it has the dependency" in found.out
    assert "not served: nothing stands there" in found.out
    said = shop("/users/7", "--json").json
    assert (said["route"], said["endpoint"]) == ("/users/{user_id}", f"{shop.name}.read_user")
    assert said["key"].startswith("users:read_user:")
    assert (said["is_cached"], said["is_served"], said["findings"]) == (True, False, [])


def test_a_path_with_an_entry(shop: Shop) -> None:
    """The key is the one that a request has, so what a request has stored is found."""
    key = shop("/users/7?full=true", "--json").json["key"]
    assert key != shop("/users/7", "--json").json["key"]
    module = sys.modules[shop.name]

    async def store(_: object) -> None:
        await module.read_user(7, full=True)
        await module.cache.close()

    shop.command.fill(store)
    module.ran.clear()
    found = shop("/users/7?full=true")
    assert found.code == 0
    assert f"{key}\nserved: it is there" in found.out
    assert f"      by  {shop.name}.read_user" in found.out
    assert "    tags  user:7" in found.out
    listed = shop.command("keys", "users:*", "--json", "--app", f"{shop.name}:app").lines
    assert [each["function"] for each in listed] == [f"{shop.name}.read_user"]


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/files/a/b%20c", "files:a%2Fb%20c"),
        ("/things/12345678123456781234567812345678", "things:read_thing:"),
        ("/things/12345678-1234-5678-1234-567812345678?at=3", "things:read_thing:"),
        ("/inner/deep/3", "deep:read_deep:"),
    ],
)
def test_keys_of_paths(shop: Shop, path: str, key: str) -> None:
    """Of parameters that Pydantic alone converts."""
    assert shop(path, "--json").json["key"].startswith(key)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/users/x", "'x' is no 'user_id', so the answer is an error"),
        ("/users/1?full=1&full=0", "'full' is of a type that code of the application may convert"),
        ("/odd/1", "'it' is of a type that code of the application may convert"),
        ("/varied", "it also depends on accept-language"),
        ("/made", "key= is a function, which would have to run"),
        ("/header", "it also depends on 'token', which is not in the path or the query"),
        ("/request", "it also depends on 'request', which is not in the path or the query"),
    ],
)
def test_keys_that_are_not_known(shop: Shop, path: str, why: str) -> None:
    """Without running anything; the function's keys are told."""
    found = shop(path, "--json")
    assert (found.code, found.json["key"]) == (1, None)
    assert why.lower() in found.json["why_no_key"].lower()
    assert found.json["keys"].endswith(":*")
    assert f"its keys are those of {found.json['keys']}" in shop(path).out


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("/nothing",), "no route of {} has the path /nothing"),
        (("/users/1", "--method", "delete"), "no route takes DELETE /users/1"),
    ],
)
def test_no_route_answers(shop: Shop, args: tuple[str, ...], told: str) -> None:
    """Nothing is cached then."""
    found = shop(*args)
    assert (found.code, found.out) == (1, "")
    assert told.format(f"{shop.name}:app") in found.err


def test_an_endpoint_that_is_not_cached(shop: Shop) -> None:
    """It answers before the one that has a parameter there."""
    said = shop("/users/me", "--json").json
    assert (said["route"], said["is_cached"], said["key"]) == ("/users/me", False, None)
    assert "not cached for this method" in shop("/users/7", "--method", "PUT").out
    assert shop("/files/a", "--method", "HEAD", "--json").json["is_cached"] is True


def test_the_audit_is_told(shop: Shop) -> None:
    """What it finds for this route."""
    found = shop("/wrong", "--method", "POST")
    assert found.code == 1
    assert "method: method='GET' is for requests by GET" in found.out
    said = shop("/wrong", "--method", "POST", "--json").json
    assert [each["kind"] for each in said["findings"]] == ["method"]
    assert shop("/files/a", "--json").json["findings"] == []


def test_hits_before_routing_are_told(shop: Shop) -> None:
    """Or why they are not there."""
    assert shop("/files/a", "--json").json["why_routed"] is None
    assert "before routing: its hits are answered there" in shop("/files/a").out


def test_a_cache_in_memory_is_told(shop: Shop) -> None:
    """The key is known, and what stands there only in the process that serves it."""
    shop.command.set(CACHE_BACKEND="memory")
    found = shop("/files/a")
    assert found.code == 0
    assert "files:a; its cache is in the process that serves it" in found.out


def test_the_application_is_found(command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the top package, or beside it."""
    known = {"my": True, "my.main": False, "main": True}
    monkeypatch.setattr(application, "find_spec", lambda name: known.get(name) or None)
    monkeypatch.setattr(application, "_PACKAGE", "my.pkg.cache")
    assert application.default_name() == "main:app"
    known["my.main"] = True
    assert application.default_name() == "my.main:app"
    known.clear()
    found = command("explain", "/users")
    assert found.code == 2
    assert "which application?" in found.err
