"""The HTTP server around the routes, and its end: SIGTERM and SIGINT let accepted requests finish first."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from earwitness.engines.local import LocalEngine
from earwitness.serve.app import Api, build_app
from earwitness.serve.settings import Settings

_LAST_SECONDS = 5
"""For the last bytes to be sent, after everything has ended."""


def build_server(
    engine: LocalEngine, settings: Settings, host: str, port: int, on_ready: Callable[[int], None] = lambda port: None
) -> Any:
    """Return a uvicorn server whose ``run`` serves until SIGTERM or SIGINT; a second signal ends it at once.

    On the first signal new requests get 503 with Retry-After, and accepted ones have ``grace_seconds``.
    ``on_ready`` is told the port when it listens.
    """
    import uvicorn

    api = Api(engine, settings)

    class Server(uvicorn.Server):
        """Drains before it exits."""

        drain_until: float | None = None

        def handle_exit(self, sig: int, frame: Any) -> None:
            if self.drain_until is not None:
                self.force_exit = True
                super().handle_exit(sig, frame)
                return
            api.places.draining = True
            self.drain_until = time.monotonic() + settings.grace_seconds
            print("earwitness: no new requests; waiting for those that run", file=sys.stderr, flush=True)

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                on_ready(self.servers[0].sockets[0].getsockname()[1])

        async def on_tick(self, counter: int) -> bool:
            if self.drain_until is not None:
                if time.monotonic() > self.drain_until:
                    api.cut_off()
                    return True
                if not api.places.used:
                    return True
            return await super().on_tick(counter)

    config = uvicorn.Config(
        build_app(api),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
        h11_max_incomplete_event_size=1 << 16,
        ws="none",
    )
    return Server(config)
