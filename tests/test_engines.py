"""Every engine passes the same suite; then what only the local engine or only the endpoint promises."""

from __future__ import annotations

import dataclasses
import re
import socket
import threading
import time

import numpy as np
import pytest
import torch
from chat_fixture import serving
from engine_fixture import build_model, build_tokenizer, question, tone

from earwitness import prompt
from earwitness.engines import Engine, Request, Sampling, load
from earwitness.engines.endpoint import EndpointEngine
from earwitness.engines.local import LocalEngine, find_markers
from earwitness.engines.sampling import Chooser, combine_seeds, uniforms
from earwitness.engines.stream import ChainSplitter, Detokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer):
    return build_model(tokenizer)


@pytest.fixture(scope="module")
def local(model, tokenizer):
    return LocalEngine(model, tokenizer, name="tiny", max_batch=8)


@pytest.fixture(scope="module", params=["local", "endpoint"])
def engine(request, local):
    if request.param == "local":
        yield local
        return
    with serving(local) as (url, _):
        yield EndpointEngine(url, timeout_seconds=20)


def asks(count: int, **sampling) -> list[Request]:
    """Return requests of different lengths, with no clip, one, or two."""
    return [
        Request(
            [prompt.user_message(question(i), [tone(0.2 + 0.3 * (i % 4), 200 + 50 * i)] * (i % 3))],
            sampling=Sampling(**{"max_new_tokens": 6 + i % 17, **sampling}),
        )
        for i in range(count)
    ]


# -- the suite that every engine passes --------------------------------------------------------------------------------


def test_replies_come_in_order_and_once_each(engine):
    requests = asks(20)
    replies = list(engine.generate(iter(requests)))
    again = [next(iter(engine.generate([r]))) for r in requests]
    assert [(r.thinking, r.answer, r.status) for r in replies] == [(r.thinking, r.answer, r.status) for r in again]
    assert len({r.thinking for r in replies}) > 10
    assert list(engine.generate([])) == []


def test_limits_are_kept_and_counted(engine):
    (reply,) = engine.generate(asks(1, max_new_tokens=9))
    assert reply.status in ("truncated", "no_answer") and 0 < reply.thinking_tokens + reply.answer_tokens <= 9
    assert reply.seconds >= reply.first_token_seconds > 0
    (reply,) = engine.generate(asks(3)[2:])
    assert reply.audio_seconds == pytest.approx(1.6, abs=0.01)


def test_a_think_budget_closes_the_chain(engine):
    for budget in (1, 5):
        for reply in engine.generate(asks(4, think_budget=budget, max_new_tokens=24)):
            assert reply.answer or reply.status in ("no_answer", "empty_thinking")
            assert reply.thinking_tokens <= budget + 2  # endpoints count pieces


def test_no_thinking_means_no_chain(engine):
    request = dataclasses.replace(asks(1)[0], think=False)
    none, zero = engine.generate([request, *asks(1, think_budget=0)])
    assert none.thinking == zero.thinking == "" and none.answer == zero.answer != ""


def test_random_replies_follow_the_seed(engine):
    def text(seed, base=0):
        sampling = Sampling(temperature=1.0, max_new_tokens=12, seed=base)
        request = Request([prompt.user_message("which note")], seed=seed, sampling=sampling)
        reply = next(iter(engine.generate([request])))
        return reply.thinking + reply.answer

    assert text(3) == text(3) != text(4)
    request = Request([prompt.user_message("which note")], sampling=Sampling(temperature=1.0, max_new_tokens=12))
    assert len({r.thinking for r in engine.generate([request] * 4)}) == 4


def test_streamed_pieces_make_up_the_reply(engine):
    events = []
    requests = asks(5, think_budget=6, max_new_tokens=20)
    replies = list(engine.generate(requests, on_event=events.append))
    for i, reply in enumerate(replies):
        said = {
            kind: "".join(e.text for e in events if (e.index, e.kind) == (i, kind)) for kind in ("thinking", "answer")
        }
        if prompt.END_THINK in reply.thinking:  # closed twice: the reply goes by the last, the stream by the first
            continue
        assert said["thinking"].strip() == reply.thinking
        assert said["answer"].strip() == reply.answer


def test_cancelled_requests_end_early(engine):
    requests = asks(3, max_new_tokens=400)
    requests[2].cancel()
    replies = list(engine.generate(requests, on_event=lambda event: requests[event.index].cancel()))
    assert [r.status for r in replies] == ["cancelled"] * 3
    assert all(r.thinking_tokens < 400 for r in replies) and replies[2].thinking == ""


def test_closing_the_iterator_stops_the_work(engine):
    iterator = engine.generate(asks(30, max_new_tokens=30))
    next(iterator)
    iterator.close()
    assert len(list(engine.generate(asks(2)))) == 2


def test_a_stop_string_ends_the_reply(engine):
    (whole,) = engine.generate([dataclasses.replace(asks(1, max_new_tokens=40)[0], think=False)])
    stop = re.findall("[a-z]{2}", whole.answer)[1]
    cut = next(iter(engine.generate([dataclasses.replace(asks(1, max_new_tokens=40, stop=(stop,))[0], think=False)])))
    assert cut.answer == whole.answer[: whole.answer.index(stop)].strip()


def test_ask(engine):
    reply = engine.ask(tone(0.5), "which note", choices=("first", "second"), think_budget=4)
    assert reply.thinking_tokens <= 6 and reply.audio_seconds == pytest.approx(0.5, abs=0.01)
    assert engine.ask(None, "which note", sampling=Sampling(max_new_tokens=3)).audio_seconds == 0


def test_what_an_engine_cannot_do_it_says(engine):
    assert not engine.capabilities.sessions
    for call in (lambda: engine.extend_audio(None, None), lambda: engine.fork(None)):
        with pytest.raises(NotImplementedError, match="cannot .* see its capabilities"):
            call()


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"top_p": 0}, {"top_k": -1}, {"max_new_tokens": 0}, {"think_budget": -1}, {"min_think": -2}]
    + [{"repetition_penalty": 0}, {"min_think": 9, "think_budget": 3}],
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sampling(**wrong)
    with pytest.raises(ValueError, match="either messages or prompt_ids"):
        Request()


# -- local: exactness --------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_decoder_step_is_the_model(local, model):
    """Prompts of different lengths, then tokens one by one, then a prompt longer than one piece of prefill."""
    decoder = local._decoders[0]
    generator = torch.Generator().manual_seed(1)
    sequences = [torch.randint(10, 390, (n,), generator=generator).tolist() for n in (3, 30, 11, 1)]
    allowed = [i for i in range(400) if i not in local.markers.suppressed]
    logits = decoder.prefill([decoder.embed(s, -1, []) for s in sequences], 0)
    for _ in range(5):
        for row, sequence in zip(logits, sequences):
            wanted = model(torch.tensor([sequence])).logits[0, -1]
            assert (row - wanted)[allowed].abs().max() < 1e-4
            assert row[list(local.markers.suppressed)].max() == -torch.inf
        lengths = [len(s) for s in sequences]
        for row, sequence in zip(logits, sequences):
            sequence.append(int(row.argmax()))
        logits = decoder.step([s[-1] for s in sequences], lengths)
    long = torch.randint(10, 390, (1100,), generator=generator).tolist()
    wanted = model(torch.tensor([long])).logits[0, -1]
    assert (decoder.prefill([decoder.embed(long, -1, [])], 4)[0] - wanted)[allowed].abs().max() < 1e-4


@torch.no_grad()
def test_greedy_text_is_that_of_generate(local, model, tokenizer):
    for request in asks(6, max_new_tokens=15):
        reply = next(iter(local.generate([request])))
        clips = prompt.clips(request.messages)
        counts = [len(f) for f in model.encode_audio(clips)] if clips else []
        ids = prompt.encode(tokenizer, prompt.segments(request.messages, audio_counts=counts))
        stops = sorted(local.markers.stops)
        out = model.generate(
            torch.tensor([ids]),
            audio=clips or None,
            max_new_tokens=15,
            do_sample=False,
            eos_token_id=stops,
            pad_token_id=0,
            suppress_tokens=list(local.markers.suppressed),
        )
        assert list(reply.token_ids) == out[0, len(ids) :].tolist()


def test_a_request_is_the_same_alone_and_in_any_batch(local):
    requests = [
        dataclasses.replace(r, seed=i, sampling=dataclasses.replace(r.sampling, **extra))
        for i, (r, extra) in enumerate(
            zip(
                asks(40, max_new_tokens=18),
                [{}, {"temperature": 0.8}, {"temperature": 1.0, "top_p": 0.7}, {"repetition_penalty": 1.3}] * 10,
            )
        )
    ]
    together = list(local.generate(requests))
    alone = [next(iter(local.generate([r]))) for r in reversed(requests)][::-1]
    assert [r.token_ids for r in together] == [r.token_ids for r in alone]


def test_equal_prompts_are_run_once_and_answered_apart(model, tokenizer, monkeypatch):
    local = LocalEngine(model, tokenizer, max_batch=64, workers=1)
    (feature,) = model.encode_audio([tone(1.0)])
    feature = feature.detach()
    ids = prompt.encode(
        local.tokenizer, prompt.segments([prompt.user_message("which", [0])], audio_counts=[len(feature)])
    )
    ran = []
    decoder = local._decoders[-1]
    original = decoder.prefill
    monkeypatch.setattr(decoder, "prefill", lambda prompts, slot: ran.append(len(prompts)) or original(prompts, slot))
    sampling = Sampling(temperature=1.0, max_new_tokens=10)
    grouped = list(local.generate([Request(prompt_ids=ids, features=[feature])] * 6, sampling))
    assert ran == [1] and len({r.token_ids for r in grouped}) == 6
    alone = [
        next(iter(local.generate([Request(prompt_ids=ids, features=[feature], seed=combine_seeds(0, i))], sampling)))
        for i in range(6)
    ]
    assert [r.token_ids for r in grouped] == [r.token_ids for r in alone]


def test_batches_side_by_side_answer_the_same(model, tokenizer):
    threads = torch.get_num_threads()
    several = LocalEngine(model, tokenizer, max_batch=12, workers=3)
    iterator = several.generate(asks(40))
    first = next(iterator)
    rest = list(iterator)
    single = LocalEngine(model, tokenizer, workers=1).generate(asks(40))
    assert [first.token_ids, *(r.token_ids for r in rest)] == [r.token_ids for r in single]
    several.generate(asks(40)).close()
    iterator = several.generate(asks(40, max_new_tokens=300))
    next(iterator)
    iterator.close()
    with pytest.raises(ValueError, match="must be|more than"):
        list(several.generate([*asks(20), Request(prompt_ids=[50] * 5000), *asks(20)]))
    assert torch.get_num_threads() == threads
    assert not [t for t in threading.enumerate() if t.name == "earwitness-batch"]


def test_rows_that_are_dealt_out_meet_in_the_same_way_again(model, tokenizer):
    sampling = Sampling(temperature=1.0, max_new_tokens=20, logprobs=True)

    def replies():
        engine = LocalEngine(model, tokenizer, max_batch=24, workers=3, repeatable=True)
        return list(engine.generate(asks(100), sampling))

    once, again = replies(), replies()
    assert [r.logprobs for r in once] == [r.logprobs for r in again]  # to the bit
    alone = list(LocalEngine(model, tokenizer, workers=1).generate(asks(100), sampling))
    assert [r.token_ids for r in once] == [r.token_ids for r in alone]


def test_long_clips_are_several_blocks(local):
    (reply,) = local.generate([Request([prompt.user_message("which", [tone(26)])])], Sampling(max_new_tokens=2))
    assert reply.audio_tokens == 313 + 13


# -- local: control ----------------------------------------------------------------------------------------------------


def test_budget_minimum_and_forced_ids(local):
    end = local.markers.end_think[0]
    for reply in local.generate(asks(6, think_budget=7, max_new_tokens=30)):
        assert reply.thinking_tokens <= 7 and end in reply.token_ids[:9]
    for reply in local.generate(asks(8, min_think=10, max_new_tokens=30, temperature=2.0)):
        assert reply.thinking_tokens >= 10 and not set(reply.token_ids[:10]) & ({end} | local.markers.stops)
    for reply in local.generate(asks(8, temperature=3.0, max_new_tokens=30)):
        assert not set(reply.token_ids) & set(local.markers.suppressed)


def test_stop_ids_and_log_probabilities(local, model):
    (whole,) = local.generate(asks(1, max_new_tokens=20, logprobs=True, think_budget=5))
    assert len(whole.logprobs) == len(whole.token_ids) and max(whole.logprobs) <= 0
    stop = whole.token_ids[3]
    (cut,) = local.generate(asks(1, max_new_tokens=20, stop_ids=(stop,)))
    assert cut.token_ids == whole.token_ids[: whole.token_ids.index(stop) + 1]
    ids = prompt.encode(local.tokenizer, prompt.segments(asks(1)[0].messages))
    with torch.no_grad():
        logits = model(torch.tensor([ids + list(whole.token_ids)])).logits[0, len(ids) - 1 : -1]
    logits[:, list(local.markers.suppressed)] = -torch.inf
    wanted = logits.log_softmax(-1)[range(len(whole.token_ids)), list(whole.token_ids)]
    assert np.allclose(whole.logprobs, wanted.numpy(), atol=1e-4)


def test_a_prompt_past_the_context_is_refused_before_any_work(model, tokenizer, monkeypatch):
    engine = LocalEngine(model, tokenizer, name="tiny")
    monkeypatch.setattr(model, "encode_audio", lambda clips: pytest.fail("encoded"))
    with pytest.raises(ValueError, match=r"the prompt has \d+ tokens, \d+ more than tiny can read .* context of 4096"):
        list(engine.generate([Request([prompt.user_message("which", [tone(400)])])]))
    with pytest.raises(ValueError, match="3 audio placeholders and its audio 0 tokens"):
        list(engine.generate([Request(prompt_ids=[local_patch(engine)] * 3)]))


def local_patch(engine) -> int:
    return engine.markers.patch


def test_generation_ends_where_the_context_ends(model, tokenizer):
    engine = LocalEngine(model, tokenizer)
    (reply,) = engine.generate([Request(prompt_ids=[50] * 4090)], Sampling(max_new_tokens=50, stop_ids=()))
    assert len(reply.token_ids) <= 6


def test_the_cache_bound_limits_the_batch(model, tokenizer):
    engine = LocalEngine(model, tokenizer, max_batch=8, cache_tokens=80)
    requests = asks(6, max_new_tokens=10)
    assert [r.token_ids for r in engine.generate(requests)] == [
        r.token_ids for r in LocalEngine(model, tokenizer).generate(requests)
    ]


def test_new_weights_take_effect_and_wrong_ones_are_named(tokenizer):
    model = build_model(tokenizer)
    engine = LocalEngine(model, tokenizer)
    before = next(iter(engine.generate(asks(1))))
    old = {k: v.clone() for k, v in model.state_dict().items()}
    engine.update_weights(
        [("model.layers.0.self_attn.k_proj.weight", -old["model.layers.0.self_attn.k_proj.weight"])], 3
    )
    changed = next(iter(engine.generate(asks(1))))
    engine.update_weights(old.items(), 4)
    assert before.token_ids != changed.token_ids and engine.weights_version == 4
    assert next(iter(engine.generate(asks(1)))).token_ids == before.token_ids
    with pytest.raises(ValueError, match="no weight 'x'"):
        engine.update_weights([("x", torch.zeros(1))], 5)
    with pytest.raises(ValueError, match="shape"):
        engine.update_weights([("lm_head.weight", torch.zeros(1))], 5)


def test_the_model_can_be_saved_and_trained_while_an_engine_holds_it(tokenizer, tmp_path):
    model = build_model(tokenizer)
    engine = LocalEngine(model, tokenizer)
    before = next(iter(engine.generate(asks(1)))).token_ids
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load(tmp_path, device="cpu")
    assert next(iter(loaded.generate(asks(1)))).token_ids == before
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    model(torch.tensor([[20, 21, 22]]), labels=torch.tensor([[20, 21, 22]])).loss.backward()
    optimiser.step()
    fresh = LocalEngine(model, tokenizer)
    assert [r.token_ids for r in engine.generate(asks(4))] == [r.token_ids for r in fresh.generate(asks(4))]


def test_two_calls_may_run_at_once(local):
    outer = local.generate(asks(10))
    first = next(outer)
    inner = [r.token_ids for r in local.generate(asks(10))]
    assert [first.token_ids, *(r.token_ids for r in outer)] == inner


def test_names_and_config_must_agree(model, tokenizer):
    config = type("Config", (), {"vocab_size": 400, "audio_patch_token_id": 9})()
    with pytest.raises(ValueError, match="audio_patch_token_id = 9 in its config and '<audio_patch>' = 5"):
        find_markers(tokenizer, config, "m")
    config.audio_patch_token_id, config.vocab_size = 5, 300
    with pytest.raises(ValueError, match="ids up to 399 and the model 300 rows"):
        find_markers(tokenizer, config, "m")


def test_think_tags_of_several_ids(model):
    """A tokenizer without ``</think>`` as one token: the tag is found in the text."""
    from transformers import PreTrainedTokenizerFast

    plain = build_tokenizer().backend_tokenizer.to_str()
    renamed = plain.replace('"</think>"', '"<unused_think>"')
    from tokenizers import Tokenizer

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(renamed), clean_up_tokenization_spaces=False
    )
    engine = LocalEngine(model, tokenizer)
    assert len(engine.markers.end_think) > 1
    for reply in engine.generate(asks(4, think_budget=5, max_new_tokens=30)):
        assert reply.thinking_tokens == 5 and prompt.END_THINK not in reply.thinking


def test_a_folder_that_is_not_there():
    with pytest.raises(ValueError, match="there is no model folder"):
        load("/no/such/folder")
    assert isinstance(load("http://localhost:1/v1#m"), Engine)


# -- sampling and streaming parts --------------------------------------------------------------------------------------


def test_random_numbers_belong_to_request_and_position():
    many = uniforms(range(2000), [5] * 2000)
    assert many.min() >= 0 and many.max() < 1 and abs(many.mean() - 0.5) < 0.02
    assert uniforms([7], [5])[0] == many[7] and len(set(uniforms([7] * 50, range(50)))) == 50
    assert combine_seeds(0, 1) != combine_seeds(1, 0)


def test_draws_follow_the_distribution():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, -torch.inf]]).log_softmax(-1).expand(20_000, -1)
    uniform = uniforms(range(20_000), [0] * 20_000)

    def shares(**settings):
        chooser = Chooser.build([Sampling(**settings)] * 20_000, torch.device("cpu"))
        return torch.bincount(chooser.choose(logits, uniform, None), minlength=5) / 20_000

    for settings, kept in (({"temperature": 1.0}, 4), ({"temperature": 0.5}, 4), ({"temperature": 1.0, "top_k": 2}, 2)):
        wanted = (logits[0, :kept] / settings["temperature"]).softmax(-1)
        assert (shares(**settings)[:kept] - wanted).abs().max() < 0.015
    assert shares(temperature=1.0, top_p=0.6)[0] == 1.0
    assert (shares(temperature=1.0, top_p=0.7) > 0).tolist() == [True, True, False, False, False]
    mixed = Chooser.build([Sampling(), Sampling(temperature=9.0)] * 500, torch.device("cpu"))
    tokens = mixed.choose(logits[:1000], uniform[:1000], None)
    assert set(tokens[::2].tolist()) == {0} and set(tokens[1::2].tolist()) == {0, 1, 2, 3}


def test_text_streams_in_whole_characters(tokenizer):
    ids = tokenizer.encode("the é中 bell 🔔 is loud", add_special_tokens=False)
    detokenizer = Detokenizer(tokenizer)
    pieces = [detokenizer.feed(i) for i in ids] + [detokenizer.flush()]
    assert "".join(pieces) == "the é中 bell 🔔 is loud" and not any("\ufffd" in p for p in pieces)


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_chain_and_answer_are_told_apart_at_any_cut(size):
    text = "<think>\nhm < 3 \n</think>\n\nyes <b>"
    splitter = ChainSplitter(True)
    pieces = [p for i in range(0, len(text), size) for p in splitter.feed(text[i : i + size])] + splitter.flush()
    assert "".join(t for k, t in pieces if k == "thinking") == "hm < 3"
    assert "".join(t for k, t in pieces if k == "answer") == "yes <b>"


# -- endpoint ----------------------------------------------------------------------------------------------------------


def one(url, **options):
    engine = EndpointEngine(url, **{"timeout_seconds": 5, **options})
    return next(iter(engine.generate([Request([prompt.user_message("q", [tone(0.1)])])], Sampling(max_new_tokens=5))))


def test_reasoning_content_is_kept_apart_and_counted():
    for mode, tokens in (("reasoning", (3, 2)), ("whole", (1, 1))):
        with serving(mode=mode, owner="someone") as (url, server):
            reply = one(url)
        assert (reply.thinking, reply.answer, reply.status) == ("hm", "yes", "complete")
        assert (reply.thinking_tokens, reply.answer_tokens) == tokens
        body = server.seen[0][0]
        assert "continue_final_message" not in body and body["messages"][0]["role"] == "user"
        assert body["model"] == "tiny" and body["messages"][0]["content"][1]["input_audio"]["format"] == "wav"
    with serving(mode="tool") as (url, _):
        reply = one(url)
    assert reply.status == "tool_call" and reply.tool_calls == ({"name": "look", "arguments": {"at": 1}},)


def test_our_servers_get_the_published_prefill(local):
    with serving(local) as (url, server):
        one(url)
    body = server.seen[0][0]
    assert body["messages"][-1] == {"role": "assistant", "content": "<think>\n", "eot": False}
    assert body["continue_final_message"] and not body["add_generation_prompt"] and not body["skip_special_tokens"]


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("html", "which is no OpenAI completion; give the base URL"),
        ("refuse", r"HTTP 400 \('max_tokens' is too large\)"),
        ("unauthorised", "HTTP 401 .* set EARWITNESS_API_KEY"),
        ("slow", "was silent for 0.3 s"),
        ("error", "reports: out of memory"),
        ("garbage", "which is no OpenAI completion"),
        ("silent", "closed the stream without an answer"),
    ],
)
def test_a_bad_server_is_one_sentence(mode, words):
    with serving(mode=mode) as (url, _), pytest.raises(OSError, match=words) as error:
        one(url, timeout_seconds=0.3 if mode == "slow" else 5)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_a_server_that_is_down_or_breaks_off():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(OSError, match="cannot be reached .* check the URL"):
        one(f"http://127.0.0.1:{port}")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up():
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
            connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        with pytest.raises(OSError, match="broke off in mid-reply"):
            one(f"http://127.0.0.1:{listener.getsockname()[1]}")


@pytest.mark.parametrize("url", ["ftp://x", "http://", "nonsense", "http://[::1"])
def test_what_is_no_url_is_said(url):
    with pytest.raises(ValueError, match="http"):
        EndpointEngine(url)


def test_the_key_is_sent_where_it_is_safe(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with serving(mode="whole") as (url, server):
        one(url)
    assert server.seen[0][1]["Authorization"] == "Bearer secret"
    withheld = EndpointEngine("http://192.0.2.1/v1")
    assert "Authorization" not in withheld._server.headers
    assert "Authorization" in EndpointEngine("https://192.0.2.1/v1")._server.headers


def test_what_a_plain_server_cannot_do_is_refused():
    with serving(mode="whole", owner="someone") as (url, _):
        engine = EndpointEngine(url)
        for request, words in (
            (Request([prompt.user_message("q")], sampling=Sampling(think_budget=3)), "think budget"),
            (Request([prompt.user_message("q")], sampling=Sampling(min_think=3)), "min_think"),
            (Request(prompt_ids=[1]), "prompt_ids"),
        ):
            with pytest.raises(ValueError, match=words):
                list(engine.generate([request]))


def test_several_requests_are_in_flight_at_once():
    with serving(mode="slow") as (url, _):
        engine = EndpointEngine(url, timeout_seconds=0.4, prefill=False, model="m")
        start = time.perf_counter()
        with pytest.raises(OSError, match="silent"):
            list(engine.generate([Request([prompt.user_message("q")])] * 8))
        assert time.perf_counter() - start < 3
