"""The events of the protocol in both dialects, against the types of the official client."""

import base64
import json
import typing
import warnings

import pytest

from earwitness.realtime import beta, events
from earwitness.realtime.configuration import default_session, updated
from earwitness.realtime.protocol import EVENT_LIMIT, dialect_of, parse
from earwitness.realtime.shapes import Refusal

pytest.importorskip("openai")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from openai.types.beta.realtime import RealtimeServerEvent as BetaEvent
    from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent


def by_type(union) -> dict:
    members = typing.get_args(typing.get_args(union)[0])
    return {typing.get_args(member.model_fields["type"].annotation)[0]: member for member in members}


TYPES = {"ga": by_type(RealtimeServerEvent), "beta": by_type(BetaEvent)}
OURS = {"session": {"id", "object", "thinking_events"}}  # fields that the types do not name, by where they stand


def extras(value, path="") -> set[str]:
    """Return the fields of a parsed event that its official type does not declare."""
    found: set[str] = set()
    if hasattr(value, "model_extra"):
        place = path.split(".")[-1]
        found |= {f"{path}.{name}" for name in (value.model_extra or {}) if name not in OURS.get(place, ())}
        for name in type(value).model_fields:
            found |= extras(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for entry in value:
            found |= extras(entry, path)
    return found


def official(event: dict, dialect: str):
    """Return the event as the official type of its name, strictly validated; None where the dialect has none."""
    line = events.encode(event, dialect, "event_1")
    if line is None:
        return None
    read = json.loads(line)
    if dialect == "beta" and "session" in read:
        read["session"]["model"] = "gpt-realtime"  # the type lists OpenAI's own models only
    if read["type"] in events.THINKING:
        return read
    parsed = TYPES[dialect][read["type"]].model_validate(read, strict=True)
    assert extras(parsed) == set(), read
    return parsed


def item(kind="assistant", **more):
    own = {"id": "item_1", "object": "realtime.item", "type": "message", "status": "completed"}
    contents = {
        "user": [{"type": "input_audio", "transcript": None, "audio": "AAAA"}, {"type": "input_text", "text": "x"}],
        "assistant": [{"type": "output_audio", "transcript": "Yes."}],
        "text": [{"type": "output_text", "text": "Yes."}],
        "system": [{"type": "input_text", "text": "x"}],
    }
    if kind in contents:
        return {**own, "role": "assistant" if kind == "text" else kind, "content": contents[kind], **more}
    fields = {"function_call": {"name": "f", "arguments": "{}"}, "function_call_output": {"output": "1"}}
    return {**own, "type": kind, "call_id": "call_1", **fields[kind], **more}


def response(status="completed", reason=None, **more):
    details = None if status == "in_progress" else {"type": status, **({"reason": reason} if reason else {})}
    sound = {"output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "default"}}
    usage = {"total_tokens": 3, "input_tokens": 1, "output_tokens": 2}
    own = {"object": "realtime.response", "id": "resp_1", "status": status, "status_details": details}
    rest = {"output": [item(), item("function_call")], "conversation_id": "conv_1", "metadata": None, "usage": usage}
    return {**own, **rest, "output_modalities": ["audio"], "max_output_tokens": "inf", "audio": sound, **more}


def all_events():
    session = default_session("sess_1", "tiny")
    semantic = {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}, "format": {"type": "audio/pcmu"}}}}
    yield events.session_event("created", session)
    yield events.session_event("updated", updated(session, {"type": "realtime", **semantic}))
    named = {"tool_choice": {"type": "function", "name": "f"}, "tools": [{"type": "function", "name": "f"}]}
    off = {"audio": {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}}
    yield events.session_event("updated", updated(session, {**named, **off, "max_output_tokens": 9}))
    yield events.conversation_created("conv_1")
    for kind in ("user", "assistant", "text", "system", "function_call", "function_call_output"):
        for word in ("added", "done", "retrieved"):
            yield events.item_event(word, item(kind), "item_0")
        yield events.output_item("added", "resp_1", 0, item(kind, status="in_progress"))
        yield events.output_item("done", "resp_1", 0, item(kind, status="incomplete"))
    yield events.item_deleted("item_1")
    yield events.item_truncated("item_1", 1500)
    for word in ("delta", "completed", "failed"):
        yield events.transcription(word, "item_1", "hello", 1.5)
    yield events.speech_started("item_1", 40)
    yield events.speech_stopped("item_1", 900)
    yield events.timeout_triggered("item_1", 0, 6000)
    yield events.committed("item_1", None)
    yield events.cleared()
    yield events.response_event("created", response("in_progress", output=[]))
    yield events.response_event("done", response("cancelled", "turn_detected"))
    failed = {"type": "failed", "error": {"type": "server_error", "code": "engine_failed"}}
    yield events.response_event("done", response("failed", status_details=failed))
    for spoken in (True, False):
        part = events.Part("resp_1", "item_1", 0, spoken)
        yield from (part.bounds("added"), part.bounds("done", "Yes."), part.text_delta("Y"), part.text_done("Yes."))
        yield from (part.audio_delta("AAAA"), part.audio_done())
        yield from (part.thinking("delta", "x"), part.thinking("done", "x"))
    yield events.arguments("delta", "resp_1", 0, item("function_call"))
    yield events.arguments("done", "resp_1", 0, item("function_call"))
    yield events.rate_limits([{"name": "tokens", "limit": 10, "remaining": 5, "reset_seconds": 0.5}])
    yield Refusal("no", "invalid_value", "session", "mine").event()


@pytest.mark.parametrize("dialect", ["ga", "beta"])
def test_every_server_event_is_one_of_the_official_types(dialect):
    built = {json.loads(line)["type"] for e in all_events() if (line := events.encode(e, dialect, "e")) is not None}
    for event in all_events():
        official(event, dialect)
    missing = set(TYPES[dialect]) - built
    allowed = ("mcp", "output_audio_buffer.", "dtmf", "segment", "transcription_session")  # WebRTC, SIP, hosted tools
    assert {name for name in missing if not any(word in name for word in allowed)} <= {
        "conversation.item.created"  # GA replaced it by added and done
    } - ({"conversation.item.created"} if dialect == "beta" else set())


def test_names_of_the_two_dialects():
    part = events.Part("resp_1", "item_1", 0, spoken=True)
    assert official(part.audio_delta("AAAA"), "ga").type == "response.output_audio.delta"
    assert official(part.audio_delta("AAAA"), "beta").type == "response.audio.delta"
    assert official(events.item_event("added", item()), "beta").item.content[0].type == "audio"
    assert official(events.item_event("added", item()), "ga").item.content[0].type == "output_audio"
    assert official(events.item_event("done", item()), "beta") is None
    session = official(events.session_event("created", default_session("sess_1", "tiny")), "beta").session
    assert (session.modalities, session.input_audio_format, session.turn_detection.silence_duration_ms) == (
        ["audio", "text"],
        "pcm16",
        320,
    )
    assert official(events.response_event("done", response()), "beta").response.modalities == ["audio", "text"]


CLIENT = [
    {"type": "session.update", "session": {"type": "realtime", "instructions": "Be short.", "thinking_events": True}},
    {"type": "input_audio_buffer.append", "audio": "AAAA", "event_id": "mine"},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {"type": "conversation.item.create", "item": item("system"), "previous_item_id": "root"},
    {"type": "conversation.item.create", "item": item("text")},
    {"type": "conversation.item.create", "item": item("user", content=[{"type": "input_audio", "audio": "AAAA"}])},
    {"type": "conversation.item.create", "item": item("function_call_output")},
    {"type": "conversation.item.retrieve", "item_id": "item_1"},
    {"type": "conversation.item.truncate", "item_id": "item_1", "content_index": 0, "audio_end_ms": 120},
    {"type": "conversation.item.delete", "item_id": "item_1"},
    {"type": "response.create"},
    {"type": "response.create", "response": {"conversation": "none", "input": [item("system")]}},
    {"type": "response.cancel", "response_id": "resp_1"},
]


@pytest.mark.parametrize("event", CLIENT, ids=lambda e: e["type"])
def test_client_events_of_the_official_types_are_taken(event):
    types = by_type(RealtimeClientEvent)
    types[event["type"]].model_validate(event)
    assert parse(json.dumps(event)) == event
    assert set(types) - {e["type"] for e in CLIENT} == {"output_audio_buffer.clear"}  # WebRTC only


def test_a_response_may_refer_to_items():
    event = {"type": "response.create", "response": {"input": [{"type": "item_reference", "id": "a"}]}}
    assert parse(json.dumps(event)) == event


def test_beta_becomes_ga():
    session = {
        "modalities": ["text", "audio"],
        "input_audio_format": "g711_ulaw",
        "output_audio_format": "pcm16",
        "turn_detection": {"type": "server_vad", "silence_duration_ms": 400},
        "voice": "alloy",
        "tool_choice": "f",
        "max_response_output_tokens": 50,
        "temperature": 0.7,
    }
    ga = parse(json.dumps({"type": "session.update", "session": session}), "beta")["session"]
    assert ga["audio"]["input"] == {"format": {"type": "audio/pcmu"}, "turn_detection": session["turn_detection"]}
    assert ga["audio"]["output"] == {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy"}
    assert (ga["output_modalities"], ga["max_output_tokens"]) == (["audio"], 50)
    effective = updated(default_session("sess_1", "tiny"), ga)
    shown = beta.event_to_beta(events.session_event("updated", effective))["session"]
    for name in ("input_audio_format", "output_audio_format", "voice", "tool_choice", "temperature"):
        assert shown[name] == session[name]
    made = {"type": "conversation.item.create", "item": {"type": "message", "role": "assistant"}}
    made["item"]["content"] = [{"type": "text", "text": "x"}]
    assert parse(json.dumps(made), "beta")["item"]["content"][0]["type"] == "output_text"
    with pytest.raises(Refusal):
        parse(json.dumps(made), "ga")


MOST = "response.max_output_tokens"
BAD = [
    ("{", "invalid_json", None),
    ("[]", "invalid_json", None),
    ('{"type": NaN}', "invalid_json", None),
    ("[" * 100_000, "invalid_json", None),
    ({}, "missing_required_parameter", "type"),
    ({"type": "no.such"}, "invalid_value", "type"),
    ({"type": ["x"]}, "invalid_value", "type"),
    ({"type": "session.update"}, "missing_required_parameter", "session"),
    ({"type": "session.update", "session": {}}, "missing_required_parameter", "session.type"),
    ({"type": "session.update", "session": {"type": "transcription"}}, "invalid_value", "session.type"),
    ({"type": "session.update", "session": {"type": "realtime", "voice": "x"}}, "unknown_parameter", "session.voice"),
    (
        {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text", "audio"]}},
        "invalid_value",
        "session.output_modalities",
    ),
    (
        {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"format": "pcm16"}}}},
        "invalid_type",
        "session.audio.input.format",
    ),
    (
        {
            "type": "session.update",
            "session": {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
        },
        "invalid_value",
        "session.audio.input.format.rate",
    ),
    ({"type": "response.create", "response": {"max_output_tokens": 0}}, "invalid_value", "response.max_output_tokens"),
    ({"type": "response.create", "response": {"tools": {}}}, "invalid_type", "response.tools"),
    ({"type": "response.create", "response": {"max_output_tokens": True}}, "invalid_type", MOST),
    ({"type": "input_audio_buffer.append"}, "missing_required_parameter", "audio"),
    ({"type": "input_audio_buffer.append", "audio": 3}, "invalid_type", "audio"),
    ({"type": "input_audio_buffer.append", "audio": "AAAA", "x": 1}, "unknown_parameter", "x"),
    (
        {"type": "conversation.item.truncate", "item_id": "a", "content_index": 0, "audio_end_ms": -1},
        "invalid_value",
        "audio_end_ms",
    ),
    (
        {"type": "conversation.item.create", "item": item("assistant")},
        "invalid_value",
        "item.content[0].type",
    ),
    (
        {"type": "conversation.item.create", "item": item("user", content=[{"type": "input_image"}])},
        "invalid_value",
        "item.content[0].type",
    ),
]


@pytest.mark.parametrize(("event", "code", "param"), BAD)
def test_bad_events_name_the_field_and_echo_the_event_id(event, code, param):
    line = event if isinstance(event, str) else json.dumps({**event, "event_id": "mine"})
    with pytest.raises(Refusal) as refusal:
        parse(line)
    error = official(refusal.value.event(), "ga").error
    assert (error.code, error.param, error.type) == (code, param, "invalid_request_error")
    assert error.event_id == (None if isinstance(event, str) else "mine")


def test_the_longest_append_passes_and_a_longer_event_does_not():
    sound = base64.b64encode(bytes(15 * 2**20)).decode()
    assert parse(json.dumps({"type": "input_audio_buffer.append", "audio": sound}))["audio"] == sound
    with pytest.raises(Refusal, match="at most"):
        parse("x" * (EVENT_LIMIT + 1))


def test_dialect_is_chosen_by_header_or_subprotocol():
    assert dialect_of(None) == dialect_of("assistants=v2") == "ga"
    assert dialect_of("realtime=v1") == dialect_of("a=b, realtime=v1") == "beta"
    assert dialect_of(None, ["realtime", "openai-beta.realtime-v1"]) == "beta"


def test_an_update_changes_only_what_it_names():
    first = default_session("sess_1", "tiny")
    second = updated(first, {"type": "realtime", "model": "other", "audio": {"output": {"speed": 1.2}}})
    assert first["audio"]["output"]["speed"] == 1.0
    assert second == {**first, "audio": {**first["audio"], "output": {**first["audio"]["output"], "speed": 1.2}}}
    noisy = updated(first, {"audio": {"input": {"noise_reduction": {"type": "near_field"}}}})
    assert noisy["audio"]["input"]["noise_reduction"] is None
    turns = updated(first, {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.7}}}})
    assert turns["audio"]["input"]["turn_detection"] == {**first["audio"]["input"]["turn_detection"], "threshold": 0.7}
