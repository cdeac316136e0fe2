"""A release of the cache module lists its files as they are; between releases there is no list."""

import re
import shutil
from datetime import date
from pathlib import Path

import pytest
from release import CACHE, CHANGELOG, dated, digests_module, release, reopen, reopened

DIGESTS = digests_module()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the folder of the cache."""
    folder = tmp_path / "cache"
    shutil.copytree(CACHE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_the_list_of_a_release_is_right() -> None:
    """A version that is a release has a list that fits; one in the making has none.

    If this fails at a release, run `scripts/release.py` again; after one, run it with `--open`.
    """
    version = DIGESTS.version_of(CACHE)
    found = DIGESTS.differences(CACHE)
    if re.fullmatch(r"\d+\.\d+\.\d+\.dev0", version):
        assert found is None
    else:
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
        assert found == ([], [], [])


def test_a_release_and_the_work_after_it(copy: Path) -> None:
    """Both write the version; only a release has a list."""
    release("1.2.3", copy)
    assert DIGESTS.version_of(copy) == "1.2.3"
    assert DIGESTS.differences(copy) == ([], [], [])
    (copy / "base.py").write_text("")
    assert DIGESTS.differences(copy).changed == ["base.py"]
    reopen("1.3.0", copy)
    assert DIGESTS.version_of(copy) == "1.3.0.dev0"
    assert DIGESTS.differences(copy) is None


def test_the_changelog_tells_of_releases_of_the_module() -> None:
    """Its part gets a heading for each, and a place for what comes next; the template's stays."""
    text = "# Changelog\n\n## The cache module\n\n### [Unreleased]\n\n- New.\n"
    text += "\n## The template\n\n### [Unreleased]\n"
    released = dated(text, "1.2.3", date(2026, 1, 2))
    assert released == text.replace("[Unreleased]", "[1.2.3] - 2026-01-02", 1)
    following = reopened(released)
    assert following == released.replace("### [1", "### [Unreleased]\n\n### [1", 1)
    assert dated(CHANGELOG.read_text(), "1.2.3", date(2026, 1, 2)).count("[1.2.3]") == 1


@pytest.mark.parametrize("number", ["1.2", "v1.2.3", "1.2.3rc1", ""])
def test_a_number_of_another_form_is_refused(copy: Path, number: str) -> None:
    """Nothing is written then."""
    before = DIGESTS.digests_of(copy)
    for step in (release, reopen):
        with pytest.raises(ValueError, match="is no version of the form"):
            step(number, copy)
    assert DIGESTS.digests_of(copy) == before
