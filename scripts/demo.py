"""Render the template with its defaults, install the service, and run it until Ctrl-C.

The cache is in memory and the database is a file, so nothing else has to run.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
START_SECONDS = 60.0
STOP_SECONDS = 10.0
SETTINGS_OF_THE_SERVICE = ("APP_", "CACHE_", "DATABASE_", "LOG_", "REDIS_")


def main() -> None:
    """Run the demo; what goes wrong ends it with one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--build", type=Path, default=ROOT / ".build", help="the folder to use")
    arguments = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # A shell that starts us in the background makes us ignore this one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        refuse_busy(arguments.port)
        project = render(arguments.build.resolve() / "demo")
        install(project)
        serve(project, arguments.port)
    except KeyboardInterrupt:
        print("\nThe demo has ended.")


def refuse_busy(port: int) -> None:
    """Exit if something listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            sys.exit(f"Port {port} of {HOST} cannot be used ({error}). Try: make demo PORT=8001")


def render(build: Path) -> Path:
    """Render with the defaults, in place of what an earlier demo left."""
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    # Cookiecutter keeps the answers of each run; ours are no business of the user's home folder.
    config = build / "cookiecutter.json"
    folders = {"cookiecutters_dir": str(build), "replay_dir": str(build / "replay")}
    config.write_text(json.dumps(folders))
    options = ["--no-input", f"--output-dir={build}", f"--config-file={config}"]
    command = [sys.executable, "-m", "cookiecutter", str(ROOT), *options]
    # Without what it says to do next, for the demo does it.
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    (project,) = build.glob("*/pyproject.toml")
    print(f"Rendered {project.parent}")
    return project.parent


def install(project: Path) -> None:
    """Install what the service needs at run time, in an environment of its own, and its tables."""
    print("Installing it", flush=True)
    uv = os.environ.get("UV", "uv")
    alembic = str(project / ".venv" / "bin" / "alembic")
    commands = [[uv, "sync", "--quiet", "--no-dev"], [alembic, "upgrade", "head"]]
    for command in commands:
        if subprocess.run(command, cwd=project, env=environment(), check=False).returncode:
            what = " ".join(command)
            sys.exit(f"The service could not be installed: {what} failed in {project}")


def serve(project: Path, port: int) -> None:
    """Start the service, make a first user, say what to try, and wait."""
    fastapi = project / ".venv" / "bin" / "fastapi"
    server = subprocess.Popen(
        [fastapi, "run", "--host", HOST, "--port", str(port)],
        cwd=project,
        env=environment() | {"CACHE_BACKEND": "memory"},
    )
    try:
        wait_until_live(server, port)
        user = {"name": "Ada Lovelace", "email": "ada@example.com"}
        created = json.loads(call(port, "/users", user))
        url = f"http://{HOST}:{port}"
        print(f"\nThe docs:   {url}/docs")
        print("Try twice, and see Cache-Status turn from a miss into a hit:")
        print(f"  curl -i {url}/users/{created['id']}")
        print("Ctrl-C ends it.\n", flush=True)
        sys.exit(server.wait())
    finally:
        end(server)


def wait_until_live(server: subprocess.Popen[bytes], port: int) -> None:
    """Return when the service answers; exit if it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            call(port, "/health/live")
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit("The service did not start; what it said stands above.")


def call(port: int, path: str, body: dict[str, str] | None = None) -> bytes:
    """GET, or POST if there is a body, and return the answer's body."""
    connection = HTTPConnection(HOST, port, timeout=5)
    try:
        if body is None:
            connection.request("GET", path)
        else:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status >= HTTPStatus.BAD_REQUEST:
        sys.exit(f"{path} answered {response.status}: {content.decode()}")
    return content


def end(server: subprocess.Popen[bytes]) -> None:
    """End the service, gently first. Ctrl-C in a terminal has reached it already."""
    if server.poll() is None:
        server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def environment() -> dict[str, str]:
    """Return this process's environment without what would change the demo."""
    return {
        name: value
        for name, value in os.environ.items()
        if name != "VIRTUAL_ENV" and not name.startswith(SETTINGS_OF_THE_SERVICE)
    }


if __name__ == "__main__":
    main()
