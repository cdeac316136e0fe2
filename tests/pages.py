"""The service with its page `/cache`, and the page in a real browser."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import httpx2
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.baked import BakedProject, log_of, migrate, serving
from tests.servers import LOOPBACK, Server, free_ports

PREFIX: Final = "page"
MILLISECONDS: Final = 30_000
"""How long the browser waits for what has to come; the machine may be busy."""


@dataclass(frozen=True, slots=True)
class Service:
    """The service in two processes, and the Redis that they share."""

    clients: tuple[httpx2.Client, httpx2.Client]
    redis: Server

    @property
    def url(self) -> str:
        """Where the page of the first process is."""
        return f"{str(self.clients[0].base_url).rstrip('/')}/cache"

    def put(self, key: str, value: object) -> None:
        """Store a value as a program would that uses the cache by hand."""
        with self.redis.client() as client:
            client.set(f"{PREFIX}:{key}", json.dumps(value), ex=600)

    def has(self, key: str) -> bool:
        """Whether something stands at a key."""
        return bool(self.redis.ask("EXISTS", f"{PREFIX}:{key}"))

    def status(self, path: str) -> str:
        """Return what the first process says of the cache for a path."""
        return self.clients[0].get(path).headers["Cache-Status"]


@contextmanager
def running(project: BakedProject, folder: Path, redis: Server) -> Iterator[httpx2.Client]:
    """Run a process of the service until the context ends; return a client for it."""
    (port,) = free_ports(1)
    settings = {
        "CACHE_BACKEND": "redis",
        "CACHE_KEY_PREFIX": PREFIX,
        "CACHE_PAGE": "local",
        "CACHE_PUBLISH_SECONDS": "0.5",
        "DATABASE_URL": f"sqlite+aiosqlite:///{folder}/app.db",
        "REDIS_HOST": LOOPBACK,
        "REDIS_PORT": str(redis.port),
    }
    command = [str(project.path / ".venv/bin/uvicorn"), "app.main:app", "--no-access-log"]
    url = f"http://{LOOPBACK}:{port}"
    migrate(project, folder)
    command += ["--app-dir", str(project.path), "--host", LOOPBACK, "--port", str(port)]
    with serving(command, folder, url, "/health/live", **settings) as client:
        yield client
    log = log_of(command, folder, url)
    assert "Traceback" not in log.read_text(), log.read_text()


@dataclass(slots=True)
class Shown:
    """The page in the browser."""

    page: Page
    service: Service
    said: list[str] = field(default_factory=list)
    """What went wrong, as the console of the browser has it, and what is asked for elsewhere."""

    def open(self) -> None:
        """Go there, and wait until the state is shown."""
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("request", lambda request: self._judge(request.url))
        self.page.goto(self.service.url)
        expect(self.page.locator("#health")).to_have_text("Up")

    def _judge(self, url: str) -> None:
        if not url.startswith((self.service.url, "data:")):
            self.said.append(f"{url} is asked for")

    def __call__(self, selector: str) -> Locator:
        return self.page.locator(selector)

    def button(self, name: str) -> Locator:
        """Return the button of this name."""
        return self.page.get_by_role("button", name=name)

    def tile(self, name: str) -> Locator:
        """Return the number of a tile."""
        return (
            self("#tiles > div")
            .filter(has=self.page.get_by_text(name, exact=True))
            .locator("dd")
            .first
        )

    def search(self, text: str) -> Locator:
        """Search entries, and return their rows."""
        self("#pattern").fill(text)
        self.button("Search").click()
        expect(self("#found")).to_have_text(re.compile("entr"))
        return self("#entries tr")

    def invalidate(self, what: str, name: str) -> None:
        """Fill in the form, as far as the question."""
        self.page.get_by_label(what, exact=True).check(force=True)
        self("#name").fill(name)
        self.button("Invalidate …").click()
        expect(self("#confirm")).to_be_visible()

    def confirm(self) -> None:
        """Answer the question with yes."""
        self.page.get_by_role("button", name="Invalidate", exact=True).click()


@contextmanager
def showing(
    browser: Browser,
    service: Service,
    *,
    clock: bool = False,
    **options: Any,  # noqa: ANN401 - of the browser
) -> Iterator[Shown]:
    """Open the page; nothing must have gone wrong at the end. A `clock` goes on by hand."""
    expect.set_options(timeout=MILLISECONDS)
    context: BrowserContext = browser.new_context(**options)
    context.set_default_timeout(MILLISECONDS)
    if clock:
        context.clock.install()
    try:
        shown = Shown(context.new_page(), service)
        shown.open()
        yield shown
        assert shown.said == []
        assert shown.page.evaluate("window.hacked") is None
    finally:
        context.close()


def violations(page: Page) -> list[str]:
    """Return what axe-core finds: https://github.com/dequelabs/axe-core."""
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    found = page.evaluate("axe.run({resultTypes: ['violations', 'incomplete']})")
    return [
        f"{each['id']}: {node['html'][:200]} {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


OUTLINE: Final = """(at => getComputedStyle(
    at.type === "radio" ? at.nextElementSibling : at
).outlineStyle)(document.activeElement)"""


def focus_of(page: Page) -> Callable[[], str]:
    """Return what tells which element has the focus."""

    def focused() -> str:
        found: str = page.evaluate(
            "(at => at.type === 'radio' ? `${at.name}: ${at.value}` : at.id === 'pattern' || at.id"
            " === 'name' ? at.id : at.tagName === 'SUMMARY' ? 'summary' : at.textContent.trim())"
            "(document.activeElement)"
        )
        return found

    return focused
