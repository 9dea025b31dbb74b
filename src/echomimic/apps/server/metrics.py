"""Metrics for Prometheus."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from echomimic.apps.jobs.queue import JobQueue
from echomimic.apps.jobs.store import Job, State
from echomimic.apps.server.streams import StreamLimit

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts of requests and jobs, in a registry of its own."""

    def __init__(self, queue: JobQueue, streams: StreamLimit) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Gauges(queue, streams))
        names = ("method", "route", "status")
        self._requests = Counter("echomimic_requests", "responses", names, registry=self._registry)
        self._seconds = Histogram(
            "echomimic_request_seconds",
            "time from the request to the end of its response",
            ("route",),
            registry=self._registry,
        )
        self._jobs = Counter("echomimic_jobs_ended", "ended attempts", ("kind", "state"), registry=self._registry)
        self._work = Histogram(
            "echomimic_job_seconds",
            "time from the start of an attempt to its end",
            ("kind",),
            buckets=(0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 3600),
            registry=self._registry,
        )
        queue.on_end = self.count_job

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_job(self, job: Job, state: State, seconds: float) -> None:
        """Count an attempt at a job; `queued` means that it will be tried again."""
        self._jobs.labels(job.kind, state).inc()
        self._work.labels(job.kind).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _Gauges(Collector):
    """The present state."""

    def __init__(self, queue: JobQueue, streams: StreamLimit) -> None:
        self._queue, self._streams = queue, streams

    def collect(self) -> Iterator[Metric]:
        queue = self._queue
        jobs = GaugeMetricFamily("echomimic_jobs", "jobs that are kept", labels=("state",))
        for state, count in queue.store.counts().items():
            jobs.add_metric([state], count)
        yield jobs
        yield GaugeMetricFamily("echomimic_workers_busy", "workers that run a job", queue.busy)
        yield GaugeMetricFamily("echomimic_streams", "open streams", self._streams.count)
        yield GaugeMetricFamily("echomimic_stored_bytes", "disk usage of jobs", queue.store.bytes())
        yield GaugeMetricFamily("echomimic_disk_free_bytes", "free space of the disk", queue.files.free())
