"""The real server on a loopback port in a thread, with the shipped model, and what a client needs to talk to it."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import http.client
import json
import threading
import time

from engine_fixture import tone

from earwitness import audio
from earwitness.engines import load
from earwitness.engines.local import LocalEngine
from earwitness.serve.server import build_server
from earwitness.serve.settings import Settings


def shipped_engine() -> LocalEngine:
    return load(device="cpu")


def endless(engine: LocalEngine, max_batch: int) -> LocalEngine:
    """Return an engine over the same weights whose replies end only at their limit."""
    other = LocalEngine(engine.model, engine.tokenizer, engine.name, max_batch=max_batch)
    other.markers = dataclasses.replace(other.markers, stops=frozenset())
    return other


@contextlib.contextmanager
def serving(engine, **fields):
    """Yield the port of a running server."""
    ready: list[int] = []
    server = build_server(engine, Settings(**{"name": "tiny", **fields}), "127.0.0.1", 0, ready.append)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: ready)
    try:
        yield ready[0]
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def wait_until(holds, seconds: float = 60.0):
    """Return what ``holds`` returns once it is true."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return found


def ask(port: int, body, path="/v1/chat/completions", method="POST", headers=None):
    """Return (status, headers, parsed body) of one request; bodies are JSON values or raw bytes."""
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    return response.status, response.headers, json.loads(text) if text[:1] == "{" else text


def metric(port: int, name: str) -> float:
    text = ask(port, None, "/metrics", "GET")[2]
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def chat(text="Which note is higher?", clips=(), **fields):
    """Return a body with clips between the words of its text."""
    parts = [{"type": "text", "text": text}, *map(wav_part, clips)]
    return {"model": "tiny", "messages": [{"role": "user", "content": parts}], **fields}


def wav_part(wave):
    return {"type": "input_audio", "input_audio": {"data": encoded(wave), "format": "wav"}}


def encoded(wave) -> str:
    return base64.b64encode(audio.encode_wav(wave)).decode()


CLIP = tone(0.7)
