"""The page `/cache` of the rendered service, in a real browser: it shows, and it invalidates.

Chromium is the one of the system; what drives it is told where it is, and loads nothing.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.baked import BakedProject, eventually
from tests.origins import program
from tests.pages import OUTLINE, PREFIX, Service, Shown, focus_of, running, showing, violations
from tests.servers import LOOPBACK, one_server

CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome")
WIDTHS: Final = (360, 1280)
THEMES: Final = ("light", "dark")

MARKUP: Final = "<img src=x onerror='window.hacked = 1'><script>window.hacked = 1</script>"
HOSTILE: Final = f"{MARKUP}\x00\x1b[2J\u202e"
AS_SHOWN: Final = f"{MARKUP}\\x00\\x1b[2J\\u202e"


@pytest.fixture(scope="module")
def service(installed: BakedProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Lend the service."""
    folder = tmp_path_factory.mktemp("page")
    with ExitStack() as stack:
        redis = stack.enter_context(one_server())
        one, other = [stack.enter_context(running(installed, folder, redis)) for _ in range(2)]
        yield Service((one, other), redis)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Lend Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program(*CHROMIUM),
            args=[
                *("--no-sandbox", "--disable-dev-shm-usage"),
                f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {LOOPBACK}",  # it asks nobody else
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def shown(browser: Browser, service: Service) -> Iterator[Shown]:
    """Lend the page. The cache is empty."""
    with service.redis.client() as client:
        client.delete(f"{PREFIX}:nothing", *client.scan_iter(f"{PREFIX}:*"))
    with showing(browser, service) as shown:
        yield shown


@pytest.fixture
def user(service: Service) -> Iterator[str]:
    """Create a user, and return the path of it."""
    client = service.clients[0]
    created = client.post("/users", json={"name": MARKUP[:200], "email": "ada@example.com"})
    assert created.status_code == 201, created.text
    path = f"/users/{created.json()['id']}"
    yield path
    assert client.delete(path).status_code == 204


# --- what it shows -------------------------------------------------------------------------------


def test_the_plots_move_under_traffic(shown: Shown, service: Service, user: str) -> None:
    """And so do the numbers: calls, the hit ratio, the time that was saved."""
    assert shown.page.title() == "Cache"
    expect(shown("h1")).to_have_text(f"Cache {PREFIX}")
    before = shown("#plot-calls path.one").count()
    client = service.clients[0]

    def has_moved() -> bool:
        for _ in range(20):
            assert client.get(user).is_success
        drawn = shown("#plot-ratio path.one").count()
        line = shown("#plot-ratio path.one").last.get_attribute("d") if drawn else None
        return line is not None and line.count("L") >= 3

    eventually(has_moved, "the plot of the hit ratio to have several points")
    assert shown("#plot-calls path.one").count() >= max(1, before)
    expect(shown("#says-latency")).to_contain_text("hits, median")
    expect(shown.tile("Hit ratio")).to_have_text(re.compile(r"^(9\d\.\d|100\.0)\s%$"))
    assert float(shown.tile("Calls a second").inner_text().replace(",", "")) > 0
    row = shown("#prefixes tr").filter(has_text="users")
    cells = dict(
        zip(
            row.locator("td").evaluate_all("all => all.map(one => one.dataset.label)"),
            row.locator("td").all_inner_texts(),
            strict=True,
        )
    )
    assert int(cells["Hits"].replace(",", "")) > 20
    assert int(cells["Misses"]) >= 1
    assert cells["Mean fill"].endswith("s")
    label = shown("#plot-ratio svg").get_attribute("aria-label")
    assert label is not None
    assert label.startswith("Hit ratio over time. Now ")


def test_the_plots_are_there_as_a_table(shown: Shown, service: Service, user: str) -> None:
    """For those who cannot see them."""
    for _ in range(5):
        service.clients[0].get(user)
    shown("summary").click()
    expect(shown("#numbers-rows tr").first).to_be_visible()
    assert len(shown("#numbers-rows tr").first.locator("th, td").all()) == 6


def test_all_processes_can_be_counted(shown: Shown, service: Service, user: str) -> None:
    """Each by itself, and added up."""
    for client in service.clients:
        assert client.get(user).is_success
    rows = shown("#processes tr")
    expect(rows).to_have_count(2)
    shown.page.get_by_label("All processes").check(force=True)

    def adds_up() -> bool:
        numbers = shown("#processes td[data-label=Calls]").all_inner_texts()
        rows = shown("#prefixes td[data-label=Calls]").all_inner_texts()
        return sum(map(_number, numbers)) == sum(map(_number, rows)) > 0 and len(numbers) == 2

    eventually(adds_up, "the numbers of both processes")


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def test_a_pause_is_one(browser: Browser, service: Service) -> None:
    """Nothing is asked, and nothing moves, until it goes on."""
    asked: list[str] = []
    with showing(browser, service, clock=True) as shown:
        shown.page.on("request", lambda request: asked.append(request.url))
        shown.page.clock.run_for(10_000)
        assert asked
        shown.button("Pause").click()
        expect(shown.button("Go on")).to_have_attribute("aria-pressed", "true")
        asked.clear()
        shown.page.clock.run_for(60_000)
        assert asked == []
        shown.button("Go on").click()
        with shown.page.expect_response("**/cache/data"):
            shown.page.clock.run_for(10_000)


# --- entries and invalidations -------------------------------------------------------------------


def test_an_entry_is_found_read_and_invalidated(shown: Shown, service: Service, user: str) -> None:
    """After a question; the next call computes it anew."""
    service.clients[0].get(user)
    assert "; hit" in service.status(user)
    rows = shown.search("users:")
    expect(rows).to_have_count(1)
    rows.get_by_role("button").click()
    entry = shown("#entry")
    expect(entry).to_be_visible()
    expect(shown("#entry-content")).to_contain_text("ada@example.com")
    expect(shown("#entry-facts")).to_contain_text("response 200")
    expect(shown("#entry-facts")).to_contain_text("app.api.users.read_user")
    expect(shown("#entry-headers")).to_contain_text("application/json")
    shown.button("Invalidate this key …").click()
    shown("#confirm").get_by_role("button", name="Cancel").click()
    assert "; hit" in service.status(user)
    shown.button("Invalidate this key …").click()
    shown.confirm()
    expect(shown("#entry-effect")).to_contain_text("one key was removed")
    expect(shown("#found")).to_have_text("No entries.")
    assert "fwd=miss" in service.status(user)
    shown.page.keyboard.press("Escape")
    expect(shown("#pattern")).to_be_focused()  # its row is gone


def test_a_pattern_is_invalidated(shown: Shown, service: Service) -> None:
    """The effect says how many keys that were."""
    for key in ("report:1", "report:2", "other"):
        service.put(key, 1)
    expect(shown.search("report")).to_have_count(2)
    shown.invalidate("Pattern", "report:*")
    expect(shown("#confirm-name")).to_have_text("report:*")
    shown.confirm()
    expect(shown("#effect")).to_contain_text("2 keys were removed")
    expect(shown("#entries-table")).to_be_hidden()
    assert [service.has(key) for key in ("report:1", "report:2", "other")] == [False, False, True]
    shown.invalidate("Pattern", "*")
    expect(shown("#confirm-title")).to_have_text("Invalidate everything?")
    shown.confirm()
    eventually(lambda: not service.has("other"), "everything to be removed")


def test_a_tag_is_invalidated(shown: Shown, service: Service, user: str) -> None:
    """By the form, and from an entry that has it."""
    service.clients[0].get(user)
    for from_entry in (False, True):
        assert "; hit" in service.status(user)
        if from_entry:
            shown.search("users:").get_by_role("button").first.click()
            shown.button("Invalidate the tag users …").click()
        else:
            shown.invalidate("Tag", "users")
        shown.confirm()
        effect = shown("#entry-effect" if from_entry else "#effect")
        expect(effect).to_contain_text("The tag users is invalidated")
        assert "fwd=miss" in service.status(user)


def test_a_name_that_is_none_is_refused(shown: Shown) -> None:
    """In words, and nothing breaks."""
    shown.invalidate("Key", "~tags")
    shown.confirm()
    expect(shown("#effect")).to_contain_text("is not invalidated")
    assert len(shown.said) == 1
    assert "422" in shown.said.pop()


def test_it_says_that_redis_is_away(shown: Shown, service: Service) -> None:
    """It goes on, keeps what is to be invalidated, and tells when Redis is back."""
    service.put("report:1", 1)
    service.redis.kill()
    try:
        expect(shown("#health")).to_have_text("Away")
        expect(shown("#notice")).to_contain_text("The backend does not answer")
        shown.invalidate("Key", "report:1")
        shown.confirm()
        expect(shown("#effect")).to_contain_text("It is kept")
        expect(shown.tile("Pending invalidations")).to_have_text("1")
        expect(shown.tile("Breaker")).to_have_text("open")
        shown("#pattern").fill("report")
        shown.button("Search").click()
        expect(shown("#found")).to_contain_text("does not answer")
    finally:
        service.redis.start()
    expect(shown("#health")).to_have_text("Up")
    expect(shown("#notice")).to_be_hidden()
    expect(shown.tile("Pending invalidations")).to_have_text("0")
    expect(shown.tile("Breaker")).to_have_text("closed")


# --- for all -------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_everybody_can_use_it(
    browser: Browser, service: Service, user: str, theme: str, width: int
) -> None:
    """At any width, in both themes: axe-core finds nothing, and nothing sticks out at the side."""
    service.put("report:1", {"name": "x" * 300})
    service.put(HOSTILE, {"text": HOSTILE})
    for _ in range(3):
        service.clients[0].get(user)
    options: dict[str, Any] = {
        "viewport": {"width": width, "height": 800},
        "color_scheme": theme,
        "bypass_csp": True,  # for axe-core, which is no part of the page
    }
    with showing(browser, service, **options) as shown:
        assert shown("html").get_attribute("data-theme") == theme
        shown("summary").click()
        expect(shown.search("").first).to_be_visible()
        assert violations(shown.page) == []
        assert shown.page.evaluate("document.documentElement.scrollWidth") == width
        shown("#entries").get_by_role("button", name="report:1").click()
        expect(shown("#entry")).to_be_visible()
        assert violations(shown.page) == []
        shown.button("Invalidate this key …").click()
        expect(shown("#confirm")).to_be_visible()
        assert violations(shown.page) == []
        box = shown("#confirm").bounding_box()
        assert box is not None
        assert 0 <= box["x"] < box["x"] + box["width"] <= width


def test_a_theme_is_chosen_and_remembered(browser: Browser, service: Service) -> None:
    """Until then the page goes by the system, and changes with it."""
    with showing(browser, service, color_scheme="dark") as shown:
        html = shown("html")
        expect(html).to_have_attribute("data-theme", "dark")
        shown.page.emulate_media(color_scheme="light")
        expect(html).to_have_attribute("data-theme", "light")
        for theme in THEMES:
            shown("#theme").click()
            expect(shown("#theme")).to_have_text(f"Theme: {theme}")
            expect(html).to_have_attribute("data-theme", theme)
        shown.page.reload()
        expect(html).to_have_attribute("data-theme", "dark")


def test_a_keyboard_is_enough(shown: Shown, service: Service) -> None:
    """The focus goes from the top to the bottom, is seen, and comes back from a dialog."""
    service.put("report:1", 1)
    press, focused = shown.page.keyboard.press, focus_of(shown.page)
    press("Tab")
    assert focused() == "Skip to the content"
    press("Enter")
    order = list[str]()
    while not order or order[-1] != "Search":
        press("Tab")
        order.append(focused())
        assert shown.page.evaluate(OUTLINE) == "solid", order[-1]
        assert len(order) < 20, order
    assert order == ["summary", "what: key", "name", "Invalidate …", "pattern", "Search"]
    press("Shift+Tab")
    shown.page.keyboard.type("report")
    press("Enter")
    expect(shown("#entries tr")).to_have_count(1)
    press("Tab")
    press("Tab")
    assert focused() == "report:1"
    press("Enter")
    expect(shown("#entry")).to_be_visible()
    while focused() != "Invalidate this key …":
        press("Tab")
    press("Enter")
    expect(shown("#confirm")).to_be_visible()
    assert focused() == "Cancel"
    press("Escape")
    expect(shown("#confirm")).to_be_hidden()
    assert focused() == "Invalidate this key …"
    assert service.has("report:1")
    press("Enter")
    press("Tab")
    assert focused() == "Invalidate"
    press("Enter")
    expect(shown("#entry-effect")).to_contain_text("one key was removed")
    press("Escape")
    expect(shown("#entry")).to_be_hidden()
    assert not service.has("report:1")


# --- those who mean harm -------------------------------------------------------------------------


def test_what_is_stored_is_text(shown: Shown, service: Service) -> None:
    """Markup and control characters in keys, contents, tags; a content of a megabyte."""
    service.put(HOSTILE, {"text": HOSTILE})
    service.put("large", MARKUP * 20_000)
    rows = shown.search("")
    expect(rows).to_have_count(2)
    assert AS_SHOWN in rows.all_inner_texts()[0]
    rows.get_by_role("button").first.click()
    expect(shown("#entry-title")).to_have_text(f"Entry {AS_SHOWN}")
    expect(shown("#entry-content")).to_contain_text("<img src=x onerror=")
    shown.button("Close").click()
    shown("#entries").get_by_role("button", name="large").click()
    expect(shown("#entry-title")).to_have_text("Entry large")
    assert 10_000 < len(shown("#entry-content").inner_text()) < 30_000
    shown.button("Close").click()
    shown.invalidate("Tag", HOSTILE)
    expect(shown("#confirm-name")).to_have_text(AS_SHOWN)
    shown.confirm()
    expect(shown("#effect")).to_contain_text(AS_SHOWN)
    assert shown("img, main script, dialog script").count() == 0


def test_what_processes_publish_is_text(shown: Shown, service: Service, user: str) -> None:
    """Others may write to Redis, too."""
    for client in service.clients:
        client.get(user)
    with service.redis.client() as client:

        def published() -> list[Any]:
            keys = client.scan_iter(f"{PREFIX}:~page:*")
            found = [json.loads(client.get(key) or "[[]]") for key in keys]
            return [each for each in found if "users" in json.dumps(each)]

        eventually(lambda: bool(published()), "counters of the other process")
        text = json.dumps(published()[0]).replace("users", "another")
        forged = json.loads(text)
        forged[0], forged[1] = "0123456789abcdef", HOSTILE
        forged[5] = {HOSTILE: next(iter(forged[5].values()))}
        client.set(f"{PREFIX}:~page:100", json.dumps(forged), ex=60)
    expect(shown("#processes")).to_contain_text(AS_SHOWN)
    shown.page.get_by_label("All processes").check(force=True)
    expect(shown("#prefixes")).to_contain_text(AS_SHOWN)
    assert shown("img, main script").count() == 0


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """Lend another origin, of which each page is empty."""

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title><body></body>")

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer((LOOPBACK, 0), Empty) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{LOOPBACK}:{server.server_port}"
        server.shutdown()
        thread.join()


FETCH: Final = """async ([url, options]) => {
    try {
        const reply = await fetch(url, options);
        return `${reply.type} ${reply.status} ${await reply.text()}`;
    } catch (error) {
        return error.name;
    }
}"""
FORM: Final = """([url, type]) => {
    const form = document.createElement("form");
    Object.assign(form, {method: "post", action: url, enctype: type});
    const field = document.createElement("input");
    Object.assign(field, {name: '{"key": "report:1", "x": "', value: '"}'});
    form.append(field);
    document.body.append(form);
    form.submit();
}"""


def test_a_foreign_page_can_neither_read_nor_change_anything(
    browser: Browser, service: Service, elsewhere: str
) -> None:
    """Not by `fetch`, with the header or without, not by a form, and not in a frame."""
    service.put("report:1", 1)
    write = f"{service.url}/invalidate"
    body = {"method": "POST", "body": '{"key": "report:1"}'}
    with_header = {"X-Cache-Page": "1", "Content-Type": "application/json"}
    page = browser.new_page()
    try:
        page.goto(elsewhere)
        asks: list[tuple[str, dict[str, Any]]] = [
            (f"{service.url}/data", {}),
            (write, {**body, "headers": with_header}),
            (write, {**body, "headers": {"Content-Type": "text/plain"}}),
        ]
        for url, options in asks:
            assert page.evaluate(FETCH, [url, options]) == "TypeError"
        assert page.evaluate(FETCH, [write, {**body, "mode": "no-cors"}]) == "TypeError"
        for encoding in ("text/plain", "application/x-www-form-urlencoded"):
            page.goto(elsewhere)
            with page.expect_navigation() as navigation:
                page.evaluate(FORM, [write, encoding])
            assert navigation.value is not None
            assert navigation.value.status == 403
        assert service.has("report:1")
        page.goto(elsewhere)
        page.set_content(f"<iframe src='{service.url}'></iframe>")
        page.wait_for_load_state()
        assert not any("/cache" in frame.url for frame in page.frames)
    finally:
        page.close()


def test_a_name_that_leads_here_is_not_served(service: Service) -> None:
    """DNS rebinding: the browser of somebody on this machine asks by the name of another site."""
    for host in ("evil.example", f"{LOOPBACK}.nip.io"):
        for path in ("/cache", "/cache/data", "/cache/entries"):
            reply = service.clients[0].get(path, headers={"Host": host})
            assert reply.status_code == 404
