"""Processes of an installed project that do jobs for the tests."""

import json
import os
import queue
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.baked import BakedProject, environment


@dataclass(slots=True)
class Worker:
    """A process that does jobs; see `jobs`."""

    process: subprocess.Popen[str]
    log: Path
    said: "queue.Queue[str]" = field(default_factory=queue.Queue)
    busy: bool = True

    def listen(self) -> None:
        """Take what the process says until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.put(line)
        self.said.put("")

    def tell(self, **message: object) -> None:
        """Say something to the process."""
        assert self.process.stdin is not None
        self.busy = True
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def hear(self, what: str, seconds: float = 50) -> Any:  # noqa: ANN401 - the job knows
        """Wait for its next message, which has to be of this kind, and return that."""
        try:
            line = self.said.get(timeout=seconds)
        except queue.Empty:
            pytest.fail(f"waited {seconds} seconds for its {what}:\n{self.log.read_text()}")
        assert line, f"the process has ended:\n{self.log.read_text()}"
        message = json.loads(line)
        assert what in message, message.get("error", message)
        self.busy = what not in ("ready", "result")
        return message[what]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)


@contextmanager
def working(project: BakedProject, script: Path, folder: Path) -> Iterator[Worker]:
    """Lend a process that runs this script in this project; its log is put into the folder."""
    log = folder / f"worker-{uuid.uuid4().hex}.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [project.path / ".venv/bin/python", "-P", script],
            cwd=folder,
            env=environment(PYTHONPATH=f"{project.path}{os.pathsep}{script.parent}"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        worker = Worker(process, log)
        listener = threading.Thread(target=worker.listen)
        listener.start()
        try:
            worker.hear("ready")
            yield worker
        finally:
            process.kill()
            listener.join()
