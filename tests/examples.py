"""The examples of the cache's documents, as modules that a type checker reads."""

import re
import textwrap
from pathlib import Path
from typing import Final

from tests.baked import CACHE

_PRELUDE: Final = '''\
"""An example of {page}."""

from typing import Any

from fastapi import FastAPI

app = FastAPI()


class Database:
    async def get_user(self, user_id: str) -> dict[str, Any]:
        return {{"id": user_id}}

    async def update_user(self, user_id: str, data: dict[str, Any]) -> dict[str, Any]:
        return {{"id": user_id, **data}}


database = Database()


async def example() -> None:
    """Do what the page shows."""
'''


def modules() -> dict[str, str]:
    """Return each example as the text of a module, by the name of its file.

    An example may await at its top level, and use the database and the application of the README.
    """
    found: dict[str, str] = {}
    for page in (CACHE / "README.md", *sorted((CACHE / "docs").glob("*.md"))):
        for number, code in enumerate(examples_of(page), start=1):
            text = _PRELUDE.format(page=page.name) + textwrap.indent(code, "    ")
            found[f"{page.stem.lower().replace('-', '_')}_{number}.py"] = text
    return found


def examples_of(page: Path) -> list[str]:
    """Return the blocks of Python in a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
