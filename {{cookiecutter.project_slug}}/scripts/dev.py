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
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
STOP_SECONDS = 10.0
MOST_ASKED = 20

HINT = """
Docs:  {url}/
Cache: {url}/cache
{more}
"""
CACHED = """Run this. It has been asked once before, so its header Cache-Status says hit:
  curl -i {}"""
NOT_CACHED = """No route that can be asked by its path alone is cached yet.
README.md says how it is done: see "How the cache is used"."""


def main() -> None:
    """Run the service until Ctrl-C; print the hint when it answers for the first time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    refuse_busy(port)
    # % if cookiecutter.example_resource
    migrate = [sys.executable, "-m", "alembic", "upgrade", "head"]
    if subprocess.run(migrate, cwd=ROOT, check=False).returncode:  # noqa: S603 - the same
        sys.exit("The tables of the database could not be made; why stands above.")
    # % endif
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    server = subprocess.Popen(  # noqa: S603 - the arguments are ours
        [sys.executable, "-m", "fastapi", "dev", "--host", HOST, "--port", str(port)],
        cwd=ROOT,
        env={"CACHE_PAGE": "local"} | os.environ,
    )
    try:
        while server.poll() is None:
            if more := what_to_try(port):
                say(HINT.format(url=url_of(port), more=more))
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


def what_to_try(port: int) -> str | None:
    """Return the command that shows a hit, or that there is none; nothing before the service answers."""
    answer = ask(port, "/openapi.json")
    if answer is None:
        return None
    response, text = answer
    paths = json.loads(text)["paths"] if response.status == HTTPStatus.OK else {}
    plain = [path for path, methods in paths.items() if is_plain(path, methods.get("get"))]
    for path in plain[:MOST_ASKED]:
        if is_cached(port, path):
            return CACHED.format(shlex.quote(url_of(port) + path))
    return NOT_CACHED


def url_of(port: int) -> str:
    """Return the address of the service."""
    return f"http://{HOST}:{port}"


def ask(port: int, path: str) -> tuple[HTTPResponse, bytes] | None:
    """Return the answer of the service to a GET, if there is one."""
    connection = HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response, response.read()
    except (OSError, HTTPException, UnicodeError):
        return None
    finally:
        connection.close()


def is_plain(path: str, get: dict[str, Any] | None) -> bool:
    """Whether a GET, as OpenAPI describes it, needs nothing but its path, and nobody's name."""
    if get is None or "{" in path or "requestBody" in get or get.get("security"):
        return False
    return not any(each.get("required") for each in get.get("parameters", ()))


def is_cached(port: int, path: str) -> bool:
    """Ask once, and tell whether the next answer comes from the cache."""
    answer = ask(port, path)
    status = answer[0].headers.get("Cache-Status", "") if answer else ""
    return "; stored" in status or "; hit" in status


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
