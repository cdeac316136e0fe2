"""Where it was measured, and with which versions."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from redis import Redis
from redis_server import RedisServer

_PACKAGES = (
    *("fastapi", "starlette", "pydantic", "uvicorn", "uvloop", "httptools"),
    *("redis", "hiredis", "orjson"),
)


def machine() -> dict[str, str]:
    """Describe this machine, without its name."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def versions(server: RedisServer) -> dict[str, str]:
    """Return the versions of what the contenders stand on."""
    with Redis.from_url(server.url) as client:
        info = client.info("server")
    known = {package: importlib.metadata.version(package) for package in _PACKAGES}
    return {"Redis server": info["redis_version"], **known}


def load() -> float:
    """Return how many processes wanted a processor in the last minute, this one among them."""
    return os.getloadavg()[0]


def _processor() -> str:
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        for line in cpus.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if platform.system() == "Darwin":
        command = ("sysctl", "-n", "machdep.cpu.brand_string")
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()
