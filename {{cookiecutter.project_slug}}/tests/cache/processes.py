"""Code that runs in processes of its own, which differ in how they hash."""

import subprocess
import sys


def in_two_processes(code: str) -> tuple[str, str]:
    """Run code in two processes, and return what each has printed."""
    one, two = (
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    )
    return one, two
