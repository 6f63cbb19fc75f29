"""Sessions of the local engine, and answers that are thought and said at once."""

import dataclasses

import numpy as np
import pytest
import torch
from engine_fixture import build_model, build_tokenizer, tone
from realtime_minds import Now, ScriptedMinds, Stage, Tones

from earwitness import prompt
from earwitness.engines import Request, Sampling
from earwitness.engines.session import SessionEngine
from earwitness.realtime import history
from earwitness.realtime.answer import Row
from earwitness.realtime.conversation import Item
from earwitness.realtime.desk import picked
from earwitness.realtime.pace import Pace
from earwitness.realtime.response import Call, Finish, Speech
from earwitness.realtime.speaker import Sayable, Speaker

CHAIN = " one two three four five six seven eight nine ten eleven twelve"
LONG = "Alpha beta gamma, delta epsilon zeta, eta theta iota, kappa lambda mu."


@pytest.fixture(scope="module")
def engine():
    tokenizer = build_tokenizer()
    return SessionEngine(build_model(tokenizer), tokenizer, name="toy", max_batch=4)


# -- sessions ----------------------------------------------------------------------------------------------------------


def whole(engine, wave, think=True):
    """Return the prompt of one clip as ``generate`` reads it, and the logits after it."""
    row = engine.prepare(Request([prompt.user_message("which note", [wave])], think=think))
    features = engine.encode(row.waves)
    session = engine.open_session()
    engine.write(session, row.prompt_ids, features)
    logits = session.logits
    engine.release(session)
    with torch.no_grad():
        wanted = engine.model(torch.tensor([row.prompt_ids]), audio=row.waves).logits[0, -1]
    allowed = [i for i in range(len(logits)) if i not in engine.markers.suppressed]
    assert (logits - wanted)[allowed].abs().max() < 1e-4
    return row.prompt_ids, logits, allowed


@pytest.mark.parametrize("seconds", [1.3, 25.0, 27.4])
def test_sound_that_comes_in_pieces_is_read_as_the_whole_clip(engine, seconds):
    wave = tone(seconds) * np.linspace(0.2, 1, round(seconds * 16000), dtype=np.float32)
    ids, wanted, allowed = whole(engine, wave)
    vocab = engine.tokenizer.get_vocab()
    session = engine.open_session()
    engine.write(session, ids[: ids.index(vocab[prompt.AUDIO_START])], [])
    step = len(wave) // 3 + 1
    for start in range(0, len(wave), step):
        engine.extend_audio(session, wave[start : start + step])
    after = len(ids) - 1 - ids[::-1].index(vocab[prompt.AUDIO_END])
    engine.feed(session, ids[after + 1 :])
    assert session.ids == ids
    assert (session.logits - wanted)[allowed].abs().max() < 1e-4
    engine.release(session)
    assert engine.sessions == 0


def decode(engine, session, count):
    out = []
    for _ in range(count):
        (token,), (probability,) = engine.choose([session], [Sampling()], [(0, 0)], [()])
        assert 0 < probability <= 1
        out.append(token)
        engine.push([session], [token])
    return out


def test_a_fork_shares_the_past_and_goes_its_own_way(engine):
    session = engine.open_session()
    engine.extend_audio(session, tone(0.5))
    other = engine.fork(session)
    engine.feed(session, [20, 21, 22])
    engine.extend_audio(other, tone(0.4, 900))
    assert len(other.ids) > len(session.ids) - 4 and engine.sessions == 2
    again = engine.continue_from(session, "which note is higher</think>")
    assert again.ids[: len(session.ids)] == session.ids and again.ids[-1] == engine.markers.end_think[0]
    fresh = engine.open_session()
    engine.write(fresh, again.ids, again.features)
    allowed = [i for i in range(len(fresh.logits)) if i not in engine.markers.suppressed]
    assert (fresh.logits - again.logits)[allowed].abs().max() < 1e-4
    assert decode(engine, fresh, 6) == decode(engine, again, 6)
    for one in (session, other, again, fresh, fresh):
        engine.release(one)
    assert engine.sessions == 0
    with pytest.raises(ValueError, match="was released"):
        engine.feed(fresh, [20])


def test_sessions_decode_as_generate_does_alone_and_together(engine):
    requests = [Request([prompt.user_message("which", [tone(0.3 + 0.2 * i, 300 + 99 * i)])]) for i in range(3)]
    wanted = [r.token_ids for r in engine.generate(requests, Sampling(max_new_tokens=8))]
    sessions = []
    for request in requests:
        row = engine.prepare(request)
        sessions.append(engine.open_session())
        engine.write(sessions[-1], row.prompt_ids, engine.encode(row.waves))
    found = [[] for _ in sessions]
    turns = [2, 0, 1]  # any order, and a gap: the second one joins late
    for step in range(9):
        now = [i for i in turns if (i != 1 or step) and len(found[i]) < 8]
        tokens, _ = engine.choose([sessions[i] for i in now], [Sampling()] * 3, [(0, 0)] * 3, [()] * 3)
        for i, token in zip(now, tokens):
            found[i].append(token)
        engine.push([sessions[i] for i in now], tokens)
    for tokens, reply in zip(found, wanted):
        assert tuple(tokens[: len(reply)]) == reply
    for session in sessions:
        engine.release(session)


def test_writing_again_keeps_the_common_beginning(engine):
    session = engine.open_session()
    engine.extend_audio(session, tone(0.5))
    ids, features = [*session.ids, 3, 20, 21], session.features
    engine.write(session, ids, features)
    ran = []
    extend, engine.pool.extend = engine.pool.extend, lambda more, *rest: ran.append(len(more)) or extend(more, *rest)
    try:
        engine.write(session, [*ids, 22, 23], features)
        engine.write(session, [*ids, 22, 23], [f.clone() for f in features])
        engine.write(session, [*ids, 22, 23], session.features)
    finally:
        del engine.pool.extend
    assert ran == [2, len(session.ids) - session.ids.index(engine.markers.patch)]
    with pytest.raises(ValueError, match="begin a new one"):
        engine.write(session, [20] * (engine.context + 1), [])
    engine.release(session)


def test_a_failure_loses_sessions_and_nothing_else(engine):
    session = engine.open_session()
    engine.feed(session, [20, 21])
    engine.forget_all()
    with pytest.raises(ValueError, match="lost in a failure"):
        engine.push([session], [22])
    engine.release(session)
    assert engine.sessions == 0
    assert len(list(engine.generate([Request([prompt.user_message("which")])], Sampling(max_new_tokens=3)))) == 1


# -- Mind-Paced Speaking -----------------------------------------------------------------------------------------------


def test_segments_of_the_answer_follow_segments_of_thought():
    """Every R_n is written after X, <think>, the thoughts so far, </think>, R_1..R_n-1 (eq. 3 of the paper)."""
    minds = ScriptedMinds(CHAIN, lambda thoughts: LONG)
    stage = Stage(minds, mode="think-first", think_tokens=4, speak_tokens=3, lead_seconds=1.0)
    assert stage.step(3) == 3 and not stage.minds.contexts
    stage.finish()
    first, *rest = minds.contexts
    assert first == "X<think>\n one two three four\n</think>\n"
    said = [context.partition("</think>\n")[2] for context in rest]
    assert said[0] == "Alpha beta gamma," and all(LONG.startswith(part) for part in said)
    assert all("ten eleven twelve\n</think>" in context for context in rest[-1:])
    assert stage.said == LONG and stage.thought == CHAIN
    assert [f.status for f in stage.finishes] == ["completed"] and not minds.live
    assert stage.finishes[0].usage["output_tokens"] == 12 + 12


@pytest.mark.parametrize(
    ("mode", "thoughts"), [("speak-first", 0), ("think-first", 4), ("think-before-speak", 12), ("direct", 0)]
)
def test_how_much_is_thought_before_the_first_word(mode, thoughts):
    minds = ScriptedMinds(CHAIN, lambda count: LONG)
    Stage(minds, mode=mode, think_tokens=4, speak_tokens=50).finish()
    before = minds.contexts[0].partition("<think>\n")[2].partition("</think>")[0].split()
    assert len(before) == thoughts
    assert (mode == "direct") == (len(minds.contexts) == 1 and not before)


def test_the_next_segment_waits_until_little_is_left_to_play():
    minds = ScriptedMinds(" w" * 300, lambda count: LONG)
    stage = Stage(minds, mode="speak-first", think_tokens=2, speak_tokens=3, lead_seconds=1.0, longest_chain=400)
    stage.step(60)
    assert stage.said == "Alpha beta gamma," and stage.made == 3.0  # three seconds are left: only thought goes on
    stage.play(1.5)
    stage.step(20)
    assert stage.made == 3.0
    stage.play(0.6)
    stage.step(20)
    assert stage.said == "Alpha beta gamma, delta epsilon zeta," and len(minds.contexts) == 2
    assert minds.contexts[1].count(" w") > minds.contexts[0].count(" w") + 50


def test_an_answer_that_nobody_heard_is_made_anew_with_the_whole_chain():
    minds = ScriptedMinds(CHAIN, lambda count: "Right." if count == 12 else "Wrong, surely wrong.")
    stage = Stage(minds, released=False, mode="speak-first", think_tokens=4, speak_tokens=9)
    stage.step(40)
    assert not stage.said and len(minds.contexts) == 2
    stage.speaker.release()
    stage.finish()
    assert stage.said == "Right." and stage.thought == CHAIN


def test_an_answer_given_too_early_is_corrected():
    minds = ScriptedMinds(CHAIN, lambda count: "Second." if count == 12 else "First.")
    stage = Stage(minds, mode="speak-first", think_tokens=4, speak_tokens=9, bridge="No, ")
    stage.finish()
    assert stage.said == "First. No, Second."
    same = Stage(ScriptedMinds(CHAIN, lambda count: "First." if count == 12 else "first"), mode="speak-first")
    same.finish()
    assert same.said == "first" and [f.status for f in same.finishes] == ["completed"]


def test_no_thinking_is_ever_said():
    minds = ScriptedMinds(CHAIN, lambda count: "Yes <think>secret</think> no.")
    minds.hushed = ()  # even if nothing kept the model from writing it
    stage = Stage(minds, mode="direct")
    stage.finish()
    assert "think" not in stage.said


def test_limits_and_stops():
    stage = Stage(ScriptedMinds(" w" * 300, lambda count: LONG), mode="think-before-speak", max_new_tokens=16)
    stage.finish()
    assert stage.finishes[0].reason == "max_output_tokens" and stage.said.startswith("Alpha beta gamma,")
    assert stage.thought.count(" w") == 12
    minds = ScriptedMinds(CHAIN, lambda count: LONG)
    stage = Stage(minds, mode="speak-first", speak_tokens=3)
    stage.step(5)
    stage.speaker.stop()
    assert stage.step(5) == 0 and not minds.live and not stage.finishes
    stage = Stage(minds, mode="adaptive", sure=0.5)
    assert stage.answer.pace.mode == "direct"
    with pytest.raises(ValueError, match="mode is 'fast'"):
        Pace(mode="fast")


def test_who_waits_comes_first():
    def row(priority, made):
        return Row(None, lambda token: True, Sampling(), 0, priority, (), made)

    waits, plays, thinks, more = row(0, 5), row(1, 3), row(2, 1), row(2, 9)
    assert picked([more, plays, waits], 4) == [waits]
    assert picked([more, thinks, plays], 4) == [plays, thinks, more]
    assert picked([more, thinks, plays], 2) == [plays, thinks] and picked([], 4) == []


# -- speaking ----------------------------------------------------------------------------------------------------------


def test_what_may_be_said():
    text = 'Look: 1 < 2 <think>x</think>. <tool_call>function\nlook\n{"a": 1}</tool_call>'
    for size in (1, 4, 100):
        filtered = Sayable()
        said = "".join(filtered.feed(text[i : i + size]) for i in range(0, len(text), size))
        rest, calls = filtered.end()
        assert said + rest == "Look: 1 < 2 x. " and calls == [Call("look", '{"a": 1}')]
    filtered = Sayable()
    assert filtered.feed("\n a <th") + filtered.end()[0] == "a <th"


def test_a_speaker_keeps_order_and_takes_back_what_was_not_heard():
    got = []
    speaker = Speaker(Tones(), Now(), got.append, lambda: 0.0, released=False)
    speaker.push("Wrong answer. ")
    assert speaker.ahead() == 2.0 and not got
    speaker.restart()
    speaker.push("Right. And")
    speaker.release()
    speaker.restart()
    speaker.push(" more")
    speaker.end(Finish())
    assert [p.text for p in got if isinstance(p, Speech)] == ["Right. ", "And more"] and got[-1] == Finish()
    broken = dataclasses.make_dataclass("Broken", [("rate", int, 16000)])()
    speaker = Speaker(broken, Now(), got.append, lambda: 0.0)
    speaker.end(Finish())
    speaker.push("Yes. ")
    assert got[-1].status == "failed" and got[-1].reason == "voice_failed"


def test_a_text_answer_needs_no_voice():
    got = []
    speaker = Speaker(None, Now(), got.append, lambda: 0.0)
    for piece in ("One ", "two"):
        speaker.push(piece)
    speaker.end(Finish())
    assert got == [Speech("One "), Speech("two"), Finish()]


def test_the_conversation_as_messages():
    def item(name, role, *content, wave=None, **more):
        data = {"id": name, "type": "message", "role": role, "content": list(content), **more}
        return Item(data, None if wave is None else np.zeros(wave, np.int16))

    sound, text = {"type": "input_audio", "transcript": None}, {"type": "input_text", "text": "How many?"}
    items = [
        item("s", "system", {"type": "input_text", "text": "Be brief."}),
        item("q", "user", text),
        item("a", "user", sound, wave=800),
        item("r", "assistant", {"type": "output_audio", "transcript": "Three"}),
        item("gone", "user", sound),
        Item({"id": "c", "type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}),
        Item({"id": "o", "type": "function_call_output", "call_id": "c1", "output": "2"}),
        item("empty", "assistant", {"type": "output_audio", "transcript": ""}),
    ]
    found, heard = history.messages(items, {"instructions": "Hear well."}, "turn")
    assert [m["role"] for m in found] == ["system", "system", "human", "assistant", "assistant", "tool", "human"]
    assert found[2]["content"] == [{"type": "text", "text": "How many?"}, {"type": "audio", "audio": "a"}]
    assert heard == ["a", "turn"]
    text = prompt.render(found, audio_counts=[[2], [1]])
    assert text.count(prompt.AUDIO_PATCH) == 3 and "look\n{}" in text
    shorter = history.shortened(found)
    assert [m["role"] for m in shorter] == ["system", "system", "human"] and history.shortened(shorter) is None
