"""Clients of HTTP and `CacheMiddleware`: curl, and a browser, ask again and get a 304."""

import html
import json
import re
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from redis_server import RedisServer

from tests.baked import BakedProject, environment, eventually
from tests.origins import Origin, Seen, origin, program

pytestmark = pytest.mark.usefixtures("redis_server")

CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome")
OF_CHROMIUM: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # it asks nobody else
    "--virtual-time-budget=10000",  # milliseconds; those of requests do not count
    "--dump-dom",
)


@pytest.fixture(scope="module")
def served(
    installed: BakedProject, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Origin]:
    """Lend the origin."""
    with origin(installed, redis_server, tmp_path_factory.mktemp("clients")) as served:
        yield served


@pytest.fixture
def name() -> str:
    """Return the name of something that no other test asks for."""
    return uuid.uuid4().hex


# --- curl ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Got:
    """What curl got. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    connections: int = field(default=1)
    """How many it opened."""


@dataclass(frozen=True, slots=True)
class Curl:
    """curl, in a folder in which it keeps an entity tag."""

    url: str
    folder: Path

    def __call__(self, path: str, *options: str, times: int = 1) -> Got:
        """Send a request so many times, on one connection, and return the last answer."""
        headers, body = self.folder / "headers", self.folder / "body"
        body.unlink(missing_ok=True)
        report = "%{num_connects} %{http_code}\n"
        one = [f"{self.url}{path}", "--output", str(body)]
        said = subprocess.run(
            [program("curl"), "-sS", "-D", headers, "-w", report, *options, *(one * times)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert said.returncode == 0, said.stderr
        each = [line.split() for line in said.stdout.splitlines()]
        last = headers.read_text().strip().split("\n\n")[-1].splitlines()[1:]
        return Got(
            status=int(each[-1][1]),
            headers={line.partition(":")[0].lower(): line.partition(": ")[2] for line in last},
            body=body.read_bytes() if body.exists() else b"",
            connections=sum(int(opened) for opened, _ in each),
        )

    def again(self, path: str, *options: str) -> Got:
        """Ask whether the answer is the one that it has kept, and keep the new one."""
        return self(path, "--etag-compare", "etag", "--etag-save", "etag", *options)


@pytest.fixture
def curl(served: Origin, tmp_path: Path) -> Curl:
    """Lend curl."""
    return Curl(served.url, tmp_path)


ENDPOINTS: Final = ("/counted/{}", "/checked/{}", "/language/{}", "/depending/{}", "/page?{}")


@pytest.mark.parametrize("path", ENDPOINTS)
def test_curl_is_told_that_nothing_has_changed(
    served: Origin, curl: Curl, path: str, name: str
) -> None:
    """With `--etag-compare` the second request gets a 304 with no body, and all later ones."""
    path = path.format(name)
    first = curl(path, "--etag-save", "etag", "-H", "Accept-Language: de")
    assert (first.status, (curl.folder / "etag").read_text().strip()) == (
        200,
        first.headers["etag"],
    )
    assert first.headers["content-length"] == str(len(first.body))
    for _ in range(4):
        then = curl.again(path, "-H", "Accept-Language: de")
        assert (then.status, then.body) == (304, b"")
        assert then.headers["etag"] == first.headers["etag"]
        assert "; hit" in then.headers["cache-status"]
        assert {"content-length", "content-type"}.isdisjoint(then.headers)
        assert then.headers.get("vary") == first.headers.get("vary")
    assert {each.status: each.size for each in served.seen(path.partition("?")[0])}[304] == 0


def test_curl_gets_what_has_changed(curl: Curl, name: str) -> None:
    """After an invalidation the next request gets the new body, and the one after it a 304."""
    path = f"/counted/{name}"
    for version in range(3):
        changed = curl.again(path)
        assert (changed.status, json.loads(changed.body)["version"]) == (200, version)
        assert curl.again(path).status == 304
        assert curl(path, "-X", "PUT").status == 204


@pytest.mark.parametrize("path", ["/counted/{}", "/depending/{}"])
def test_curl_asks_for_the_head(curl: Curl, path: str, name: str) -> None:
    """HEAD gets the headers of GET; the connection stays in use after it, and after a 304."""
    path = path.format(name)
    whole = curl(path, "-H", "Accept-Language: de")
    head = curl(path, "-H", "Accept-Language: de", "--head", times=3)
    assert (head.status, head.connections) == (200, 1)
    for each in ("etag", "content-length", "content-type"):
        assert head.headers[each] == whole.headers[each]
    assert "; hit" in head.headers["cache-status"]
    matching = ("-H", "Accept-Language: de", "-H", f"If-None-Match: {whole.headers['etag']}")
    for options in (("--head",), ()):
        same = curl(path, *matching, *options, times=3)
        assert (same.status, same.connections) == (304, 1)


def test_curl_asks_for_a_range(curl: Curl, name: str) -> None:
    """It gets the whole, or a 304."""
    path = f"/counted/{name}"
    whole = curl(path, "--etag-save", "etag")
    part = curl(path, "--range", "0-3")
    assert (part.status, part.body) == (200, whole.body)
    assert "content-range" not in part.headers
    assert curl.again(path, "--range", "0-3").status == 304
    conditional = ("-H", f"If-Range: {whole.headers['etag']}")
    assert curl(path, "--range", "0-3", *conditional).body == whole.body


def test_curl_has_another_version(curl: Curl, name: str) -> None:
    """With an `If-Match` of it, it gets a 412, on a connection that stays in use."""
    path = f"/counted/{name}"
    for _ in range(3):
        refused = curl(path, "-H", 'If-Match: "another"', times=3)
        assert (refused.status, refused.body, refused.connections) == (412, b"", 1)
        assert curl(path).status == 200


def test_curl_compares_dates(served: Origin, curl: Curl) -> None:
    """`--time-cond` gets a 304 if the answer is not newer; curl itself takes a 200 for one."""
    for date, status in (("Sun, 31 Dec 2023", 200), ("Mon, 01 Jan 2024", 304)):
        assert curl("/dated", "--time-cond", f"{date} 00:00:00 GMT").status == status
        assert served.seen("/dated")[-1].status == status


@pytest.mark.parametrize("tag", ["If-None-Match", "If-Match"])
def test_curl_asks_for_a_stream(curl: Curl, tag: str) -> None:
    """A stream with an entity tag of its own gets a 304 or a 412, with no body."""
    assert curl("/streamed").body == b"part" * 3
    own = {"If-None-Match": '"of-a-stream"', "If-Match": '"another"'}[tag]
    answer = curl("/streamed", "-H", f"{tag}: {own}", times=3)
    status = {"If-None-Match": 304, "If-Match": 412}[tag]
    assert (answer.status, answer.body, answer.connections) == (status, b"", 1)


def test_curl_is_told_how_old_it_is(curl: Curl) -> None:
    """`Age` is what the endpoint said and the age of the entry; it says the `max-age`, too."""
    assert curl("/aged").headers["age"] == "50"
    eventually(lambda: curl("/aged").headers["age"] == "52", "the entry to be older")
    assert curl("/aged").headers["cache-control"] == "max-age=100"


# --- a browser -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Browser:
    """Chromium, with a folder in which it keeps what it caches."""

    url: str
    folder: Path

    def body(self, path: str) -> str:
        """Start it, go there, and return the text of the page after its scripts have run."""
        said = subprocess.run(
            [
                *(program(*CHROMIUM), *OF_CHROMIUM),
                *(f"--user-data-dir={self.folder}/browser", f"{self.url}{path}"),
            ],
            env=environment(HOME=str(self.folder)),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        found = re.search(r"<body>(.*?)</body>", said.stdout, re.DOTALL)
        assert found, said.stdout + said.stderr
        return html.unescape(found[1]).strip()

    def fetch(self, *steps: tuple[str, str, str]) -> list[tuple[int, str]]:
        """Send requests from a page: of each the method, the path, and `cache` of `fetch`."""
        body = self.body(f"/asking#{quote(json.dumps(steps))}")
        assert body.startswith("["), body
        return [(status, text) for status, text in json.loads(body)]


@pytest.fixture
def browser(served: Origin, tmp_path: Path) -> Browser:
    """Lend Chromium."""
    return Browser(served.url, tmp_path)


def condition_and_status(seen: list[Seen]) -> list[tuple[str, bool, int]]:
    """Return of each request its method, whether it had `If-None-Match`, and the status."""
    return [(each.method, "if-none-match" in each.asked, each.status) for each in seen]


def test_a_browser_reloads_a_page(served: Origin, browser: Browser) -> None:
    """It asks with the entity tag, and gets a 304."""
    before = len(served.seen("/page"))
    assert browser.body("/page") == "reloaded"
    seen = served.seen("/page")[before:]
    assert condition_and_status(seen) == [("GET", False, 200), ("GET", True, 304)]
    assert seen[1].asked["if-none-match"] == seen[0].answered["etag"]


def test_a_browser_uses_what_is_fresh(served: Origin, browser: Browser, name: str) -> None:
    """It asks once, when it is started again, too; with `no-cache` it asks again and gets a 304."""
    path = f"/counted/{name}"
    answers = browser.fetch(*[("GET", path, "default")] * 3)
    answers += browser.fetch(("GET", path, "default"), ("GET", path, "no-cache"))
    assert {status for status, _ in answers} == {200}
    assert len({text for _, text in answers}) == 1
    seen = served.seen(path)
    assert condition_and_status(seen) == [("GET", False, 200), ("GET", True, 304)]


def test_a_browser_asks_each_time(served: Origin, browser: Browser, name: str) -> None:
    """What says `no-cache` is new at once after an invalidation, and a 304 if it is the same."""
    path = f"/checked/{name}"
    get, put = ("GET", path, "default"), ("PUT", path, "default")
    answers = browser.fetch(get, get, put, get, get)
    versions = [json.loads(text)["version"] for status, text in answers if status == 200]
    assert versions == [0, 0, 1, 1]
    assert condition_and_status(served.seen(path)) == [
        ("GET", False, 200),
        ("GET", True, 304),
        ("PUT", False, 204),
        ("GET", True, 200),
        ("GET", True, 304),
    ]
