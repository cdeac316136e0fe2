"""`app/core/logging.py`: what log lines look like, and that all of a server's processes write them."""

import json
import logging
import os
import pty
import re
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
from fastapi.testclient import TestClient

from app.core.config import Settings
from app.core.logging import LONGEST, JSONFormatter, TextFormatter, configure_logging
from app.main import create_app
from tests.conftest import MAIN, START_WITHIN, free_port, wait_until_alive

Form = Literal["text", "json"]
FORMATS: dict[Form, logging.Formatter] = {"text": TextFormatter(), "json": JSONFormatter()}
BOTH = pytest.mark.parametrize("form", list(FORMATS))
BEGIN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \d+ (DEBUG|INFO|WARNING|ERROR) ")
FORGED = "2026-01-01T00:00:00.000Z 1 ERROR app: forged"
FORGED_JSON = '{"level": "ERROR", "message": "forged"}'


def formatted(form: Form, message: object, *args: object, **more: Any) -> str:
    """Return a record of `app.test` in a format; `more` are the arguments of the logger's method."""
    name, error = more.pop("name", "app.test"), more.pop("error", None)
    info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.getLogger(name).makeRecord(
        name, logging.INFO, __file__, 1, message, args, info, **more
    )
    return FORMATS[form].format(record)


def told(message: object, *args: object, **more: Any) -> dict[str, Any]:
    """Return what stands in a line of JSON."""
    fields: dict[str, Any] = json.loads(formatted("json", message, *args, **more))
    return fields


def raised(error: Exception) -> Exception:
    """Return an exception with a traceback."""
    try:
        raise error
    except type(error) as caught:
        return caught


class Failing:
    """An object without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def test_a_line_of_json_says_when_where_and_what() -> None:
    """The time in UTC with milliseconds, the level, the logger, the message and the process."""
    fields = told("%d of %s", 1, "two")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", fields.pop("time"))
    assert fields == {
        "level": "INFO",
        "logger": "app.test",
        "message": "1 of two",
        "pid": os.getpid(),
    }


def test_a_line_of_text_says_the_same() -> None:
    """Fields stand at its end."""
    line = formatted("text", "%d of %s", 1, "two", extra={"order": 5, "name_": "Zoë"})
    assert BEGIN.match(line)
    assert line.endswith(f'Z {os.getpid()} INFO app.test: 1 of two order=5 name_="Zoë"')


def test_extra_is_fields_of_their_own() -> None:
    """With their types, and as texts where JSON has none."""
    extra = {"one": 1, "none": None, "list": [1, {"a": True}], "price": Decimal("1.50"), "b": b"x"}
    fields = told("hello", extra=extra)
    assert {name: fields[name] for name in extra} == {
        **extra,
        "price": "1.50",
        "b": "b'x'",
    }


def test_extra_replaces_nothing() -> None:
    """A name that is taken gets an underscore, so that a line has it once."""
    line = formatted("json", "hello", extra={"level": "a", "pid": 0, "request_id": "b", "time": ""})
    pairs = json.loads(line, object_pairs_hook=list)
    assert Counter(name for name, _ in pairs).most_common(1)[0][1] == 1
    fields = dict(pairs)
    assert [fields["level"], fields["pid"]] == ["INFO", os.getpid()]
    assert [fields["level_"], fields["pid_"], fields["request_id_"]] == ["a", 0, "b"]


def endless() -> list[object]:
    """Return a list that has itself in it."""
    each: list[object] = []
    each.append(each)
    return each


def deep() -> list[object]:
    """Return lists in lists, more than can be followed."""
    each: list[object] = []
    for _ in range(100_000):
        each = [each]
    return each


@BOTH
@pytest.mark.parametrize(
    "value",
    [
        *(Failing(), [Failing()], {Failing(): 1}, endless(), {(1, 2): 3}, {1: 2}, {None, 1}),
        *(float("nan"), [float("inf")], 10**5000, object(), "x" * 100_000, ["y"] * 100_000),
        *("\ud800", ["\udfff"], {"\ud800": 1}, "\\ud800", "\U0001f600", raised(ValueError("a\nb"))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_value_can_be_a_field(form: Form, value: object) -> None:
    """It is written somehow; a log line is no place to fail."""
    line = formatted(form, "hello", extra={"field": value, "after": 1})
    assert len(line.splitlines()) == 1
    assert len(line) < 3 * LONGEST
    if form == "json":
        assert json.loads(line)["after"] == 1
        json.dumps(json.loads(line), ensure_ascii=False).encode()


@BOTH
def test_what_nests_too_deep_is_written_too(form: Form) -> None:
    """As its type."""
    value = deep()
    assert "<list>" in formatted(form, "hello", extra={"field": value})
    while value:  # one by one: the interpreter frees them by recursion otherwise
        [value] = value  # type: ignore[assignment]


@BOTH
@pytest.mark.parametrize(
    ("message", "args"),
    [("%d", ("x",)), ("%s and %s", (1,)), ("none", (1,)), ("%s", (Failing(),)), (Failing(), ())],
)
def test_a_message_whose_arguments_do_not_fit_is_written(
    form: Form, message: object, args: tuple[object, ...]
) -> None:
    """The mistake is in one line, and in nobody's way."""
    assert len(formatted(form, message, *args).splitlines()) == 1


HOSTILE = {
    "line feed": f"a\n{FORGED}",
    "line feed, JSON": f"a\n{FORGED_JSON}",
    "end of the text": f'"}}\n{FORGED_JSON}',
    "carriage return": f"a\r{FORGED}",
    "both": f"a\r\n{FORGED}",
    "vertical tab": f"a\x0b{FORGED}",
    "form feed": f"a\x0c{FORGED}",
    "separators": f"a\x1c{FORGED}\x1d{FORGED}\x1e{FORGED}",
    "next line": f"a\x85{FORGED}",
    "line separator": f"a\u2028{FORGED}",
    "paragraph separator": f"a\u2029{FORGED}",
    "erases the line": f"a\x1b[2K\x1b[1G{FORGED}",
    "backspaces": "a" + "\b" * 80 + FORGED,
    "null": f"a\0{FORGED}",
    "right to left": f"a\u202e{FORGED}",
    "half a character": f"a\ud800\n{FORGED}",
    "the other half": f"a\udc00\n{FORGED}",
    "halves the wrong way round": f"\udc00\ud800\n{FORGED}",
    "an escape": r"a\n\u000a\ud800" + FORGED,
    "very long": f"a\n{FORGED}" * 10_000,
}


@BOTH
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize(
    "place", ["message", "argument", "value", "in a value", "name", "logger", "path", "exception"]
)
def test_no_text_begins_a_line(form: Form, text: str, place: str) -> None:
    """Whatever it is, and wherever it stands: it is in the line of its record."""
    line = {
        "message": lambda: formatted(form, text),
        "argument": lambda: formatted(form, "%s", text),
        "value": lambda: formatted(form, "m", extra={"field": text}),
        "in a value": lambda: formatted(form, "m", extra={"field": [{text: text}]}),
        "name": lambda: formatted(form, "m", extra={text: 1}),
        "logger": lambda: formatted(form, "m", name=f"app.{len(text)}{text}"[:1000]),
        "path": lambda: formatted(
            form, "%s %s %s %s %d", "c", "GET", text, "1.1", 200, name="uvicorn.access"
        ),
        "exception": lambda: formatted(form, "m", error=raised(ValueError(text))),
    }[place]()
    first, *others = line.splitlines()
    if form == "json":
        assert not others
        assert first.isascii()
        json.dumps(json.loads(first), ensure_ascii=False).encode()  # no half character
    else:
        assert BEGIN.match(first)
        assert all(each.startswith("    ") for each in others)
        assert bool(others) is (place == "exception")
        assert all(each.isprintable() for each in (first, *others))
    assert len(line) < 1_000_000


def test_a_long_text_keeps_its_ends() -> None:
    """And says how much is missing."""
    message = told("a" * LONGEST + "b" * LONGEST)["message"]
    assert message == f"{'a' * (LONGEST // 2)}[... {LONGEST} characters ...]{'b' * (LONGEST // 2)}"


def test_an_exception_is_a_field_with_its_traceback() -> None:
    """In one line of JSON, and below its line in text."""
    error = raised(LookupError("first\nsecond"))
    fields = told("failed\n", error=error)
    exception = fields["exception"]
    assert fields["message"] == "failed"
    assert exception.startswith("Traceback (most recent call last):\n")
    assert exception.endswith("LookupError: first\nsecond")
    first, *others = formatted("text", "failed\n", error=error).split("\n")
    assert first.endswith("app.test: failed")
    assert others[0] == "    Traceback (most recent call last):"
    assert others[-2:] == ["    LookupError: first", "    second"]


def test_there_may_be_no_exception() -> None:
    """As in `logger.exception` where none is handled."""
    record = logging.makeLogRecord({"msg": "hello", "exc_info": (None, None, None)})
    assert "exception" not in json.loads(JSONFormatter().format(record))


def test_a_stack_is_a_field() -> None:
    """`stack_info=True` asks for it."""
    record = logging.makeLogRecord({"msg": "hello", "stack_info": "Stack:\n  here"})
    assert json.loads(JSONFormatter().format(record))["stack"] == "Stack:\n  here"
    assert TextFormatter().format(record).endswith("hello\n    Stack:\n      here")


def test_a_line_of_the_access_log_is_fields() -> None:
    """In JSON; in text its message has them."""
    args = ("127.0.0.1:5", "GET", "/a?b=c", "1.1", 200)
    fields = told('%s - "%s %s HTTP/%s" %d', *args, name="uvicorn.access")
    assert fields["message"] == '127.0.0.1:5 - "GET /a?b=c HTTP/1.1" 200'
    names = ("client", "method", "path", "http_version", "status")
    assert tuple(fields[name] for name in names) == args


def bare_root(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    """Return the root logger without handlers, and have uvicorn's as uvicorn has just left them.

    This is no fixture, for pytest adds handlers after these are made.
    """
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(logging.getLogger("app"), "level", logging.NOTSET)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger, is_above = logging.getLogger(name), name != "uvicorn.error"
        monkeypatch.setattr(logger, "handlers", [logging.StreamHandler()] * is_above)
        monkeypatch.setattr(logger, "filters", [])
        monkeypatch.setattr(logger, "propagate", not is_above)
        monkeypatch.setattr(logger, "level", logging.INFO)
    return root


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return what was written to stderr since the last time, as JSON, and nothing to stdout."""
    out, err = capsys.readouterr()
    assert not out
    return [json.loads(line) for line in err.splitlines()]


def test_each_logger_writes_its_line_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """However often it is configured: the service's, uvicorn's, and a library's from WARNING on."""
    bare_root(monkeypatch)
    for _ in range(2):
        configure_logging("DEBUG", "json")
    for name in ("app.some", "uvicorn.error", "uvicorn.access", "library"):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING):
            logging.getLogger(name).log(level, "hello")
    assert [(each["logger"], each["level"]) for each in lines_of(capsys)] == [
        *(("app.some", level) for level in ("DEBUG", "INFO", "WARNING")),
        *(("uvicorn.error", level) for level in ("INFO", "WARNING")),
        *(("uvicorn.access", level) for level in ("INFO", "WARNING")),
        ("library", "WARNING"),
    ]


def test_uvicorn_may_configure_its_loggers_later(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a program imports the application and then runs uvicorn."""
    bare_root(monkeypatch)
    configure_logging("INFO", "json")
    access = logging.getLogger("uvicorn.access")
    for _ in range(2):
        access.handlers, access.propagate = [logging.StreamHandler()], False
        access.info("hello")
        assert [each["message"] for each in lines_of(capsys)] == ["hello"]


def test_an_access_log_that_is_off_stays_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--no-access-log` leaves a logger without handlers that hands nothing on."""
    bare_root(monkeypatch)
    access = logging.getLogger("uvicorn.access")
    access.handlers = []
    configure_logging("INFO", "json")
    access.info("hello")
    logging.getLogger("uvicorn.error").info("hello")
    assert [each["logger"] for each in lines_of(capsys)] == ["uvicorn.error"]
    assert not access.hasHandlers()


def test_what_uvicorn_writes_elsewhere_it_still_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only handlers for the console are replaced."""
    bare_root(monkeypatch)
    access = logging.getLogger("uvicorn.access")
    file = logging.FileHandler(tmp_path / "access.log")
    access.handlers = [*access.handlers, file]
    configure_logging("INFO", "json")
    access.info("hello")
    file.close()
    assert (tmp_path / "access.log").read_text() == "hello\n"


@pytest.mark.parametrize("form", ["text", "json"])
def test_handlers_of_others_are_left_alone(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a test, or of an application that has this one in it."""
    root, theirs = bare_root(monkeypatch), logging.NullHandler()
    root.addHandler(theirs)
    before = logging.getLogger("uvicorn").handlers
    configure_logging("DEBUG", form)
    logging.getLogger("uvicorn.error").info("hello")
    assert root.handlers == [theirs]
    assert logging.getLogger("uvicorn").handlers == before
    assert logging.getLogger("app").isEnabledFor(logging.DEBUG)


def test_the_format_can_be_changed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By configuring again, also if another handler came in between."""
    root = bare_root(monkeypatch)
    configure_logging("INFO", "json")
    root.addHandler(logging.NullHandler())
    configure_logging("INFO", "text")
    logging.getLogger("app").info("hello")
    [line] = capsys.readouterr().err.splitlines()
    assert BEGIN.match(line)


def test_tests_see_what_is_logged(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Once, however many applications there are."""
    for _ in range(2):
        with TestClient(create_app(settings)):
            pass
    logging.getLogger("app.some").warning("hello")
    assert [each.message for each in caplog.records if each.name == "app.some"] == ["hello"]


def test_formats_are_read_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text unless told otherwise; one that does not exist stops the start."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOG_FORMAT", raising=False)
    assert Settings().log_format == "text"
    monkeypatch.setenv("LOG_FORMAT", "json")
    assert Settings().log_format == "json"
    monkeypatch.setenv("LOG_FORMAT", "xml")
    with pytest.raises(ValueError, match="log_format"):
        Settings()


PROGRAM = "import sys, uvicorn; from app.main import app; uvicorn.run(app, port=int(sys.argv[-1]))"
MODES = {
    "uvicorn": ["-m", "uvicorn", "app.main:app", "--http", "httptools"],
    "uvicorn with h11": ["-m", "uvicorn", "app.main:app", "--http", "h11"],
    "uvicorn with workers": ["-m", "uvicorn", "app.main:app", "--workers", "2"],
    "uvicorn with reload": ["-m", "uvicorn", "app.main:app", "--reload"],
    "fastapi dev": ["-m", "fastapi", "dev", "--entrypoint", "app.main:app"],
    "fastapi run": ["-m", "fastapi", "run", str(MAIN)],
    "a program": ["-c", PROGRAM],
}
CACHE = r"cache in MemoryBackend\(.*, key prefix 'of-this-test'"
"""The line of the service's own cache; others may be there."""
SUPERVISED = ("uvicorn with workers", "uvicorn with reload", "fastapi dev")
"""A process that does not import the application starts and ends the others, and writes of that."""


@contextmanager
def started(mode: str, form: Form, log: Path) -> Iterator[httpx2.Client]:
    """Run the service in one of `MODES`; `log` gets its stderr, and stdout is a terminal."""
    port, (terminal, stdout) = free_port(), pty.openpty()
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, *MODES[mode], "--port", str(port)],
            cwd=log.parent,
            env={
                **os.environ,
                "CACHE_BACKEND": "memory",
                "CACHE_KEY_PREFIX": "of-this-test",
                "LOG_FORMAT": form,
                "LOG_LEVEL": "INFO",
                "PYTHONPATH": str(MAIN.parent.parent),
            },
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_until_alive(client, process, log)
            yield client
    finally:
        process.terminate()
        process.wait(START_WITHIN)
        os.close(stdout)
        os.close(terminal)


def wait_for(log: Path, text: str, count: int) -> None:
    """Return when a log has a text so often; fail if that takes too long."""
    deadline = time.monotonic() + START_WITHIN
    while log.read_text().count(text) < count:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


@pytest.mark.parametrize("mode", MODES)
def test_all_lines_have_one_format_however_the_service_is_started(
    mode: str, tmp_path: Path
) -> None:
    """Each process says once, with its pid, which cache it uses; each request has its id."""
    log, processes = tmp_path / "log", 2 if mode == "uvicorn with workers" else 1
    with started(mode, "json", log) as client:
        wait_for(log, "Application startup complete.", processes)
        client.get("/health/live", headers={"X-Request-ID": "mine"})
    lines = log.read_text().splitlines()
    told = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(told) == len(lines) or mode in SUPERVISED
    for text in (CACHE, "Started server process", "Finished server process"):
        pids = [each["pid"] for each in told if re.match(text, each["message"])]
        assert len(set(pids)) == len(pids) == processes
    [access] = [each for each in told if each.get("request_id") == "mine"]
    assert access["logger"] == "uvicorn.access"
    assert [access["method"], access["path"], access["status"]] == ["GET", "/health/live", 200]


def test_a_service_that_nobody_configured_writes_text(tmp_path: Path) -> None:
    """What uvicorn writes, too; the id of the request stands at the end of the line."""
    log, sent = tmp_path / "log", uuid.uuid4().hex
    with started("uvicorn", "text", log) as client:
        client.get("/health/live", headers={"X-Request-ID": sent})
    lines = log.read_text().splitlines()
    assert all(map(BEGIN.match, lines))
    [access] = [line for line in lines if sent in line]
    assert access.endswith(f'"GET /health/live HTTP/1.1" 200 request_id="{sent}"')
