"""A running realtime server on a loopback port in a thread, a thinker that does what a test says, and sound to send."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time

import numpy as np
from realtime_client import loudness

from earwitness.realtime.resample import Resampler
from earwitness.realtime.server import Realtime, build_server
from earwitness.realtime.settings import Settings


class FakeListener:
    def __init__(self, thinker) -> None:
        self.thinker, self.heard, self.stopped = thinker, 0, []

    def listen(self, turn, wave):
        self.heard += len(wave)

    def forget(self, turn):
        pass

    def begin(self, order, speaker):
        self.thinker.behave(order, speaker)

    def stop(self, generation):
        self.stopped.append(generation)

    def close(self):
        self.thinker.live.discard(self)


class FakeThinker:
    """``behave(order, speaker)`` is what happens when an answer is to begin."""

    def __init__(self, behave=lambda order, speaker: None) -> None:
        self.behave, self.live = behave, set()

    def start(self):
        pass

    def close(self):
        pass

    def connect(self):
        listener = FakeListener(self)
        self.live.add(listener)
        return listener


@contextlib.contextmanager
def talking(thinker, detector=lambda: loudness, **fields):
    """Yield (port, the server's ``Realtime``, the uvicorn server)."""
    ready: list[int] = []
    realtime = Realtime(thinker, Settings(**{"name": "tiny", **fields}), detector=detector)
    server, listening = build_server(realtime, "127.0.0.1", 0, ready.append)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    wait_until(lambda: ready)
    try:
        yield ready[0], realtime, server
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
        assert not thread.is_alive()


def wait_until(holds, seconds: float = 60.0):
    """Return what ``holds`` returns once it is true."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return found


def connect(port: int, path: str = "", **options):
    from websockets.sync.client import connect as open_socket

    return open_socket(f"ws://127.0.0.1:{port}/v1/realtime{path}", **{"max_size": None, "proxy": None, **options})


def send(socket, kind: str, **fields) -> None:
    socket.send(json.dumps({"type": kind, **fields}))


def read_until(socket, kind: str, seconds: float = 60.0) -> list[dict]:
    """Return the events up to the first of a kind."""
    found: list[dict] = []
    while not found or found[-1]["type"] != kind:
        found.append(json.loads(socket.recv(timeout=seconds)))
    return found


def as_pcm(wave: np.ndarray, rate: int = 24000) -> bytes:
    """Return PCM16 at ``rate`` of a wave at 16 kHz."""
    stream = Resampler(16000, rate)
    wave = np.concatenate([stream.push(wave), stream.end()])
    return np.clip(np.rint(wave * 32767), -32768, 32767).astype("<i2").tobytes()


def pieces(pcm: bytes, size: int = 9600):
    """Yield base64 of 200 ms each."""
    for start in range(0, len(pcm), size):
        yield base64.b64encode(pcm[start : start + size]).decode()


PUSH_TO_TALK = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
TEXT = {"output_modalities": ["text"]}
