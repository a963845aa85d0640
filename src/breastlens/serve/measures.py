"""What the service counts, for Prometheus: numbers of requests and images, never anything of an image or a person."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Measures:
    """The counters of one service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "breastlens_requests",
            "Requests by route and status.",
            ("route", "status"),
            registry=self._registry,
        )
        self.request_seconds = Histogram(
            "breastlens_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.images = Counter(
            "breastlens_images",
            "Images by model and by what became of them: scored, unreadable or lost.",
            ("model", "outcome"),
            registry=self._registry,
        )
        self.phase_seconds = Histogram(
            "breastlens_image_phase_seconds",
            "Of one image: waiting for and work of a decoder, and of the network.",
            ("phase",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.in_flight = Gauge("breastlens_requests_in_flight", "Requests now.", registry=self._registry)
        self.refused = Counter(
            "breastlens_refused",
            "Requests refused before they were read, by reason.",
            ("reason",),
            registry=self._registry,
        )
        self.decoders_lost = Counter(
            "breastlens_decoders_lost", "Decoders that died or were killed.", registry=self._registry
        )
        self.reloads = Counter(
            "breastlens_model_reloads", "New versions of a model.", ("model",), registry=self._registry
        )

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
