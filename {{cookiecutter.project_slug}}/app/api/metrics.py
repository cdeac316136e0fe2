"""Metrics of the cache, for Prometheus."""

from fastapi import APIRouter

from app.core.cache import get_cache_manager
from app.core.cache.ops.prometheus import CacheMetrics, metrics

CacheMetrics(get_cache_manager())  # once for each process, as the registry is

router = APIRouter()
router.add_route("/metrics", metrics, include_in_schema=False)
