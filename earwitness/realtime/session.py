"""One conversation as pure logic: client messages, worker pieces and the time come in, events and orders go out.

No sockets, no threads, no clock of its own: ``now`` is any monotonic time in seconds. Turns are counted on the sound
that was received, playing on ``now``. Everything queued belongs to a generation; a cancelled one is never heard again.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from earwitness.prompt import END_THINK, THINK
from earwitness.realtime import events
from earwitness.realtime.answers import Answers, Limits, as_stored
from earwitness.realtime.audio_in import SAMPLE_RATE, SoundBuffer, SoundIn
from earwitness.realtime.audio_out import SoundOut
from earwitness.realtime.configuration import default_session, updated
from earwitness.realtime.conversation import Item
from earwitness.realtime.orders import Forget, Listen, Order, Stop
from earwitness.realtime.protocol import parse
from earwitness.realtime.response import Piece, Response, Speech
from earwitness.realtime.shapes import Refusal
from earwitness.realtime.turns import FRAME_SAMPLES, Turn, TurnConfig, Turns

_LEAST_MS = 100  # of sound in a commit, as in the protocol


class Session(Answers):
    """See the module. ``detector`` maps a frame of 512 samples to a probability of speech and has ``reset``."""

    def __init__(
        self,
        session_id: str,
        model: str,
        detector: Callable[[np.ndarray], float],
        dialect: str = "ga",
        instructions: str = "",
        limits: Limits | None = None,
        **turn_thresholds: int,
    ) -> None:
        super().__init__(session_id, default_session(session_id, model, instructions), limits or Limits())
        self.dialect, self.detector, self.turn_thresholds = dialect, detector, turn_thresholds
        self.sound = SoundIn("audio/pcm")
        self.buffer = SoundBuffer(self.limits.input_seconds)
        self.framed = 0
        """Number of the first sample that no frame has covered."""
        self.turns = self._turns()
        self.turn_item: str | None = None
        self.turn_start = self.listened = 0

    # What comes in

    def start(self) -> list[Order]:
        """Return the first events."""
        self._send(events.session_event("created", copy.deepcopy(self.config)))
        self._send(events.conversation_created(self._conversation_id))
        return self._flush()

    def receive(self, message: str | bytes, now: float) -> list[Order]:
        """Take one message of the client. What cannot be served becomes an ``error`` event that echoes its event_id."""
        event: dict[str, Any] = {}
        try:
            event = parse(message, self.dialect)
            getattr(self, "_on_" + event["type"].replace(".", "_"))(event, now)
        except Refusal as refusal:
            refusal.event_id = refusal.event_id or event.get("event_id")
            self._send(refusal.event())
        self._release(now)
        return self._flush()

    def produce(self, generation: int, piece: Piece, now: float) -> list[Order]:
        """Take what a worker made for a generation; nothing happens if that one was cancelled or has ended."""
        response = self.responses.get(generation)
        if response is not None:
            response.offer(piece)
            if isinstance(piece, Speech) and (THINK in piece.text or END_THINK in piece.text):
                self._fail(response, "thinking_in_speech", "the engine put a marker of its thinking into the answer")
            elif response.too_much(self.limits.queued_seconds):
                self._fail(response, "output_overflow", "too much waits to be sent; a voice must ask for room")
            self._release(now)
        return self._flush()

    def room(self, generation: int) -> bool:
        """Say whether a worker should go on making sound for a generation."""
        response = self.responses.get(generation)
        return response is not None and response.queued_ms < self.limits.queued_seconds * 500

    def tick(self, now: float) -> list[Order]:
        """Let time pass; call it at least every 40 ms while an answer is being sent."""
        self._release(now)
        return self._flush()

    def close(self) -> list[Order]:
        """Free everything: the client has gone. Only orders to workers come back."""
        for response in list(self.responses.values()):
            response.close("cancelled")
            self.out.append(Stop(response.generation))
        self.responses.clear()
        self.active = self.draft = None
        self.buffer.forget_before(self.buffer.next)
        return self._flush()

    # Sound and turns

    def _turns(self) -> Turns | None:
        detection = self.config["audio"]["input"]["turn_detection"]
        if detection is None:
            return None
        return Turns(TurnConfig.of(detection, **self.turn_thresholds), self.framed)

    def _on_input_audio_buffer_append(self, event: dict[str, Any], now: float) -> None:
        wave = self.sound.push(event["audio"])
        if self.turns is None:
            self.buffer.add(wave)
            self.framed = self.buffer.next
            self._listen()
            return
        for start in range(0, len(wave), SAMPLE_RATE // 2):
            self.buffer.add(wave[start : start + SAMPLE_RATE // 2])
            self._detect(now)

    def _detect(self, now: float) -> None:
        assert self.turns is not None
        detection = self.config["audio"]["input"]["turn_detection"]
        while self.buffer.next - self.framed >= FRAME_SAMPLES:
            frame = self.buffer.take(self.framed, self.framed + FRAME_SAMPLES)
            self.framed += FRAME_SAMPLES
            audible = self.active is not None and self.active.audible(now)
            probability = self.detector(frame)
            waiting = self.active is not None and not audible and not self._answering()
            for turn in self.turns.step(probability, audible and detection["interrupt_response"], waiting):
                self._turn(turn, detection, now)
        self._listen()
        if self.turn_item is None:
            keep = (self.turns.config.prefix_ms + self.turns.config.interrupt_ms + 200) * SAMPLE_RATE // 1000
            self.buffer.forget_before(self.framed - keep)

    def _turn(self, turn: Turn, detection: dict[str, Any], now: float) -> None:
        if turn.kind == "hold":
            self.held = True
        elif turn.kind == "resume":
            self.held = False
        elif turn.kind == "started":
            if detection["interrupt_response"]:
                self._interrupt(now)
            self.turn_item = self._id("item")
            self.turn_start = self.listened = max(turn.sample, self.buffer.first)
            self._send(events.speech_started(self.turn_item, self.turn_start // 16))
        elif turn.kind == "soft":
            self._listen()
            if detection["create_response"] and not self._answering():
                self._drop_draft()
                self.draft = self._begin(turn=self.turn_item)
        elif turn.kind == "revised":
            self._drop_draft()
        elif turn.kind == "stopped":
            self._stopped(turn.sample, detection, now)
        else:
            self._idle(turn.sample)

    def _stopped(self, sample: int, detection: dict[str, Any], now: float) -> None:
        assert self.turn_item is not None
        self._send(events.speech_stopped(self.turn_item, sample // 16))
        draft, self.draft = self.draft, None
        self._commit(sample)
        if not detection["create_response"] or self._answering():
            self.draft = draft
            self._drop_draft()
            return
        self._activate(draft or self._begin())

    def _idle(self, sample: int) -> None:
        """The user said nothing for long: answer the silence, as the protocol has it."""
        self.turn_item = self._id("item")
        self.turn_start = self.listened = max(self.buffer.first, sample - SAMPLE_RATE // 2)
        self._send(events.timeout_triggered(self.turn_item, self.turn_start // 16, sample // 16))
        self._commit(sample)
        self._activate(self._begin())

    def _listen(self) -> None:
        """Hand the open turn's new sound to the worker that listens while it comes."""
        if self.turns is None and self.turn_item is None and self.buffer.held:
            self.turn_item, self.turn_start, self.listened = self._id("item"), self.buffer.first, self.buffer.first
        if self.turn_item is not None and self.framed > self.listened:
            self.out.append(Listen(self.turn_item, self.buffer.take(self.listened, self.framed)))
            self.listened = self.framed

    def _commit(self, end: int) -> None:
        """Make the open turn's sound up to ``end`` an item of the conversation."""
        assert self.turn_item is not None
        self._listen()
        wave = self.buffer.take(self.turn_start, end)
        data: dict[str, Any] = {"id": self.turn_item, "object": "realtime.item", "type": "message", "role": "user"}
        content: list[dict[str, Any]] = [{"type": "input_audio", "transcript": None}]
        data |= {"status": "completed", "content": content}
        previous = self.conversation.last
        self._send(events.committed(self.turn_item, previous))
        self._add(Item(data, as_stored(wave)), None)
        self.turn_item = None
        self.buffer.forget_before(end)

    def _add(self, item: Item, place: str | None) -> None:
        previous = self.conversation.add(item, place)
        for word in ("added", "done"):
            self._send(events.item_event(word, item.data, previous))
        self._trim()

    def _on_input_audio_buffer_commit(self, event: dict[str, Any], now: float) -> None:
        tail = self.sound.end() if self.turns is None else np.zeros(0, np.float32)
        if len(tail) and self.buffer.held + len(tail) <= self.buffer.most:
            self.buffer.add(tail)
        if self.buffer.held < _LEAST_MS * 16:
            text = f"the input audio buffer holds {self.buffer.held // 16} ms; send at least {_LEAST_MS} ms first"
            raise Refusal(text, "input_audio_buffer_commit_empty")
        self._drop_draft()
        self.framed = self.buffer.next
        if self.turn_item is None:
            self.turn_item, self.turn_start, self.listened = self._id("item"), self.buffer.first, self.buffer.first
        self._commit(self.framed)
        self._restart()

    def _on_input_audio_buffer_clear(self, event: dict[str, Any], now: float) -> None:
        self._drop_draft()
        if self.turn_item is not None:
            self.out.append(Forget(self.turn_item))
            self.turn_item = None
        self.sound.end()
        self.framed = self.buffer.next
        self.buffer.forget_before(self.framed)
        self._restart()
        self._send(events.cleared())

    def _restart(self) -> None:
        """Begin to look for turns anew, at the end of what was received."""
        self.held = False
        self.turns = self._turns()
        getattr(self.detector, "reset", lambda: None)()

    # The rest of the protocol

    def _on_session_update(self, event: dict[str, Any], now: float) -> None:
        new = updated(self.config, event["session"])
        old, self.config = self.config, new
        sound = new["audio"]["input"]
        if sound["format"] != old["audio"]["input"]["format"]:
            self.sound = SoundIn(sound["format"]["type"])
        if sound["turn_detection"] != old["audio"]["input"]["turn_detection"]:
            self._drop_draft()
            if self.turn_item is not None:
                self.out.append(Forget(self.turn_item))
                self.turn_item = None
            self.framed = self.buffer.next
            self.buffer.forget_before(self.framed)
            self._restart()
        self._send(events.session_event("updated", copy.deepcopy(new)))

    def _on_conversation_item_create(self, event: dict[str, Any], now: float) -> None:
        if event["item"].get("id", "").startswith(self._prefix("item")):
            raise Refusal("ids of this form are the server's; choose another", "invalid_value", "item.id")
        self._add(self._made(event["item"]), event.get("previous_item_id"))

    def _on_conversation_item_retrieve(self, event: dict[str, Any], now: float) -> None:
        item = self.conversation.get(event["item_id"])
        data = copy.deepcopy(item.data)
        if item.wave is not None:
            stream = SoundOut(self.config["audio"]["input"]["format"]["type"], SAMPLE_RATE)
            sound = stream.push(item.wave.astype(np.float32) / 32768) + stream.end()
            part = next(part for part in data["content"] if part["type"] == "input_audio")
            part["audio"] = base64.b64encode(sound).decode()
        self._send(events.item_event("retrieved", data))

    def _writing(self, item_id: str) -> Response | None:
        found = (r for r in self.responses.values() if any(i.data["id"] == item_id for i in r.new_items))
        return next(found, None)

    def _on_conversation_item_delete(self, event: dict[str, Any], now: float) -> None:
        if self._writing(event["item_id"]) is not None:
            raise Refusal("the item is still being written; cancel its response first", "item_in_progress", "item_id")
        self.conversation.delete(event["item_id"])
        self._send(events.item_deleted(event["item_id"]))

    def _on_conversation_item_truncate(self, event: dict[str, Any], now: float) -> None:
        item = self.conversation.get(event["item_id"])
        if not any(part["type"] == "output_audio" for part in item.data.get("content", [])):
            raise Refusal("only the sound of an answer can be truncated", "item_truncate_invalid_item", "item_id")
        if event["content_index"] != 0:
            raise Refusal("an answer has one content part; send content_index 0", param="content_index")
        if event["audio_end_ms"] > item.sent_ms + 1:
            text = f"only {item.sent_ms:.0f} ms of sound were sent; send an audio_end_ms up to that"
            raise Refusal(text, "invalid_value", "audio_end_ms")
        response = self._writing(event["item_id"])
        if response is not None:
            self._cancel(response, "client_cancelled", now)
        item.cut(event["audio_end_ms"])
        self._send(events.item_truncated(event["item_id"], event["audio_end_ms"]))

    def _on_response_create(self, event: dict[str, Any], now: float) -> None:
        asked = event.get("response") or {}
        beside = asked.get("conversation") == "none"
        if beside:
            running = sum(r.config["conversation"] == "none" for r in self.responses.values())
            if running >= self.limits.beside:
                text = f"{running} responses beside the conversation are running; wait for one to end"
                raise Refusal(text, "too_many_responses")
        elif self._answering():
            text = "the conversation has an active response; wait for it to end or cancel it"
            raise Refusal(text, "conversation_already_has_active_response")
        response = self._begin(asked=asked)
        if beside:
            self._send(*response.open(), generation=response.generation)
        else:
            self._drop_draft()
            self._activate(response)

    def _on_response_cancel(self, event: dict[str, Any], now: float) -> None:
        wanted = event.get("response_id")
        found = [r for r in self.responses.values() if r.opened and (r.id == wanted if wanted else r is self.active)]
        if not found:
            raise Refusal("there is no active response to cancel", "response_cancel_not_active", "response_id")
        self._cancel(found[0], "client_cancelled", now)
