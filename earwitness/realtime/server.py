"""The server: ``/v1/realtime`` over WebSocket, and its end: SIGTERM and SIGINT let answers finish first."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from earwitness.realtime.answers import Limits
from earwitness.realtime.connection import Connection, Ended
from earwitness.realtime.gate import Denied, Gate, chosen_subprotocol
from earwitness.realtime.protocol import EVENT_LIMIT, dialect_of
from earwitness.realtime.session import Session
from earwitness.realtime.settings import Settings
from earwitness.realtime.thinker import Thinker
from earwitness.realtime.vad import Silero
from earwitness.realtime.voice import EspeakVoice, Voice

_LAST_SECONDS = 5
"""For the last bytes to be sent, after everything has ended."""
_SEND_BUFFER = 1 << 18
"""Bytes that the system may hold for a client that does not read: about four seconds of sound."""
_WENT = Ended(1001, "server_shutting_down", "the server is shutting down; connect again soon")


def make_voice(synthesiser: str, sound: dict[str, Any]) -> Voice:
    """Return the voice of a response; ``sound`` is its ``audio.output``."""
    name = sound["voice"]["id"] if isinstance(sound["voice"], dict) else sound["voice"]
    if synthesiser == "flite":
        from earwitness.realtime.flite import FliteVoice

        return FliteVoice(name, sound["speed"])
    return EspeakVoice(name, sound["speed"])


class Realtime:
    """One thinker behind WebSockets. Made before the event loop runs; everything else happens on it."""

    def __init__(
        self,
        thinker: Thinker,
        settings: Settings,
        host: str = "127.0.0.1",
        detector: Callable[[], Callable[[Any], float]] = Silero,
    ) -> None:
        """Wire the parts together; ``detector`` makes what finds speech for a session.

        Raises:
            ImportError, OSError: the detector or the voice is not installed.
        """
        detector()
        make_voice(settings.voice, {"voice": "default", "speed": 1.0}).say("Yes.")  # the first word is slow
        self.settings, self.thinker = settings, thinker
        self.gate = Gate(settings, host)
        self._detector = detector
        self._voices = ThreadPoolExecutor(1, thread_name_prefix="earwitness-voice")
        self._connections: set[Connection] = set()

    def close(self) -> None:
        """End the threads."""
        self.thinker.close()
        self._voices.shutdown(wait=False, cancel_futures=True)

    def drain(self) -> bool:
        """End the sessions that answer nothing; say whether none is left."""
        for connection in self._connections:
            if not connection.is_answering:
                connection.end(_WENT)
        return not self._connections

    def cut_off(self) -> None:
        """End all sessions."""
        for connection in self._connections:
            connection.end(_WENT)

    # -- routes --------------------------------------------------------------------------------------------------------

    async def health(self, request: Any) -> Any:
        """``GET /health``: 200 while sessions are taken, 503 while the server drains."""
        from starlette.responses import JSONResponse

        draining = self.gate.draining
        status = {"status": "draining" if draining else "ok", "model": self.settings.name}
        return JSONResponse({**status, "sessions": self.gate.sessions.total()}, 503 if draining else 200)

    async def realtime(self, web: Any) -> None:
        """``/v1/realtime``."""
        from starlette.responses import JSONResponse

        offered = web.scope.get("subprotocols", [])
        client = web.client.host if web.client else ""
        try:
            self.gate.check(web.headers, offered, web.query_params.get("model"))
            with self.gate.place(client):
                await web.accept(chosen_subprotocol(offered))
                await self._serve(web, dialect_of(web.headers.get("openai-beta"), offered))
        except Denied as denied:
            await web.send_denial_response(JSONResponse(denied.payload(), denied.status))

    async def _serve(self, web: Any, dialect: str) -> None:
        settings = self.settings
        session = Session(
            f"sess_{secrets.token_hex(8)}",
            settings.name,
            self._detector(),
            dialect,
            settings.instructions,
            Limits(lead_seconds=settings.lead_seconds),
        )
        connection = Connection(
            web,
            session,
            self.thinker.connect(),
            settings,
            self._voices,
            lambda sound: make_voice(settings.voice, sound),
        )
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)


def build_app(realtime: Realtime) -> Any:
    """Return the ASGI application; its life is the thinker's."""
    from starlette.applications import Starlette
    from starlette.routing import Route, WebSocketRoute

    @contextlib.asynccontextmanager
    async def life(app: Any) -> AsyncIterator[None]:
        realtime.thinker.start()
        yield
        await asyncio.to_thread(realtime.close)

    routes = [Route("/health", realtime.health), WebSocketRoute("/v1/realtime", realtime.realtime)]
    return Starlette(routes=routes, lifespan=life)


def build_server(
    realtime: Realtime, host: str, port: int, on_ready: Callable[[int], None] = lambda port: None
) -> tuple[Any, socket.socket]:
    """Return (a uvicorn server, its listening socket): ``server.run(sockets=[socket])`` serves until SIGTERM or SIGINT.

    On the first signal new sessions get 503, sessions that answer nothing end, and answers have ``grace_seconds``; a
    second signal ends everything at once. ``on_ready`` is told the port when it listens.
    """
    import uvicorn

    listening = _listen(host, port)

    class Server(uvicorn.Server):
        """Drains before it exits."""

        drain_until: float | None = None

        def handle_exit(self, sig: int, frame: Any) -> None:
            if self.drain_until is not None:
                self.force_exit = True
                super().handle_exit(sig, frame)
                return
            realtime.gate.draining = True
            self.drain_until = time.monotonic() + realtime.settings.grace_seconds
            print("earwitness: no new sessions; waiting for answers that run", file=sys.stderr, flush=True)

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                on_ready(listening.getsockname()[1])

        async def on_tick(self, counter: int) -> bool:
            if self.drain_until is not None:
                if realtime.drain():
                    return True
                if time.monotonic() > self.drain_until:
                    realtime.cut_off()
                if time.monotonic() > self.drain_until + _LAST_SECONDS:
                    return True
            return await super().on_tick(counter)

    config = uvicorn.Config(
        build_app(realtime),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
        ws="websockets-sansio",
        ws_max_size=EVENT_LIMIT,
        ws_per_message_deflate=False,  # base64 of sound hardly shrinks, and it takes time
    )
    return Server(config), listening


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; ``OSError`` with one sentence where the address cannot be had."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, number)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            listening.bind((address[0], port, *address[2:]))  # getaddrinfo cuts a port that is too large
        except BaseException:
            listening.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OSError(f"cannot listen on {host} port {port} ({reason}); choose others with --host and --port") from None
    return listening
