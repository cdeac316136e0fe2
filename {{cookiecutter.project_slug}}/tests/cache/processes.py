"""Code that runs in processes of its own, which differ in how they hash."""

import subprocess
import sys


def printed_by(code: str, *, seeds: tuple[str, ...] = ("1", "2")) -> set[str]:
    """Run code in a process for each seed of the hashes; return what they have printed."""
    return {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in seeds
    }
