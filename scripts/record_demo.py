"""Record the first minute: `make demo`, a miss, a hit, and Ctrl-C, as they happen.

    uv run scripts/record_demo.py

It writes the picture `docs/first-minute.svg`. Ports, folders, times and request ids, which differ
from run to run, are replaced; the log of the service is left out.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from record_cli import drawn, prompt
from rich.text import Text

ROOT: Final = Path(__file__).resolve().parent.parent
PICTURE: Final = ROOT / "docs" / "first-minute.svg"
DEMO, CURL = "make demo", "curl -i http://127.0.0.1:8000/users/1"
_STARTED, _ENDED = "Ctrl-C ends it.", "The demo has ended."
_SECONDS: Final = 180.0

_REPLACED: Final = (
    (r"Rendered .*/demo/", "Rendered .build/demo/"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:8000"),
    (r"(?m)^(date: ).*$", r"\1Tue, 01 Dec 2026 09:00:00 GMT"),
    (r"(?m)^(x-request-id: ).*$", r"\g<1>8f14e45fceea467a9f0c1e2d3b4a5968"),
    (r"ttl=\d+", "ttl=297"),
)
"""What differs from run to run, and what stands there instead."""
_LOG: Final = re.compile(
    r"(?:^\d{4}-\d\d-\d\dT.*\n|^ .*Starting FastAPI(?:.*\n)+?.*Logs:\n \n)+", re.MULTILINE
)


def record(port: int, build: Path, environment: Mapping[str, str]) -> list[tuple[Text, Text]]:
    """Run the demo on a port and in a folder, ask it twice, and end it."""
    command = f"{DEMO} PORT={port} BUILD={shlex.quote(str(build))}"
    printed = build / "printed"
    with printed.open("wb") as file:
        process = subprocess.Popen(
            shlex.split(command),
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(lambda: _STARTED in printed.read_text() or process.poll() is not None)
        began = printed.read_text()
        answers = [_ask(port) for _ in range(2)]
    finally:
        if process.poll() is None:  # Ctrl-C reaches every process of a terminal
            os.killpg(process.pid, signal.SIGINT)
            process.wait(_SECONDS)
    _wait(lambda: _ENDED in printed.read_text())  # make may be gone before those that it started
    return [
        (prompt(DEMO), _shown(began)),
        *((prompt(CURL), _shown(answer)) for answer in answers),
        (Text("^C", "bold"), _shown(printed.read_text().removeprefix(began))),
    ]


def pictured(recorded: list[tuple[Text, Text]]) -> str:
    """Return the recording as SVG."""
    return drawn(recorded, "The first minute")


def _ask(port: int) -> str:
    command = [*shlex.split(CURL.replace("8000", str(port))), "--silent"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _shown(printed: str) -> Text:
    """Return what is shown of an output."""
    text = _LOG.sub("[the log of the service]\n", printed)
    for pattern, instead in _REPLACED:
        text = re.sub(pattern, instead, text)
    text = re.sub(r"\n{3,}", "\n\n", text).strip("\n")
    shown = Text(text)
    shown.highlight_regex(r"\[the log of the service\]", "dim")
    shown.highlight_regex(r"(?m)^cache-status: .*$", "bold green")
    return shown


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{DEMO} has not done in {_SECONDS:.0f} seconds what it should")
        time.sleep(0.05)


def main() -> None:
    """Record, and write the picture."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as build:
        PICTURE.write_text(pictured(record(port, Path(build), os.environ)), encoding="utf-8")


if __name__ == "__main__":
    main()
