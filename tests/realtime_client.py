"""A scripted client of a realtime session: sound by the millisecond, events by name."""

import base64
import json

import numpy as np

from earwitness.realtime.orders import Begin, Send, Stop
from earwitness.realtime.response import Finish, Speech
from earwitness.realtime.session import Session

STEP = 0.02


class Client:
    """Drives one session on its own clock; ``log`` holds (now, order)."""

    def __init__(self, session: Session) -> None:
        self.session, self.now, self.log = session, 0.0, []
        self.take(session.start())

    def take(self, orders):
        self.log += [(self.now, order) for order in orders]
        return orders

    def send(self, kind: str, **fields):
        return self.take(self.session.receive(json.dumps({"type": kind, **fields}), self.now))

    def sound(self, ms: int, loud: bool, paced: bool = True) -> None:
        """Send so much sound in pieces of 20 ms, in real time or at once."""
        level = 8000 if loud else 0
        piece = base64.b64encode(np.full(480, level, "<i2").tobytes()).decode()
        for _ in range(ms // 20):
            if paced:
                self.now += STEP
            self.send("input_audio_buffer.append", audio=piece)

    def say(self, ms: int) -> None:
        self.sound(ms, True)

    def silence(self, ms: int) -> None:
        self.sound(ms, False)

    def make(self, piece, generation: int | None = None):
        last = self.begun[-1].generation if generation is None else generation
        return self.take(self.session.produce(last, piece, self.now))

    def answer(self, text: str, seconds: float, level: float = 0.25, finish: bool = True) -> None:
        self.make(Speech(text, np.full(int(seconds * 16000), level, np.float32)))
        if finish:
            self.make(Finish())

    @property
    def begun(self) -> list[Begin]:
        return [order for _, order in self.log if isinstance(order, Begin)]

    @property
    def stopped(self) -> list[int]:
        return [order.generation for _, order in self.log if isinstance(order, Stop)]

    def events(self, prefix: str = "") -> list[dict]:
        return [o.event for _, o in self.log if isinstance(o, Send) and o.event["type"].startswith(prefix)]

    def kinds(self, prefix: str = "") -> list[str]:
        return [event["type"] for event in self.events(prefix)]

    def voiced_seconds(self) -> float:
        deltas = self.events("response.output_audio.delta")
        return sum(len(base64.b64decode(event["delta"])) for event in deltas) / 48000


def loudness(frame: np.ndarray) -> float:
    """Stand in for a speech detector."""
    return 0.9 if float(np.abs(frame).mean()) > 0.02 else 0.05
