"""Code that runs in processes of its own, which differ in how they hash."""

import subprocess
import sys

from .package import ROOT, program

PYTEST = (
    sys.executable,
    "-m",
    "pytest",
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "anyio.pytest_plugin",
)
"""A run of pytest in a process of its own, in whose environment `ALONE` keeps out others' plugins."""
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def printed_by(code: str, *, seeds: tuple[str, ...] = ("1", "2")) -> set[str]:
    """Run code in a process for each seed of the hashes; return what they have printed."""
    return {
        subprocess.run(
            [sys.executable, "-c", program(code)],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join([str(ROOT), *sys.path])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in seeds
    }
