"""Answers are data: each arrives as it was typed, or is refused right after its question."""

import ast
import itertools
import json
import re
import sys
import tomllib
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import yaml
from cookiecutter.environment import StrictEnvironment
from markdown_it import MarkdownIt

from tests import checks
from tests.baked import ROOT, TEMPLATE, BakedProject
from tests.yard import PROMPTS, Outcome, Yard, only

CHOICES: dict[str, Any] = json.loads((ROOT / "cookiecutter.json").read_text())
LINES = ("project_name", "description", "author_name")
NEEDED = ("project_name", "author_name")

# These are tables.
# fmt: off
KEPT = [
    "Order Desk", "x", "2048", "3D Viewer", "🎉", "👩‍🚀 sérvice ✓", "Ünïcödé", "日本語サービス",
    "山田\u3000太郎", "خدمة", "\u0645\u06cc\u200c\u062e\u0648", "x\u00a0y", "x  y",
    "e\u0301", "x" * 300, "İß",
    "O'Brien & Söhne", "R&D", "Café <bar>", "C#", "#", "C++", "+", '"', "'", '"""', "'''",
    'The "quoted" one', "back\\slash \\N \\u0041 \\", "\\", "\\\\", '"""; raise SystemExit("""',
    "'''; import os; os.abort()", '" + open("canary", "w").write("x") + "',
    "$(touch canary) `touch canary` ; touch canary", "{{ 7 * 7 }} {% raw %} {# note #}",
    "{{ cookiecutter.clear() }}", "{% endraw %}", "{#", "#}", "# % if false", "# % endif", "{{",
    "key: [value, &anchor *alias] # no comment", "- item", "&anchor", "*alias", "!tag", "null",
    "true", "1e9", "~", "|", ">", "%", "@", "$$", "[section]", "x = 1", "# no comment",
    "]]> </script> <!-- -->", "<!--", "<script>", "<details>", "&amp; &#47; &lt;", "```", "~~~",
    "```sh", "===", "---", "***", "___", "1. one", "1) one", "> quote", "[x]: /url", "![x](y)",
    "[x](y)", "**bold** _it_ ~~no~~", "`code", "| a | b |", "snake_case",
    "https://example.com/a_b", "..", "../../x", "/", "C:\\x", "--help", "-f", "%s %(x)s",
    "{0} {x!r}",
]
"""Lines that a service holds as they were typed."""

REFUSED = [
    "x\u200by", "\u200b", "x\u202ey", "\u202e", "x\u2066y", "x\u200ey", "\ufeffx", "x\ufeffy",
    "x\u00ady", "x\U000e0041y", "\u200d", "\u200c \u200d", "x\ue000y", "x\U0010fffdy", "x\uffffy",
    "x\u0378y", "caf\udce9", "\udcff", "x\x00y", "x\x07y", "x\x1b[2Jy", "x\x7fy", "x\vy",
    "x\x0cy", "x\x1fy", "x\x85y", "x\u2028y", "x\u2029y", "x\ty",
]
"""Lines with what cannot be seen, or is no character."""

SLUGS = {
    "Order Desk": "order-desk", "2048": "service-2048", "3D Viewer": "service-3d-viewer",
    "🎉": "service", "...": "service", "-": "service", "Con": "service-con", "nul": "service-nul",
    "AUX": "service-aux", "Com1": "service-com1", "LPT9": "service-lpt9",
    "Redis": "service-redis", "FastAPI": "service-fastapi",
    "Pydantic Core": "service-pydantic-core", "日本": "ri-ben", "Ünï": "uni", "App": "app",
    "Tests": "tests", "x" * 300: "x" * 55, "7" * 300: "service-" + "7" * 55,
    "a" * 54 + " b": "a" * 54,
}
"""Names of projects, and the slugs that follow."""

EMAILS = [
    "you@example.com", "a.b+c@x-y.example", "o'brien@example.ie", "ü@dömain.de", "1@2.3",
    "x@a.b.c.d",
]
NO_EMAILS = [
    "x", "@", "x@", "@example.com", "x@example", "x@y@example.com", "x y@example.com",
    "x@exa mple.com", ".x@example.com", "x.@example.com", "x..y@example.com", "x@.example.com",
    "x@example.com.", "x@example..com", "x@-x.example", "x@x-.example", 'x"@example.com',
    "<x@example.com>", "X <x@example.com>", "mailto:x@example.com",
    "x@example.com, y@example.com", "x\\@example.com", "x@ex_ample.com", "x\u200b@example.com",
    "x\u00a0@example.com", "x@\udce9.com", "{{ 1 }}@example.com",
]
# fmt: on


@pytest.mark.parametrize("text", KEPT, ids=itertools.count())
def test_a_line_arrives_as_it_was_typed(text: str, yard: Yard, small: Path) -> None:
    """It is in each file that has it, is shown by the README, and nothing of it is executed."""
    answers = dict.fromkeys(LINES, text) | {"project_slug": "typed-service"}
    outcome = yard.type(small, **answers)
    assert outcome.exit_code == 0, outcome.said
    project = only(outcome.made)
    assert project.path.name == "typed-service"
    assert checks.unparsable(project) == []
    assert checks.untidy(project) == []
    metadata = tomllib.loads(project.read("pyproject.toml"))["project"]
    assert metadata["name"] == "typed-service"
    assert metadata["description"] == text
    assert metadata["authors"] == [{"name": text, "email": "you@example.com"}]
    assert title(project) == text
    assert shown_at_the_top(project.read("README.md")) == [text, text]
    assert headings(project.read("README.md")) == headings((TEMPLATE / "README.md").read_text())
    assert f"Copyright (c) {year()} {text}" in project.read("LICENSE").split("\n")
    assert yaml.safe_load(project.read("compose.yaml"))["name"] == "typed-service"
    project.run("ruff", "check", "--no-cache", "app/core/config.py")
    project.run("ruff", "format", "--check", "--no-cache", "app/core/config.py")
    assert list(yard.root.rglob("canary")) == []


@pytest.mark.parametrize("text", REFUSED, ids=itertools.count())
def test_what_cannot_be_seen_is_refused(text: str, yard: Yard, small: Path) -> None:
    """Each prompt for a line says so at once, with the value, the rule and an example."""
    for name in LINES:
        outcome = yard.type(small, project_slug="svc", **{name: text})
        assert_refused_at_once(outcome, name, text)


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("text", ["", " ", "\u00a0", "\u3000"])
def test_a_name_is_not_empty(name: str, text: str, yard: Yard, small: Path) -> None:
    """A service has a name, and its licence an owner."""
    outcome = yard.render(small, **{name: text})
    assert f"{name} {text!a} is refused. Rule: one line of text" in one_line(outcome)


def test_a_description_may_be_empty(yard: Yard, small: Path) -> None:
    """The README is whole without it."""
    project = only(yard.render(small, description="").made)
    assert headings(project.read("README.md")) == headings((TEMPLATE / "README.md").read_text())
    assert checks.unparsable(project) == checks.untidy(project) == []


def test_characters_are_judged_by_their_category() -> None:
    """Refused are those of C, such as format and unassigned, Zl and Zp; joiners are kept."""
    check = StrictEnvironment(context={}).from_string(CHOICES["__author_name"])
    seen: dict[str, int] = {}
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        category = unicodedata.category(character)
        seen[category] = seen.get(category, 0) + 1
        if seen[category] > 300 and code % 997:
            continue
        try:
            check.render(cookiecutter=CHOICES | {"author_name": f"x{character}y"})
            is_kept = True
        except SystemExit:
            is_kept = False
        joins = character in "\u200c\u200d"
        assert is_kept == (joins or (category[0] != "C" and category not in {"Zl", "Zp"})), hex(
            code
        )
    assert len(seen) == 30


@pytest.mark.parametrize("email", EMAILS, ids=itertools.count())
def test_an_address_arrives_as_it_was_typed(email: str, yard: Yard, small: Path) -> None:
    """What has the form of an address is one."""
    project = only(yard.type(small, author_email=email).made)
    (author,) = tomllib.loads(project.read("pyproject.toml"))["project"]["authors"]
    assert author["email"] == email


@pytest.mark.parametrize("email", NO_EMAILS, ids=itertools.count())
def test_what_is_no_address_is_refused(email: str, yard: Yard, small: Path) -> None:
    """The rule is that of addresses."""
    outcome = yard.type(small, author_email=email)
    assert_refused_at_once(outcome, "author_email", email)
    assert "Rule: name@domain" in outcome.said


@pytest.mark.parametrize("name", SLUGS, ids=itertools.count())
def test_the_slug_that_follows_from_a_name_is_right(name: str, yard: Yard, small: Path) -> None:
    """Whoever answers with Enter gets a service, whatever it is called."""
    outcome = yard.type(small, project_name=name)
    assert outcome.exit_code == 0, outcome.said
    (path,) = outcome.made
    assert path.name == SLUGS[name]


@pytest.mark.parametrize(
    "slug", ["con", "nul", "aux", "prn", "com1", "lpt9", "redis", "fastapi", "pydantic_core"]
)
def test_a_slug_that_is_taken_is_refused(slug: str, yard: Yard, small: Path) -> None:
    """The name of a device, or of a package that the service installs, is none for a service."""
    outcome = yard.type(small, project_slug=slug)
    assert_refused_at_once(outcome, "project_slug", slug)
    assert f"Example: {slug}-service\n" in outcome.said


def test_every_package_that_a_service_installs_is_taken(installed: BakedProject) -> None:
    """A service that had the name of one could not be installed."""
    packages = tomllib.loads(installed.read("uv.lock"))["package"]
    names = {package["name"] for package in packages} - {installed.path.name}
    missing = sorted(names - set(CHOICES["_taken"]))
    assert missing == [], "to be added to `_taken` in cookiecutter.json"


def assert_refused_at_once(outcome: Outcome, name: str, text: str) -> None:
    """Fail unless this answer was refused before the next question, and nothing was made."""
    number = PROMPTS.index(name) + 1
    assert f"{name} {text!a} is refused. Rule: " in one_line(outcome)
    assert f"[{number}/8]" in outcome.said
    assert f"[{number + 1}/8]" not in outcome.said


def one_line(outcome: Outcome) -> str:
    """Return the refusal: what stands after the last question, one line; nothing was made."""
    assert (outcome.exit_code, outcome.made) == (1, [])
    assert "Traceback" not in outcome.said
    (line,) = re.findall(
        r"\w+ (?:'.*'|\".*\") is refused\. Rule: .+\. Example: .+\n\Z", outcome.said
    )
    return str(line)


def title(project: BakedProject) -> str:
    """Return the title of the docs page: a default of the settings."""
    for node in ast.walk(ast.parse(project.read("app/core/config.py"))):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "app_name":
            assert isinstance(node.value, ast.Call)
            return str(ast.literal_eval(node.value.keywords[0].value))
    raise AssertionError


def shown_at_the_top(markdown: str) -> list[str]:
    """Return what a reader sees as heading and first paragraph, both being plain text."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)
    assert [token.type for token in tokens[:5:3]] == ["heading_open", "paragraph_open"]
    seen = []
    for token in (tokens[1], tokens[4]):
        assert {child.type for child in token.children or ()} == {"text"}, token.content
        seen.append("".join(child.content for child in token.children or ()))
    return seen


def headings(markdown: str) -> list[str]:
    """Return the headings below the first one."""
    tokens = MarkdownIt("commonmark").parse(markdown)
    return [
        following.content
        for token, following in itertools.pairwise(tokens)
        if token.type == "heading_open" and token.tag != "h1"
    ]


def year() -> str:
    """Return the year that the licence names."""
    template = StrictEnvironment(context={}).from_string("{% now 'utc', '%Y' %}")
    return str(template.render())
