"""The notes for those who come from another library: its code and ours run, and answer the same."""

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis_server import RedisServer

from tests.baked import CACHE, ROOT, TEMPLATE, copy_cache, run
from tests.libraries import (
    ASKED_TWICE,
    DIFFERENCES,
    LIBRARIES,
    OUR_IMPORTS,
    PAGES,
    Library,
    python_of,
)
from tests.shops import OLD, OURS, Application, running, steps_of

each_library = pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.page)


def test_each_page_has_its_library() -> None:
    """No page is without a test."""
    assert {file.stem for file in PAGES.glob("*.md")} == {each.page for each in LIBRARIES}


@each_library
def test_headers_are_told(library: Library) -> None:
    """Each header that only one of the two sends stands on the page."""
    page = (PAGES / f"{library.page}.md").read_text().lower()
    assert all(f"`{header}`" in page for header in library.headers)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the cache module, below the name that the pages have."""
    folder = tmp_path_factory.mktemp("package")
    copy_cache(folder / "app" / "core" / "cache")
    return folder


@pytest.fixture
def settings(redis_server: RedisServer, package: Path) -> Iterator[dict[str, str]]:
    """Return the environment of applications; the keys of the test are removed afterwards."""
    prefix = f"migrate-{uuid.uuid4().hex}"
    yield {
        "REDIS_URL": redis_server.url,
        "REDIS_PREFIX": f"{prefix}-{OLD}",
        "CACHE_KEY_PREFIX": f"{prefix}-{OURS}",
        "PYTHONPATH": str(package),
    }
    with Redis.from_url(redis_server.url) as redis:
        for key in redis.scan_iter(f"*{prefix}*"):
            redis.unlink(key)


@each_library
def test_both_answer_the_same(
    library: Library, settings: dict[str, str], adopter: Path, tmp_path: Path
) -> None:
    """What stands on the page before and after answers alike, and reads the database as often."""
    steps = steps_of(library.page, settings["REDIS_PREFIX"])
    theirs = Application(tmp_path / "theirs", "before", python_of(library.group), steps.before)
    ours = Application(tmp_path / "ours", "after", adopter, steps.after)
    with running(settings, theirs, ours) as (before, after):
        reads = [before.get(1), before.get(1), before.get(2), before.get(9), before.get("x")]
        assert reads == [after.get(1), after.get(1), after.get(2), after.get(9), after.get("x")]
        assert [each.status for each in reads] == [200, 200, 200, 404, 422]
        assert before.headers() ^ after.headers() == library.headers
        assert before.rename(1, "Lin") == after.rename(1, "Lin")
        assert after.get(1).body == {"id": 1, "name": "Lin"}
        before.has_at_last(1, "Lin", library)
        assert before.get(1) == after.get(1)
        assert before.reads() == after.reads() == ["1", "2", "9", "1"]


@each_library
def test_they_run_side_by_side(library: Library, settings: dict[str, str], tmp_path: Path) -> None:
    """While instances of two steps run, a write that either gets is seen by the readers of both."""
    steps, python = steps_of(library.page, settings["REDIS_PREFIX"]), python_of(library.beside)
    applications = [
        Application(tmp_path / "both", "first", python, steps.first),
        Application(tmp_path / "both", "second", python, steps.second),
    ]
    with running(settings, *applications) as (first, second):
        for _ in range(2):
            assert first.get(1) == second.get(1)
        assert first.reads() == ["1", "1"]  # one read for each of the caches
        with Redis.from_url(settings["REDIS_URL"]) as redis:
            for prefix in (settings["CACHE_KEY_PREFIX"], settings["REDIS_PREFIX"]):
                assert list(redis.scan_iter(f"{prefix}:*"))
        for writer, name in ((first, "Lin"), (second, "Grace")):
            writer.rename(1, name)
            assert second.get(1).body == {"id": 1, "name": name}
            first.has_at_last(1, name, library)


@each_library
def test_the_version_is_the_one_that_runs(library: Library) -> None:
    """A page begins with the version that pyproject.toml pins."""
    pins = (ROOT / "pyproject.toml").read_text()
    versions = set(re.findall(rf'"{library.page}(?:\[\w+\])?==([\d.]+)"', pins))
    assert len(versions) == 1
    beginning = (PAGES / f"{library.page}.md").read_text()[:200]
    assert re.findall(r"\) ([\d.]+\d)", beginning) == [*versions]


@pytest.mark.parametrize("page", DIFFERENCES)
def test_what_differs(page: str, package: Path, tmp_path: Path) -> None:
    """A difference that a page tells is one, in the functions that run."""
    library = next(each for each in LIBRARIES if each.page == page)
    difference = DIFFERENCES[page]
    assert difference.says in (PAGES / f"{page}.md").read_text()
    begin = f"import {library.package}\n{library.imports.partition('@')[0]}"
    code = f"{begin}\n{ASKED_TWICE.format(body=difference.body.strip(chr(10)))}"
    python = python_of(library.beside)
    printed = run(python, "-c", code, cwd=tmp_path, PYTHONPATH=str(package))
    assert printed.splitlines()[-1] == difference.runs


@each_library
def test_their_calls_are_there(library: Library) -> None:
    """Each call of theirs that a page names is one of the library, and takes these arguments."""
    python = python_of(library.group)
    packages = next(python.parent.parent.glob("lib/python*/site-packages"))
    names = (library.package, f"{library.page.replace('-', '_')}-*")  # and what it says of itself
    sources = [folder for name in names for folder in packages.glob(name)]
    assert wrong_calls(python, library.imports, sources, calls_of(library.page, column=0)) == []


@each_library
def test_our_calls_are_there(library: Library, adopter: Path) -> None:
    """Each call of ours that a page names is there, and each decorator takes what the page says."""
    calls = calls_of(library.page, column=1)
    functions = [
        f"{call}\nasync def read_{number}({'self, ' * ('self' in call)}user_id: int) -> int:\n"
        "    return user_id\n"
        for number, call in enumerate(dict.fromkeys(calls))
        if call.startswith("@")
    ]
    assert functions
    imports = "\n\n".join([OUR_IMPORTS, *functions])
    assert wrong_calls(adopter, imports, [CACHE], calls) == []


def calls_of(page: str, column: int) -> list[str]:
    """Return what stands as code in a column of the table."""
    rows = re.findall(r"^\| (?!theirs|-)(.*) \|$", (PAGES / f"{page}.md").read_text(), re.MULTILINE)
    assert len(rows) > 10
    assert {row.count(" | ") for row in rows} == {2}
    return [call for row in rows for call in re.findall(r"`([^`]+)`", row.split(" | ")[column])]


def wrong_calls(python: Path, imports: str, sources: list[Path], calls: list[str]) -> list[str]:
    """Return the calls that are not there, as an interpreter with the package sees it."""
    assert sources
    question = {"imports": imports, "sources": [*map(str, sources)], "calls": calls}
    script = ROOT / "tests" / "calls.py"
    where = {"PYTHONPATH": str(TEMPLATE), "PYTHONDONTWRITEBYTECODE": "1"}
    printed = run(python, str(script), cwd=ROOT, text=json.dumps(question), **where)
    answer: list[str] = json.loads(printed.splitlines()[-1])
    return answer
