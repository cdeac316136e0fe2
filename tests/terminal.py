"""A terminal in which the commands of a page are typed, one after another."""

import os
import re
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import httpx2
import yaml

from tests.baked import ROOT, environment, eventually, free_port, run
from tests.documents import Block, insist_on_output, shell

ORDINARY: Final = ("curl ", "uv run ")
"""How commands begin that are run as they stand, but for the port."""
_ANSWERS_WITHIN: Final = 60.0


class Terminal:
    """Commands are typed in a folder. A service that they start runs until the end."""

    def __init__(self, folder: Path, stack: ExitStack, **variables: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.is_serving = False
        self._stack = stack
        self._variables = variables
        self._special = {
            "cd ": self._change_folder,
            "docker compose ": self._check_compose,
            "make dev": self._serve,
            "make new ": self._make_service,
        }
        """What is done for a command that is not ordinary, by how it begins."""

    def take(self, block: Block) -> None:
        """Write the file, or type the commands, that a block is."""
        if block.title:
            (self.folder / block.title).write_text(block.text, encoding="utf-8")
        elif block.language in ("sh", "console"):
            for command, wanted in block.commands():
                self.type(command, wanted)

    def type(self, command: str, wanted: str | None = None) -> None:
        """Type a command, which has to succeed, and to print what is wanted."""
        for start, act in self._special.items():
            if command.startswith(start):
                return act(command)
        assert command.startswith(ORDINARY), f"nobody knows how to check the command {command!r}"
        printed = self._run(command.replace(":8000", f":{self.port}"))
        if wanted is not None:
            insist_on_output(printed, wanted, command)
        return None

    def _run(self, command: str) -> str:
        done = shell(command, self.folder, **self._variables)
        if self.is_serving and not done.stdout:  # the service restarts, as a file has changed
            self._wait_until_it_answers()
            done = shell(command, self.folder, **self._variables)
        assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
        printed = done.stdout.replace("\r", "")  # header lines end with it
        return printed if printed.endswith("\n") else f"{printed}\n"

    def _change_folder(self, command: str) -> None:
        self.folder = (self.folder / command.removeprefix("cd ")).resolve()
        assert self.folder.is_dir()

    def _make_service(self, command: str) -> None:
        assert command == "make new TO=.."
        home = str(self.folder / "home")
        run("make", "new", f"TO={self.folder.parent}", cwd=ROOT, text="\n" * 8, HOME=home)

    def _check_compose(self, command: str) -> None:
        """Fail unless the file has what the command names: no Docker is needed for the tests."""
        known = yaml.safe_load((self.folder / "compose.yaml").read_text())["services"].values()
        profiles = {profile for service in known for profile in service.get("profiles", ())}
        match = re.fullmatch(r"docker compose --profile (\w+) up", command)
        assert match, f"nobody knows how to check the command {command!r}"
        assert match[1] in profiles, f"{command}: compose.yaml has the profiles {profiles}"

    def _serve(self, command: str) -> None:
        with (self.folder.parent / "served.log").open("wb") as log:
            process = subprocess.Popen(
                command.split(),
                cwd=self.folder,
                env=environment(PORT=str(self.port), **self._variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._stack.callback(self._end, process)
        self._wait_until_it_answers()
        self.is_serving = True

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        process.wait(30)

    def _wait_until_it_answers(self) -> None:
        def answers() -> bool:
            try:
                url = f"http://127.0.0.1:{self.port}/health/live"
                return httpx2.get(url, timeout=5).is_success
            except httpx2.TransportError:
                return False

        eventually(answers, "the service to answer", _ANSWERS_WITHIN)
