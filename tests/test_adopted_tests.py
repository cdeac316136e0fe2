"""The cache's own tests pass beside an application, whose settings they leave alone."""

import os
import subprocess
import textwrap
from pathlib import Path
from typing import Final

import pytest

from tests.baked import BakedProject, copy_cache, environment
from tests.clones import write

pytestmark = pytest.mark.slow

APPLICATION: Final = {
    "pyproject.toml": """
        [tool.pytest.ini_options]
        addopts = "--strict-markers"
        log_level = "INFO"
        testpaths = ["tests"]
    """,
    "shop/__init__.py": "",
    "shop/infra/__init__.py": "",
    "shop/main.py": '''
        """An application that logs at INFO to handlers of its own, and fills its cache at start."""

        import logging
        import logging.config
        from contextlib import asynccontextmanager

        from fastapi import FastAPI

        from .infra.caching import CacheMiddleware, cache_response, get_cache_manager

        handlers = {"err": {"class": "logging.StreamHandler"}}
        own = {"level": "INFO", "handlers": ["err"], "propagate": False}
        logging.config.dictConfig(
            {"version": 1, "handlers": handlers, "root": own, "loggers": {"shop": own}}
        )
        cache = get_cache_manager()


        @cache_response(cache, "prices", expire=600)
        async def price(number: int) -> int:
            return number * 10


        @asynccontextmanager
        async def lifespan(_: FastAPI):
            for number in range(50):
                await price(number)
            yield


        app = FastAPI(lifespan=lifespan)
        app.add_middleware(CacheMiddleware)
        app.get("/prices/{number}")(price)
    ''',
    "conftest.py": """
        import logging
        import os

        import pytest
        from fastapi.testclient import TestClient
        from shop.main import app


        @pytest.fixture(scope="session", autouse=True)
        def started():
            with TestClient(app) as client:
                yield client
                assert client.get("/prices/7").headers["Cache-Status"].startswith("shop; hit")
            assert os.environ["CACHE_KEY_PREFIX"] == "shop"
            logger = logging.getLogger("shop")
            assert (logger.level, logger.propagate) == (logging.INFO, False)
            own = [h for h in logger.handlers if not type(h).__module__.startswith("_pytest.")]
            assert len(own) == 1
    """,
    "tests/test_shop.py": """
        def test_a_price(started):
            assert started.get("/prices/3").json() == 30
    """,
}
SOME: Final = (
    *("test_asyncio_only.py", "test_decorators.py", "test_keyed.py", "test_manager_keys.py"),
    *("test_optional.py", "test_public_api.py", "test_readme.py", "test_switch.py"),
    *("test_without_redis.py", "backends/test_new_backend.py", "backends/test_redis.py"),
    *("calls/test_routes.py", "coherence/test_pending.py", "http/test_client_control.py"),
    *("keys/test_factories.py", "ops/test_cli_explain.py", "ops/test_cli_page.py"),
    *(
        "ops/test_prometheus.py",
        "reads",
        "resilience",
        "settings",
        "testing",
        "stored/test_stated.py",
    ),
    "values/test_local_classes.py",
)
"""Those that look at logs, start processes, or take settings; with the others they take minutes."""
NO_PLUGIN: Final = "the cache's tests need the pytest plugin of AnyIO, which comes with FastAPI"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an application that has copied the folder with its tests."""
    folder = tmp_path_factory.mktemp("adopted")
    write(folder, {name: textwrap.dedent(text) for name, text in APPLICATION.items()})
    copy_cache(folder / "shop" / "infra" / "caching", with_tests=True)
    return folder


def said_by_pytest(installed: BakedProject, shop: Path, *options: str) -> tuple[int, str]:
    """Run pytest in the application; return its exit code, and what it says."""
    done = subprocess.run(
        [installed.path / ".venv" / "bin" / "python", "-m", "pytest", "-q", *options],
        cwd=shop,
        env=environment(CACHE_BACKEND="memory", CACHE_KEY_PREFIX="shop"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_they_pass_beside_it(installed: BakedProject, shop: Path) -> None:
    """Under another package path, without `anyio_mode`; none is skipped, its own passes, too."""
    tests = [f"shop/infra/caching/tests/{name}" for name in SOME]
    workers = f"-n{min(2, os.cpu_count() or 1)}"
    code, said = said_by_pytest(installed, shop, workers, "--dist", "loadfile", "tests", *tests)
    assert code == 0, said
    assert " passed" in said
    assert " skipped" not in said


def test_they_say_which_plugin_they_need(installed: BakedProject, shop: Path) -> None:
    """In one line; no test is skipped for lack of it."""
    test = "shop/infra/caching/tests/test_incr.py"
    code, said = said_by_pytest(installed, shop, "-p", "no:anyio", "-x", test)
    assert code == 1
    assert NO_PLUGIN in said
    assert " skipped" not in said
