"""What a collector counts, for Prometheus. No label carries a device: many boards make no more series than one."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server

from agent.errors import UnavailableError
from tools.fleet.collector.store import Figures

_PREFIX = "maskwatch_collector_"
_LAG_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600, 86_400, 604_800)
_COMMIT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_BATCH = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """The numbers of one instance."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.is_served = False
        self.stored = self._counter("events_stored", "Events committed to the database")
        self.duplicates = self._counter("duplicates", "Events that were there already, and told the same")
        self.conflicts = self._counter("conflicts", "Events that contradict what is stored under their key")
        self.rejected = self._counter("rejected", "Messages that are no events of ours")
        self.foreign = self._counter("foreign", "Events left to the instance whose part they are")
        self.lost = self._counter("lost", "Events that devices count as done and that are not here")
        self.store_failures = self._counter("store_failures", "Commits that failed and were tried again")
        self.connected = self._gauge("connected", "1 while the broker lets us read")
        self.waiting = self._gauge("waiting", "Messages received and not committed yet")
        self.devices = self._gauge("devices", "Devices in the database")
        self.streams = self._gauge("streams", "Streams in the database")
        self.behind = self._gauge("streams_behind", "Streams that wait for a sequence while later ones are stored")
        self.commit_s = Histogram(
            f"{_PREFIX}commit_seconds", "Time of a commit", buckets=_COMMIT_S, registry=self.registry
        )
        self.batch = Histogram(f"{_PREFIX}batch_events", "Messages in a commit", buckets=_BATCH, registry=self.registry)
        self.lag_s = Histogram(
            f"{_PREFIX}lag_seconds",
            "From the device's disk to ours, by both wall clocks",
            buckets=_LAG_S,
            registry=self.registry,
        )

    def serve(self, host: str, port: int) -> None:
        """Answer `GET /metrics` on a thread. Raises UnavailableError when the address cannot be had."""
        try:
            start_http_server(port, host, registry=self.registry)
            self.is_served = True
        except OSError as error:
            raise UnavailableError(
                error.strerror or str(error), where=f"{host}:{port}", remedy="name a free address in --metrics"
            ) from error

    def text(self) -> bytes:
        """Give what Prometheus reads."""
        return generate_latest(self.registry)

    def show(self, figures: Figures) -> None:
        """Take over what the database holds."""
        self.devices.set(figures.devices)
        self.streams.set(figures.streams)
        self.behind.set(figures.behind)

    def _counter(self, name: str, told: str) -> Counter:
        return Counter(_PREFIX + name, told, registry=self.registry)

    def _gauge(self, name: str, told: str) -> Gauge:
        return Gauge(_PREFIX + name, told, registry=self.registry)
