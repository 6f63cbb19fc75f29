"""Any order and timing of events: what a session may never do (seeded; the long form runs with the slow tests)."""

import base64
import json
import random
import warnings

import numpy as np
import pytest
from realtime_client import Client, loudness

from earwitness.realtime.orders import Begin, Send, Stop
from earwitness.realtime.response import Call, Finish, Speech, Thought
from earwitness.realtime.session import Limits, Session

LIMITS = Limits(history_items=6, history_seconds=3, history_characters=500, input_seconds=8, queued_seconds=3, beside=2)
BAD = ["{", "[]", '{"type":"x"}', '{"type":"response.cancel","response_id":7}', '{"type":"input_audio_buffer.append"}']
LEVELS = 40  # amplitudes by which sound tells its generation


def level(generation: int) -> float:
    return (generation % LEVELS + 1) / 64


class Watch:
    """Reads all orders of a session, one at a time, and holds them to the rules."""

    def __init__(self, name: str) -> None:
        self.name, self.owner, self.open, self.done = name, {}, set(), set()
        self.dead, self.begun, self.thinking = set(), [], False
        self.added, self.finished, self.seen = set(), set(), 0

    def read(self, order) -> None:
        if isinstance(order, Begin):
            self.begun.append(order)
        elif isinstance(order, Stop):
            self.dead.add(order.generation)
        if not isinstance(order, Send):
            return
        event, line = order.event, json.dumps(order.event)
        kind = event["type"]
        self.seen += 1
        if kind == "response.created":
            name = event["response"]["id"]
            assert name not in self.owner
            self.owner[name] = order.generation
            self.open.add(name)
        if "response_id" in event:
            assert event["response_id"] in self.open and self.owner[event["response_id"]] == order.generation
            assert order.generation not in self.dead, "something of a cancelled generation was sent"
        if kind == "response.done":
            name = event["response"]["id"]
            assert name in self.open and name not in self.done
            self.open.remove(name)
            self.done.add(name)
            assert event["response"]["status"] != "in_progress"
            assert all(item["status"] in ("completed", "incomplete") for item in event["response"]["output"])
        if kind == "conversation.item.added":
            assert event["item"]["id"] not in self.added or not event["item"]["id"].startswith("item_")
            self.added.add(event["item"]["id"])
        if kind == "conversation.item.done":
            assert event["item"]["id"] in self.added
        if kind == "response.output_audio.delta":
            self.sound(event["delta"], order.generation)
        assert "secret" not in line or kind.startswith("response.thinking."), "thinking outside of its events"
        assert self.thinking or not kind.startswith("response.thinking.")
        assert f"_{self.other}_" not in line, "something of another session"

    @property
    def other(self) -> str:
        return "b" if self.name == "a" else "a"

    def sound(self, text: str, generation: int) -> None:
        sound = base64.b64decode(text)
        if len(sound) % 960 == 0 and len(sound) >= 1920:  # a whole delta of PCM16; G.711 deltas are shorter
            wave = np.frombuffer(sound, "<i2") / 32768
            # The filter rounds the edges of clauses of different lengths not at all: one generation has one level.
            assert np.abs(np.median(wave) - level(generation)) < 0.002 or np.median(np.abs(wave)) < 0.01, generation


class Storm:
    """A client and workers that do anything at any time."""

    def __init__(self, seed: int, name: str) -> None:
        self.random = random.Random(f"{seed}{name}")
        session = Session(f"sess_{name}", "tiny", loudness, self.random.choice(["ga", "ga", "beta"]), limits=LIMITS)
        self.watch = Watch(name)
        self.client = Client(session)
        self.read = 0
        self.follow()

    def follow(self) -> None:
        for _, order in self.client.log[self.read :]:
            self.watch.read(order)
        self.read = len(self.client.log)
        session = self.client.session
        assert session.buffer.held <= LIMITS.input_seconds * 16000
        assert len(session.responses) <= LIMITS.beside + 2
        conversation = session.conversation
        writing = sum(len(response.new_items) for response in session.responses.values())
        assert len(conversation.items) <= LIMITS.history_items + writing
        assert all(r.queued_ms <= LIMITS.queued_seconds * 1000 for r in session.responses.values())
        held = sum(len(item.wave) for item in conversation.items.values() if item.wave is not None)
        assert held <= LIMITS.history_seconds * 16000

    def step(self) -> None:
        acts = [self.talk] * 6 + [self.work] * 8 + [self.wait] * 3 + [self.ask] * 2 + [self.touch] * 2
        self.random.choice([*acts, self.configure, self.buffer, self.nonsense])()
        self.follow()

    def talk(self) -> None:
        loud = self.random.random() < 0.5
        self.client.sound(self.random.choice([20, 60, 120, 240, 400, 800]), loud, paced=self.random.random() < 0.8)

    def work(self) -> None:
        if not self.watch.begun:
            return
        recent = self.watch.begun[-3:] if self.random.random() < 0.9 else self.watch.begun
        generation = self.random.choice(recent).generation
        wave = np.full(self.random.choice([0, 160, 1600, 8000, 24000]), level(generation), np.float32)
        pieces = [Speech(self.random.choice(["Yes.", " and so on", ""]), wave)] * 5 + [Thought("secret")] * 2
        pieces += [Call("f", "{}"), Finish(), Finish("incomplete", "max_output_tokens"), Finish("failed", message="x")]
        self.client.make(self.random.choice(pieces), generation)

    def wait(self) -> None:
        self.client.now += self.random.choice([0.0, 0.01, 0.05, 0.3, 2.0])
        self.client.take(self.client.session.tick(self.client.now))

    def ask(self) -> None:
        aside = {"response": {"conversation": "none"}} if self.random.random() < 0.3 else {}
        names = [*self.watch.owner, None, "resp_none"]
        if self.random.random() < 0.6:
            self.client.send("response.create", **aside)
        else:
            self.client.send("response.cancel", response_id=self.random.choice(names))

    def touch(self) -> None:
        name = self.random.choice([*self.client.session.conversation.items, "mine", "none"])
        kind = self.random.choice(["retrieve", "delete", "truncate", "truncate", "create"])
        if kind == "create":
            part = {"type": "input_text", "text": "x" * self.random.choice([1, 200])}
            item = {"id": "mine", "type": "message", "role": "user", "content": [part]}
            self.client.send("conversation.item.create", item=item, previous_item_id=self.random.choice([None, name]))
        elif kind == "truncate":
            end = self.random.choice([0, 100, 700, 10_000])
            self.client.send("conversation.item.truncate", item_id=name, content_index=0, audio_end_ms=end)
        else:
            self.client.send(f"conversation.item.{kind}", item_id=name)

    def configure(self) -> None:
        silence = self.random.choice([100, 320, 700])
        turns = {"type": "server_vad", "silence_duration_ms": silence, "prefix_padding_ms": 100}
        turns |= {"interrupt_response": self.random.random() < 0.7, "create_response": self.random.random() < 0.8}
        turns = None if self.random.random() < 0.3 else turns
        self.watch.thinking = self.watch.thinking or self.random.random() < 0.3
        if self.client.session.dialect == "beta":
            session = {"turn_detection": turns, "modalities": self.random.choice([["text"], ["text", "audio"]])}
            session |= {"input_audio_format": "pcm16"}
        else:
            turns = turns and {**turns, "idle_timeout_ms": self.random.choice([None, 1000])}
            form = {"type": self.random.choice(["audio/pcm", "audio/pcmu", "audio/pcma"])}
            session = {"type": "realtime", "output_modalities": [self.random.choice(["text", "audio", "audio"])]}
            session["audio"] = {"input": {"turn_detection": turns}, "output": {"format": form}}
        self.client.send("session.update", session={**session, "thinking_events": self.watch.thinking})

    def buffer(self) -> None:
        self.client.send(self.random.choice(["input_audio_buffer.commit", "input_audio_buffer.clear"]))

    def nonsense(self) -> None:
        before = len(self.client.log)
        if self.random.random() < 0.5:
            self.client.take(self.client.session.receive(self.random.choice(BAD), self.client.now))
        else:
            self.client.send("input_audio_buffer.append", audio=self.random.choice(["@", "AAA", "AAAA"]), event_id="e")
        assert any(isinstance(o, Send) and o.event["type"] == "error" for _, o in self.client.log[before:])

    def end(self) -> None:
        """Let all work finish; every response that was opened must have ended."""
        off = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        session = {"turn_detection": None} if self.client.session.dialect == "beta" else off
        self.client.send("session.update", session=session)
        for order in list(self.watch.begun):
            self.client.make(Finish(), order.generation)
        self.client.now += 1.0
        for _ in range(400):
            self.client.now += 0.3
            self.client.take(self.client.session.tick(self.client.now))
            if not self.client.session.responses:
                break
        self.follow()
        assert not self.watch.open and not self.client.session.responses
        self.client.take(self.client.session.close())
        self.follow()


def storm(seed: int, steps: int) -> list[Storm]:
    both = [Storm(seed, "a"), Storm(seed, "b")]
    pick = random.Random(seed)
    for _ in range(steps):
        pick.choice(both).step()
    for one in both:
        one.end()
    return both


def test_any_order_and_timing_in_300_sequences():
    created = cancelled = 0
    for seed in range(300):
        for one in storm(seed, 30):
            created += len(one.watch.owner)
            cancelled += len(one.watch.dead)
    assert created > 300 and cancelled > 100  # the storms do reach what they are about


@pytest.mark.slow
def test_any_order_and_timing_in_10000_sequences():
    for seed in range(10_000):
        storm(1000 + seed, 60)


def test_what_a_storm_brings_about_is_official():
    pytest.importorskip("openai")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from test_realtime_protocol import official
    for seed in range(3):
        for one in storm(seed, 80):
            for event in one.client.events():
                official(event, one.client.session.dialect)
