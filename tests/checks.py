"""What is wrong with a rendered project, as lists of lines; an empty list is a clean project."""

import ast
import json
import re
import tomllib
from collections.abc import Callable
from typing import Final

import yaml

from tests.baked import NOT_RENDERED, BakedProject

_JINJA: Final = re.compile(r"(?<!\$)\{\{|\{%|\{#|^\s*# %", re.MULTILINE)  # ${{ is a workflow's own
_PARSERS: Final[dict[str, Callable[[str], object]]] = {
    ".json": json.loads,
    ".py": ast.parse,
    ".toml": tomllib.loads,
    ".yaml": yaml.safe_load,
    ".yml": yaml.safe_load,
}


def leftover_jinja(project: BakedProject) -> list[str]:
    """Find traces of the template. A file that is copied as it is may have two braces."""
    return [
        file
        for file in project.files()
        if "cookiecutter" in file + project.read(file)
        or (not file.startswith(NOT_RENDERED) and _JINJA.search(project.read(file)))
    ]


def unparsable(project: BakedProject) -> list[str]:
    """Find files that are not what their names say."""
    found = []
    for file in project.files():
        parse = _PARSERS.get((project.path / file).suffix)
        try:
            if parse:
                parse(project.read(file))
        except (ValueError, SyntaxError, yaml.YAMLError) as error:
            found.append(f"{file}: {error}")
    return found


def untidy(project: BakedProject) -> list[str]:
    """Find trailing space, foreign line ends, and files without exactly one newline at the end."""
    found = []
    for file in project.files():
        text = project.read(file)
        found += [
            f"{file}:{number}: {line!r}"
            for number, line in enumerate(text.split("\n"), 1)
            if line != line.rstrip()
        ]
        if text and (not text.endswith("\n") or text.endswith("\n\n")):
            found.append(f"{file}: ends with {text[-2:]!r}")
    return found
