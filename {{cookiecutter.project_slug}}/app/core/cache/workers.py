"""Whether a server runs the application in several worker processes, each with its own memory."""

import logging
import re
import sys
import threading
from functools import cache

logger = logging.getLogger(__name__)


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
    """Return whether this process is one of several workers, as far as that can be seen.

    uvicorn and `fastapi run` use the supervisor `multiprocess` only for more than one worker.
    gunicorn's arbiter knows the number. For other servers the option `--workers` counts.
    """
    knows_itself = False
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        knows_itself = knows_itself or module.startswith(("uvicorn.", "fastapi_cli."))
        if module == "uvicorn.supervisors.multiprocess":
            return True
        if module == "gunicorn.arbiter":
            return int(getattr(frame.f_locals.get("self"), "num_workers", 1)) > 1
        frame = frame.f_back
    option = re.search(r" --workers[ =](\d+)", " ".join(sys.argv))
    return not knows_itself and option is not None and int(option[1]) > 1
