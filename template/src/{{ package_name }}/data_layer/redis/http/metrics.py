"""Prometheus metrics of the cache and of the way to Redis."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..cache import Cache


class CacheCollector(Collector):
    """The state of the cache at the moment of the scrape."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        """One counter with what happened as its label, and a gauge for each state."""
        events = CounterMetricFamily(
            "redis_events", "What happened, by its name.", labels=["event"]
        )
        for event, count in sorted(self._cache.store.counts.items()):
            events.add_metric([event], count)
        yield events
        for name, value, meaning in (
            ("available", self._cache.store.is_available, "1 while Redis answers."),
            ("hearing", self._cache.is_hearing, "1 while invalidations of others are heard."),
            ("local_entries", self._cache.entries, "Values kept within the process."),
            ("pending_invalidations", self._cache.pending, "Invalidations that wait for Redis."),
        ):
            yield GaugeMetricFamily(f"redis_{name}", meaning, value=value)
