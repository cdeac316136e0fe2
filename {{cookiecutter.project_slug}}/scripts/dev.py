"""Start the service on loopback, restart it when the code changes, and say what to try.

`make dev PORT=8001` does the same as `uv run scripts/dev.py --port 8001`.
"""

import argparse
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
STOP_SECONDS = 10.0
ALL_SECONDS = 20.0
EACH_SECONDS = 5.0
MOST_ASKED = 20
MOST_BYTES = 16_000_000

PAGES = {"Docs: ": "/", "Cache:": "/cache"}
CACHED = """Run this. It has been asked once before, so its header Cache-Status says hit:
  curl -i {}"""
NOT_CACHED = """No route that can be asked by its path alone is cached yet.
README.md says how it is done: see "How the cache is used"."""
AWAY = "The Redis of the cache is away, so nothing is cached until it is back: see the log above."


def main() -> None:
    """Run the service until Ctrl-C; print the hint when it answers for the first time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    refuse_busy(port)
    os.chdir(ROOT)
    page = page_setting()
    # % if cookiecutter.example_resource
    migrate = [sys.executable, "-m", "alembic", "upgrade", "head"]
    if subprocess.run(migrate, check=False).returncode:  # noqa: S603 - the same
        sys.exit("The tables of the database could not be made; why stands above.")
    # % endif
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    server = subprocess.Popen(  # noqa: S603 - the arguments are ours
        [sys.executable, "-m", "fastapi", "dev", "--host", HOST, "--port", str(port)],
        env=os.environ | ({} if page else {"CACHE_PAGE": "local"}),
    )
    try:
        while server.poll() is None:
            if is_up(port):
                say(hint(port, [name for name in PAGES if name != "Cache:" or page != "off"]))
                sys.exit(server.wait())
            time.sleep(0.1)
        sys.exit(server.returncode)
    except KeyboardInterrupt:
        say("")
    finally:
        end(server)


def refuse_busy(port: int) -> None:
    """Exit with one line if the service cannot listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            sys.exit(f"Port {port} of {HOST} cannot be used ({error}). Try: make dev PORT=8001")


def page_setting() -> str | None:
    """Return what the environment or .env says of the page, if they do; exit if a setting is wrong."""
    sys.path.insert(0, str(ROOT))
    from pydantic import ValidationError  # noqa: PLC0415 - a busy port is told before that is loaded

    from app.core.config import Settings  # noqa: PLC0415 - it is found only now

    try:
        settings = Settings()
    except ValidationError as error:  # without the values, which may be secret
        wrong = [
            ": ".join([*(str(part).upper() for part in each["loc"]), each["msg"]])
            for each in error.errors()
        ]
        sys.exit(f"Wrong settings, of the environment or of .env: {'; '.join(wrong)}")
    except (OSError, ValueError) as error:
        sys.exit(f"The settings, of the environment or of .env, cannot be read: {error}")
    return settings.cache_page if "cache_page" in settings.model_fields_set else None


def is_up(port: int) -> bool:
    """Whether the service takes connections, which it does once it has started."""
    try:
        socket.create_connection((HOST, port), timeout=EACH_SECONDS).close()
    except OSError:
        return False
    return True


def hint(port: int, names: Collection[str] = PAGES) -> str:
    """Return where the pages of these names are, if they are there, and what to try."""
    until = time.monotonic() + ALL_SECONDS
    there = [name for name in names if is_there(port, name, until)]
    pages = "".join(f"{name} {url_of(port)}{PAGES[name]}\n" for name in there)
    return f"\n{pages}{what_to_try(port, until)}\n"


def is_there(port: int, name: str, until: float) -> bool:
    """Whether the service has a page, be it for those whom a guard lets in."""
    answer = ask(port, PAGES[name], until)
    return answer is not None and answer[0].status < 500 and answer[0].status != 404


def what_to_try(port: int, until: float) -> str:
    """Return the command that shows a hit, or why there is none."""
    statuses = []
    for path in plain_paths(port, until)[:MOST_ASKED]:
        statuses.append(cache_status(port, path, until))
        if "; stored" in statuses[-1] or "; hit" in statuses[-1]:  # so the next answer is a hit
            return CACHED.format(shlex.quote(url_of(port) + path))
    return AWAY if any("detail=unavailable" in status for status in statuses) else NOT_CACHED


def plain_paths(port: int, until: float) -> list[str]:
    """Return the paths that can be asked as they are; none if the service does not describe them."""
    answer = ask(port, "/openapi.json", until, MOST_BYTES)
    if answer is None or answer[0].status != HTTPStatus.OK:
        return []
    try:
        paths = json.loads(answer[1])["paths"].items()
        return [path for path, methods in paths if is_plain(path, methods.get("get"))]
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return []  # it is something else by that name


def url_of(port: int) -> str:
    """Return the address of the service."""
    return f"http://{HOST}:{port}"


def ask(port: int, path: str, until: float, most: int = 0) -> tuple[HTTPResponse, bytes] | None:
    """Return the answer of the service to a GET, if there is one before that time.

    Its body is read up to about so many bytes, and no longer than that: it may be endless.
    """
    left = until - time.monotonic()
    if left <= 0:
        return None
    connection = HTTPConnection(HOST, port, timeout=left if most else min(left, EACH_SECONDS))
    try:
        connection.request("GET", path)
        with connection.getresponse() as response:
            body, part = bytearray(), b"none yet"
            while part and len(body) < most and time.monotonic() < until:
                part = response.read1(65_536)
                body += part
            return response, bytes(body)
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()


def is_plain(path: str, get: dict[str, Any] | None) -> bool:
    """Whether a GET, as OpenAPI describes it, needs nothing but its path, and nobody's name."""
    if get is None or "{" in path or "requestBody" in get or get.get("security"):
        return False
    return not any(each.get("required") for each in get.get("parameters", ()))


def cache_status(port: int, path: str, until: float) -> str:
    """Ask once, and return what the cache says of it."""
    answer = ask(port, path, until)
    return answer[0].headers.get("Cache-Status", "") if answer else ""


def say(text: str) -> None:
    """Print at once, whatever stdout is."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def end(server: subprocess.Popen[bytes]) -> None:
    """End the service, gently first. Ctrl-C in a terminal has reached it already."""
    if server.poll() is None:
        server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
