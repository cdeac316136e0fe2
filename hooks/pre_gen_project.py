"""Refuse what no question was asked for: a replay file, and names that begin with `__`.

Cookiecutter takes these as they are.
"""

import json
import re
import sys
import unicodedata
from contextlib import suppress

# After a hook that fails, cookiecutter removes the folder; that of `x/..` would be the one around.
# So a slug that leads back ends cookiecutter itself, while it renders this file.
ANSWERS = json.loads(
    r"""{% if '..' in cookiecutter.project_slug|string %}{{ lipsum.__globals__.os.sys.exit(
    'project_slug %a is refused. Rule: it names one folder. Example: order-desk'
    |format(cookiecutter.project_slug)) }}{% endif %}{{ cookiecutter | tojson }}"""
)

SLUG = re.compile(r"(?=.{1,63}\Z)[a-z](?:[-_]?[a-z0-9])*")
NOT_IN_EMAIL = set(' \t"(),:;<>@[\\]')
NOT_IN_DOMAIN = NOT_IN_EMAIL | set("!#$%&'*+/=?^_`{|}~")
PYTHONS = ("3.14", "3.13", "3.12", "3.11")
LICENSES = ("MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary")


def text(name: str) -> str:
    """Return an answer as the template shows it, without space around it."""
    return str(ANSWERS.get(name, "")).strip()


def is_line(name: str) -> bool:
    """Tell whether an answer is one line of characters that can be seen, and joiners."""
    typed = str(ANSWERS.get(name, ""))
    return all(
        c.isprintable() or c in "\u200c\u200d" or unicodedata.category(c) == "Zs" for c in typed
    )


def is_email(typed: str) -> bool:
    """Tell whether it is `name@domain`, by the rule of the question."""
    name, _, domain = typed.rpartition("@")
    dotted = f".{name}.@.{domain}."
    right = not NOT_IN_EMAIL & set(name) and not NOT_IN_DOMAIN & set(domain)
    hyphens = ".-" in f".{domain}" or "-." in f"{domain}."
    return right and typed.isprintable() and ".." not in dotted and "." in domain and not hyphens


def is_string_of(name: str) -> bool:
    """Tell whether what stands between quotes in Python and TOML is the answer, up to the end."""
    with suppress(ValueError):
        return bool(json.loads(f'"{ANSWERS.get("__" + name)}"') == text(name))
    return False


def is_markdown_of(derived: str, name: str) -> bool:
    r"""Tell whether what stands in the README is the answer, with a `\` before some characters."""
    return re.sub(r"\\(.)", r"\1", str(ANSWERS.get(derived))) == text(name)


def is_slug(slug: object) -> bool:
    """Tell whether it is a slug, so one folder's name, and not one that is taken."""
    right = isinstance(slug, str) and SLUG.fullmatch(slug)
    return bool(right) and str(slug).replace("_", "-") not in ANSWERS.get("_taken", [])


def is_image(image: object) -> bool:
    """Tell whether it is the image of the Python that was chosen."""
    name = re.escape(f"python:{ANSWERS.get('python_version')}-slim")
    return bool(re.fullmatch(name + "(@sha256:[0-9a-f]{64})?", str(image)))


def wrong() -> str | None:
    """Return the first answer that is none, or of which something else was derived."""
    given = ANSWERS.get
    licence = given("license")
    named = "LicenseRef-Proprietary" if licence == "Proprietary" else licence
    right = {
        "project_name": is_line("project_name") and text("project_name"),
        "__project_name": is_string_of("project_name"),
        "__readme_name": is_markdown_of("__readme_name", "project_name"),
        "project_slug": is_slug(given("project_slug")),
        "__project_slug": given("__project_slug") == given("project_slug"),
        "description": is_line("description"),
        "__description": is_string_of("description"),
        "__readme_description": is_markdown_of("__readme_description", "description"),
        "author_name": is_line("author_name") and text("author_name"),
        "__author_name": is_string_of("author_name"),
        "author_email": is_line("author_email") and is_email(text("author_email")),
        "__author_email": given("__author_email") == text("author_email"),
        "python_version": given("python_version") in PYTHONS,
        "__python_image": is_image(given("__python_image")),
        "license": licence in LICENSES,
        "__license": given("__license") == named,
        "example_resource": given("example_resource") in (True, False),
    }
    return next((name for name, is_right in right.items() if not is_right), None)


if __name__ == "__main__" and (name := wrong()):
    sys.exit(
        f"{name} {ANSWERS.get(name)!a} is refused. Rule: what its question takes, and what follows"
        " from the answers. Remedy: answer the questions, without a replay file, and give no name"
        " that begins with __"
    )
