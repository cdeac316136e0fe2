"""What scripts/adopt.py does: the releases of the cache module, a copy of it, and both merged."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - it is run by whatever `python3` is
    sys.stderr.write(f"Refused: Python 3.11 or newer is needed; this is {sys.version.split()[0]}\n")
    sys.exit(2)
