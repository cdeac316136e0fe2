"""The commands and their options. What each does stands in a file of its own, which is read then."""

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from .session import Needs, Session

cli = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they show local variables, and these may hold a password
    rich_markup_mode=None,
    help="See and steer the cache. It is found by the same settings as the service's: environment "
    "variables, and the file .env of the working directory.",
    epilog="Exit codes: 0 done, found, healthy; 1 not so; 2 wrong use or settings; 3 the backend is "
    "away.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON: an object, or one on each line.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
App = Annotated[
    str | None,
    typer.Option("--app", help="The application, as app.main:app: its functions get names."),
]


def main(name: str) -> None:
    """Run the command of the process's arguments, and end the process. `name` stands in the help."""
    cli(prog_name=name)


def _run(
    command: str,
    options: dict[str, Any],
    *,
    as_json: bool,
    needs: "Needs" = "entries",
    app: str | None = None,
) -> NoReturn:
    """Run a command, given by its file and its function; `--help` reads neither."""
    from .session import run  # noqa: PLC0415 - it reads more than `--help` has time for

    file, function = command.split(".")

    async def work(session: "Session") -> int:
        module = import_module(f".{file}", __package__)
        code: int = await getattr(module, function)(session, **options)
        return code

    run(work, as_json=as_json, needs=needs, app=app)


@cli.command()
def ping(*, json: Json = False) -> None:
    """Tell whether the backend works, and how fast it answers."""
    _run("trying.ping", {}, as_json=json, needs="a server")


@cli.command()
def stats(*, json: Json = False) -> None:
    """Tell what is in the cache, and what is hit and missed."""
    _run("counting.stats", {}, as_json=json)


@cli.command()
def keys(
    pattern: Annotated[str, typer.Argument(help="A key; * is any text.")] = "*",
    *,
    limit: Annotated[int | None, typer.Option(min=1, help="The most entries to list.")] = None,
    app: App = None,
    json: Json = False,
) -> None:
    """List entries: type, age, time left, size and tags."""
    options = {"pattern": pattern, "limit": limit}
    _run("looking.keys", options, as_json=json, app=app)


@cli.command()
def show(key: Annotated[str, typer.Argument()], *, app: App = None, json: Json = False) -> None:
    """Show an entry: what it holds, who wrote it, and when."""
    _run("looking.show", {"key": key}, as_json=json, app=app)


@cli.command()
def explain(
    path_or_key: Annotated[str, typer.Argument(help="A path begins with a slash.")],
    *,
    method: Annotated[str, typer.Option(help="The method of a request to the path.")] = "GET",
    app: App = None,
    json: Json = False,
) -> None:
    """Tell why a key or a path is served, or is not."""
    options = {"what": path_or_key, "method": method}
    _run("explaining.explain", options, as_json=json, needs="nothing", app=app)


@cli.command()
def invalidate(
    pattern: Annotated[str, typer.Argument(help="A key; * is any text.")],
    *,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Remove the entries whose keys match."""
    _run("removing.invalidate", {"pattern": pattern, "yes": yes}, as_json=json)


@cli.command()
def tag(name: Annotated[str, typer.Argument()], *, yes: Yes = False, json: Json = False) -> None:
    """Invalidate the entries that have a tag."""
    _run("removing.tag", {"name": name, "yes": yes}, as_json=json)


@cli.command()
def clear(*, yes: Yes = False, json: Json = False) -> None:
    """Remove all entries of this cache, and nothing else."""
    _run("removing.clear", {"yes": yes}, as_json=json)


@cli.command()
def watch(
    *,
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds.")] = 5.0,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many times.")] = None,
    json: Json = False,
) -> None:
    """Tell what is hit and missed, by key prefix, until Ctrl-C."""
    _run("counting.watch", {"every": every, "count": count}, as_json=json)


@cli.command()
def bench(
    *,
    number: Annotated[int, typer.Option(min=1, max=100_000, help="Calls of each kind.")] = 2000,
    size: Annotated[int, typer.Option(min=1, max=1_000_000, help="Bytes of a value.")] = 1000,
    at_once: Annotated[int, typer.Option(min=1, max=200, help="Calls at a time.")] = 10,
    json: Json = False,
) -> None:
    """Measure the backend, and remove what that has stored."""
    options = {"number": number, "size": size, "at_once": at_once}
    _run("trying.bench", options, as_json=json, needs="a cache")


@cli.command()
def config(*, json: Json = False) -> None:
    """Tell each setting, and where it was read."""
    _run("settings_shown.config", {}, as_json=json, needs="nothing")


@cli.command()
def version(*, json: Json = False) -> None:
    """Tell the version, and what differs from the release."""
    _run("version_shown.version", {}, as_json=json, needs="nothing")
