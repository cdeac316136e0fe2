"""How fast the cache module is, beside other libraries: `make bench`.

    __main__.py    the command: starts a Redis, measures every work, writes the results
    works.py       what is measured: a work is an entry in `WORKS`
    keys.py        the works that build keys
    imported.py    the works that import, each in a fresh interpreter
    served.py      the work over a network: uvicorn, in a process of its own
    load.py        what asks that server, in another process
    contenders.py  who does it: a class for each library, used as its documentation shows
    payloads.py    the functions and endpoints that are cached, and what they return
    measure.py     how a work is measured once
    worker.py      the process in which one contender works
    runner.py      in turn, round by round: medians, quartiles, ratios
    processes.py   starting and ending processes
    cores.py       holding them on one core
    machine.py     where, and with which versions
    report.py      the results as Markdown and JSON
    chart.py       the results as a picture

The module is the one in the template's folder, as it stands. A work that a contender cannot do is
listed with the reason, in the contender's own words where it has some.
"""

import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
TEMPLATE: Final = ROOT / "{{cookiecutter.project_slug}}"

BYTECODE: Final = ROOT / ".build" / "bytecode"

sys.pycache_prefix = str(
    BYTECODE
)  # what is left in the template's folder would be rendered with it
# The second is for redis_server, the finder, which needs nothing of the cache.
sys.path += [str(TEMPLATE), str(TEMPLATE / "app" / "core" / "cache" / "testing")]
