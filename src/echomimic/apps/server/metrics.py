"""Numbers for Prometheus."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from echomimic.apps.jobs.service import Service
from echomimic.apps.jobs.store import Job, State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts of requests and jobs, each server's own."""

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Now(service))
        names = ("method", "route", "status")
        self._requests = Counter("echomimic_requests", "answers given", names, registry=self._registry)
        self._seconds = Histogram(
            "echomimic_request_seconds", "from request to the end of the answer", ("route",), registry=self._registry
        )
        self._jobs = Counter("echomimic_jobs_ended", "jobs that ended", ("kind", "state"), registry=self._registry)
        self._work = Histogram(
            "echomimic_job_seconds",
            "from the start of a job to its end",
            ("kind",),
            buckets=(0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 3600),
            registry=self._registry,
        )
        service.pool.on_end = self.job_ended

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def job_ended(self, job: Job, state: State, seconds: float) -> None:
        """One attempt at a job; `queued` where it will be tried again."""
        self._jobs.labels(job.kind, state).inc()
        self._work.labels(job.kind).observe(seconds)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)


class _Now(Collector):
    """What is so at this moment."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        service = self._service
        jobs = GaugeMetricFamily("echomimic_jobs", "jobs that are kept", labels=("state",))
        for state, count in service.store.counts().items():
            jobs.add_metric([state], count)
        yield jobs
        yield GaugeMetricFamily("echomimic_workers_busy", "workers with a job", service.pool.busy)
        yield GaugeMetricFamily("echomimic_streams", "streams that are open", service.streams)
        yield GaugeMetricFamily("echomimic_stored_bytes", "bytes that jobs take", service.store.bytes())
        yield GaugeMetricFamily("echomimic_disk_free_bytes", "bytes that the disk has left", service.folders.free())
