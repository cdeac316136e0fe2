"""A Docker engine for the tests, what they build with it, and `docker compose`.

`.ci/test` makes a local image of a Python and names it in `TEST_PYTHON_IMAGE`, because no registry
can be reached there. Elsewhere the images are those that the generated files name.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.baked import BakedProject, run

PYTHON_IMAGE: Final = os.environ.get("TEST_PYTHON_IMAGE", "")
COMPOSE: Final = str(Path(sys.executable).parent / "docker-compose")
"""The program that `docker compose` is, of the tests' own environment."""

HARDENED: Final = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
_REDIS: Final = """
FROM {python}
RUN apt-get -qq update && apt-get -qq install -y --no-install-recommends redis-server >/dev/null
"""


def docker(*arguments: str, text: str = "") -> str:
    """Run docker and return what it printed; fail with it if it failed."""
    return run("docker", *arguments, cwd=Path.cwd(), text=text, DOCKER_BUILDKIT=_buildkit())


def _buildkit() -> str:
    """Return 0 where docker lacks the plugin for it: it then builds as it did before."""
    there = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False)
    return "0" if there.returncode else "1"


def why_no_engine() -> str:
    """Return why no engine can be used, or nothing."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    said = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    return " ".join(said.stderr.split())[:200] if said.returncode else ""


def build(project: BakedProject, tag: str) -> None:
    """Build a project's image."""
    docker("build", "--quiet", *_build_options(), "--tag", tag, str(project.path))


def _build_options() -> tuple[str, ...]:
    if not PYTHON_IMAGE:
        return ()
    return ("--network=host", f"--build-arg=PYTHON_IMAGE={PYTHON_IMAGE}")


@dataclass(frozen=True, slots=True)
class Container:
    """A container of ours."""

    name: str

    def inspect(self) -> dict[str, Any]:
        """Return what the engine knows of it."""
        [found] = json.loads(docker("inspect", self.name))
        known: dict[str, Any] = found
        return known

    def state(self) -> dict[str, Any]:
        """Return its state, health and exit code included."""
        state: dict[str, Any] = self.inspect()["State"]
        return state

    def port(self) -> int:
        """Return the port of loopback at which its port 8000 is."""
        assert self.state()["Running"], self.logs()
        [bound] = self.inspect()["NetworkSettings"]["Ports"]["8000/tcp"]
        assert bound["HostIp"] == "127.0.0.1"
        return int(bound["HostPort"])

    def logs(self) -> str:
        """Return what it has printed."""
        return docker("logs", self.name)

    def sh(self, command: str) -> str:
        """Run a command in it and return what that printed, its last line being the exit code."""
        return docker("exec", self.name, "sh", "-c", f"{command}; echo $?")


@contextmanager
def container(image: str, *options: str, migrated: bool = False) -> Iterator[Container]:
    """Run an image as the README says, on a port of loopback, until the context ends.

    `migrated`: with its tables made first, in the same container, with which its volume goes.
    """
    name = f"test-{uuid.uuid4().hex}"
    publish = "--publish=127.0.0.1::8000"
    command: tuple[str, ...] = ()
    if migrated:
        [found] = json.loads(docker("inspect", image))
        command = ("sh", "-c", f"alembic upgrade head && exec {shlex.join(found['Config']['Cmd'])}")
    try:
        docker("run", "--detach", f"--name={name}", publish, *HARDENED, *options, image, *command)
        yield Container(name)
    finally:
        docker("rm", "--force", "--volumes", name)


def compose_override(project: BakedProject, redis: str) -> None:
    """Have `docker compose` use the images of this machine, if it has some of its own."""
    if PYTHON_IMAGE:
        build = {"build": {"network": "host", "args": {"PYTHON_IMAGE": PYTHON_IMAGE}}}
        services: dict[str, object] = {"service": build, "redis": {"image": redis}}
        if (project.path / "migrations").exists():
            services["migrate"] = build
        text = json.dumps({"services": services})
        (project.path / "compose.override.yaml").write_text(text)


def redis_image() -> str:
    """Return the image of a Redis with its command line, made of that of the Python, if any."""
    if not PYTHON_IMAGE:
        return ""
    tag = "local/redis-for-compose"
    text = _REDIS.format(python=PYTHON_IMAGE)
    docker("build", "--quiet", "--network=host", "--tag", tag, "-", text=text)
    return tag


def plugin(folder: Path) -> Mapping[str, str]:
    """Return the variables with which `docker compose` works: none if it does by itself."""
    there = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if there.returncode == 0:
        return {}
    (folder / "cli-plugins").mkdir(exist_ok=True)
    (folder / "cli-plugins" / "docker-compose").symlink_to(COMPOSE)
    return {"DOCKER_CONFIG": str(folder)}


def need_engine() -> None:
    """Fail where an engine is insisted on, as CI does; elsewhere skip the module, and say why."""
    reason = why_no_engine()
    if not reason:
        return
    message = f"No Docker engine, so the image was neither built nor started: {reason}"
    if os.environ.get("TEST_REDIS") == "container":
        raise pytest.fail.Exception(message, pytrace=False)
    pytest.skip(message, allow_module_level=True)
