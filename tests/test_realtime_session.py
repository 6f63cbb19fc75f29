"""A session as its client sees it: turns, answers, interruptions, history, refusals."""

import base64
import json

import numpy as np
import pytest
from realtime_client import Client, loudness

from earwitness.realtime.conversation import Voiced, heard_text
from earwitness.realtime.orders import Forget, Listen, Send
from earwitness.realtime.response import Call, Finish, Speech, Thought
from earwitness.realtime.session import Limits, Session


def client(dialect="ga", limits=None, **thresholds) -> Client:
    return Client(Session("sess_a", "tiny", loudness, dialect, limits=limits, **thresholds))


def push_to_talk(**session) -> Client:
    it = client()
    it.send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}, **session})
    return it


def asked(it: Client) -> Client:
    """Let the user ask something and stop."""
    it.silence(200)
    it.say(600)
    it.silence(400)
    return it


def test_a_spoken_turn_is_answered_in_the_order_of_the_protocol():
    it = asked(client())
    it.answer("Three apples.", 0.1)
    assert it.kinds() == [
        "session.created",
        "conversation.created",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        *["response.output_audio.delta"] * 4,  # 40, 40, 18.5 ms and the filter's last
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    assert it.voiced_seconds() == pytest.approx(0.1, abs=0.004)
    done = it.events("response.done")[0]["response"]
    assert done["status"] == "completed" and done["output"][0]["content"][0]["transcript"] == "Three apples."


def test_work_starts_at_the_soft_end_and_is_heard_at_the_hard_end():
    it = client()
    it.silence(200)
    it.say(600)
    it.silence(140)
    assert len(it.begun) == 1 and it.begun[0].turn == it.events("input_audio_buffer.speech_started")[0]["item_id"]
    it.make(Thought("count them"))
    it.answer("Three.", 0.2)
    assert not it.kinds("response.")
    it.silence(260)
    assert it.kinds("response.")[0] == "response.created" and it.voiced_seconds() > 0.15
    assert len(it.begun) == 1


def test_speech_that_goes_on_makes_early_work_void():
    it = client()
    it.say(600)
    it.silence(200)
    first = it.begun[0].generation
    it.answer("Too early.", 0.2)
    it.say(400)
    assert it.stopped == [first]
    it.silence(500)
    it.answer("Right.", 0.2)
    assert [e["delta"] for e in it.events("response.output_audio_transcript.delta")] == ["Right."]
    heard = np.concatenate([order.wave for _, order in it.log if isinstance(order, Listen)])
    item = it.session.conversation.get(it.events("input_audio_buffer.committed")[0]["item_id"])
    assert len(it.events("input_audio_buffer.committed")) == 1
    assert abs(len(heard) - len(item.wave)) == 0 and 1.3 < len(item.wave) / 16000 < 1.7


def test_an_interruption_ends_the_answer_and_keeps_what_was_heard():
    it = asked(client())
    it.answer("One two three four five six seven eight nine ten.", 5.0)
    it.silence(1500)
    it.answer("late", 1.0)
    onset = it.now
    it.say(600)
    kinds = it.kinds()
    place = kinds.index("response.done")
    assert kinds[place - 5 : place] == [
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
    ]
    assert kinds[place + 1 : place + 3] == ["conversation.item.truncated", "input_audio_buffer.speech_started"]
    done = it.events("response.done")[0]["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "turn_detected")
    last = max(now for now, o in it.log if isinstance(o, Send) and o.event["type"] == "response.output_audio.delta")
    assert last - onset <= 0.1
    item = it.session.conversation.get(done["output"][0]["id"])
    said = item.data["content"][0]["transcript"]
    share = len(said) / len("One two three four five six seven eight nine ten.")
    assert 0.25 < share < 0.5 and "One two three four five six".startswith(said)
    assert item.heard_ms == pytest.approx(it.events("conversation.item.truncated")[0]["audio_end_ms"], abs=1)


def test_a_backchannel_holds_the_answer_and_loses_none_of_it():
    it = asked(client())
    it.answer("A long story.", 4.0)
    it.silence(1000)
    before = it.voiced_seconds()
    it.say(260)
    held = it.voiced_seconds()
    assert held - before < 0.16
    it.silence(6000)
    assert it.voiced_seconds() == pytest.approx(4.0, abs=0.01)
    assert it.events("response.done")[0]["response"]["status"] == "completed"
    assert len(it.events("input_audio_buffer.speech_started")) == 1 and len(it.begun) == 1


def test_sound_is_sent_no_further_ahead_of_playing_than_the_lead():
    it = asked(client())
    it.answer("Long.", 3.0)
    start = it.now
    for _ in range(50):
        it.now += 0.02
        it.take(it.session.tick(it.now))
        assert it.voiced_seconds() <= it.now - start + 0.32 + 0.041
        assert it.voiced_seconds() >= min(3.0, it.now - start + 0.28)
    fast = asked(client(limits=Limits(lead_seconds=1e9)))
    fast.answer("Long.", 3.0)
    assert fast.voiced_seconds() == pytest.approx(3.0, abs=0.01)


def test_an_interruption_after_everything_was_sent_still_cuts_the_history():
    it = asked(client(limits=Limits(lead_seconds=1e9)))
    it.answer("One two three four five six seven eight nine ten.", 5.0)
    assert it.events("response.done")[0]["response"]["status"] == "completed"
    it.silence(1000)
    it.say(600)
    item = it.session.conversation.get(it.events("response.done")[0]["response"]["output"][0]["id"])
    assert 1000 < item.heard_ms < 1600 and item.data["content"][0]["transcript"] in ("One two", "One two three")
    it.send("conversation.item.truncate", item_id=item.data["id"], content_index=0, audio_end_ms=2000)
    assert item.data["content"][0]["transcript"] == "One two three four"
    assert it.events("response.done")[0]["response"]["output"][0]["content"][0]["transcript"].endswith("ten.")


def test_an_answer_plays_after_the_one_before():
    it = push_to_talk()
    it.session.limits = Limits(lead_seconds=1e9)
    for text in ("One two three four five.", "Six seven eight nine ten."):
        it.send("response.create")
        it.answer(text, 2.0)
    it.now += 3.0
    assert it.session.active.heard_ms(it.now) == pytest.approx(1000, abs=5)


def test_heard_text_has_whole_words_only():
    clauses = [Voiced("One two,", 0, 800), Voiced(" three four.", 800, 2000)]
    assert [heard_text(clauses, ms) for ms in (0, 350, 800, 1300, 1500, 2000)] == [
        "",
        "One",
        "One two,",
        "One two,",
        "One two, three",
        "One two, three four.",
    ]


def test_push_to_talk_commits_and_answers_when_asked():
    it = push_to_talk()
    it.say(500)
    assert it.kinds("input_audio_buffer") == [] and not it.begun
    it.send("input_audio_buffer.commit", event_id="c1")
    it.send("response.create")
    assert it.begun[0].turn is None and len(it.begun[0].items[-1].wave) == 8000
    it.answer("Yes.", 0.2)
    it.send("input_audio_buffer.commit", event_id="c2")
    error = it.events("error")[0]["error"]
    assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", "c2")


def test_thinking_is_sent_only_to_those_who_asked_and_never_spoken():
    quiet, curious = push_to_talk(), push_to_talk(thinking_events=True)
    for it in (quiet, curious):
        it.send("response.create")
        it.make(Thought("secret"))
        it.answer("Yes.", 0.1)
    assert "secret" not in json.dumps(quiet.events())
    assert curious.kinds("response.thinking") == ["response.thinking.delta", "response.thinking.done"]
    it = push_to_talk()
    it.send("response.create")
    it.answer("Hm.</think>Yes.", 0.1)
    done = it.events("response.done")[0]["response"]
    assert done["status"] == "failed" and done["status_details"]["error"]["code"] == "thinking_in_speech"
    assert it.voiced_seconds() == 0


def test_text_answers_and_function_calls():
    it = push_to_talk(output_modalities=["text"])
    it.send("response.create")
    it.make(Speech("Let me look."))
    it.make(Call("look", '{"a": 1}'))
    it.make(Finish(usage={"total_tokens": 5}))
    kinds = it.kinds("response.")
    assert "response.output_text.done" in kinds and "response.output_audio.done" not in kinds
    done = it.events("response.done")[0]["response"]
    call = done["output"][1]
    assert (call["type"], call["arguments"], done["usage"]) == ("function_call", '{"a": 1}', {"total_tokens": 5})
    it.send(
        "conversation.item.create", item={"type": "function_call_output", "call_id": call["call_id"], "output": "2"}
    )
    it.send("response.create")
    assert [i.data["type"] for i in it.begun[-1].items] == ["message", "function_call", "function_call_output"]


def test_an_idle_user_is_answered_after_the_answer_was_heard():
    it = client()
    detection = {"type": "server_vad", "idle_timeout_ms": 1000}
    it.send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": detection}}})
    it.silence(2000)
    assert "input_audio_buffer.timeout_triggered" not in it.kinds()
    asked(it).answer("Yes.", 1.0)
    end = it.now + 1.0
    it.silence(2500)
    when = [n for n, o in it.log if isinstance(o, Send) and o.event["type"] == "input_audio_buffer.timeout_triggered"]
    assert len(when) == 1 and end + 0.95 < when[0] < end + 1.1
    assert len(it.events("response.created")) == 2


def test_items_can_be_made_found_and_removed():
    it = push_to_talk()
    sound = base64.b64encode(np.full(2400, 3000, "<i2").tobytes()).decode()
    for name, part in (("b", {"type": "input_text", "text": "hello"}), ("c", {"type": "input_audio", "audio": sound})):
        it.send("conversation.item.create", item={"id": name, "type": "message", "role": "user", "content": [part]})
    system = {"id": "a", "type": "message", "role": "system", "content": [{"type": "input_text", "text": "x"}]}
    it.send("conversation.item.create", item=system, previous_item_id="root")
    assert list(it.session.conversation.items) == ["a", "b", "c"]
    it.send("conversation.item.retrieve", item_id="c")
    back = base64.b64decode(it.events("conversation.item.retrieved")[0]["item"]["content"][0]["audio"])
    assert np.abs(np.frombuffer(back, "<i2")[200:-200].astype(int) - 3000).max() < 20
    it.send("conversation.item.delete", item_id="b")
    it.send("conversation.item.delete", item_id="b", event_id="again")
    assert it.events("error")[-1]["error"]["event_id"] == "again" and list(it.session.conversation.items) == ["a", "c"]
    it.send("conversation.item.truncate", item_id="c", content_index=0, audio_end_ms=10)
    assert it.events("error")[-1]["error"]["code"] == "item_truncate_invalid_item"
    it.send("conversation.item.create", item=system)
    assert it.events("error")[-1]["error"]["code"] == "item_id_taken"


def test_one_response_at_a_time_but_others_beside_the_conversation():
    it = push_to_talk()
    it.send("response.create")
    it.send("response.create", event_id="two")
    assert it.events("error")[-1]["error"]["code"] == "conversation_already_has_active_response"
    it.send("response.create", response={"conversation": "none", "output_modalities": ["text"], "metadata": {"k": "v"}})
    aside = it.begun[-1].generation
    it.make(Speech("Aside."), aside)
    it.make(Finish(), aside)
    done = it.events("response.done")[-1]["response"]
    assert done["metadata"] == {"k": "v"} and done["conversation_id"] is None
    assert not it.session.conversation.items
    it.send("response.cancel")
    it.send("response.cancel", event_id="none left")
    assert it.events("response.done")[-1]["response"]["status_details"]["reason"] == "client_cancelled"
    assert it.events("error")[-1]["error"]["code"] == "response_cancel_not_active"


def test_memory_stays_bounded_and_the_client_is_told():
    it = client(limits=Limits(history_items=5, history_seconds=2, queued_seconds=2))
    for _ in range(6):
        asked(it)
        it.answer("Yes.", 0.2)
        it.silence(600)
    items = it.session.conversation.items
    assert len(items) <= 5 and len(it.events("conversation.item.deleted")) == 12 - len(items)
    assert sum(len(i.wave) for i in items.values() if i.wave is not None) <= 32000
    it.silence(60_000)
    assert it.session.buffer.held < 16000 * 2
    asked(it)
    assert it.session.room(it.begun[-1].generation)
    it.answer("x", 3.0)
    assert it.events("response.done")[-1]["response"]["status_details"]["error"]["code"] == "output_overflow"
    talk = push_to_talk()
    talk.session.buffer.most = 16000
    talk.sound(1200, True, paced=False)
    assert talk.events("error")[-1]["error"]["code"] == "input_audio_buffer_overflow"
    talk.send("input_audio_buffer.clear")
    assert any(isinstance(order, Forget) for _, order in talk.log) and talk.session.buffer.held == 0


def test_a_writer_drops_what_was_cancelled_while_it_waited():
    it = asked(client())
    it.answer("Long.", 5.0)
    waiting = [o for _, o in it.log if isinstance(o, Send) and o.event["type"] == "response.output_audio.delta"]
    assert waiting and not any(map(it.session.stale, waiting))
    it.send("response.cancel")
    assert all(map(it.session.stale, waiting))
    assert not it.session.stale(next(o for _, o in it.log if isinstance(o, Send) and "done" in o.event["type"]))


def test_closing_stops_all_work():
    it = asked(client())
    it.take(it.session.close())
    assert it.stopped == [it.begun[0].generation] and not it.session.responses
    assert it.make(Speech("late", np.zeros(1600, np.float32))) == []
