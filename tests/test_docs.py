"""What the pages of `docs/` say is so: each block on each page is run, or checked otherwise."""

import re
import shlex
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from redis import Redis
from redis_server import RedisServer

from tests.baked import ROOT, UV, Bake, BakedProject, redis_settings
from tests.certificates import make_certificates
from tests.documents import (
    DOCS,
    Block,
    blocks,
    insist_on_output,
    program,
    run_program,
    said_by,
    settings_in,
    shell,
)
from tests.servers import Login, one_server
from tests.terminal import Terminal
from tests.topologies import MASTER_NAME, cluster, sentinel_set

ELSEWHERE: Final = {"adopt"}
"""Pages whose blocks are run by other tests."""
PAGES: Final = {
    file.stem: file.read_text(encoding="utf-8")
    for file in sorted(DOCS.glob("*.md"))
    if file.stem not in ELSEWHERE
}
KINDS: Final = {
    "python": "the program of its page, which is run, or a file of the service, if it has a title",
    "sh": "commands, which are typed",
    "console": "commands, and what they print",
    "ini": "settings, with which a cache is made",
    "text": "a drawing, which nobody can run",
}
DRAWN: Final = re.compile("[─│▶◀▼]")
LENGTH: Final = range(40, 121)
LENGTHS: Final = {"tutorial": range(121, 161)}
"""How many lines a page may have; the one that has several steps has more."""
ANSWER: Final = re.compile(r"# [^\n]+\n\n(?P<answer>[^\n#`|](?:[^\n]|\n(?!\n))*)\n\n")

with_programs: Final = pytest.mark.parametrize(
    "page", [name for name, text in PAGES.items() if program(text).strip()]
)
with_commands: Final = pytest.mark.parametrize(
    "page",
    [
        name
        for name, text in PAGES.items()
        if any(block.language in ("sh", "console") for block in blocks(text))
    ],
)
SETTINGS: Final = [
    pytest.param(block, id=f"{name}-{at}")
    for name, text in PAGES.items()
    for at, block in enumerate(blocks(text))
    if block.language == "ini"
]


@pytest.fixture(scope="module")
def service(bake: Bake) -> BakedProject:
    """Return a service of these tests, into which pages may write."""
    project = bake()
    project.run(UV, "sync", "--quiet")
    return project


@pytest.fixture
def on_redis(redis_server: RedisServer) -> Iterator[dict[str, str]]:
    """Lend the settings of a cache on a real Redis that has an entry; remove all afterwards."""
    prefix = f"docs-{uuid.uuid4().hex}"
    with Redis.from_url(redis_server.url) as client:
        client.set(f"{prefix}:an-entry", "1", ex=600)
        yield {"CACHE_BACKEND": "redis"} | redis_settings(redis_server, prefix)
        for key in client.scan_iter(f"{prefix}:*"):
            client.unlink(key)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_of_a_known_kind(page: str) -> None:
    """Each is run or checked, and no fence is left open; a drawing is one."""
    text, found = PAGES[page], blocks(PAGES[page])
    assert len(re.findall("^ *```", text, re.MULTILINE)) == 2 * len(found)
    for block in found:
        assert block.language in KINDS, (
            f"{page}.md has a block of {block.language or 'no language'}"
        )
        assert block.language != "text" or DRAWN.search(block.text), f"run it: {block.text}"


@with_programs
@pytest.mark.parametrize("backend", ["memory", "redis"])
def test_programs_print_what_they_say(
    page: str, backend: str, service: BakedProject, tmp_path: Path, on_redis: dict[str, str]
) -> None:
    """A page is one module, which runs on either backend, and prints what its comments say."""
    settings = on_redis if backend == "redis" else {"CACHE_BACKEND": "memory"}
    printed = run_program(PAGES[page], page, service, tmp_path, **settings)
    assert said_by(PAGES[page]), "a program that shows nothing proves nothing"
    printed = printed.replace(on_redis["CACHE_KEY_PREFIX"], "app")  # the name of the cache
    insist_on_output(printed, said_by(PAGES[page]), page)


def test_the_webhook_knows_its_product_and_who_calls(service: BakedProject, tmp_path: Path) -> None:
    """White space around a number that is signed changes nothing, and no header is an error."""
    calls = """
```python
for body, more in (b"7", {}), (b"7\\n", {}), (b" 07", {}), (b"7", {"X-Signature": b"\\xff"}):
    signed = {"X-Signature": hmac.new(SECRET, body, hashlib.sha256).hexdigest().encode()}
    prices[7] = 20
    print(client.post("/hooks/product", content=body, headers=signed | more).status_code)
    ask()
```
"""
    printed = run_program(PAGES["jobs"] + calls, "jobs", service, tmp_path, CACHE_BACKEND="memory")
    after = printed.removeprefix(said_by(PAGES["jobs"])).splitlines()
    assert after[:-2] == ["204", "25 app; fwd=miss; stored"] * 3
    assert after[-2] == "403"
    assert "hit" in after[-1]


def test_programs_are_typed(service: BakedProject, tmp_path: Path) -> None:
    """A strict type checker has nothing to say of any program."""
    for name in with_programs.args[1]:
        (tmp_path / f"{name.replace('-', '_')}.py").write_text(program(PAGES[name]))
    said = in_service(
        service,
        *(tmp_path, "-m", "mypy", "--strict", "--disable-error-code=top-level-await", "."),
        MYPYPATH=str(service.path),
    )
    assert f"no issues found in {len(with_programs.args[1])} source files" in said


@with_commands
def test_commands_do_what_they_say(
    page: str, service: BakedProject, tmp_path: Path, on_redis: dict[str, str]
) -> None:
    """The files of a page are written, and its commands typed, in their order; all succeed."""
    begins_with_nothing = "make new" in PAGES[page]
    start = tmp_path / "template" if begins_with_nothing else service.path
    start.mkdir(exist_ok=True)
    with ExitStack() as stack:
        terminal = Terminal(start, stack, **({} if begins_with_nothing else on_redis))
        for block in blocks(PAGES[page]):
            terminal.take(block)
        if begins_with_nothing:  # its steps leave a service whose own tests still pass
            terminal.type("uv run pytest -q tests/test_home.py tests/test_main.py")


def test_pages_with_files_have_commands_that_use_them() -> None:
    """A file of the service that nothing runs would prove nothing."""
    with_files = {
        name
        for name, text in PAGES.items()
        if any(block.title and block.language == "python" for block in blocks(text))
    }
    assert with_files
    assert with_files <= set(with_commands.args[1])


@pytest.mark.parametrize("block", SETTINGS)
def test_settings_make_a_cache(block: Block, service: BakedProject, tmp_path: Path) -> None:
    """A cache on Redis can be made with each `.env` file."""
    assert block.title == ".env"
    (tmp_path / ".env").write_text(block.text, encoding="utf-8")
    authority = settings_in(block).get("REDIS_TLS_CA_FILE")
    if authority:
        shutil.copy(make_certificates(tmp_path).authority, tmp_path / authority)
    code = "from app.core.cache import get_cache_manager; print(get_cache_manager().backend)"
    assert in_service(service, tmp_path, "-c", code).startswith("RedisBackend(")


@pytest.mark.parametrize("variable", ["REDIS_SENTINELS", "REDIS_CLUSTER", "REDIS_TLS", "REDIS_URL"])
def test_settings_reach_servers(variable: str, service: BakedProject, tmp_path: Path) -> None:
    """The settings of each topology, with the addresses of real servers, reach these."""
    files = [block for block in blocks(PAGES["topologies"]) if block.language == "ini"]
    [settings] = [found for found in map(settings_in, files) if variable in found]
    with ExitStack() as stack:
        here = addresses(variable, settings, tmp_path, stack)
        said = in_service(
            service,
            tmp_path,
            "-m",
            "app.core.cache",
            "ping",
            CACHE_KEY_PREFIX="app",
            **settings | here,
        )
    assert ": answers in " in said


def addresses(
    variable: str, settings: dict[str, str], folder: Path, stack: ExitStack
) -> dict[str, str]:
    """Start the servers that settings are for; return the settings that say where these are."""
    if variable == "REDIS_SENTINELS":
        assert settings["REDIS_SENTINEL_MASTER"] == MASTER_NAME
        sentinels = stack.enter_context(sentinel_set()).sentinels
        return {variable: ",".join(f"127.0.0.1:{each.port}" for each in sentinels)}
    if variable == "REDIS_CLUSTER":
        masters = stack.enter_context(cluster()).masters()
        return {"REDIS_HOST": ",".join(f"127.0.0.1:{each.port}" for each in masters[:2])}
    login = Login("a-long-password", "app")
    certificates = make_certificates(folder)
    line = "tls-auth-clients no"
    server = stack.enter_context(one_server(line, login=login, certificates=certificates))
    here = {"REDIS_TLS_CA_FILE": str(certificates.authority)}
    if variable == "REDIS_URL":
        url = settings[variable].replace("cache.example.com:6379", f"127.0.0.1:{server.port}")
        return here | {variable: url}
    return here | {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(server.port)}


def in_service(service: BakedProject, folder: Path, *arguments: str, **variables: str) -> str:
    """Run Python with the package of a service in a folder; return what it prints."""
    python = str(service.path / ".venv/bin/python")
    command = shlex.join([python, "-W", "error", *arguments])
    done = shell(command, folder, PYTHONPATH=str(service.path), **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_short_and_begin_with_the_answer(page: str) -> None:
    """A title, and then two to four sentences; the reference is linked, not repeated."""
    text = PAGES[page]
    assert len(text.splitlines()) in LENGTHS.get(page, LENGTH)
    answer = ANSWER.match(text)
    assert answer, "a title and a paragraph come first"
    assert len(re.findall(r"[.:;!?](?:\s|$)", answer["answer"])) in range(2, 7)
    assert "/app/core/cache/" in text or page == "tutorial"


FIGURES: Final = {
    "takes a third of the time": (
        r"decorated function, 200 bytes, one caller .*?\*\*([\d.]+)",
        1 / 3,
    ),
    "seven times as many hits": (r"64 callers at once, 1,000 keys .*?\*\*([\d.]+)", 7),
    "takes about 2 µs": (r"this module, near \| ([\d.]+)", 2),
    "one and a half times a GET and a SET": (r"fill of a decorated .*?\*\*([\d.]+)", 1.5),
}
"""What the page on tuning says of the benchmarks: where the figure stands, and what it is about."""


@pytest.mark.parametrize("words", FIGURES)
def test_the_cost_is_what_was_measured(words: str) -> None:
    """Each figure in words is, but for a quarter, the one in the published results."""
    pattern, said = FIGURES[words]
    measured = re.search(pattern, (ROOT / "benchmarks" / "results.md").read_text())
    assert measured
    assert words in " ".join(PAGES["tuning"].split())
    assert float(measured[1]) == pytest.approx(said, rel=0.25)


BROKEN: Final = {
    "another output": ("print(1)\n# -> 2\n", "it prints"),
    "more output": ("print(1)\n# -> 1\nprint(2)\n", "it prints"),
    "less output": ("print(1)\n# -> 1\n# -> 2\n", "it prints"),
    "a failing assertion": ("assert 1 == 2\n# -> 1\n", 'broken.py", line 4'),
    "a wrong call of the cache": (
        "import app.core.cache\napp.core.cache.cache_response(None, 'key')\n",
        "TypeError",
    ),
    "a warning of Python": ("import warnings; warnings.warn('x')\n", "UserWarning"),
    "no Python": ("print(\n", "SyntaxError"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_program_is_found(kind: str, service: BakedProject, tmp_path: Path) -> None:
    """A page whose program fails, or prints something else, fails its test, and says where."""
    code, said = BROKEN[kind]
    page = f"# A page\n\n```python\n{code}```\n"
    with pytest.raises(AssertionError, match=re.escape(said)):
        insist_on_output(
            run_program(page, "broken", service, tmp_path, CACHE_BACKEND="memory"),
            said_by(page),
            "broken",
        )


@pytest.mark.parametrize(
    "command",
    ["rm -rf anything", "make dem", "docker compose up --wait", "docker compose --profile x up"],
)
def test_a_command_that_nobody_checks_is_found(
    command: str, service: BakedProject, tmp_path: Path
) -> None:
    """A page shows no command that its test does not know, or that names what is not there."""
    with ExitStack() as stack, pytest.raises(AssertionError, match=re.escape(command)):
        Terminal(service.path, stack).type(command)
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_prints_something_else_is_found(service: BakedProject) -> None:
    """What a page shows below a command is compared with what that prints."""
    block = Block("console", "", "$ uv run python -c 'print(1)'\n2\n", 0)
    with ExitStack() as stack, pytest.raises(AssertionError, match="it prints:\n1"):
        Terminal(service.path, stack).take(block)
