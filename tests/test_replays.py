"""What no question was asked for is refused, too: replay files, and names that begin with `__`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.test_answers import CHOICES, KEPT, NO_EMAILS, REFUSED
from tests.test_neighbours import NO_SLUGS
from tests.yard import NEIGHBOUR, PROMPTS, Outcome, Yard, only

CODE: Final = 'x"+__import__("os").system("touch canary")+"'
BREAKS: Final = "\n\r\x00\x85\u2028"
BAD: Final = [CODE, f'x"\n{CODE}', 'x"', "x\\", '"""', "x", None, *BREAKS]
"""What is no answer, or does not follow from one."""
ROUND: Final = ["new/..", "new/../..", f"new/../{NEIGHBOUR}", "dangling/..", "link/..", ".."]
"""Ways that lead back, after which cookiecutter might remove a folder that it has not made."""
DERIVED: Final = [name for name in CHOICES if name[:2] == "__" and isinstance(CHOICES[name], str)]
LINES: Final = ("project_name", "description", "author_name")

Replay = Callable[..., Outcome]


@pytest.fixture
def replay(yard: Yard, small: Path, tmp_path: Path) -> Replay:
    """Return what replays the answers of a run that was right, some of them replaced."""
    shutil.rmtree(only(yard.render(small).made).path)
    (kept,) = yard.replays.iterdir()
    answers = json.loads(kept.read_text())["cookiecutter"]

    def replayed(*options: str, **changed: Any) -> Outcome:  # noqa: ANN401 - any JSON
        file = tmp_path / "changed.json"
        file.write_text(json.dumps({"cookiecutter": answers | changed}))
        return yard.replay(small, *options, file=file)

    return replayed


def assert_refused(outcome: Outcome, *names: str) -> None:
    """Fail unless one of these was refused, once, and nothing is left."""
    assert (outcome.exit_code, outcome.made) == (1, []), outcome.said
    assert outcome.said.count(" is refused. Rule: ") == 1
    assert outcome.said.startswith(tuple(f"{name} " for name in names)), outcome.said


def test_right_answers_are_replayed(replay: Replay) -> None:
    """Each that a question takes makes a service."""
    slug = {"project_slug": "a_b", "__project_slug": "a_b"}
    for changed in ({}, {"example_resource": False}, slug):
        outcome = replay(**changed)
        assert outcome.exit_code == 0, outcome.said
        shutil.rmtree(only(outcome.made).path)


@pytest.mark.parametrize("options", [(), ("-f",)], ids=["new", "over"])
def test_no_slug_of_a_replay_leaves_its_folder(replay: Replay, options: tuple[str, ...]) -> None:
    """No folder that was there is harmed, and no file is new; with `..` an empty folder is."""
    slugs = ["../escaped", *ROUND, *NO_SLUGS[::16], f"../{NEIGHBOUR}", "redis", "x" * 64]
    for slug in slugs:
        outcome = replay(*options, project_slug=slug, __project_slug=slug)
        assert outcome.exit_code, slug
        assert not any(path.is_file() for made in outcome.made for path in made.rglob("*")), slug
        for folder in outcome.made:
            assert "/" in slug
            shutil.rmtree(folder)


@pytest.mark.parametrize("options", [(), ("-f",)], ids=["new", "over"])
def test_a_private_slug_lets_no_other_out(
    yard: Yard, small: Path, options: tuple[str, ...]
) -> None:
    """Who gives the name that is checked after the question gives the slug itself unchecked."""
    for slug in ("x y", "redis", "x-"):
        outcome = yard.render(small, *options, project_slug=slug, __project_slug="x")
        assert_refused(outcome, "project_slug")
    outcome = yard.render(small, *options, project_slug="../escaped", __project_slug="x")
    assert "project_slug '../escaped' is refused" in outcome.said


@pytest.mark.parametrize("name", DERIVED)
def test_what_is_derived_follows_from_the_answers(
    name: str, replay: Replay, yard: Yard, small: Path
) -> None:
    """Nothing else is put into a file, whatever it would have done there."""
    for value in BAD:
        assert_refused(replay(**{name: value}), name)
    assert_refused(yard.render(small, **{name: CODE}), name)
    assert list(yard.root.rglob("canary")) == []


@pytest.mark.parametrize("name", PROMPTS)
def test_an_answer_that_no_question_takes_is_not_replayed(name: str, replay: Replay) -> None:
    """Even if what is derived from it is the same text."""
    bad = {"author_email": NO_EMAILS[::6], "project_slug": ["x y"]}.get(name, ["", "x\ny", "\0"])
    for value in [*bad, *(REFUSED[::8] if name in LINES else ())]:
        if name == "description" and not value:
            continue
        derived = [key for key in DERIVED if name in CHOICES[key]]
        assert_refused(replay(**dict.fromkeys([name, *derived], value)), name)


def test_lines_that_a_question_takes_are_replayed(yard: Yard, small: Path) -> None:
    """As they were typed; what the question made of them is right."""
    for text in KEPT[::20]:
        made = yard.type(small, **dict.fromkeys(LINES, text), project_slug="x")
        before = only(made.made).read("pyproject.toml")
        shutil.rmtree(only(made.made).path)
        again = yard.replay(small)
        assert only(again.made).read("pyproject.toml") == before
        shutil.rmtree(only(again.made).path)
