"""compose.yaml and compose.production.yaml, as `docker compose` itself reads them.

`test_image.py` starts them.
"""

import json
import re
import stat
import subprocess
from typing import Any

import pytest

from tests.baked import Bake, BakedProject, environment, run
from tests.engine import COMPOSE

PASSWORD = {"REDIS_PASSWORD": "of-this-test"}
PRODUCTION = {**PASSWORD, "SERVICE_IMAGE": "service@sha256:" + "0" * 64, "TLS_FOLDER": "/tls"}
BOTH = ("compose.yaml", "compose.production.yaml")


@pytest.fixture(scope="module", params=["yes", "no"], ids=["example", "no example"])
def project(request: pytest.FixtureRequest, bake: Bake) -> BakedProject:
    """Return a project of either kind."""
    return bake(example_resource=request.param)


def read(
    project: BakedProject, variables: dict[str, str], *files: str
) -> subprocess.CompletedProcess[str]:
    """Read compose files, every profile of them, and return what compose makes of them."""
    chosen = [f"--file={file}" for file in files or BOTH[:1]]
    command = [COMPOSE, *chosen, "--profile=observe", "config", "--format=json"]
    return subprocess.run(
        command,
        cwd=project.path,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )


def services(
    project: BakedProject, variables: dict[str, str], *files: str
) -> dict[str, dict[str, Any]]:
    """Return the services of compose files that are right, and about which nothing is said."""
    done = read(project, variables, *files)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)["services"]
    return found


@pytest.mark.parametrize(
    ("files", "variables", "missing"),
    [
        (BOTH[:1], {}, "REDIS_PASSWORD"),
        (BOTH[:1], {"REDIS_PASSWORD": ""}, "REDIS_PASSWORD"),
        (BOTH, PRODUCTION | {"REDIS_PASSWORD": ""}, "REDIS_PASSWORD"),
        (BOTH, PRODUCTION | {"SERVICE_IMAGE": ""}, "SERVICE_IMAGE"),
        (BOTH, PRODUCTION | {"TLS_FOLDER": ""}, "TLS_FOLDER"),
    ],
)
def test_what_is_secret_or_chosen_has_no_default(
    project: BakedProject, files: tuple[str, ...], variables: dict[str, str], missing: str
) -> None:
    """Without it nothing starts, and one line says what to write where."""
    done = read(project, variables, *files)
    assert done.returncode != 0
    [line] = done.stderr.strip().splitlines()
    assert f"write {missing}=" in line
    assert "into .env" in line


def test_a_password_of_the_env_file_reaches_both(project: BakedProject) -> None:
    """The service and its Redis have the one of .env."""
    settings = project.path / ".env"
    settings.write_text("REDIS_PASSWORD=of-the-file\n")
    found = services(project, {})
    settings.unlink()
    used = [found["service"]["environment"]["REDIS_PASSWORD"]]
    used += [
        option(found["redis"], "--requirepass"),
        found["redis"]["environment"]["REDISCLI_AUTH"],
    ]
    assert used == ["of-the-file"] * 3


def option(redis: dict[str, Any], name: str) -> str:
    """Return what a server is started with."""
    command: list[str] = redis["command"]
    return command[command.index(name) + 1]


@pytest.mark.parametrize("files", [BOTH[:1], BOTH], ids=["compose", "production"])
def test_no_container_has_more_rights_than_it_needs(
    project: BakedProject, files: tuple[str, ...]
) -> None:
    """Whatever is started has no capability, gains no right, is pinned, and for loopback only."""
    for name, service in services(project, PRODUCTION, *files).items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["pids_limit"], name
        assert "@sha256:" in service.get("image", "@sha256:"), name
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", [])), name
        if name in {"service", "redis"}:
            assert service["read_only"], name
        if name != "migrate":
            assert service["mem_limit"], name


def test_grafana_has_no_known_password(project: BakedProject) -> None:
    """Who reaches its port may look, and cannot become its administrator."""
    settings = services(project, PRODUCTION)["grafana"]["environment"]
    assert settings["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert settings["GF_AUTH_BASIC_ENABLED"] == "false"
    assert settings["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert settings["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


def make_password(project: BakedProject, before: str, **variables: str) -> str:
    """Run `make password` with an .env that everybody may read, and return what is in it then."""
    file = project.path / ".env"
    file.write_bytes(before.encode())
    file.chmod(0o644)
    run("make", "password", cwd=project.path, **variables)
    text = file.read_bytes().decode()
    assert text.startswith(before)
    assert stat.S_IMODE(file.stat().st_mode) == (0o644 if text == before else 0o600)
    file.unlink()
    return text.removeprefix(before)


@pytest.mark.parametrize(
    "before",
    [
        "",
        "A=1",
        *(f"REDIS_PASSWORD={none}\n" for none in ("", "\r", '""', "''", " ", '" "\r', " # none")),
    ],
)
def test_a_password_is_made_where_there_is_none(project: BakedProject, before: str) -> None:
    """A blank value is none; the file with the new one is for its owner only."""
    for blank in ("", " ", "\r"):
        added = make_password(project, before, REDIS_PASSWORD=blank)
        assert re.search(r"^REDIS_PASSWORD=[0-9a-f]{64}\n\Z", added, re.MULTILINE)


@pytest.mark.parametrize("value", ["x", "'x'", '"x y"', "#x", '"#x"', " x", "x # mine", '"\'x"'])
def test_a_password_that_is_set_stays(project: BakedProject, value: str) -> None:
    """The file is not touched, whether the value stands in it or in the environment."""
    assert make_password(project, f"A=1\nREDIS_PASSWORD={value}\n") == ""
    assert make_password(project, f"export REDIS_PASSWORD={value}") == ""
    assert make_password(project, "", REDIS_PASSWORD=value) == ""


@pytest.mark.parametrize("files", [BOTH[:1], BOTH], ids=["compose", "production"])
def test_redis_is_a_cache(project: BakedProject, files: tuple[str, ...]) -> None:
    """It has less memory than its container, forgets what is least used, and keeps nothing."""
    redis = services(project, PRODUCTION, *files)["redis"]
    megabytes = int(option(redis, "--maxmemory").removesuffix("mb"))
    assert megabytes * 2**20 < int(redis["mem_limit"])
    assert option(redis, "--maxmemory-policy") == "allkeys-lru"
    assert (option(redis, "--save"), option(redis, "--appendonly")) == ("", "no")
    assert redis["user"].partition(":")[0] != "0"
    assert "ports" not in redis


def test_production_has_no_way_but_tls(project: BakedProject) -> None:
    """Redis listens with TLS only, and the service checks by whom its certificate was signed."""
    found = services(project, PRODUCTION, *BOTH)
    assert option(found["redis"], "--port") == "0"
    assert option(found["redis"], "--tls-port") == "6379"
    settings = found["service"]["environment"]
    assert settings["REDIS_TLS"] == "true"
    authority = settings["REDIS_TLS_CA_FILE"]
    assert authority in [volume["target"] for volume in found["service"]["volumes"]]
    assert "REDIS_TLS_CHECK_HOSTNAME" not in settings
