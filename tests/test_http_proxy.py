"""nginx with `proxy_cache` in front of `CacheMiddleware` stores what it may, and nothing else."""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import httpx2
import pytest
from redis_server import RedisServer

from tests.baked import BakedProject, eventually
from tests.origins import Origin, Proxy, origin, proxy

pytestmark = pytest.mark.usefixtures("redis_server")

NOBODY: Final = "nobody"
STORES, LEAVES = True, False

KINDS: Final = {
    "header": STORES,
    "dependency-on-header": LEAVES,
    "dependency-on-request": LEAVES,
    "dependency-on-variable": LEAVES,
    "bearer": LEAVES,
    "optional-bearer": LEAVES,
    "api-key-header": LEAVES,
    "api-key-cookie": LEAVES,
    "cookie": LEAVES,
    "vary-header": STORES,
    "vary-authorization": LEAVES,
    "vary-cookie": LEAVES,
    "vary-variable": LEAVES,
    "vary-function": LEAVES,
    "key-template": LEAVES,
    "key-function": LEAVES,
    "not-in-key-request": LEAVES,
    "not-in-key-variable": LEAVES,
    "ignored-dependency": LEAVES,
    "set-cookie": LEAVES,
    "absent-for-others": LEAVES,
    "gate-on-header": LEAVES,
    "gate-on-bearer": LEAVES,
    "shared-behind-gate-on-header": LEAVES,
    "shared-behind-gate-on-bearer": LEAVES,
}
"""Ways in which an endpoint learns who asks, and whether nginx stores the answer, for each user."""


@pytest.fixture(scope="module")
def served(
    installed: BakedProject, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Origin]:
    """Lend the origin."""
    with origin(installed, redis_server, tmp_path_factory.mktemp("origin")) as served:
        yield served


@pytest.fixture(scope="module")
def nginx(served: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Lend nginx in front of it."""
    with proxy(served, tmp_path_factory.mktemp("nginx")) as nginx:
        yield nginx


@pytest.fixture
def client(nginx: Proxy) -> Iterator[httpx2.Client]:
    """Lend a client that asks nginx."""
    with httpx2.Client(base_url=nginx.url, timeout=20) as client:
        yield client


@pytest.fixture
def name() -> str:
    """Return the name of something that no other test asks for."""
    return uuid.uuid4().hex


def said(response: httpx2.Response) -> str:
    """Return what nginx says of its cache."""
    return str(response.headers["X-Proxy"])


# --- freshness -----------------------------------------------------------------------------------


def test_nginx_stores_what_is_fresh(served: Origin, client: httpx2.Client, name: str) -> None:
    """It asks once. A client that has the answer gets a 304 of nginx's own, by the entity tag."""
    path = f"/counted/{name}"
    answers = [client.get(path) for _ in range(3)]
    assert [said(each) for each in answers] == ["MISS", "HIT", "HIT"]
    assert len({each.content for each in answers}) == 1
    same = client.get(path, headers={"If-None-Match": answers[0].headers["ETag"]})
    assert (same.status_code, same.content, said(same)) == (304, b"", "HIT")
    assert client.head(path).headers["ETag"] == answers[0].headers["ETag"]
    assert len(served.seen(path)) == 1


def until(client: httpx2.Client, path: str, *wanted: str) -> httpx2.Response:
    """Ask nginx until it says one of these of its cache, and return that answer."""
    answers: list[httpx2.Response] = []

    def is_wanted() -> bool:
        answers.append(client.get(path))
        return said(answers[-1]) in wanted

    eventually(is_wanted, f"nginx to say {wanted}", seconds=10)
    return answers[-1]


def test_nginx_asks_again_when_it_is_stale(
    served: Origin, client: httpx2.Client, name: str
) -> None:
    """It sends the entity tag, and gets a 304 with no body; or else what has changed."""
    path = f"/brief/{name}"
    first = client.get(path)
    again = until(client, path, "REVALIDATED")
    assert (again.status_code, again.content) == (200, first.content)
    asked = served.seen(path)
    assert [(each.status, each.size) for each in asked[1:]] == [(304, 0)]
    assert asked[1].asked["if-none-match"] == first.headers["ETag"]
    client.put(f"/quietly/{name}")
    assert until(client, path, "EXPIRED").json()["version"] == 1
    assert served.seen(path)[-1].status == 200


def test_nginx_keeps_nothing_longer_than_the_entry_is_fresh(
    served: Origin, client: httpx2.Client, name: str
) -> None:
    """A hit's `max-age` is what is left of the entry."""
    path, left = f"/counted/{name}", 60

    def is_older() -> bool:
        nonlocal left
        answer = httpx2.get(f"{served.url}{path}")
        left = int(answer.headers["Cache-Control"].removeprefix("max-age="))
        return left <= 58

    eventually(is_older, "the entry to be older")
    for expected in ("MISS", "HIT"):
        answer = client.get(path)
        assert said(answer) == expected
        assert 50 < int(answer.headers["Cache-Control"].removeprefix("max-age=")) <= left


def test_nginx_serves_what_is_stale_while_it_asks(
    served: Origin, client: httpx2.Client, name: str
) -> None:
    """As `stale-while-revalidate` allows; the next answer is new."""
    path = f"/lasting/{name}"
    assert client.get(path).json()["version"] == 0
    client.put(f"/quietly/{name}")
    assert until(client, path, "STALE").json()["version"] == 0
    eventually(lambda: client.get(path).json()["version"] == 1, "nginx to have asked", seconds=10)
    assert "if-none-match" in served.seen(path)[1].asked


def test_nginx_serves_what_is_stale_while_the_origin_is_away(
    installed: BakedProject, redis_server: RedisServer, tmp_path: Path
) -> None:
    """As `stale-if-error` allows; what has no `stale=` is an error."""
    with (
        ExitStack() as stack,
        ExitStack() as until_then,
        httpx2.Client(timeout=20) as client,
    ):
        served = until_then.enter_context(origin(installed, redis_server, tmp_path))
        client.base_url = stack.enter_context(proxy(served, tmp_path)).url
        for path in ("/lasting/one", "/brief/one"):
            assert client.get(path).status_code == 200
        until_then.close()
        assert until(client, "/lasting/one", "STALE").json()["version"] == 0
        eventually(lambda: client.get("/brief/one").status_code == 502, "an error", seconds=10)


def test_nginx_asks_each_time_for_what_is_to_be_checked(
    served: Origin, client: httpx2.Client, name: str
) -> None:
    """What says `no-cache` is new at once after an invalidation."""
    path = f"/checked/{name}"
    for version in range(4):
        answers = [client.get(path) for _ in range(3)]
        assert [each.json()["version"] for each in answers] == [version] * 3
        assert {said(each) for each in answers} == {"MISS"}
        assert client.put(path).status_code == 204
    assert "; hit" in served.seen(path)[-2].answered["cache-status"]


def test_nginx_passes_the_age_on(client: httpx2.Client) -> None:
    """What nginx stores of a hit says how old the entry was, added to what the endpoint said."""
    assert client.get("/aged").headers["Age"] == "50"
    found: list[str] = []

    def is_older() -> bool:
        found.append(f"/aged?{uuid.uuid4().hex}")  # another one for nginx, and the same entry
        return int(client.get(found[-1]).headers["Age"]) > 50

    eventually(is_older, "the entry to be older")
    answer = client.get(found[-1])
    assert (said(answer), answer.headers["Cache-Control"]) == ("HIT", "max-age=100")
    assert int(answer.headers["Age"]) > 50


def test_nginx_keeps_variants_apart(served: Origin, client: httpx2.Client, name: str) -> None:
    """It stores one answer for each value of the header that `Vary` names."""
    for path in (f"/language/{name}", f"/depending/{name}"):
        for expected in ("MISS", "HIT", "HIT"):
            for language, greeting in (("de", "Hallo"), ("en", "Hello")):
                answer = client.get(path, headers={"Accept-Language": language})
                assert (said(answer), answer.json()["greeting"]) == (expected, greeting)
        assert len(served.seen(path)) == 2


# --- who asks ------------------------------------------------------------------------------------


def ask(client: httpx2.Client, url: str, user: str) -> httpx2.Response:
    """Ask as a user, who says his name in each way; nobody says none."""
    known = {"X-User": user, "Authorization": f"Bearer {user}", "Cookie": f"session={user}"}
    client.cookies.clear()
    return client.get(url, headers={} if user == NOBODY else known)


def told(answer: httpx2.Response) -> str:
    """Return the name that an answer tells, or that it is not for nobody."""
    return str(answer.json()["user"]) if answer.status_code == 200 else str(answer.status_code)


def test_every_kind_is_listed(served: Origin) -> None:
    """The table has the kinds that the origin has."""
    assert httpx2.get(f"{served.url}/kinds").json() == [*KINDS]


def test_nginx_would_mix_up_users(client: httpx2.Client) -> None:
    """It does not look at who asks: what does not say that it is one user's is everybody's."""
    assert [told(ask(client, "/careless", user)) for user in ("ada", "bob")] == ["ada", "ada"]


@pytest.mark.parametrize("guesses", [False, True], ids=["", "guessing"])
@pytest.mark.parametrize("kind", KINDS)
def test_p8_nobody_gets_anothers_answer_from_nginx(
    served: Origin, nginx: Proxy, client: httpx2.Client, kind: str, *, guesses: bool
) -> None:
    """Whoever asked before, the answer is the one that the origin gives to this user."""
    path = f"/kinds/{kind}"
    url = f"{nginx.guessing if guesses else nginx.url}{path}"
    users = ("ada", "bob", NOBODY)
    right = {user: told(ask(client, f"{served.url}{path}", user)) for user in users}
    assert right["ada"] in ("ada", "somebody")
    assert right[NOBODY] not in ("ada", "bob", "somebody")
    hits = 0
    for user in users * 3:
        answer = ask(client, url, user)
        hits += said(answer) == "HIT" and answer.status_code == 200
        assert told(answer) == right[user], (user, answer.headers)
    assert bool(hits) is KINDS[kind]
