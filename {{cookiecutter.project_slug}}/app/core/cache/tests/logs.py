"""Logging as it is in a process that configures none, so that tests see the cache's own lines."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .package import NAME

_OURS = (NAME, "asyncio")
"""Whose lines a test looks at; the event loop tells of exceptions that nobody has taken."""


@contextmanager
def unconfigured() -> Iterator[None]:
    """Let no setting of an application apply to the cache's loggers, nor to those above them."""
    loggers = [*_above(), *_below()]
    before = [(each, each.level, each.propagate, each.disabled) for each in loggers]
    removed = [(each, _own_handlers(each)) for each in (logging.root, *loggers)]
    for each in loggers:
        each.setLevel(logging.NOTSET)
        each.propagate, each.disabled = True, False
    logging.getLogger(NAME).setLevel(logging.WARNING)
    for each, handlers in removed:
        for handler in handlers:
            each.removeHandler(handler)
    yield
    for each, level, propagate, disabled in before:
        each.setLevel(level)
        each.propagate, each.disabled = propagate, disabled
    for each, handlers in removed:
        for handler in handlers:
            each.addHandler(handler)


def _above() -> list[logging.Logger]:
    parts = NAME.split(".")
    return [logging.getLogger(".".join(parts[:end])) for end in range(1, len(parts) + 1)]


def _below() -> list[logging.Logger]:
    known = logging.root.manager.loggerDict.items()
    return [
        logger
        for name, logger in known
        if name.startswith(f"{NAME}.") and isinstance(logger, logging.Logger)
    ]


def _own_handlers(logger: logging.Logger) -> list[logging.Handler]:
    """Return the handlers that an application has added, and not those that pytest adds and removes."""
    return [each for each in logger.handlers if not type(each).__module__.startswith("_pytest.")]


def _is_ours(record: logging.LogRecord) -> bool:
    return f"{record.name}.".startswith(tuple(f"{name}." for name in _OURS))


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Lend pytest's own, which does not hear what an application or another library logs."""
    caplog.handler.addFilter(_is_ours)
    yield caplog
    caplog.handler.removeFilter(_is_ours)
