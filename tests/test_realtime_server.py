"""The running server: who may connect, faults on either side, its end; and whole conversations by official clients."""

import base64
import json
import re
import signal
import socket as sockets
import threading
import urllib.request
import warnings

import numpy as np
import pytest
from realtime_server import (
    PUSH_TO_TALK,
    TEXT,
    FakeThinker,
    as_pcm,
    connect,
    pieces,
    read_until,
    send,
    talking,
    wait_until,
)
from shipped import needs_weights

pytest.importorskip("uvicorn")
pytest.importorskip("websockets")
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

from earwitness import prompt, soundworld  # noqa: E402
from earwitness.engines import Request, Sampling, load  # noqa: E402
from earwitness.realtime.pace import Pace  # noqa: E402
from earwitness.realtime.plain_thinker import PlainThinker  # noqa: E402
from earwitness.realtime.response import Finish  # noqa: E402
from earwitness.realtime.settings import Settings  # noqa: E402


def talk_back(order, speaker):
    """Answer in text at once."""
    speaker.push("Yes, I hear you.")
    speaker.end(Finish())


def ask(socket, **response) -> list[dict]:
    send(socket, "response.create", response={**TEXT, **response})
    return read_until(socket, "response.done")


@pytest.fixture(scope="module")
def served():
    thinker = FakeThinker(talk_back)
    with talking(thinker, max_sessions=4, max_client_sessions=3) as (port, realtime, _):
        yield port, realtime, thinker


# -- who may connect ---------------------------------------------------------------------------------------------------


def refused(port, path="", **options):
    with pytest.raises(InvalidStatus) as caught:
        connect(port, path, **options)
    response = caught.value.response
    return response.status_code, json.loads(response.body)["error"]["code"]


def test_a_page_of_another_origin_cannot_use_the_server(served):
    port = served[0]
    for origin in ("http://evil.example", "null", f"http://evil.example:{port}", "http://127.0.0.1:1"):
        assert refused(port, origin=origin) == (403, "origin_not_allowed")
    # A name of the attacker's that resolves to this machine: origin and host agree, and are not ours.
    rebound = {"additional_headers": {"Origin": f"http://evil.example:{port}"}}
    plain = sockets.create_connection(("127.0.0.1", port))
    with pytest.raises(InvalidStatus) as caught:
        from websockets.sync.client import connect as open_socket

        open_socket(f"ws://evil.example:{port}/v1/realtime", sock=plain, proxy=None, **rebound)
    assert caught.value.response.status_code == 403
    with connect(port, origin=f"http://127.0.0.1:{port}") as own:
        assert read_until(own, "session.created")


def test_keys_models_and_listed_origins():
    thinker = FakeThinker(talk_back)
    with talking(thinker, api_key="s3cret", allowed_origins=("https://ours.example",)) as (port, _, _):
        assert refused(port) == (401, "invalid_api_key")
        assert refused(port, additional_headers={"Authorization": "Bearer wrong"}) == (401, "invalid_api_key")
        key = {"additional_headers": {"Authorization": "Bearer s3cret"}}
        assert refused(port, "?model=other", **key) == (404, "model_not_found")
        with connect(port, "?model=tiny", origin="https://ours.example", **key) as socket:
            assert ask(socket)[-1]["response"]["status"] == "completed"
        with connect(port, subprotocols=["realtime", "openai-insecure-api-key.s3cret"]) as socket:
            assert socket.subprotocol == "realtime" and read_until(socket, "session.created")


def test_sessions_are_limited_and_freed(served):
    port, realtime, thinker = served
    wait_until(lambda: not realtime.gate.sessions)
    held = [connect(port) for _ in range(3)]
    assert refused(port) == (429, "session_limit_reached")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
        assert json.load(answer) == {"status": "ok", "model": "tiny", "sessions": 3}
    for socket in held:
        socket.close()
    wait_until(lambda: not realtime.gate.sessions and not thinker.live)
    with connect(port) as socket:
        assert ask(socket)[-1]["response"]["status"] == "completed"


# -- faults ------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_served_is_named_and_the_session_goes_on(served):
    with connect(served[0]) as socket:
        for fields, code in (
            ({"audio": "@@@"}, "invalid_value"),
            ({"audio": "AAAA"}, "invalid_audio"),
            ({"audio": base64.b64encode(bytes(15 * 2**20 + 2)).decode()}, "audio_too_large"),
        ):
            send(socket, "input_audio_buffer.append", event_id=f"e {code}", **fields)
            error = read_until(socket, "error")[-1]["error"]
            assert (error["code"], error["event_id"]) == (code, f"e {code}")
        socket.send("{")
        assert read_until(socket, "error")[-1]["error"]["code"] == "invalid_json"
        socket.send(b"\xff\xfe")
        assert read_until(socket, "error")[-1]["error"]["code"] == "invalid_json"
        done = ask(socket)[-1]["response"]
        assert done["output"][0]["content"][0]["text"] == "Yes, I hear you."


def test_a_huge_message_ends_its_session_and_no_other(served):
    port = served[0]
    with connect(port) as other, connect(port) as socket:
        with pytest.raises(ConnectionClosed) as caught:
            socket.send("x" * (22 << 20))
            read_until(socket, "never")
        assert caught.value.rcvd is None or caught.value.rcvd.code == 1009  # the reason may be lost with the connection
        assert ask(other)[-1]["response"]["status"] == "completed"


def test_a_long_append_does_not_hold_others_up(served):
    port = served[0]
    with connect(port) as other, connect(port) as socket:
        ask(other)
        read_until(socket, "conversation.created")
        send(socket, "input_audio_buffer.append", audio=base64.b64encode(bytes(4 << 20)).decode())  # 87 seconds
        send(socket, "input_audio_buffer.clear")
        ask(other)
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0)
        assert read_until(socket, "input_audio_buffer.cleared")[-1]["type"] == "input_audio_buffer.cleared"
        send(socket, "session.update", session=PUSH_TO_TALK)
        send(socket, "input_audio_buffer.append", audio=base64.b64encode(bytes(15 << 20)).decode())
        assert read_until(socket, "error")[-1]["error"]["code"] == "input_audio_buffer_overflow"
        assert ask(socket)[-1]["response"]["status"] == "completed"


def test_a_client_may_vanish_at_any_event(served):
    port, realtime, thinker = served
    wait_until(lambda: not realtime.gate.sessions)
    loud = base64.b64encode(np.full(9600, 8000, "<i2").tobytes()).decode()
    quiet = base64.b64encode(bytes(19200)).decode()
    for count in range(1, 14):
        socket = connect(port)
        send(socket, "session.update", session={"type": "realtime", **TEXT})
        for sound in (loud, loud, quiet, quiet):
            send(socket, "input_audio_buffer.append", audio=sound)
        for _ in range(count):
            socket.recv(timeout=30)
        socket.socket.shutdown(sockets.SHUT_RDWR)  # no closing handshake
        wait_until(lambda: not realtime.gate.sessions and not thinker.live, 10)


def test_an_engine_that_fails_or_hangs_gives_an_error_and_the_next_answer_works():
    acts = [
        lambda speaker: speaker.end(Finish("failed", "engine_failed", "the engine failed; ask again")),
        lambda speaker: None,
        lambda speaker: (speaker.push("Half "), None),
        lambda speaker: talk_back(None, speaker),
    ]
    thinker = FakeThinker(lambda order, speaker: acts.pop(0)(speaker))
    with talking(thinker, stall_seconds=0.4) as (port, _, _), connect(port) as socket:
        for code in ("engine_failed", "engine_stalled", "engine_stalled"):
            *_, error, done = [e for e in ask(socket) if e["type"] in ("error", "response.done")]
            assert error["error"]["code"] == code and error["error"]["type"] == "server_error"
            assert done["response"]["status"] == "failed"
            assert done["response"]["status_details"]["error"]["code"] == code
        assert ask(socket)[-1]["response"]["status"] == "completed"


def test_a_voice_that_does_not_exist_is_an_error_of_that_answer(served):
    with connect(served[0]) as socket:
        send(socket, "session.update", session={"type": "realtime", "audio": {"output": {"voice": "nobody"}}})
        send(socket, "response.create")
        done = read_until(socket, "response.done")[-1]["response"]
        assert done["status_details"]["error"]["code"] == "voice_failed"


def test_silent_clients_and_slow_readers_are_ended():
    with talking(FakeThinker(talk_back), idle_seconds=0.5) as (port, realtime, _), connect(port) as socket:
        assert read_until(socket, "error")[-1]["error"]["code"] == "session_idle"
        wait_until(lambda: not realtime.gate.sessions)
    with talking(FakeThinker(talk_back), slow_seconds=0.5) as (port, realtime, _):
        plain = sockets.socket()
        plain.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 1 << 16)
        plain.connect(("127.0.0.1", port))
        with connect(port, sock=plain, max_queue=1) as socket:
            sound = base64.b64encode(bytes(48000 * 20)).decode()
            content = [{"type": "input_audio", "audio": sound}]
            item = {"id": "long", "type": "message", "role": "user", "content": content}
            send(socket, "conversation.item.create", item=item)
            for _ in range(12):  # each brings 1.3 MB back
                send(socket, "conversation.item.retrieve", item_id="long")
            wait_until(lambda: not realtime.gate.sessions, 20)
            plain.shutdown(sockets.SHUT_RDWR)


def test_the_end_waits_for_answers_and_takes_no_new_sessions():
    held: list = []
    thinker = FakeThinker(lambda order, speaker: held.append(speaker))
    with talking(thinker, grace_seconds=20) as (port, realtime, server):
        with connect(port) as busy, connect(port) as idle:
            read_until(idle, "session.created")
            send(busy, "response.create", response=TEXT)
            read_until(busy, "response.created")
            wait_until(lambda: held)
            server.handle_exit(signal.SIGTERM, None)
            assert read_until(idle, "error")[-1]["error"]["code"] == "server_shutting_down"
            assert refused(port) == (503, "server_shutting_down")
            talk_back(None, held[0])
            assert read_until(busy, "response.done")[-1]["response"]["status"] == "completed"
            assert read_until(busy, "error")[-1]["error"]["code"] == "server_shutting_down"
        wait_until(lambda: not realtime.gate.sessions)


def test_settings_and_arguments():
    import argparse

    from earwitness.commands import realtime as command

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    settings = command._settings(parser.parse_args(["--mode", "think-first", "--allow-origin", "https://a.example/"]))
    assert settings.name == "tiny" and settings.pace == Pace("think-first", think_tokens=8, speak_tokens=8)
    assert settings.allowed_origins == ("https://a.example",)
    remote = command._settings(parser.parse_args(["--model", "http://h/v1#m"]))
    assert remote.pace == Pace("think-before-speak")
    for wrong in ({"voice": "siri"}, {"max_sessions": 0}, {"api_key": ""}, {"stall_seconds": 0}, {"grace_seconds": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong)).replace("api_key", "API key")):
            Settings(**wrong)
    with pytest.raises(ValueError, match="cannot think while it speaks"):
        PlainThinker(type("E", (), {"name": "x"})(), Pace())


# -- whole conversations: the shipped model, real sound, the official client -------------------------------------------


@pytest.fixture(scope="module")
def engine():
    return load(device="cpu")


@pytest.fixture(scope="module")
def real(engine):
    pytest.importorskip("espeakng_loader")
    pytest.importorskip("onnxruntime")
    from earwitness.engines.session import SessionEngine
    from earwitness.realtime.thinker import SessionThinker
    from earwitness.realtime.vad import Silero

    sessions = SessionEngine.over(engine)
    thinker = SessionThinker(sessions, Pace(think_tokens=8, speak_tokens=8), 256)
    with talking(thinker, Silero, lead_seconds=1e9) as (port, realtime, _):
        yield port, realtime, sessions


def official(port):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        openai = pytest.importorskip("openai")
    where = f"127.0.0.1:{port}/v1"
    return openai.OpenAI(api_key="none", base_url=f"http://{where}", websocket_base_url=f"ws://{where}")


def take(connection, kind: str) -> list:
    """Return the official events up to the first of a kind; each must be of its own type."""
    found = []
    while not found or found[-1].type != kind:
        found.append(connection.parse_event(connection._connection.recv(timeout=60)))
        assert type(found[-1]).__name__ != "BaseModel"
        assert found[-1].type != "error" or kind == "error", found[-1]
    return found


def speech_item(index=0):
    """Return a spoken item of SoundWorld that the small model answers: (question text, wave)."""
    item = soundworld.sample("speech", "test", index)
    return prompt.question_text(item.question, item.choices), soundworld.waveform(item)


def sound_of(found, kind="response.output_audio.delta") -> bytes:
    return b"".join(base64.b64decode(event.delta) for event in found if event.type == kind)


@needs_weights
def test_a_spoken_question_is_answered_in_sound(real):
    port, realtime, sessions = real
    text, wave = speech_item()
    silence = np.zeros(16000, np.float32)
    with official(port).realtime.connect(model="tiny") as c:
        assert [e.type for e in take(c, "conversation.created")] == ["session.created", "conversation.created"]
        turns = {"type": "server_vad", "silence_duration_ms": 1200}  # the clip has pauses of its own
        audio = {"input": {"turn_detection": turns}}
        c.session.update(session={"type": "realtime", "thinking_events": True, "audio": audio})
        c.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        )
        take(c, "conversation.item.done")
        for piece in pieces(as_pcm(np.concatenate([silence, wave, silence, silence]))):
            c.input_audio_buffer.append(audio=piece)
        found = take(c, "response.done")
        kinds = [e.type for e in found]
        order = ["input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped", "response.created"]
        order += ["response.output_item.added", "response.output_audio.delta", "response.output_audio.done"]
        assert [k for k in dict.fromkeys(kinds) if k in order] == order
        done = found[-1].response
        assert done.status == "completed" and done.usage.output_tokens > 2
        said = done.output[0].content[0].transcript
        thought = "".join(e.delta for e in found if e.type == "response.thinking.delta")
        assert said.strip() and len(thought.split()) > 5 and thought not in said and "think" not in said
        wave = np.frombuffer(sound_of(found), "<i2") / 32768
        assert 0.2 < len(wave) / 24000 < 20 and np.abs(wave).max() > 0.05
        assert "".join(e.delta for e in found if e.type == "response.output_audio_transcript.delta") == said
    wait_until(lambda: not realtime.gate.sessions and not sessions.sessions, 10)


@needs_weights
def test_what_is_said_last_is_what_the_model_answers_after_its_whole_chain(real, engine):
    port = real[0]
    right = 0
    for index in range(3):
        text, wave = speech_item(index)
        heard = np.frombuffer(as_pcm(wave, 16000), "<i2").astype(np.float32) / 32768
        (wanted,) = engine.generate([Request([prompt.user_message(text, [heard])])], Sampling(max_new_tokens=256))
        with official(port).realtime.connect(model="tiny") as c:
            c.session.update(session=PUSH_TO_TALK)
            c.conversation.item.create(
                item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
            )
            for piece in pieces(as_pcm(wave)):
                c.input_audio_buffer.append(audio=piece)
            c.input_audio_buffer.commit()
            c.response.create()
            said = take(c, "response.done")[-1].response.output[0].content[0].transcript
        words = re.findall(r"\w+", said.lower())
        right += words[-len(wanted.answer.split()) :] == re.findall(r"\w+", wanted.answer.lower())
    assert right >= 2  # the sound went through 24 kHz and back


@needs_weights
def test_the_beta_dialect_with_g711(real):
    text, wave = speech_item(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = official(real[0])
        with client.beta.realtime.connect(model="tiny") as c:
            session = {"turn_detection": None, "input_audio_format": "g711_ulaw", "output_audio_format": "g711_alaw"}
            c.session.update(session={**session, "modalities": ["text", "audio"]})
            updated = take(c, "session.updated")[-1].session
            assert updated.output_audio_format == "g711_alaw" and updated.turn_detection is None
            from earwitness.realtime import g711

            codes = g711.encode(np.frombuffer(as_pcm(wave, 8000), "<i2"), "mu").tobytes()
            c.conversation.item.create(
                item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
            )
            for piece in pieces(codes, 1600):
                c.input_audio_buffer.append(audio=piece)
            c.input_audio_buffer.commit()
            c.response.create()
            found = take(c, "response.done")
    assert "conversation.item.created" in [e.type for e in found] and found[-1].response.status == "completed"
    assert len(sound_of(found, "response.audio.delta")) > 8000 * 0.2


@needs_weights
def test_two_sessions_at_once_do_not_mix(real):
    port = real[0]
    asked = [speech_item(2), speech_item(5)]

    def answers(which, rounds, out):
        text, wave = asked[which]
        with connect(port) as socket:
            send(socket, "session.update", session={**PUSH_TO_TALK, **TEXT})
            for _ in range(rounds):
                send(socket, "input_audio_buffer.append", audio=base64.b64encode(as_pcm(wave)).decode())
                send(socket, "input_audio_buffer.commit")
                items = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}]
                committed = read_until(socket, "input_audio_buffer.committed")[-1]["item_id"]
                items.append({"type": "item_reference", "id": committed})
                send(socket, "response.create", response={**TEXT, "input": items})
                out.append(read_until(socket, "response.done")[-1]["response"]["output"][0]["content"][0]["text"])

    alone: list[list[str]] = [[], []]
    together: list[list[str]] = [[], []]
    for which in (0, 1):
        answers(which, 1, alone[which])
    threads = [threading.Thread(target=answers, args=(which, 3, together[which])) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert together == [alone[0] * 3, alone[1] * 3] and alone[0] != alone[1]


@needs_weights
def test_a_crash_of_the_engine_ends_its_answers_only(real, monkeypatch):
    port, _, sessions = real
    with connect(port) as socket:
        send(socket, "session.update", session={**PUSH_TO_TALK, **TEXT})
        broken = [RuntimeError("out of memory")]
        push = sessions.push

        def fail_once(*given):
            if broken:
                raise broken.pop()
            push(*given)

        monkeypatch.setattr(sessions, "push", fail_once)
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Which note is higher?"}]}
        send(socket, "conversation.item.create", item=item)
        assert ask(socket)[-1]["response"]["status_details"]["error"]["code"] == "engine_failed"
        assert ask(socket)[-1]["response"]["status"] in ("completed", "incomplete")


@needs_weights
def test_an_engine_without_sessions_answers_too(engine):
    with talking(PlainThinker(engine, Pace("think-before-speak"), 256)) as (port, _, _), connect(port) as socket:
        text, wave = speech_item(3)
        send(socket, "session.update", session={**PUSH_TO_TALK, "thinking_events": True})
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        send(socket, "conversation.item.create", item=item)
        send(socket, "input_audio_buffer.append", audio=base64.b64encode(as_pcm(wave)).decode())
        send(socket, "input_audio_buffer.commit")
        found = ask(socket)
        done = found[-1]["response"]
        assert done["status"] == "completed" and done["output"][0]["content"][0]["text"]
        assert [e for e in found if e["type"] == "response.thinking.delta"]
        send(socket, "response.create", response={**TEXT, "reasoning": {"effort": "minimal"}})
        assert not [e for e in read_until(socket, "response.done") if e["type"] == "response.thinking.delta"]
