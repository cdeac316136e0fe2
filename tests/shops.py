"""The applications of the pages in `docs/migrate`: taken from a page, and run."""

import ast
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx2

from tests.baked import eventually, free_port, serving
from tests.examples import examples_of
from tests.libraries import PAGES, Library

OLD, OURS = "old-shop", "shop"
"""The prefixes of keys on the pages."""

DATABASE: Final = '''
"""The database of the examples: a file that several processes share, and a log of its reads."""

import json
from pathlib import Path

USERS, READS = Path(__file__).with_name("users.json"), Path(__file__).with_name("reads")


async def name_of(user_id: int) -> str | None:
    with READS.open("a") as log:
        log.write(f"{user_id} ")
    return json.loads(USERS.read_text()).get(str(user_id))


async def rename(user_id: int, name: str) -> None:
    USERS.write_text(json.dumps(json.loads(USERS.read_text()) | {str(user_id): name}))
'''


class Answer(NamedTuple):
    """What a client sees, but for most headers."""

    status: int
    kind: str
    body: Any


@dataclass(frozen=True)
class Shop:
    """A running example."""

    client: httpx2.Client
    folder: Path

    def get(self, user: object) -> Answer:
        return answer(self.client.get(f"/users/{user}"))

    def headers(self) -> set[str]:
        """Return the names of the headers of a hit."""
        return set(self.client.get("/users/1").headers)

    def rename(self, user: int, name: str) -> Answer:
        return answer(self.client.put(f"/users/{user}", json={"name": name}))

    def has_at_last(self, user: int, name: str, library: Library) -> None:
        """Wait for the new name where the library invalidates late; else it is there at once."""

        def is_new() -> bool:
            return bool(self.get(user).body == {"id": user, "name": name})

        if library.invalidates_late:
            eventually(is_new, "a late invalidation")
        assert is_new()

    def reads(self) -> list[str]:
        """Return which users were read from the database."""
        return (self.folder / "reads").read_text().split()


def answer(response: httpx2.Response) -> Answer:
    """Return what a client sees of a response."""
    return Answer(response.status_code, response.headers["content-type"], response.json())


class Steps(NamedTuple):
    """The applications of a page."""

    before: str
    after: str
    first: str
    """Theirs, with writes that invalidate both."""
    second: str
    """The same with our reader."""


def steps_of(page: str, prefix: str) -> Steps:
    """Return the applications of a page: those that it shows whole, and those that it describes."""
    before, after, write = (code.replace(OLD, prefix) for code in examples_of(PAGES / f"{page}.md"))
    head, _, rest = before.partition("\n\n\n")
    begun, _, _ = write.partition("\n\n\n")  # our imports, and the manager
    first = with_function("rename_user", write, f"{head}\n{begun}\n\n\n{rest}")
    imports = after.partition("\nmanager = ")[0]
    return Steps(before, after, first, f"{imports}\n{with_function('read_user', after, first)}")


def with_function(name: str, source: str, target: str) -> str:
    """Return the target with the function, decorators and all, that the source has."""
    return target.replace(function_of(name, target), function_of(name, source))


def function_of(name: str, source: str) -> str:
    """Return the text of a function."""
    found = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.AsyncFunctionDef) and node.name == name
    )
    first = min(each.lineno for each in found.decorator_list) - 1
    return "\n".join(source.splitlines()[first : found.end_lineno])


class Application(NamedTuple):
    """An example to run: where, under which name, with which interpreter."""

    folder: Path
    name: str
    python: Path
    text: str

    def serving(self, settings: dict[str, str]) -> AbstractContextManager[httpx2.Client]:
        """Return a context in which it runs; applications of one folder share a database."""
        if not self.folder.exists():
            self.folder.mkdir()
            (self.folder / "database.py").write_text(DATABASE)
            (self.folder / "users.json").write_text(json.dumps({"1": "Ada", "2": "Grace"}))
            (self.folder / "reads").touch()
        (self.folder / f"{self.name}.py").write_text(self.text)
        port = str(free_port())
        command = [str(self.python), "-m", "uvicorn", f"{self.name}:app", "--port", port]
        url = f"http://127.0.0.1:{port}"
        return serving(command, self.folder, url, "/openapi.json", **settings)


@contextmanager
def running(settings: dict[str, str], *applications: Application) -> Iterator[list[Shop]]:
    """Run applications."""
    contexts = [each.serving(settings) for each in applications]
    with ExitStack() as stack:
        with ThreadPoolExecutor() as pool:  # to wait for all of them at once
            clients = list(pool.map(stack.enter_context, contexts))
        yield [
            Shop(client, each.folder) for client, each in zip(clients, applications, strict=True)
        ]
