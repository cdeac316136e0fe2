"""Names of parametrized tests that are the same in each process, so that processes can share a run."""

import re

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_SET = re.compile(r"\{[^{}:]+\}")


def named(value: object) -> str:
    """Return the `repr` of a value without addresses, and without what a set holds in any order."""
    return _SET.sub("{...}", _ADDRESS.sub("", repr(value)))[:60]
