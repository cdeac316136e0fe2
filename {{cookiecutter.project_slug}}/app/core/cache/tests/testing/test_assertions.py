"""The assertions of the test kit: they pass for what is right, and say what is wrong."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from ... import CacheManager
from ...testing import (
    assert_fresh_after,
    assert_isolated,
    assert_one_computation,
    assert_one_computation_of,
    assert_same_on_hit,
    fresh,
)
from ...testing.asking import status_of
from ..internals import entries_in
from . import shop
from .shop import around, client_of

pytestmark = pytest.mark.usefixtures("cache")

ALICE, BOB = {"headers": {"X-User": "alice"}}, {"headers": {"X-User": "bob"}}


@pytest.fixture
def client() -> Iterator[TestClient]:
    """Lend a client of the application that is right, and in part wrong on purpose."""
    with client_of() as client:
        yield client


def put(path: str) -> dict[str, Any]:
    """Return a write that gives another name."""
    return {"method": "PUT", "url": path, "params": {"name": "Bob"}}


# --- two people ----------------------------------------------------------------------------------


def test_people_who_are_told_apart_are_isolated(client: TestClient) -> None:
    """Each has an entry of his own, and the assertion says so."""
    assert assert_isolated(client, "/me", ALICE, BOB) == "own entry"


def test_a_leak_is_told(client: TestClient) -> None:
    """Both got the first one's answer."""
    with pytest.raises(
        AssertionError, match=r"both people got \(200, '\"alice\"'\) from /leaks.*vary="
    ):
        assert_isolated(client, "/leaks", ALICE, BOB)


def test_an_answer_for_everybody_proves_nothing(client: TestClient) -> None:
    """Who is told the same may have been told another's."""
    with pytest.raises(AssertionError, match="or give two people who should get different answers"):
        assert_isolated(client, "/for-everybody", ALICE, BOB)


def test_an_answer_that_changes_is_told(client: TestClient) -> None:
    """Such an answer may have been another's."""
    with pytest.raises(AssertionError, match="user a got another answer in round 2 of /uncached"):
        assert_isolated(client, "/uncached", ALICE, BOB)


# --- a hit is what the miss was --------------------------------------------------------------------


def test_a_hit_that_is_the_same_is_returned(client: TestClient) -> None:
    """The third answer, which the middleware gave before routing."""
    assert assert_same_on_hit(client, "/rows/1").json() == {"name": "Ada"}


def test_a_hit_is_the_same_without_stored_bytes() -> None:
    """Where a value is stored, and rendered anew."""
    with client_of(shop.status_only) as client:
        assert_same_on_hit(client, "/rows/1")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (
            "/uncached",
            "the answer to GET /uncached, status 200, has no Cache-Status.*add CacheMiddle",
        ),
        ("/not-stored", "the second answer to GET /not-stored is no hit: .*detail=unkeyed"),
    ],
)
def test_what_is_not_cached_is_told(client: TestClient, path: str, says: str) -> None:
    """With what the answer says of the cache."""
    with pytest.raises(AssertionError, match=says):
        assert_same_on_hit(client, path, **ALICE)


def test_an_application_without_the_header_is_told() -> None:
    """Nobody can tell a hit from a miss."""
    with (
        client_of(shop.plain) as client,
        pytest.raises(AssertionError, match="CacheStatusMiddleware to the application of the test"),
    ):
        assert_same_on_hit(client, "/rows/1")


def test_an_entry_of_before_is_told(client: TestClient) -> None:
    """There is no miss to compare with."""
    client.get("/rows/1")
    with pytest.raises(AssertionError, match="the first answer to GET /rows/1 is a hit already"):
        assert_same_on_hit(client, "/rows/1")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, r"header x-request-id \['\d+'\] instead of \['\d+'\]"),
        ({"name": b"link"}, r"header link \['\d+'\] instead of \['\d+'\]"),
        ({"status": True}, r"status 20\d instead of 20\d"),
    ],
)
def test_a_hit_that_differs_is_told(options: dict[str, Any], says: str) -> None:
    """By what differs, and both values."""
    with client_of(around(**options)) as client, pytest.raises(AssertionError, match=says):
        assert_same_on_hit(client, "/rows/1")


def test_headers_of_one_request_may_differ() -> None:
    """If the test says so, in any case."""
    with client_of(around()) as client:
        assert_same_on_hit(client, "/rows/1", may_differ=["X-Request-ID"])


def test_another_body_is_told(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that changes it stands for whatever does."""
    request, bodies = client.request, iter([b"a", b"b"])

    def changed(*args: Any, **options: Any) -> Any:
        response = request(*args, **options)
        response._content = next(bodies)
        return response

    monkeypatch.setattr(client, "request", changed)
    with pytest.raises(AssertionError, match="body 200 'b' instead of 200 'a'"):
        assert_same_on_hit(client, "/rows/1")


# --- a read after a write --------------------------------------------------------------------------


def test_a_read_after_a_write_is_fresh(client: TestClient) -> None:
    """The new answer is returned."""
    answer = assert_fresh_after(client, put("/rows/1"), "/rows/1")
    assert answer.json() == {"name": "Bob"}


def test_a_write_may_be_a_function(client: TestClient, cache: CacheManager) -> None:
    """Which need not be a request."""

    def write() -> None:
        shop.rows["1"] = "Eve"
        assert client.portal is not None
        client.portal.call(cache.invalidate_tags, "row:1")

    answer = assert_fresh_after(client, write, {"url": "/rows/1", "headers": {"X-A": "b"}})
    assert answer.json() == {"name": "Eve"}


@pytest.mark.parametrize(
    ("write", "read", "says"),
    [
        ("/forgets/1", "/rows/1", "GET /rows/1 still says .*Ada.*Let the write invalidate it"),
        ("/rows/2", "/rows/1", "GET /rows/1 still says .*Ada.*give invalidate_cache a tag"),
        (
            "/too-early/1",
            "/rows/1",
            "at the moment of the invalidation and found the old data: let the",
        ),
        (
            "/fails/1",
            "/rows/1",
            "the write itself failed, with 409 '\"taken\"': give one that works",
        ),
        ("/rows/1", "/not-stored", "GET /not-stored is no hit when it is asked again"),
        ("/rows/1", "/uncached", "the answer to GET /uncached, status 200, has no Cache-Status"),
    ],
)
def test_a_read_that_is_old_is_told(client: TestClient, write: str, read: str, says: str) -> None:
    """With what has to change."""
    with pytest.raises(AssertionError, match=says):
        assert_fresh_after(client, put(write), read)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_write_that_changes_nothing_is_told(client: TestClient, elsewhere: bool) -> None:
    """Then it is not the cache that is old; also if the write is made in another process."""

    def write() -> None:
        if elsewhere:
            entries_in(shop.manager).clear()
        else:
            shop.manager.clear_sync()

    with pytest.raises(
        AssertionError, match=r"The function ran.* or give a write that changes what"
    ):
        assert_fresh_after(client, write, "/rows/1")


def test_an_answer_that_goes_on_changing_is_told(client: TestClient) -> None:
    """The write is not what changed it."""

    def write() -> None:
        shop.manager.clear_sync()

    asked, request = [], client.request

    def changing(*args: Any, **options: Any) -> Any:
        response = request(*args, **options)
        asked.append(response)
        response._content = b"%d" % max(0, len(asked) - 3)
        return response

    client.request = changing  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="said 200 '1' after the write, and then 200 '2'"):
        assert_fresh_after(client, write, "/rows/1")


def test_a_read_that_fails_meanwhile_is_told(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that finds the database locked."""
    row = shop.rows.pop

    def lock(*_: Any) -> None:
        row("1")

    def write() -> None:
        lock()
        shop.manager.clear_sync()

    with pytest.raises(AssertionError, match=r"failed at the moment of the invalidation.*KeyError"):
        assert_fresh_after(client, write, "/rows/1")


def test_a_read_that_hangs_meanwhile_is_told(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that waits for the only connection."""
    monkeypatch.setattr(fresh, "WITHIN", 0.05)
    request, ended = client.request, threading.Event()
    threads = {threading.get_ident()}

    def waiting(*args: Any, **options: Any) -> Any:
        if threading.get_ident() not in threads:
            ended.wait(10)
        return request(*args, **options)

    monkeypatch.setattr(client, "request", waiting)
    with pytest.raises(AssertionError, match=r"TimeoutError\('no answer in 0\.05 seconds'\)"):
        assert_fresh_after(client, put("/rows/1"), "/rows/1")
    ended.set()


def test_a_half_of_a_write_that_stays_is_told(client: TestClient) -> None:
    """What is cached in the end is not what the function says without a cache."""
    with pytest.raises(AssertionError, match="without the cache"):
        assert_fresh_after(client, put("/twice/1"), "/rows/1")


# --- many at once ----------------------------------------------------------------------------------


def test_many_requests_are_one_computation(client: TestClient) -> None:
    """Of those who ask at once, one makes the function run."""
    before = next(shop.counter)
    assert_one_computation(client, "/counted")
    assert next(shop.counter) == before + 2


def test_requests_in_event_loops_of_their_own_are_one_computation() -> None:
    """As those of a client that is not started."""
    assert_one_computation(TestClient(shop.app), "/counted", callers=3)


def test_requests_that_all_run_are_told(client: TestClient) -> None:
    """How many, and what the answers say."""
    says = r"GET /not-stored ran \d times for 4 callers at once \(.*fwd=miss.*\): see the warning"
    with pytest.raises(AssertionError, match=says):
        assert_one_computation(client, "/not-stored", callers=4, **ALICE)


def test_an_entry_of_before_is_no_computation(client: TestClient) -> None:
    """Nobody made the function run."""
    client.get("/counted")
    with pytest.raises(AssertionError, match="GET /counted did not run at all for 8 callers"):
        assert_one_computation(client, "/counted")


def test_callers_who_got_different_answers_are_told(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever makes them different."""
    request = client.request

    def changed(*args: Any, **options: Any) -> Any:
        response = request(*args, **options)
        response._content = b"%d" % next(shop.counter)
        return response

    monkeypatch.setattr(client, "request", changed)
    with pytest.raises(
        AssertionError, match="callers of GET /counted got different answers: 200 '"
    ):
        assert_one_computation(client, "/counted")


async def test_many_calls_are_one_computation(cache: CacheManager) -> None:
    """All others have waited for it, and have its result."""
    before, shared = next(shop.counter), []
    end = cache.observe(lambda event: shared.append(event.kind))
    assert await assert_one_computation_of(shop.computed, 1, callers=5) == before + 1
    end()
    assert shared.count("shared") == 4
    assert await shop.computed(1) == before + 1


async def test_calls_that_all_run_are_told() -> None:
    """How many."""

    with pytest.raises(
        AssertionError, match="computed_apart ran 6 times for 6 callers at once: see"
    ):
        await assert_one_computation_of(shop.computed_apart, object(), callers=6)


async def test_a_call_with_an_entry_is_told() -> None:
    """Nothing has run."""
    await shop.computed(1)
    with pytest.raises(AssertionError, match="computed did not run at all for 8 callers at once"):
        await assert_one_computation_of(shop.computed, 1)


async def test_a_function_without_a_cache_is_told() -> None:
    """It is no use to count what no cache can prevent."""

    async def bare() -> None: ...

    with pytest.raises(TypeError, match="bare is not cached: give a function that cache_response"):
        await assert_one_computation_of(bare)


async def test_what_the_one_computation_raises_reaches_the_test() -> None:
    """As it would without the assertion."""
    with pytest.raises(ValueError, match="no such number"):
        await assert_one_computation_of(shop.raising)


# --- as fixtures -----------------------------------------------------------------------------------


def test_each_is_a_fixture(request: pytest.FixtureRequest) -> None:
    """So that a test needs no import."""
    for function in (
        assert_isolated,
        assert_fresh_after,
        assert_one_computation,
        assert_same_on_hit,
    ):
        assert request.getfixturevalue(function.__name__) is function


@pytest.mark.parametrize(
    ("text", "hit", "shared"),
    [
        ('app; hit; ttl=3; key="a, b; c"', True, False),
        ('app; fwd=miss; key="x; hit, y"', False, False),
        ("CDN; fwd=miss, app; hit", True, False),
        ('app; fwd=miss; key="\\"; hit"', False, False),
        ("app; fwd=miss; collapsed", False, True),
        ("hit; fwd=miss", False, False),
    ],
)
def test_the_header_is_read_by_its_parts(text: str, hit: bool, shared: bool) -> None:
    """A key in it may hold any characters, and a cache may have any name."""

    class Answer:
        status_code, headers = 200, {"cache-status": text}

    said = status_of(Answer(), "GET /")
    assert (said.is_hit, said.is_shared) == (hit, shared)
