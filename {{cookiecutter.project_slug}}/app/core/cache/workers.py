"""Whether a server runs the application in several processes, each with a memory of its own."""

import logging
import re
import sys
import threading
from collections.abc import Iterator
from functools import cache
from types import FrameType

logger = logging.getLogger(__name__)

_NUMBER = re.compile(r"--workers(?:=(\d+))?")


def warn_of_several_processes() -> None:
    """Warn, once, if this process is one of several workers."""
    if is_one_of_several():
        _warn()


@cache
def _warn() -> None:
    logger.warning(
        "the cache is in memory, and this process is one of several workers: each has a cache of its "
        "own, and what one of them invalidates the others go on serving until it expires; set "
        "CACHE_BACKEND=redis"
    )


def is_one_of_several() -> bool:
    """Whether this process is one of several workers, as far as that can be seen.

    It is seen by who called the main program: uvicorn (and `fastapi run`), which has this supervisor
    for more than one worker only, or gunicorn; or by the `--workers` of another server.
    """
    says_it_itself = False
    for frame in _main_program():
        module = frame.f_globals.get("__name__", "")
        says_it_itself = says_it_itself or module.partition(".")[0] in ("uvicorn", "fastapi_cli")
        if module == "uvicorn.supervisors.multiprocess":
            return True
        if module == "gunicorn.arbiter":
            arbiter = frame.f_locals.get("self")
            return int(getattr(arbiter, "num_workers", 1)) > 1
    return not says_it_itself and any(int(number) > 1 for number in _numbers(sys.argv))


def _main_program() -> Iterator[FrameType]:
    main = threading.main_thread().ident
    frame = sys._current_frames().get(main) if main is not None else None
    while frame is not None:
        yield frame
        frame = frame.f_back


def _numbers(arguments: list[str]) -> Iterator[str]:
    """Yield the numbers behind `--workers`."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        option = _NUMBER.fullmatch(argument)
        if option is not None:
            number = option[1] or following
            if number.isdecimal():
                yield number
