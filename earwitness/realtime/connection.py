"""One WebSocket and its session: messages in, orders carried out, events out in order; it ends in one place."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from earwitness.realtime import events
from earwitness.realtime.orders import Begin, Forget, Listen, Order, Send
from earwitness.realtime.protocol import EVENT_LIMIT
from earwitness.realtime.response import Finish, Piece
from earwitness.realtime.session import Session
from earwitness.realtime.settings import Settings
from earwitness.realtime.speaker import Speaker
from earwitness.realtime.thinker import Listener
from earwitness.realtime.voice import Voice

_LOG = logging.getLogger("earwitness.realtime")
_TICK_SECONDS = 0.02
_RARE_SECONDS = 0.25  # between looks while nothing is said
_LONG_MESSAGE = 1 << 17  # characters; a second of sound is 64,000, and decoding more would hold everybody up
_MOST_WAITING = 4096  # events that the client has not taken
_MOST_WAITING_CHARACTERS = 16 << 20
MakeVoice = Callable[[dict[str, Any]], Voice]


class Ended(Exception):
    """The session is over for a reason that the client is told: a close code and one sentence."""

    def __init__(self, close_code: int, code: str, message: str) -> None:
        super().__init__(message)
        self.close_code, self.code = close_code, code


class Connection:
    """Runs one session. Everything happens on the event loop, but for long messages, which a thread reads."""

    def __init__(
        self,
        socket: Any,
        session: Session,
        listener: Listener,
        settings: Settings,
        voices: Executor,
        make_voice: MakeVoice,
    ) -> None:
        """Hold the parts.

        Args:
            socket: a starlette ``WebSocket`` that was accepted.
            session: its session.
            listener: thinks for it.
            settings: the limits.
            voices: one thread in which clauses are said.
            make_voice: returns the voice for a response's ``audio.output``.
        """
        self._socket, self._session, self._listener, self._settings = socket, session, listener, settings
        self._voices, self._make_voice = voices, make_voice
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        """Held by whoever works on the session."""
        self._unread: asyncio.Queue[str | bytes] = asyncio.Queue()
        self._unread_characters = 0
        self._pieces: asyncio.Queue[tuple[int, Piece]] = asyncio.Queue()
        self._waiting: deque[tuple[Send | None, str]] = deque()
        self._characters = 0
        self._something = asyncio.Event()
        self._speakers: dict[int, Speaker] = {}
        self._progress: dict[int, float] = {}
        """When something was last made for an answer that is not finished."""
        self._heard_from = self._taken = time.monotonic()
        """When the client sent something, and took something."""
        self._sent = 0
        self._ending: Ended | None = None

    @property
    def is_answering(self) -> bool:
        """Whether an answer is being made or sent."""
        return any(response.opened for response in self._session.responses.values())

    async def run(self) -> None:
        """Serve until the client goes or the session ends."""
        tasks = [asyncio.create_task(step()) for step in (self._read, self._receive, self._work, self._write)]
        try:
            await self._with(self._session.start)
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except Ended as ended:
            await self._say_goodbye(ended)
        except Exception:
            _LOG.exception("a session failed")
            await self._say_goodbye(Ended(1011, "session_failed", "the server failed; look into its log"))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._session.close()
            self._listener.close()
            for speaker in self._speakers.values():
                speaker.stop()

    def end(self, ended: Ended) -> None:
        """End the session soon; on the event loop."""
        self._ending = self._ending or ended

    async def _say_goodbye(self, ended: Ended) -> None:
        error = {"type": "server_error", "code": ended.code, "message": str(ended), "param": None, "event_id": None}
        with contextlib.suppress(Exception):
            async with asyncio.timeout(1.0):
                text = events.encode({"type": "error", "error": error}, self._session.dialect, self._event_id())
                await self._socket.send_text(text)
                await self._socket.close(ended.close_code, str(ended)[:120])

    # -- in ------------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Take messages off the socket, also while an earlier one is still worked on: pings are among them."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            self._heard_from = time.monotonic()
            data = message.get("text") or message.get("bytes") or ""
            while self._unread_characters > EVENT_LIMIT:
                await asyncio.sleep(_TICK_SECONDS)
            self._unread_characters += len(data)
            self._unread.put_nowait(data)

    async def _receive(self) -> None:
        while True:
            data = await self._unread.get()
            await self._with(self._session.receive, data, long=len(data) > _LONG_MESSAGE)
            self._unread_characters -= len(data)
            self._heard_from = time.monotonic()

    async def _with(self, step: Callable[..., list[Order]], *given: Any, long: bool = False) -> None:
        """Do one thing to the session and carry out its orders."""
        async with self._lock:
            if step != self._session.start:
                given = (*given, time.monotonic())
            orders = await asyncio.to_thread(step, *given) if long else step(*given)
            for order in orders:
                self._carry_out(order)

    def _carry_out(self, order: Order) -> None:
        if isinstance(order, Send):
            self._put(order)
        elif isinstance(order, Listen):
            self._listener.listen(order.turn, order.wave)
        elif isinstance(order, Forget):
            self._listener.forget(order.turn)
        elif isinstance(order, Begin):
            self._begin(order)
        else:
            self._listener.stop(order.generation)
            self._forget_answer(order.generation)

    def _begin(self, order: Begin) -> None:
        number, response = order.generation, self._session.responses.get(order.generation)
        if response is None:  # it was stopped by what came in the same message
            return
        self._progress[number] = time.monotonic()
        voice = None
        try:
            if order.config["output_modalities"] == ["audio"]:
                voice = self._make_voice(order.config["audio"]["output"])
        except (ValueError, OSError, ImportError) as error:
            self._pieces.put_nowait((number, Finish("failed", "voice_failed", " ".join(str(error).split())[:300])))
            return
        speaker = Speaker(
            voice,
            self._voices,
            lambda piece: self._offer(number, piece),
            lambda: self._left_to_play(number),
            released=response.opened,
        )
        self._speakers[number] = speaker
        self._listener.begin(order, speaker)

    def _left_to_play(self, generation: int) -> float:
        """Return seconds of sound that were made for an answer and not played; may be called from any thread."""
        response = self._session.responses.get(generation)
        if response is None:
            return math.inf
        return response.queued_ms / 1000 + max(0.0, max(response.play_end, response.after) - time.monotonic())

    def _offer(self, generation: int, piece: Piece) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, (generation, piece))

    def _forget_answer(self, generation: int) -> None:
        self._progress.pop(generation, None)
        speaker = self._speakers.pop(generation, None)
        if speaker is not None:
            speaker.stop()

    # -- time passes ---------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Take what was made, let time pass, and look after what must not last."""
        while True:
            wait = _TICK_SECONDS if self._session.responses else _RARE_SECONDS
            piece = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    piece = await self._pieces.get()
            if piece is None:
                await self._with(self._session.tick)
            else:
                await self._take(*piece)
            self._look_after(time.monotonic())
            for number in self._stalled():
                message = f"nothing was made for {self._settings.stall_seconds:g} seconds; ask again"
                await self._take(number, Finish("failed", "engine_stalled", message))
                self._listener.stop(number)

    async def _take(self, generation: int, piece: Piece) -> None:
        self._progress[generation] = time.monotonic()
        if isinstance(piece, Finish):
            self._progress.pop(generation)
            self._speakers.pop(generation, None)
        await self._with(lambda now: self._session.produce(generation, piece, now))

    def _look_after(self, now: float) -> None:
        """Raise ``Ended`` where the session must end."""
        if self._ending is not None:
            raise self._ending
        settings = self._settings
        if now - self._heard_from > settings.idle_seconds:
            raise Ended(1000, "session_idle", f"nothing was sent for {settings.idle_seconds:g} seconds; connect again")
        is_full = len(self._waiting) > _MOST_WAITING or self._characters > _MOST_WAITING_CHARACTERS
        if is_full or (self._waiting and now - self._taken > settings.slow_seconds):
            raise Ended(1008, "slow_reader", "events are read too slowly; read them as they come")

    def _stalled(self) -> list[int]:
        late = time.monotonic() - self._settings.stall_seconds
        return [g for g, when in self._progress.items() if when < late and self._left_to_play(g) <= 0]

    # -- out -----------------------------------------------------------------------------------------------------------

    def _put(self, order: Send) -> None:
        kind = order.event["type"]
        if kind == "response.created" and order.generation in self._speakers:
            self._speakers[order.generation].release()
        if kind == "response.done" and order.event["response"]["status"] == "failed":
            error = order.event["response"]["status_details"]["error"]
            self._enqueue(None, {"type": "error", "error": {**error, "param": None, "event_id": None}})
        self._enqueue(order, order.event)

    def _enqueue(self, order: Send | None, event: events.Event) -> None:
        text = events.encode(event, self._session.dialect, self._event_id())
        if text is not None:
            if not self._waiting:
                self._taken = time.monotonic()
            self._waiting.append((order, text))
            self._characters += len(text)
            self._something.set()

    def _event_id(self) -> str:
        self._sent += 1
        return f"event_{self._session.id.removeprefix('sess_')}_{self._sent}"

    async def _write(self) -> None:
        from starlette.websockets import WebSocketDisconnect

        while True:
            await self._something.wait()
            if not self._waiting:
                self._something.clear()
                continue
            order, text = self._waiting[0]
            if order is None or not self._session.stale(order):
                try:
                    await self._socket.send_text(text)
                except (WebSocketDisconnect, RuntimeError, OSError):
                    return  # the client has gone
            self._waiting.popleft()
            self._characters -= len(text)
            self._taken = time.monotonic()
