"""Who copies the cache module, or renders a service, keeps the terms without thinking of them."""

import json

import pytest

from tests.baked import CACHE, ROOT, Bake

NOTICE = "app/core/cache/LICENSE"
LICENCES = json.loads((ROOT / "cookiecutter.json").read_text())["license"]


def test_the_folder_has_the_terms_of_this_project() -> None:
    """All of them, and the name of the project that they are from."""
    notice = (CACHE / "LICENSE").read_text()
    assert notice.endswith((ROOT / "LICENSE").read_text())
    assert "project\nfastapi-cache-template," in notice
    assert 'name = "fastapi-cache-template"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("licence", LICENCES)
def test_a_service_says_who_wrote_what(bake: Bake, licence: str) -> None:
    """Whatever its own licence is: the notice is there, and its README and licence name it."""
    project = bake(license=licence, author_name="Ada Lovelace")
    assert (project.path / NOTICE).read_bytes() == (CACHE / "LICENSE").read_bytes()
    assert f"]({NOTICE})" in project.read("README.md").partition("## Licence\n")[2]
    if licence == "Proprietary":
        assert not (project.path / "LICENSE").exists()
    else:
        own, _, others = project.read("LICENSE").rpartition("\n----\n")
        assert "Ada Lovelace" in own
        assert NOTICE in others
