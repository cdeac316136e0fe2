"""Logging of the service: one format for its own lines, for uvicorn's and for those of libraries.

A line is a record, and what a record holds cannot begin another line: characters that break or
reorder lines are written as escapes, and in text the lines of a traceback are indented.
"""

import json
import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final, Literal

from app.core.request_id import RequestIdMiddleware

LONGEST: Final = 8_000
"""The most characters of a message, a field or a traceback; a longer one loses its middle."""

_HANDLER = "app"
_SERVER = tuple(map(logging.getLogger, ("uvicorn", "uvicorn.error", "uvicorn.access")))
_ACCESS = ("client", "method", "path", "http_version", "status")
"""What the arguments of a line of uvicorn's access log are."""
_KEYS = frozenset({"time", "level", "logger", "message", "pid", "request_id", "exception", "stack"})
_RECORD = {*vars(logging.makeLogRecord({})), "asctime", "message", "taskName", "color_message"}
"""The attributes of a record that are no field of its own; the last is uvicorn's."""
_ASCII = json.JSONEncoder(default=str, allow_nan=False).encode
_UNICODE = json.JSONEncoder(default=str, allow_nan=False, ensure_ascii=False).encode
_LONE_SURROGATE = re.compile(r"\\ud[89ab]..\\ud[c-f]..|\\(ud[89a-f]..)|\\.")
"""Finds all escapes in JSON, and has half a character in its group."""


def configure_logging(level: str, form: Literal["text", "json"] = "text") -> None:
    """Show the loggers below `app` from `level` on, uvicorn's as it says, others from WARNING on.

    All go to stderr in one format, text or an object of JSON a line. What uvicorn logs to the console
    comes there, too, whether it configures its loggers before this call or later. Called again, this
    changes level and format.

    If the root logger has handlers already, those of a test or of an application around this one, then
    only the level is set: how lines look, uvicorn's too, is their affair.
    """
    logging.getLogger("app").setLevel(level)
    root = logging.getLogger()
    handler = next((each for each in root.handlers if each.name == _HANDLER), None)
    if handler is None:
        if root.handlers:
            return
        handler = logging.StreamHandler()
        handler.name = _HANDLER
        root.addHandler(handler)
    handler.setFormatter(JSONFormatter() if form == "json" else TextFormatter())
    for logger in _SERVER:
        logger.addFilter(_hand_on)


def _hand_on(_: logging.LogRecord) -> bool:
    """Have uvicorn's loggers hand their records to the root, and not to the console themselves.

    This is a filter, since uvicorn replaces handlers when it starts, and keeps filters. A logger
    without handlers is switched off, by `--no-access-log` for one, and stays so.
    """
    for logger in _SERVER:
        others = [each for each in logger.handlers if type(each) is not logging.StreamHandler]
        if len(others) < len(logger.handlers):
            logger.handlers, logger.propagate = others, True
    return True


class TextFormatter(logging.Formatter):
    """Formats for people: time, pid, level, logger, message and fields, then a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line, and an indented one for each line of a traceback."""
        head = f"{_time(record)} {record.process} {record.levelname} {record.name}: "
        fields = (f" {name}={_encoded(value, _UNICODE)}" for name, value in _fields(record))
        lines = [head + _cut(_message(record)) + "".join(fields)]
        for text in _tracebacks(record).values():
            lines += [f"    {line}" for line in _cut(text).split("\n")]
        return "\n".join(map(_visible, lines))


class JSONFormatter(logging.Formatter):
    """Formats for machines: an object of JSON, in ASCII, on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as JSON: `time` (ISO 8601, UTC), `level`, `logger`, `message`, `pid`.

        `request_id` is there in a request, `exception` and `stack` if there is one. What stands in
        `extra=` is a field of its own; what JSON does not know is its `str`. A name that is taken gets
        an underscore at its end.
        """
        told: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            "pid": record.process,
        }
        args = record.args
        if record.name == "uvicorn.access" and isinstance(args, tuple):
            told.update(zip(_ACCESS, args, strict=False))
        told.update(_fields(record))
        told.update(_tracebacks(record))
        pairs = (f"{_ASCII(name)}: {_encoded(value, _ASCII)}" for name, value in told.items())
        line = "{" + ", ".join(pairs) + "}"
        if r"\ud" not in line:
            return line
        # Half a character is valid here, and yet many readers refuse it: it becomes a text.
        return _LONE_SURROGATE.sub(lambda found: rf"\\{found[1]}" if found[1] else found[0], line)


def _time(record: logging.LogRecord) -> str:
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return time.replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage().rstrip("\n")  # which uvicorn puts before a traceback
    except Exception:  # its arguments do not fit, or have no text
        return f"{_text(record.msg)} {_text(record.args)}"


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    """Yield the id of the request, if there is one, and what stood in `extra=`."""
    request_id = RequestIdMiddleware.current()
    if request_id is not None:
        yield "request_id", request_id
    for name, value in list(vars(record).items()):
        if name not in _RECORD:
            yield f"{name}_" if name in _KEYS else str(name), value


def _tracebacks(record: logging.LogRecord) -> dict[str, str]:
    found = {}
    if record.exc_text:
        found["exception"] = record.exc_text
    elif record.exc_info and record.exc_info[0] is not None:
        try:
            found["exception"] = logging.Formatter().formatException(record.exc_info)
        except Exception:
            found["exception"] = record.exc_info[0].__name__
    if record.stack_info:
        found["stack"] = record.stack_info
    return found


def _encoded(value: object, encode: Callable[[object], str]) -> str:
    """Return a value as JSON; as a text if it is too long or JSON does not know it."""
    if not isinstance(value, str):
        try:
            encoded = encode(value)
        except Exception:  # a circle, a number or a key that JSON does not have, a failing `str`
            value = _text(value)
        else:
            if len(encoded) <= LONGEST:
                return encoded
            value = encoded
    return encode(_cut(value))


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"


def _cut(text: str) -> str:
    left_out = len(text) - LONGEST
    if left_out <= 0:
        return text
    half = LONGEST // 2
    return f"{text[:half]}[... {left_out} characters ...]{text[-half:]}"


def _visible(line: str) -> str:
    """Return a line with escapes for what is not printed, such as line breaks and half characters."""
    if line.isprintable():
        return line
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in line
    )
