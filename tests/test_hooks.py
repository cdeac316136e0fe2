"""Answers are data: wrong ones are refused in words, strange ones arrive as they were typed."""

import sys
import tomllib
from pathlib import Path

import pytest
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter

from tests import checks
from tests.baked import BakedProject, run


@pytest.mark.parametrize(
    "slug",
    [
        "Service",
        "1st-service",
        "my service",
        "my--service",
        "service-",
        "-service",
        "../service",
        "sérvice",
        'a"b',
        "s" * 64,
    ],
)
def test_a_wrong_slug_is_refused(
    slug: str,
    tmp_path: Path,
    template: Path,
    cookiecutter_config: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A wrong slug leaves no file and an error that has the value, the rule and an example."""
    output = tmp_path / "output"
    with pytest.raises(FailedHookException):
        cookiecutter(
            str(template),
            no_input=True,
            extra_context={"project_slug": slug},
            output_dir=str(output),
            config_file=str(cookiecutter_config),
        )
    error = capfd.readouterr().err
    assert f"project_slug {slug!a} is refused" in error
    assert "lower-case letters, digits and single hyphens" in error
    assert "Example: order-desk" in error
    assert [path for path in tmp_path.rglob("*") if path != output] == []


HOSTILE = [
    'The "quoted" one',
    "back\\slash \\N \\u0041 \\",
    '"""; raise SystemExit("""',
    "'''; import os; os.abort()",
    "{{ 7 * 7 }} {% raw %} {# note #}",
    "# % if false",
    '" + open("canary", "w").write("x") + "',
    "$(touch canary) `touch canary` ; touch canary",
    "key: [value, &anchor *alias] # no comment",
    "👩‍🚀 sérvice ✓",
    "]]> </script> <!-- -->",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_typed_is_data(
    text: str, tmp_path: Path, template: Path, cookiecutter_config: Path
) -> None:
    """Any line that is typed as a name arrives unchanged, and nothing of it is executed."""
    # Typed at the prompts, as a person does: cookiecutter renders what is given in other ways.
    name, slug, description, author = text, "typed-service", text, text
    answers = [name, slug, description, author, "", "", "", ""]
    command = (sys.executable, "-m", "cookiecutter", template, "--output-dir", tmp_path)
    typed = "".join(f"{answer}\n" for answer in answers)
    run(*command, "--config-file", cookiecutter_config, cwd=tmp_path, text=typed)

    project = BakedProject(tmp_path / slug)
    assert checks.unparsable(project) == []
    assert checks.untidy(project) == []
    metadata = tomllib.loads(project.read("pyproject.toml"))["project"]
    assert metadata["name"] == slug
    assert metadata["description"] == description
    assert metadata["authors"][0]["name"] == author
    project.run("ruff", "check", "--no-cache")
    project.run("ruff", "format", "--check", "--no-cache")
    assert list(tmp_path.rglob("canary")) == []
