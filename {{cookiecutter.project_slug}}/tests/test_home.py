"""`app/api/home.py`: who opens the service in a browser comes to its docs page."""

import pytest
from fastapi.testclient import TestClient

from app.core.config import Settings
from app.main import create_app


def test_the_root_leads_to_the_docs_page(client: TestClient) -> None:
    """It redirects, and the page is there; neither is in the schema, and nothing is kept."""
    response = client.get("/", follow_redirects=False)
    assert (response.status_code, response.headers["Location"]) == (307, "/docs")
    assert response.headers["Cache-Control"] == "no-store"
    assert "Cache-Status" not in response.headers
    assert "swagger" in client.get("/").text
    assert "/" not in client.get("/openapi.json").json()["paths"]


@pytest.mark.usefixtures("cache")
def test_the_root_knows_the_prefix_of_a_proxy(settings: Settings) -> None:
    """With a root path, the redirect has it."""
    with TestClient(create_app(settings), root_path="/shop") as client:
        response = client.get("/", follow_redirects=False)
    assert response.headers["Location"] == "/shop/docs"
