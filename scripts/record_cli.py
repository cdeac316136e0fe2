"""Record the command line of the cache: real commands, on a real Redis, below a fresh key prefix.

    python scripts/record_cli.py    # with the packages of a generated service, and rich

It writes the picture `docs/command-line.svg`, and the examples on the page `docs/command-line.md`,
whose first example is the application. Addresses, folders and the prefix, which differ from run to
run, are replaced.
"""

import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.text import Text

SERVICE: Final = Path(__file__).resolve().parent.parent / "{{cookiecutter.project_slug}}"
DOCS: Final = SERVICE / "app" / "core" / "cache" / "docs"
PAGE, PICTURE = DOCS / "command-line.md", DOCS / "command-line.svg"
PREFIX, FOLDER, PORT = "shop", "/srv/shop", "6379"
ADDRESS: Final = f"127.0.0.1:{PORT}"
COLUMNS: Final = 106
BEGIN, END = "<!-- recorded -->\n", "<!-- the end of what is recorded -->\n"
_LONGEST: Final = 14
"""The most lines of an example on the page; config has more."""

TRAFFIC: Final = '''
"""Requests to the application of the page, and what it publishes of them."""

import asyncio
import sys

from app.core.cache import get_cache_manager
from app.core.cache.ops.counters import counters_of, publish
from shop import lamps


async def ask(path: str) -> None:
    """Send one request."""

    async def receive() -> object:
        return {"type": "http.request", "body": b""}

    async def send(_: object) -> None:
        """Take no notice of the answer."""

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    await lamps(scope, receive, send)


async def main(goes_on: bool) -> None:
    cache = get_cache_manager()
    counters_of(cache)
    for number in (7, 7, 7, 8):
        await ask(f"/lamps/{number}")
    await cache.set("rates", {"EUR": 1, "USD": 1.1}, expire="1d")
    await publish(cache)
    print("published", flush=True)
    while goes_on:
        for number in range(20):
            await ask(f"/lamps/{number % 9}")
        await publish(cache)
        await asyncio.sleep(0.1)
    await cache.close()


asyncio.run(main(len(sys.argv) > 1))
'''


class Step(NamedTuple):
    """A command of the recording."""

    arguments: str
    title: str = ""
    """What stands above it on the page; a step without a title is in the picture only."""
    is_pictured: bool = False
    has_traffic: bool = False
    """Whether requests come in meanwhile."""


STEPS: Final = (
    Step("ping", "`ping` reads, and stores a key of its own for a moment:", is_pictured=True),
    Step(
        "stats",
        "`stats` walks over all keys. Calls are those of processes that publish their counters:",
        is_pictured=True,
    ),
    Step("keys", "`keys` lists entries as they are found:", is_pictured=True),
    Step("keys 'lamps:*' --limit 1 --json", "For scripts:"),
    Step("show rates", "`show` has the content, too. Plain JSON does not say when it was stored:"),
    Step(
        "explain /lamps/7 --app shop:lamps",
        "`explain` imports an application, and runs nothing of it. Without `--app`, that is\n"
        "`main:app` in the top package, or beside it:",
        is_pictured=True,
    ),
    Step(
        "tag lamp:7 --yes",
        "An invalidated entry stays until it is computed again, and is not served:",
        is_pictured=True,
    ),
    Step("explain /lamps/7 --app shop:lamps", "And `explain` says so:", is_pictured=True),
    Step("invalidate 'lamps:*' --yes", "What a pattern matches is removed at once:"),
    Step(
        "watch --every 2 --count 1",
        "`watch` goes on until Ctrl-C, or `--count` times:",
        is_pictured=True,
        has_traffic=True,
    ),
    Step("bench --number 1000", "`bench` has a key prefix of its own:"),
    Step("config", "`config` begins like this:"),
    Step("version", "`version` compares digests, of a copy of a release:"),
    Step("clear --yes", "`clear` removes all below the prefix, also what is the cache's own:"),
)


class Recording:
    """Runs commands in a folder with the application of the page."""

    def __init__(self, folder: Path, environment: Mapping[str, str], address: str) -> None:
        self._folder, self._environment, self._address = folder, environment, address
        self._prefix = environment["CACHE_KEY_PREFIX"]
        application = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[0]
        (folder / "shop.py").write_text(application, encoding="utf-8")
        (folder / "traffic.py").write_text(TRAFFIC, encoding="utf-8")

    def run(self, arguments: str) -> Text:
        """Run a command, and return what it has printed, with its colours."""
        done = subprocess.run(
            [sys.executable, "-m", "app.core.cache", *shlex.split(arguments)],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode not in (0, 1) or "Traceback" in done.stdout:
            raise RuntimeError(f"{arguments} has failed:\n{done.stdout}")
        text = done.stdout.replace(self._prefix, PREFIX).replace(str(self._folder), FOLDER)
        host, _, port = self._address.partition(":")
        for told, shown in (
            (self._address, ADDRESS),
            (f"host='{host}', port={port}", f"host='127.0.0.1', port={PORT}"),
            (f"{port:24}", f"{PORT:24}"),
        ):
            text = text.replace(told, shown)
        return Text.from_ansi(text)

    @contextmanager
    def traffic(self, *arguments: str) -> Iterator[None]:
        """Send requests, with an argument until the end of the context."""
        process = subprocess.Popen(
            [sys.executable, "traffic.py", *arguments],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            if process.stdout is None or process.stdout.readline() != "published\n":
                raise RuntimeError("the application does not run")
            yield
        finally:
            process.terminate()
            process.communicate()


def pictured(recorded: list[tuple[Step, Text]]) -> str:
    """Return the steps that are in the picture as SVG."""
    title = "python -m app.core.cache"
    shown = [(step.arguments, text) for step, text in recorded if step.is_pictured]
    return drawn([(prompt(f"{title} {arguments}"), text) for arguments, text in shown], title)


def prompt(command: str) -> Text:
    """Return a command as it stands in a terminal."""
    return Text.assemble(("$ ", "bold green"), command)


def drawn(commands: list[tuple[Text, Text]], title: str) -> str:
    """Return commands and what they have printed as SVG, which loads nothing from elsewhere."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False)
    for command, text in commands:
        text.rstrip()
        console.print(command, text, sep="\n", end="\n\n")
    return without_addresses(console.export_svg(title=title, unique_id="cache"))


def without_addresses(svg: str) -> str:
    """Return an SVG without fonts from elsewhere, and without words about who has made it."""
    svg = re.sub(r"@font-face\s*\{[^}]*\}\s*", "", svg)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE).rstrip() + "\n"


def written(recorded: list[tuple[Step, Text]]) -> str:
    """Return the examples of the page."""
    parts = []
    for step, text in recorded:
        lines = text.plain.rstrip().splitlines()
        if len(lines) > _LONGEST:
            lines = [*lines[:_LONGEST], "..."]
        shown = "\n".join(line.rstrip() for line in lines)
        command = f"$ python -m app.core.cache {step.arguments}"
        parts.append(f"{step.title}\n\n```console\n{command}\n{shown}\n```\n")
    return "\n".join(parts)


def record(recording: Recording) -> list[tuple[Step, Text]]:
    """Run all steps."""
    recorded = []
    with recording.traffic():
        pass
    for step in STEPS:
        if step.has_traffic:
            with recording.traffic("goes on"):
                recorded.append((step, recording.run(step.arguments)))
        else:
            recorded.append((step, recording.run(step.arguments)))
    return recorded


def environment_for(server: Any, folder: Path) -> dict[str, str]:  # noqa: ANN401 - of `redis_server`
    """Return the environment of the commands, without settings of a cache of one's own."""
    others = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CACHE_", "REDIS_"))
    }
    return {
        **others,
        "CACHE_BACKEND": "redis",
        "CACHE_KEY_PREFIX": f"{PREFIX}-{uuid.uuid4().hex}",
        "REDIS_HOST": server.host,
        "REDIS_PORT": str(server.port),
        "REDIS_DB": str(server.db),
        "REDIS_PASSWORD": server.password or "",
        "COLUMNS": str(COLUMNS),
        "FORCE_COLOR": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f"{SERVICE}{os.pathsep}{folder}",
    }


def main() -> None:
    """Record all, and write the picture and the page."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(SERVICE / "app" / "core" / "cache" / "testing"))
    finder = import_module("redis_server")
    with finder.redis_server() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        environment = environment_for(server, folder)
        recorded = record(Recording(folder, environment, f"{server.host}:{server.port}"))
    PICTURE.write_text(pictured(recorded), encoding="utf-8")
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{written(recorded)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
