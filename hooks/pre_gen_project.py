"""Refuse answers that no service can be made of, before any file is written.

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
    "a letter or digit last; at most 63 characters"
)
LINE_RULE = "one line of text, without control characters"
LINE_BREAKS_AND_CONTROLS = {"Cc", "Zl", "Zp"}

EXAMPLES = {
    "project_name": "Order Desk",
    "description": "Takes orders and tells where they are.",
    "author_name": "Your Name",
    "author_email": "you@example.com",
}
REQUIRED = {"project_name"}


def refusal(name: str, value: str, rule: str, example: str) -> str:
    """Say what was refused, why, and what would do."""
    return f"{name} {value!a} is refused.\n  Rule:    {rule}.\n  Example: {example}"


def refusals(answers: dict[str, str]) -> list[str]:
    """Return one message for each answer that will not do."""
    found = []
    if not SLUG.fullmatch(answers["project_slug"]):
        found.append(refusal("project_slug", answers["project_slug"], SLUG_RULE, "order-desk"))
    for name, example in EXAMPLES.items():
        value = answers[name]
        if any(unicodedata.category(character) in LINE_BREAKS_AND_CONTROLS for character in value):
            found.append(refusal(name, value, LINE_RULE, example))
        elif name in REQUIRED and not value.strip():
            found.append(refusal(name, value, "not empty", example))
    return found


if __name__ == "__main__":
    messages = refusals(ANSWERS)
    if messages:
        sys.exit("\n".join(messages))
