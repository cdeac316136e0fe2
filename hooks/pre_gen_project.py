"""Refuse answers that no service can be made of, before any file is written.

cookiecutter makes the project's folder before this runs, and removes it after a refusal. So a slug
that is no name of a folder must not get that far: `__checked` in cookiecutter.json, which is
rendered earlier, keeps it as `__refused_slug` and has a folder of a new name made instead.

The answers arrive as JSON, not as source code. Each `"` in a value is escaped there and each
backslash doubled, so that no value can end the raw string below.
"""

import json
import re
import sys
import unicodedata

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")

SLUG = re.compile(r"(?=.{1,63}\Z)[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*", re.ASCII)
SLUG_RULE = (
    "lower-case letters, digits and single hyphens or underscores; a letter first, "
    "a letter or digit last; at most 63 characters; no name that Windows keeps for a device"
)
LINE_RULE = "one line of text, without control characters"
NO_TEXT = {"Cc", "Cs", "Zl", "Zp"}  # controls, halves of characters, breaks of lines

EXAMPLES = {
    "project_name": "Order Desk",
    "description": "Takes orders and tells where they are.",
    "author_name": "Your Name",
    "author_email": "you@example.com",
}
REQUIRED = {"project_name"}


def refusal(name: str, value: object, rule: str, example: str) -> str:
    """Say what was refused, why, and what would do."""
    return f"{name} {value!a} is refused. Rule: {rule}. Example: {example}"


def refusals(answers: dict[str, object]) -> list[str]:
    """Return one line for each answer that will not do."""
    found = []
    slug = answers.get("__refused_slug", answers["project_slug"])
    if "__refused_slug" in answers or not SLUG.fullmatch(str(slug)):
        found.append(refusal("project_slug", slug, SLUG_RULE, "order-desk"))
    for name, example in EXAMPLES.items():
        value = str(answers[name])
        if any(unicodedata.category(character) in NO_TEXT for character in value):
            found.append(refusal(name, value, LINE_RULE, example))
        elif name in REQUIRED and not value.strip():
            found.append(refusal(name, value, "not empty", example))
    if not isinstance(answers["example_resource"], bool):
        found.append(refusal("example_resource", answers["example_resource"], "yes or no", "yes"))
    return found


if __name__ == "__main__":
    messages = refusals(ANSWERS)
    if messages:
        sys.exit("\n".join(messages))
