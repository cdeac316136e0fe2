"""Whatever is answered, nothing but the service's own new folder is touched."""

import itertools
import os
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from tests import checks
from tests.baked import ROOT, UV, run
from tests.yard import NEIGHBOUR, Outcome, Yard, only, typed

TEXTS = ("project_name", "description", "author_name")
MAKE_NEW = ("make", "new", "TO=..")
SLUG = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")

# These are tables.
# fmt: off
NO_SLUGS = [
    *("..", ".", "../", "./", "/", "//", "...", "....", ". .", ".. ", " .."),
    *("x/..", "x/../..", "x/../../..", "x/y/../../../..", "../x", "../../x", "./x", "x/", "/x"),
    "x/y",
    *("x\\..", "..\\..", "x\\y", "C:", "C:\\x", "\\\\host\\share", "x/./..", "x//..", "/.."),
    "../here",
    *(f"../{NEIGHBOUR}", f"{NEIGHBOUR}/deep", f"./{NEIGHBOUR}", f"{NEIGHBOUR}/"),
    f"x/../{NEIGHBOUR}",
    *("link/..", "link/deep", "dangling/..", "file.txt/..", "file.txt", "repository/.git", ".git"),
    *("~", "~/x", "~root", "$HOME", "${HOME}", "%TEMP%", "$(touch x)", "`touch x`", "x;y"),
    *("x|y", "*"),
    *("x.", "x..", "x...", ".x", "x y", "x\ty", "x\vy", "x\x7f", "x\x1b[2J", "x\u202e", "\u2025"),
    *("x\u2215..", "x\uff0f..", "x\u2024\u2024", "\uff0e\uff0e", "\uff58", "sérvice", "İ", "ß"),
    "x\u0301",
    *("con", "nul", "prn", "aux", "com1", "lpt9", "CON", "nul.txt", "x:y", "x?", "x<y>", 'x"y'),
    "x'y",
    *("X", "1x", "-x", "--help", "-f", "_x", "x-", "x_", "x--y", "x__y", "x-_y", "x" * 64),
    "x" * 300,
    *("{{x}}", "{{ '..' }}x/..", "{% raw %}", "{#", "# % if x", "x\\u002f", "x%2f.."),
    *("x&#47;..", "!x"),
    *("👩", "\ufeffx", "x\0", "\0", "x/..\0"),
]
"""Answers that are no slug, as they are typed."""

MORE_NO_SLUGS = [
    *("", " ", "\n", "x\n", "x\n..", "x\r", "\r\n", "x\u2028", "x\udcff", "x\udcff/.."),
    *("{{ '..' }}", "{{ 'x/..' }}", "{{ 'x/' * 9 }}../..", "{{ ''"),
    "{{ cookiecutter.project_name }}",
    "{{ cookiecutter.update(project_slug='x') }}/..",
]
"""What can be given on the command line only, where cookiecutter renders it first."""

LINES = [
    *("..", "x/..", "../../x", "/", "\\", "~", "$HOME", ".", "x" * 300, "'", '"', '"""', "'''"),
    *("x\\", "{{ 7 * 7 }}", "{% endraw %}", "{#", "#}", "# % endif", "$(touch x)", "&anchor"),
    "*alias",
    *("[section]", "- item", "key: value", "null", "true", "1e9", "--help", "-f", "<b>"),
    *("👩‍🚀", "%s", "{0}", "\\N{BULLET}", "İß", "x # y", " x ", "x\u00a0y", "$$"),
    *("@", "é"),
]
"""Odd lines of text."""
# fmt: on

CONTROLS = ["x\x1by", "x\x7fy", "x\vy", "x\fy", "x\u2028y", "x\x85y", "a\u202eb", "\ufeffbom"]


def refused(outcome: Outcome) -> bool:
    """Tell whether a run has failed; nothing may be left of it then."""
    if outcome.exit_code:
        assert outcome.made == []
        return True
    assert SLUG.fullmatch(only(outcome.made).path.name)
    return False


def test_no_slug_that_is_typed_leaves_its_folder(yard: Yard, small: Path) -> None:
    """Each is refused with the value, the rule and an example, and nothing is touched."""
    for slug in NO_SLUGS:
        outcome = yard.type(small, project_slug=slug)
        assert refused(outcome), slug
        assert f"project_slug {slug.strip()!a} is refused. Rule: " in outcome.said
        assert re.search(r"Example: (order-desk|.+-service)\n", outcome.said)


def test_no_slug_that_is_given_leaves_its_folder(yard: Yard, small: Path) -> None:
    """Neither does one of the command line, which cookiecutter renders."""
    for slug in (*NO_SLUGS[::4], *MORE_NO_SLUGS):
        assert refused(yard.render(small, project_slug=slug)), slug


@pytest.mark.parametrize("options", [["-f"], ["-f", "-s"], ["--accept-hooks=no"], ["-o", "new/x"]])
def test_no_option_lets_a_slug_out(yard: Yard, small: Path, options: list[str]) -> None:
    """Overwriting, no hooks, another folder: a slug that is refused stays refused."""
    for slug in ("..", "x/..", "x/../..", f"../{NEIGHBOUR}", "", "link/..", "{{ '..' }}"):
        outcome = yard.render(small, *options, project_slug=slug)
        assert outcome.exit_code, slug
        assert outcome.made in ([], [yard.here / "new"]), slug
        assert not any((yard.here / "new").glob("x/*")), slug


@pytest.mark.parametrize("given", [True, False], ids=["given", "typed"])
def test_odd_lines_make_one_folder_or_none(yard: Yard, small: Path, *, given: bool) -> None:
    """Whatever the texts are, a service is made of them, with what was typed in it, or nothing."""
    for number, text in enumerate(LINES[:: 4 if given else 2]):
        slug = f"odd-{number}"
        answers = dict.fromkeys(TEXTS, text) | {"project_slug": slug}
        outcome = (yard.render if given else yard.type)(small, **answers)
        if not refused(outcome):
            project = only(outcome.made)
            assert project.path == yard.here / slug
            assert checks.unparsable(project) == [], text
            if not given:
                metadata = tomllib.loads(project.read("pyproject.toml"))["project"]
                assert metadata["description"] == text.strip()
                assert metadata["authors"] == [{"name": text.strip(), "email": "you@example.com"}]
            shutil.rmtree(project.path)
        else:
            assert given, outcome.said  # a template that cookiecutter cannot render


def test_text_with_control_characters_leaves_nothing(yard: Yard, small: Path) -> None:
    """A line that would not be one is refused, by each prompt for a text, and nothing is left."""
    for name, text in zip(itertools.cycle(TEXTS), CONTROLS, strict=False):
        outcome = yard.render(small, **{name: text, "project_slug": "svc"})
        assert refused(outcome), (name, text)
        assert f"{name} {text!a} is refused. Rule: one line of text" in outcome.said


@pytest.mark.parametrize("name", ["python_version", "license", "example_resource"])
def test_a_choice_that_is_none_leaves_nothing(yard: Yard, small: Path, name: str) -> None:
    """What is no choice is refused, or asked for again until there is no more to read."""
    for text in ("x/..", "maybe", "{{ 1 }}", "9"):
        assert refused(yard.render(small, **{name: text})), text
        assert refused(yard.type(small, **{name: text})), text


def test_odd_names_make_a_right_slug_or_nothing(yard: Yard, small: Path) -> None:
    """The slug that follows from a name is right, or is refused like one that was typed."""
    for name in (
        *NO_SLUGS[::16],
        *LINES[::9],
        "a" * 62 + " b",
        "1st",
        "Con",
        "...",
        "-",
        "_",
        "🎉",
    ):
        outcome = yard.type(small, project_name=name)
        if not refused(outcome):
            shutil.rmtree(only(outcome.made).path)


@pytest.mark.parametrize("slug", [NEIGHBOUR, "link", "dangling", "repository"])
def test_a_folder_that_is_there_is_left_alone(yard: Yard, small: Path, slug: str) -> None:
    """A right slug that is a neighbour's name is refused."""
    assert refused(yard.render(small, project_slug=slug))
    assert refused(yard.type(small, project_slug=slug))


def test_overwriting_keeps_what_is_not_in_the_template(template: Path, tmp_path: Path) -> None:
    """With `-f`, files of one's own stay, those beside the cache's included."""
    (tmp_path / "service" / "app" / "core" / "cache" / "mine").mkdir(parents=True)
    mine = [
        tmp_path / "service" / name
        for name in (
            "mine.txt",
            "app/core/cache/mine.py",
            "app/core/cache/mine/file",
            "app/mine.py",
        )
    ]
    for path in mine:
        path.write_text("to be kept")
    yard = Yard(tmp_path / "yard")
    outcome = yard.render(template, "-f", "-o", str(tmp_path), project_slug="service")
    assert (outcome.exit_code, outcome.made) == (0, [])
    assert (tmp_path / "service" / "app" / "core" / "cache" / "manager.py").is_file()
    assert [path.read_text() for path in mine] == ["to be kept"] * len(mine)


def test_a_refused_run_is_not_kept(yard: Yard, small: Path) -> None:
    """What can be replayed is the last run that was not refused."""
    for slug in ("..", "x/.."):
        shutil.rmtree(only(yard.render(small, project_slug="fine").made).path)
        assert refused(yard.render(small, project_slug=slug))
        again = only(yard.replay(small).made)
        assert again.path.name == "fine"
        shutil.rmtree(again.path)


def test_make_new_harms_neither_the_clone_nor_its_neighbours(
    yard: Yard, template: Path, tmp_path: Path
) -> None:
    """`make new TO=..`, in a clone that has neighbours, makes one folder beside it or nothing."""
    clone = yard.here / "clone"
    shutil.copytree(template, clone)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, clone)
    yard.look()
    for slug in ("x/..", "..", "../x", "clone", "clone/..", NEIGHBOUR, "~", "x/../.."):
        with pytest.raises(AssertionError, match="exited with"):
            run(*MAKE_NEW, cwd=clone, text=typed(project_slug=slug), HOME=str(tmp_path / "home"))
        assert yard.made() == [], slug
    run(*MAKE_NEW, cwd=clone, text=typed(project_slug="fine"), HOME=str(tmp_path / "home"))
    assert yard.made() == [yard.here / "fine"]


@pytest.mark.parametrize(
    "to", ["../my services", 'it\'s "so"', "~", "~/my services", "ünï", "", "../a$b/$$c/$(d)#"]
)
def test_make_new_goes_where_it_is_told(
    to: str, yard: Yard, template: Path, tmp_path: Path
) -> None:
    """Spaces, quotes, `~` and `$` are no obstacle; if nothing is said, it is the folder above."""
    clone, home = yard.here / "clone", tmp_path / "home"
    shutil.copytree(template, clone)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, clone)
    uv_cache = run(UV, "cache", "dir", cwd=tmp_path).strip()
    command = ("make", "new", f"TO={to}")
    run(*command, cwd=clone, text=typed(), HOME=str(home), UV_CACHE_DIR=uv_cache)
    folder = home / to[2:] if to.startswith("~") else clone / (to or "..")
    assert (folder / "cached-service" / "LICENSE").is_file()


@pytest.mark.parametrize(
    "to", ["/dev/null", "~nobody/x", "~nobody", "../file.txt", "../file.txt/x"]
)
def test_make_new_refuses_what_is_no_folder(to: str, yard: Yard, template: Path) -> None:
    """One line says so, and no folder is made."""
    clone = yard.here / "clone"
    shutil.copytree(template, clone)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, clone)
    yard.look()
    with pytest.raises(AssertionError, match=f"TO={re.escape(to)} ") as raised:
        run("make", "new", f"TO={to}", cwd=clone, text=typed())
    assert "Traceback" not in str(raised.value)
    assert yard.made() == []


@pytest.mark.parametrize("target", ["lint", "new"])
def test_uv_may_be_in_a_folder_with_spaces(target: str, template: Path, tmp_path: Path) -> None:
    """A path of its own is no obstacle to a target that needs uv."""
    clone, tools = tmp_path / "clone", tmp_path / "my tools"
    shutil.copytree(template, clone)
    shutil.copy(ROOT / "Makefile", clone)
    tools.mkdir()
    (tools / "uv").write_text('#!/bin/sh\necho "uv $*"\n')
    (tools / "uv").chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    assert "uv run --quiet" in run("make", target, cwd=clone, PATH=path)
