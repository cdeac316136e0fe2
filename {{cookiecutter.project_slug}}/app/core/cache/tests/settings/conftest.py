"""What tests of settings share."""

from pathlib import Path

import pytest

from ... import CacheFactory, CacheSettings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take away what the environment says, in a folder without a `.env` file."""
    for name in CacheSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"CACHE_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(CacheFactory, "_manager", None)
