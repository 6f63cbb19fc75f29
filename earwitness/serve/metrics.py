"""What ``/metrics`` tells Prometheus."""

from __future__ import annotations

import time

from earwitness.engines.rows import Row
from earwitness.records import Reply
from earwitness.serve.scheduler import Scheduler

_FIRST_TOKEN_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_REQUEST_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Counters and histograms of one server; they may be used from any thread."""

    def __init__(self, scheduler: Scheduler):
        """Register everything in a registry of its own, so that two servers in one process do not meet."""
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = CollectorRegistry()
        self._requests = Counter(
            "earwitness_requests",
            "Chat completions by HTTP status; 499 where the client went away",
            ["status"],
            registry=self._registry,
        )
        self._tokens = Counter("earwitness_tokens", "Tokens by kind", ["kind"], registry=self._registry)
        self._audio = Counter("earwitness_audio_seconds", "Seconds of audio read", registry=self._registry)
        self._first_token = Histogram(
            "earwitness_time_to_first_token_seconds",
            "From the request's first byte to its first token",
            buckets=_FIRST_TOKEN_SECONDS,
            registry=self._registry,
        )
        self._latency = Histogram(
            "earwitness_request_seconds",
            "From the request's first byte to the last one of its reply",
            buckets=_REQUEST_SECONDS,
            registry=self._registry,
        )
        queued = Gauge("earwitness_queue_length", "Replies that wait for a place", registry=self._registry)
        queued.set_function(lambda: scheduler.queued)
        running = Gauge("earwitness_running", "Replies that are being written", registry=self._registry)
        running.set_function(lambda: scheduler.running)
        for kind in ("prompt", "completion", "reasoning", "audio"):
            self._tokens.labels(kind)

    def count_reply(self, row: Row, reply: Reply, arrived: float) -> None:
        """Count a choice; ``arrived`` is the request's time by ``time.perf_counter``."""
        self._tokens.labels("prompt").inc(len(row.prompt_ids))
        self._tokens.labels("audio").inc(row.audio_tokens)
        self._tokens.labels("completion").inc(len(reply.token_ids))
        self._tokens.labels("reasoning").inc(reply.thinking_tokens)
        self._audio.inc(row.audio_seconds)
        if row.first_token is not None:
            self._first_token.observe(max(0.0, row.first_token - arrived))

    def count_request(self, status: int, arrived: float) -> None:
        """Count a request that is over."""
        self._requests.labels(str(status)).inc()
        self._latency.observe(time.perf_counter() - arrived)

    def text(self) -> bytes:
        """Return everything in Prometheus's text format."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)
