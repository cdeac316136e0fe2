# % if cookiecutter.example_resource
"""`app/api/users.py` in this process: the resource, its cache, and the order of a write."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from app.core.cache.testing import assert_fresh_after, assert_one_computation, assert_same_on_hit
from app.core.config import Settings
from app.main import create_app

ADA = {"name": "Ada", "email": "ada@example.com"}
BOB = {"name": "Bob", "email": "bob@example.com"}
STORED = "; fwd=miss; stored"


def create(client: TestClient, data: dict[str, str]) -> str:
    """Create a user and return its path."""
    response = client.post("/users", json=data)
    assert response.status_code == 201
    return f"/users/{response.json()['id']}"


def test_a_created_user_can_be_read(client: TestClient) -> None:
    """A user is read as it was created, with an id."""
    response = client.post("/users", json=ADA)
    assert response.status_code == 201
    user = response.json()
    assert user == {"id": user["id"], **ADA}
    assert client.get(f"/users/{user['id']}").json() == user


def test_users_are_listed_by_page(client: TestClient) -> None:
    """`limit` and `offset` choose a part of the list, which is in order of creation."""
    create(client, ADA)
    create(client, BOB)

    def names(**page: int) -> list[str]:
        return [user["name"] for user in client.get("/users", params=page).json()]

    assert names() == ["Ada", "Bob"]
    assert names(limit=1) == ["Ada"]
    assert names(limit=1, offset=1) == ["Bob"]
    assert names(offset=2) == []


def test_an_updated_user_is_read_anew(client: TestClient) -> None:
    """After an update, reads that were cached before return the new data."""
    path = create(client, ADA)
    client.get(path)
    client.get("/users")
    response = client.put(path, json={**ADA, "name": "Ada L."})
    assert response.status_code == 200
    for fresh in (response.json(), client.get(path).json(), client.get("/users").json()[0]):
        assert fresh["name"] == "Ada L."


def test_a_deleted_user_is_gone(client: TestClient) -> None:
    """After a deletion, reads that were cached before find nothing."""
    path = create(client, ADA)
    client.get(path)
    client.get("/users")
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.get("/users").json() == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_user_that_does_not_exist_is_a_404(client: TestClient, method: str) -> None:
    """Whatever is done with a user that does not exist, it is not found."""
    body = ADA if method == "PUT" else None
    assert client.request(method, "/users/1", json=body).status_code == 404


def test_a_user_deleted_while_being_updated_is_a_404(client: TestClient, tmp_path: Path) -> None:
    """Somebody else may delete the user between the read and the commit of an update."""
    path = create(client, ADA)

    def delete(*_: object) -> None:
        with closing(sqlite3.connect(tmp_path / "app.db")) as other_session:
            other_session.execute("DELETE FROM users")
            other_session.commit()

    event.listen(Session, "before_flush", delete)
    try:
        assert client.put(path, json=BOB).status_code == 404
    finally:
        event.remove(Session, "before_flush", delete)


def test_a_404_is_not_cached(client: TestClient) -> None:
    """A user that was looked for too early is found once it exists."""
    assert client.get("/users/1").status_code == 404
    assert create(client, ADA) == "/users/1"
    assert client.get("/users/1").status_code == 200


def test_an_email_belongs_to_one_user(client: TestClient) -> None:
    """Neither a creation nor an update can take another user's e-mail address."""
    create(client, ADA)
    path = create(client, BOB)
    assert client.post("/users", json=ADA).status_code == 409
    assert client.put(path, json=ADA).status_code == 409
    assert client.get(path).json()["email"] == BOB["email"]


@pytest.mark.parametrize(
    "wrong", [{"name": " "}, {"name": "x" * 201}, {"name": None}, {"email": "ada"}]
)
def test_wrong_data_are_a_422(client: TestClient, wrong: dict[str, str | None]) -> None:
    """A user has a name and a valid e-mail address."""
    assert client.post("/users", json={**ADA, **wrong}).status_code == 422


@pytest.mark.parametrize(
    "path", ["/users/0", f"/users/{2**63}", "/users?limit=0", f"/users?offset={2**63}"]
)
def test_numbers_out_of_range_are_a_422(client: TestClient, path: str) -> None:
    """No number that the database could not hold reaches it."""
    assert client.get(path).status_code == 422


@pytest.mark.parametrize("path", ["/users", "/users/1"])
def test_a_hit_is_what_the_miss_was(client: TestClient, path: str) -> None:
    """Status, headers and body: the first read of each kind is stored, the next ones are hits."""
    create(client, ADA)
    assert_same_on_hit(client, path, may_differ=["X-Request-ID"])


@pytest.mark.parametrize("path", ["/users", "/users/1"])
def test_many_reads_at_once_are_one_computation(client: TestClient, path: str) -> None:
    """The database is asked once."""
    create(client, ADA)
    assert_one_computation(client, path)


def test_a_write_makes_the_next_read_a_miss(client: TestClient) -> None:
    """Creating one user invalidates the reads of all."""
    path = create(client, ADA)
    client.get(path)
    create(client, BOB)
    assert STORED in client.get(path).headers["Cache-Status"]


@pytest.mark.parametrize(
    ("write", "read"),
    [
        ({"method": "POST", "url": "/users", "json": BOB}, "/users"),
        ({"method": "PUT", "url": "/users/1", "json": BOB}, "/users"),
        ({"method": "PUT", "url": "/users/1", "json": BOB}, "/users/1"),
        ({"method": "DELETE", "url": "/users/1"}, "/users"),
        ({"method": "DELETE", "url": "/users/1"}, "/users/1"),
    ],
)
def test_a_write_is_committed_before_it_invalidates(
    client: TestClient, write: dict[str, Any], read: str
) -> None:
    """Whoever reads at the moment of the invalidation reads, and caches, the new row."""
    create(client, ADA)
    assert_fresh_after(client, write, read)


def test_the_database_is_closed_when_the_application_stops(settings: Settings) -> None:
    """The connections are given back at the end and not before."""
    disposed: list[Engine] = []

    def dispose(engine: Engine) -> None:
        disposed.append(engine)

    event.listen(Engine, "engine_disposed", dispose)
    try:
        with TestClient(create_app(settings)) as client:
            create(client, ADA)
            assert not disposed
        assert len(disposed) == 1
    finally:
        event.remove(Engine, "engine_disposed", dispose)


def test_applications_have_databases_of_their_own(
    settings: Settings, tmp_path: Path, database: Path
) -> None:
    """Two that run at once in one process do not see each other's users."""
    url = SecretStr(f"sqlite+aiosqlite:///{shutil.copy(database, tmp_path / 'other.db')}")
    other = settings.model_copy(update={"database_url": url})
    with TestClient(create_app(settings)) as one, TestClient(create_app(other)) as two:
        create(one, ADA)
        create(two, BOB)
        names = {one: "Ada", two: "Bob"}
        for client, name in names.items():
            row = client.put("/users/1", json={**ADA, "name": f"{name} L."}).json()
            assert row["name"] == f"{name} L."
        for file, name in (("app.db", "Ada L."), ("other.db", "Bob L.")):
            with closing(sqlite3.connect(tmp_path / file)) as session:
                assert session.execute("SELECT name FROM users").fetchall() == [(name,)]


def test_users_outlive_the_application(settings: Settings) -> None:
    """Nothing is made anew at a start."""
    with TestClient(create_app(settings)) as client:
        path = create(client, ADA)
    with TestClient(create_app(settings)) as client:
        assert client.get(path).json()["name"] == "Ada"


def test_the_address_of_the_database_is_not_shown(settings: Settings) -> None:
    """It may hold a password, so the settings do not show it."""
    assert settings.database_url.get_secret_value() not in repr(settings)
# % else
# Not chosen.
# % endif
