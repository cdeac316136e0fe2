"""A folder with neighbours around it, and what has become of them."""

import json
import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.baked import BakedProject
from tests.cookiecutter_command import command_line

PROMPTS: Final = (
    *("project_name", "project_slug", "description", "author_name", "author_email"),
    *("python_version", "license", "example_resource"),
)
NEIGHBOUR: Final = "neighbour"
"""The name of a folder that stands beside the new one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of cookiecutter has come to."""

    exit_code: int
    said: str
    made: list[Path]


class Yard:
    """A folder to work in, `here`, with something beside it, in it and above it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "root"
        self.here = self.root / "parent" / "here"
        self.here.mkdir(parents=True)
        for folder in (self.root, self.here.parent, self.here):
            (folder / "file.txt").write_text("to be kept")
            (folder / NEIGHBOUR / "deep").mkdir(parents=True)
            (folder / NEIGHBOUR / "deep" / "file").write_bytes(b"\x00to be kept")
            (folder / "link").symlink_to(NEIGHBOUR)
            (folder / "dangling").symlink_to("nowhere")
            (folder / "repository" / ".git").mkdir(parents=True)
            (folder / "repository" / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
        self.replays = root / "replays"
        folders = {"cookiecutters_dir": str(root), "replay_dir": str(self.replays)}
        (root / "config.json").write_text(json.dumps(folders))
        self.look()

    def look(self) -> None:
        """Remember what is there now."""
        self._before = self._seen()

    def _seen(self) -> dict[Path, tuple[object, ...]]:
        found: dict[Path, tuple[object, ...]] = {}
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if name != ".venv"]
            for path in (Path(folder, name) for name in (*folders, *files) if name != "uv.lock"):
                entry = path.lstat()
                content = path.read_bytes() if path.is_file() else b""
                target = path.readlink() if path.is_symlink() else None
                # What is put into a folder changes the folder's own time.
                time = entry.st_mtime_ns if not path.is_dir() else 0
                found[path] = (entry.st_mode, entry.st_ino, time, content, target)
        return found

    def made(self) -> list[Path]:
        """Return what is new, without what is inside; fail if what was there is not as it was."""
        after = self._seen()
        harmed = [path for path, entry in self._before.items() if after.get(path) != entry]
        assert harmed == []
        new = after.keys() - self._before.keys()
        return sorted(path for path in new if path.parent not in new)

    def render(self, template: Path, *options: str, **answers: str) -> Outcome:
        """Run cookiecutter without a prompt, with these answers."""
        given = (f"{name}={answer}" for name, answer in answers.items())
        return self._cookiecutter(str(template), "--no-input", *options, *given)

    def type(self, template: Path, *options: str, **answers: str) -> Outcome:
        """Run cookiecutter, and type these answers, and nothing else, at its prompts."""
        return self._cookiecutter(str(template), *options, text=typed(**answers))

    def replay(self, template: Path, *options: str, file: Path | None = None) -> Outcome:
        """Run cookiecutter with the answers of the last run, or of a file."""
        answers = ("--replay-file", str(file)) if file else ("--replay",)
        return self._cookiecutter(str(template), *answers, *options)

    def _cookiecutter(self, *arguments: str, text: str = "") -> Outcome:
        talk = self.root.parent / "talk"
        talk.write_bytes(text.encode("utf-8", "surrogateescape"))
        process = _FORKS.Process(target=command_line, args=(self.here, talk, arguments))
        process.start()
        process.join()
        assert process.exitcode is not None
        said = talk.with_suffix(".out").read_text("utf-8", "backslashreplace")
        return Outcome(process.exitcode, said, self.made())


_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["__main__", "cookiecutter.cli"])  # each takes longer than a run


def typed(**answers: str) -> str:
    """Return what has to be typed for these answers, and the defaults for the rest."""
    return "".join(f"{answers.get(name, '')}\n" for name in PROMPTS)


def only(made: list[Path]) -> BakedProject:
    """Return the one project that was made."""
    (path,) = made
    return BakedProject(path)
