"""The metrics of the service, as Prometheus reads them."""

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from app.core.cache import get_cache_manager


def test_the_cache_is_in_the_metrics(client: TestClient) -> None:
    """What it did since the process began."""
    get_cache_manager().clear_sync()
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = [
        sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == "cache_invalidations_total" and sample.labels.get("what") == "pattern"
    ]
    assert max(found) >= 1
    assert "/metrics" not in client.get("/openapi.json").json()["paths"]
