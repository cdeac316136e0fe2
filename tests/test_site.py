"""The site of the documents: `make docs` builds it, no link is dead, and nobody else is asked."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import build_docs
import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.baked import CACHE, ROOT, environment, free_port, log_of, run, serving
from tests.links import Page, anchors_of, broken_in_site, faults_of, links_of
from tests.origins import program
from tests.servers import LOOPBACK

CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome")
NOT_OURS: Final = re.compile(r"/(\.[^/]+|node_modules)/")
MARKDOWN: Final = [
    file for file in sorted(ROOT.rglob("*.md")) if not NOT_OURS.search(f"/{file.relative_to(ROOT)}")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which the site is built, and not a developer's own."""
    return tmp_path_factory.mktemp("docs")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[str]:
    """Build and serve the site as `make docs SERVE=1` does; return its address, on loopback."""
    port = free_port()
    command = ["make", "-C", str(ROOT), "docs", "SERVE=1", f"BUILD={folder}", f"PORT={port}"]
    url = f"http://{LOOPBACK}:{port}"
    with serving(command, folder, url, "/index.html"):
        yield url
    assert "No issues found" in log_of(command, folder, url).read_text()


@pytest.fixture(scope="module")
def site(folder: Path, served: str) -> Path:
    """Return the folder of the built site."""
    assert served
    return folder / "site"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Lend Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program(*CHROMIUM), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


def test_every_page_is_in_the_site(site: Path) -> None:
    """Each page of `docs/` and of the module has a place in the navigation, and is built."""
    pages = build_docs.pages()
    ours = {*(ROOT / "docs").rglob("*.md"), *(CACHE / "docs").glob("*.md"), CACHE / "README.md"}
    assert ours <= set(pages)
    built = {str(file.relative_to(site).with_suffix(".md")) for file in site.rglob("*.html")}
    assert set(pages.values()) == built - {"404.md"}


def test_the_reference_has_every_public_name(site: Path) -> None:
    """All of `__all__`, from its docstring, each with a text."""
    code = (CACHE / "__init__.py").read_text()
    names = re.findall(r'"(\w+)"', code.partition("__all__ = [")[2].partition("]")[0])
    reference = (site / "reference.html").read_text()
    anchors = Page.of(site / "reference.html").anchors
    assert [name for name in names if f"app.core.cache.{name}" not in anchors] == []
    for sentence in ("Cache the result of the function.", "Return the value at"):
        assert sentence in reference


def test_no_link_of_the_site_is_dead(site: Path) -> None:
    """Each link leads to a page or file that is there, and to an anchor that it has."""
    assert list(broken_in_site(site)) == []


def test_dead_links_of_a_site_are_found(site: Path, tmp_path: Path) -> None:
    """A page that is gone, and an anchor that is gone, are noticed."""
    copy = shutil.copytree(site, tmp_path / "site")
    (copy / "tags.html").unlink()
    settings = copy / "cache" / "index.html"
    settings.write_text(settings.read_text().replace('id="settings"', ""))
    broken = "\n".join(broken_in_site(copy))
    assert "index.html: tags.html leads nowhere" in broken
    assert "tuning.html: cache/index.html#settings leads to no anchor" in broken


@pytest.mark.parametrize("link", ["nowhere.md", "tags.md#nowhere"])
def test_a_dead_link_ends_the_build(link: str, tmp_path: Path) -> None:
    """`make docs` fails, and names the page."""
    copy = tmp_path / "template"
    copy.mkdir()
    for name in ("docs", "scripts", "benchmarks", build_docs.TEMPLATE):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml", "CHANGELOG.md", "DECISIONS.md", "DEVELOPING.md"):
        shutil.copy(ROOT / name, copy)
    with (copy / "docs" / "faq.md").open("a") as page:
        page.write(f"\nSee [this]({link}).\n")
    done = subprocess.run(
        ["make", "docs", f"BUILD={tmp_path / 'build'}"],
        cwd=copy,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode != 0
    assert "faq.md" in done.stdout + done.stderr


def test_it_says_where_the_site_is(folder: Path) -> None:
    """`make docs` ends with the page to open, unless it serves the site itself."""
    command = ["make", "-C", str(ROOT), "--dry-run", "docs", f"BUILD={folder}"]
    said, served = (run(*command, *more, cwd=ROOT) for more in ([], ["SERVE=1"]))
    assert f"{folder}/site/index.html; make docs SERVE=1 shows it" in said
    assert "index.html" not in served


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """No page names a font, a style, a script or a picture of another host."""
    for file in site.rglob("*.html"):
        assert [link for link in Page.of(file).loaded if "//" in link] == []
    styles = "".join(file.read_text() for file in site.rglob("*.css"))
    assert re.findall(r"""(?:url\(|@import\s*)["']?(?:https?:)?//""", styles) == []


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it(browser: Browser, served: str, width: int, scheme: str) -> None:
    """On a telephone and a desk, light and dark: no error, no wide page, nobody else asked."""
    options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    context = browser.new_context(**options)  # type: ignore[arg-type]
    page = context.new_page()
    asked: set[str] = set()
    errors: list[str] = []
    page.on("request", lambda request: asked.add(request.url))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    for name in ("index", "protocol", "tuning", "reference", "cache/index", "project/decisions"):
        page.goto(f"{served}/{name}.html")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        assert page.evaluate("document.body.dataset.mdColorScheme") == (
            "slate" if scheme == "dark" else "default"
        )
    context.close()
    assert errors == []
    assert [url for url in asked if not url.startswith((served, "data:", "blob:"))] == []


@pytest.mark.parametrize("file", MARKDOWN, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_of_markdown_lead_somewhere(file: Path) -> None:
    """In the repository, too: to a file and to a heading; those to elsewhere have a good form."""
    assert faults_of(file, ROOT) == []


def test_faults_of_links_are_found(tmp_path: Path) -> None:
    """A file, a heading and an address that cannot be; code is not looked at."""
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    other.write_text("# One `code` thing\n\n## Same\n\n## Same\n")
    page.write_text(
        "# Page\n[a](other.md) [b](other.md#one-code-thing) [c](<other.md#same-1>) [d](#page)\n"
        "[e](none.md) [f](other.md#none) [g](#none) [h](https://example) [i](ftp://example.com)\n"
        "`[j](none.md)` <https://example.com/path>\n```\n[k](none.md)\n```\n"
    )
    assert faults_of(page, tmp_path) == [
        "page.md: none.md leads nowhere",
        "page.md: other.md#none leads to no heading",
        "page.md: #none leads to no heading",
        "page.md: https://example is no address",
        "page.md: ftp://example.com is no address",
    ]
    assert anchors_of(other.read_text()) == {"one-code-thing", "same", "same-1"}
    assert "https://example.com/path" in links_of(page.read_text())
