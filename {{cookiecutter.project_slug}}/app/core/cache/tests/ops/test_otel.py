"""Spans and metrics of OpenTelemetry say what the events say (promise P10)."""

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from ... import CacheManager, MemoryBackend, cache_response
from ...ops.otel import CacheTelemetry


class Traced:
    """A cache whose spans and metrics can be looked at."""

    def __init__(self, **options: Any) -> None:
        self.manager, self._exporter = CacheManager(MemoryBackend()), InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("test")
        self.telemetry = CacheTelemetry(
            self.manager,
            tracer_provider=provider,
            meter_provider=MeterProvider([self._reader]),
            **options,
        )

    @property
    def spans(self) -> list[ReadableSpan]:
        """Return the spans of the cache, and forget them."""
        found = [span for span in self._exporter.get_finished_spans() if span.name != "request"]
        self._exporter.clear()
        return found

    @property
    def points(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        """Return the attributes and the values of the metrics."""
        data: Any = self._reader.get_metrics_data()
        return {
            metric.name: [
                (dict(point.attributes), getattr(point, "value", getattr(point, "count", None)))
                for point in metric.data.data_points
            ]
            for metric in data.resource_metrics[0].scope_metrics[0].metrics
        }

    def function(self, answer: Any) -> Any:
        """Return a cached function that gives this answer."""

        @cache_response(self.manager, "data", key="it", shared=True)
        async def function() -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return function


async def test_p10_calls_and_fills_are_spans() -> None:
    """Children of the span of the request, with times that lie within it."""
    traced = Traced()
    function = traced.function([1])
    with traced.tracer.start_as_current_span("request") as request:
        await function()
        await function()
    fill, miss, hit = traced.spans
    assert [span.name for span in (fill, miss, hit)] == ["cache.fill", "cache.get", "cache.get"]
    for span, outcome in ((fill, "stored"), (miss, "miss"), (hit, "hit")):
        attributes = dict(span.attributes or {})
        assert str(attributes.pop("code.function.name")).endswith("function")
        assert attributes == {"cache.outcome": outcome, "cache.key_prefix": "data"}
        assert span.parent is not None
        assert span.parent.span_id == request.get_span_context().span_id
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= span.end_time


async def test_p10_without_a_span_there_are_none() -> None:
    """A hit outside a request makes no trace of its own."""
    traced = Traced()
    await traced.function([1])()
    assert traced.spans == []


async def test_p10_an_exception_is_an_error() -> None:
    """Of the fill, as the function raised it."""
    traced = Traced()
    with traced.tracer.start_as_current_span("request"), pytest.raises(LookupError):
        await traced.function(LookupError("no"))()
    fill, _ = traced.spans
    assert fill.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize("keys", [False, True])
async def test_p10_keys_are_told_on_request_only(keys: bool) -> None:
    """They may hold what a user has sent."""
    traced = Traced(keys=keys)
    with traced.tracer.start_as_current_span("request"):
        await traced.manager.get("user:ada")
    (span,) = traced.spans
    assert ("ada" in str(span.attributes)) is keys
    assert "ada" not in str(traced.points)


async def test_p10_metrics_say_the_same() -> None:
    """Counters and durations, and what servers tell."""
    traced = Traced()
    function = traced.function([1])
    for _ in range(3):
        await function()
    await traced.manager.invalidate_tags("a", "b")
    points = traced.points
    told = {about["cache.outcome"]: value for about, value in points["cache.events"]}
    assert told == {"hit": 2, "miss": 1, "stored": 1, "invalidated": 2}
    gets = {about["cache.outcome"]: count for about, count in points["cache.get.duration"]}
    assert gets == {"hit": 2, "miss": 1}
    assert [count for _, count in points["cache.fill.duration"]] == [1]
    traced.telemetry.end()
    await function()
    assert dict(told)["hit"] == 2
