"""The dashboard of `docker compose --profile observe up`: a real Prometheus answers its queries."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

import httpx2
import pytest
import yaml

from tests.baked import BakedProject, eventually, free_port, migrate, serving

FOLDER: Final = "observe"
DASHBOARD: Final = f"{FOLDER}/grafana/dashboards/cache.json"
VARIABLES: Final = {"$__rate_interval": "30s", "$key_prefix": ".*"}
"""What Grafana puts into a query."""
SILENT: Final = {
    "Failures a second",
    "Failures by server",
    "Servers that are not asked",
    "Invalidations that waited",
}
"""Panels that show nothing while all is well."""


@pytest.fixture(scope="module")
def servers(
    installed: BakedProject, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[httpx2.Client, httpx2.Client]]:
    """Lend the service, and a Prometheus that asks it each half second."""
    prometheus = shutil.which("prometheus")
    assert prometheus is not None, "prometheus is missing: as root on Debian, bash .ci/packages"
    folder, ports = tmp_path_factory.mktemp("observe"), (free_port(), free_port())
    config = yaml.safe_load(installed.read(f"{FOLDER}/prometheus.yml"))
    config["global"]["scrape_interval"] = "500ms"
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{ports[0]}"]}]
    migrate(installed, folder)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with ExitStack() as stack:
        service = stack.enter_context(
            serving(
                [
                    str(installed.path / ".venv/bin/uvicorn"),
                    *("app.main:app", "--app-dir", str(installed.path)),
                    *("--host", "127.0.0.1", "--port", str(ports[0])),
                ],
                folder,
                f"http://127.0.0.1:{ports[0]}",
                "/metrics",
                CACHE_BACKEND="memory",
            )
        )
        asking = stack.enter_context(
            serving(
                [
                    *(prometheus, "--config.file=prometheus.yml", "--storage.tsdb.path=data"),
                    f"--web.listen-address=127.0.0.1:{ports[1]}",
                ],
                folder,
                f"http://127.0.0.1:{ports[1]}",
                "/metrics",
            )
        )
        yield service, asking


@pytest.fixture(scope="module")
def dashboard(installed: BakedProject) -> dict[str, Any]:
    """Return the dashboard of the rendered service."""
    found: dict[str, Any] = json.loads(installed.read(DASHBOARD))
    return found


def queries(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the title of each panel, and its queries as Grafana sends them."""
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            query = target["expr"]
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            yield panel["title"], query


def result(prometheus: httpx2.Client, query: str) -> list[Any]:
    """Return what Prometheus answers to a query."""
    answer = prometheus.get("/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", f"{query}: {answer}"
    found: list[Any] = answer["data"]["result"]
    return found


def test_every_query_is_answered(
    servers: tuple[httpx2.Client, httpx2.Client], dashboard: dict[str, Any]
) -> None:
    """And has an answer, where there was traffic."""
    service, prometheus = servers
    created = service.post("/users", json={"name": "Ada", "email": "ada@example.com"})
    path = f"/users/{created.json()['id']}"
    empty = dict(queries(dashboard))

    def is_complete() -> bool:
        for _ in range(5):
            assert service.get(path).is_success
        assert service.put(path, json={"name": "Ada", "email": "ada@example.com"}).is_success
        assert service.get("/users/999999").status_code == 404
        for title, query in queries(dashboard):
            if result(prometheus, query):
                empty.pop(title, None)
        return empty.keys() <= SILENT

    eventually(is_complete, f"panels to have data: {sorted(empty.keys() - SILENT)}")
    assert empty.keys() <= SILENT


def test_every_metric_that_it_names_exists(
    servers: tuple[httpx2.Client, httpx2.Client], dashboard: dict[str, Any]
) -> None:
    """Also those that have no value while all is well; and it shows every metric of the cache."""
    service, _ = servers
    told = re.findall(r"^# TYPE (cache_\w+) ", service.get("/metrics").text, re.MULTILINE)
    there = {re.sub(r"_(total|created)$", "", name) for name in told}
    text = " ".join(query for _, query in queries(dashboard))
    named = {
        re.sub(r"_(total|bucket|sum|count)$", "", name) for name in re.findall(r"\bcache_\w+", text)
    }
    assert named <= there
    assert there - named == set()


def test_compose_starts_them_on_request_only(installed: BakedProject) -> None:
    """Their files are those that compose names, and their ports are for this machine."""
    services = yaml.safe_load(installed.read("compose.yaml"))["services"]
    observing = {name for name, each in services.items() if each.get("profiles") == ["observe"]}
    assert observing == {"prometheus", "grafana"}
    for name in observing:
        assert all(port.startswith("127.0.0.1:") for port in services[name]["ports"])
        for volume in services[name]["volumes"]:
            assert (installed.path / volume.partition(":")[0]).exists()
    source = yaml.safe_load(
        installed.read(f"{FOLDER}/grafana/provisioning/datasources/prometheus.yml")
    )
    uids = {source["datasources"][0]["uid"]}
    found = set(re.findall(r'"uid": "(\w+)"', installed.read(DASHBOARD)))
    assert found - uids == {"cache"}
    config = yaml.safe_load(installed.read(f"{FOLDER}/prometheus.yml"))
    assert config["scrape_configs"][0]["static_configs"] == [{"targets": ["service:8000"]}]
