"""Dialogues, manifests, the feature cache and the stream of examples."""

import concurrent.futures
import dataclasses
import json

import engine_fixture
import numpy as np
import pytest
import torch

from earwitness import audio
from earwitness.data import cache as cache_module
from earwitness.data import dialogue, packing
from earwitness.data import manifest as manifest_module
from earwitness.data.cache import FeatureCache
from earwitness.data.collate import collate, collate_packed
from earwitness.data.manifest import Manifest
from earwitness.data.stream import Source, Stream, micro_batches, part
from earwitness.model.adaptor import audio_tokens
from earwitness.records import Sample


@pytest.fixture(scope="module")
def tokenizer():
    return engine_fixture.build_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer):
    return engine_fixture.build_model(tokenizer)


def write(path, rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_a_manifest_is_read_by_number_with_its_paths(tmp_path):
    rows = [{"id": f"a{i}", "question": "x?", "audio": [f"{i}.wav"]} for i in range(5)]
    turns = [{"role": "user", "content": [{"type": "audio", "audio": "b.wav"}]}]
    manifest = Manifest(write(tmp_path / "m.jsonl", [*rows, "", {"id": "t", "messages": turns}]))
    assert len(manifest) == 6 and manifest[3].id == "a3"
    assert manifest[3].audio == (str(tmp_path / "3.wav"),)
    assert dialogue.clips(manifest[5]) == [str(tmp_path / "b.wav")]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{oops", "line 2: Expecting property name"),
        ({"id": "a", "questoin": "x"}, "line 2: unknown field 'questoin'"),
        ({"id": "a0", "question": "x"}, "line 2: id 'a0' stands there a second time"),
        ("[1]", "line 2: the line is not a JSON object"),
    ],
)
def test_a_bad_line_is_named(tmp_path, bad, message):
    path = write(tmp_path / "m.jsonl", [{"id": "a0", "question": "x"}, bad])
    with pytest.raises(ValueError, match=message):
        Manifest(path)


def test_no_manifest_and_an_empty_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist; write one Sample"):
        Manifest(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="has no samples"):
        Manifest(write(tmp_path / "m.jsonl", [""]))


def test_a_line_that_changed_is_named(tmp_path):
    path = write(tmp_path / "m.jsonl", [{"id": f"a{i}", "question": "x"} for i in range(4)])
    manifest = Manifest(path)
    write(path, [{"id": f"{'ab'[i == 2]}{i}", "question": "x"} for i in range(4)])
    assert manifest[1].id == "a1" and manifest[3].id == "a3"
    with pytest.raises(ValueError, match="m.jsonl, line 3: the line changed after it was validated"):
        manifest[2]
    path.unlink()
    with pytest.raises(OSError, match="m.jsonl cannot be read any more .No such file"):
        manifest[0]


def test_the_index_of_a_large_manifest_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest_module, "_SMALL_BYTES", 10)
    path = write(tmp_path / "m.jsonl", [{"id": f"a{i}", "question": "x"} for i in range(4)])
    assert Manifest(path, tmp_path / "index")[3].id == "a3"
    with monkeypatch.context() as patched:  # a second run does not read the manifest through
        patched.setattr(Manifest, "_scan", lambda self: pytest.fail("read again"))
        manifest = Manifest(path, tmp_path / "index")
        assert [manifest[i].id for i in range(len(manifest))] == ["a0", "a1", "a2", "a3"]
    (index,) = (tmp_path / "index").iterdir()
    index.write_bytes(index.read_bytes()[:50])
    assert len(Manifest(path, tmp_path / "index")) == 4
    write(path, [{"id": f"a{i}", "question": "x"} for i in range(5)])
    assert len(Manifest(path, tmp_path / "index")) == 5
    assert len(Manifest(path, path / "no-folder")) == 5


def sample(folder, name, seconds, hz=440.0):
    path = folder / f"{name}.wav"
    audio.write_wav(path, engine_fixture.tone(seconds, hz))
    return Sample(id=name, audio=(str(path),), question="What?", answer="a")


def test_the_cache_gives_what_the_encoder_gives(tmp_path, model):
    cache = FeatureCache(tmp_path / "cache", model)
    samples = [sample(tmp_path, "a", 1.0), sample(tmp_path, "b", 30.0), sample(tmp_path, "c", 0.025)]
    assert cache.fill(samples) == 3 and cache.fill(samples) == 0
    for item in samples:
        chunks = audio.split_chunks(audio.load_audio(item.audio[0]))
        for given, wanted in zip(cache.states(item)[0], model.encode_frames(chunks), strict=True):
            assert np.allclose(given, wanted.detach().numpy(), atol=2e-2, rtol=2e-3)
    assert len(cache.states(samples[1])[0]) == 2


def test_the_cache_follows_content_not_names(tmp_path, model):
    cache = FeatureCache(tmp_path / "cache", model)
    first = np.asarray(cache.states(sample(tmp_path, "a", 0.5, 300.0))[0][0])
    copied = sample(tmp_path, "copy", 0.5, 300.0)
    assert cache.fill([copied]) == 0
    changed = cache.states(sample(tmp_path, "a", 0.5, 900.0))[0][0]
    assert not np.array_equal(first, changed)


def test_the_cache_of_another_encoder_is_another(tmp_path, tokenizer, model):
    FeatureCache(tmp_path / "cache", model).fill([sample(tmp_path, "a", 0.5)])
    other = engine_fixture.build_model(tokenizer)
    other.encoder.conv1.bias.data += 1
    assert FeatureCache(tmp_path / "cache", other).fill([sample(tmp_path, "a", 0.5)]) == 1


def test_many_writers_leave_whole_entries_only(tmp_path, model):
    samples = [sample(tmp_path, f"s{i}", 0.2, 200 + 50 * i) for i in range(6)]
    caches = [FeatureCache(tmp_path / "cache", model) for _ in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda cache: cache.fill(samples), caches))
    assert not list((tmp_path / "cache").rglob("*.partial")) and len(list((tmp_path / "cache").rglob("*.npy"))) == 6
    assert all(len(caches[0].states(s)[0][0]) for s in samples)


def test_an_entry_without_its_end_is_made_again(tmp_path, model):
    cache, item = FeatureCache(tmp_path / "cache", model), sample(tmp_path, "a", 0.5)
    whole = np.asarray(cache.states(item)[0][0])
    (entry,) = (tmp_path / "cache").rglob("*.npy")
    data = entry.read_bytes()
    for size in (0, 5, 140, 200, len(data) - 1):
        entry.write_bytes(data[:size])
        assert cache.fill([item]) == 1
        assert np.array_equal(np.asarray(cache.states(item)[0][0]), whole)


def test_states_stay_on_disk_until_they_are_used(tmp_path, model):
    cache, item = FeatureCache(tmp_path / "cache", model), sample(tmp_path, "a", 30.0)
    first, second = cache.states(item)[0]
    wanted = model.encode_frames(audio.split_chunks(audio.load_audio(item.audio[0])))[1]
    assert second.shape == (len(second), 32) == tuple(wanted.shape)
    assert torch.allclose(torch.as_tensor(second).float(), wanted, atol=2e-2, rtol=2e-3)
    (entry,) = (tmp_path / "cache").rglob("*.npy")
    entry.write_bytes(entry.read_bytes()[:-2])
    assert torch.as_tensor(first).dtype == torch.float16
    with pytest.raises(OSError, match="was cut short; delete it"):
        torch.as_tensor(second)
    entry.unlink()
    with pytest.raises(OSError, match="was taken away .No such file"):
        np.asarray(first)


def test_a_full_disk_is_said(tmp_path, model, monkeypatch):
    def full(file, rows):
        file.write(b"half")
        raise OSError("800 requested and 4 written")  # what numpy says: no errno, no strerror

    monkeypatch.setattr(cache_module.np, "save", full)
    with pytest.raises(OSError, match="cannot be written .800 requested and 4 written.; free space"):
        FeatureCache(tmp_path / "cache", model).states(sample(tmp_path, "a", 0.5))
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def test_sound_that_vanished_names_sample_and_file(tmp_path, model):
    gone = Sample(id="g1", audio=(str(tmp_path / "gone.wav"),), question="x")
    with pytest.raises(OSError, match=r"sample g1: .*gone.wav cannot be used .No such file.*take the sample out"):
        FeatureCache(tmp_path / "cache", model).states(gone)
    (tmp_path / "text.wav").write_text("hello")
    with pytest.raises(OSError, match=r"sample g0: .*g0.wav cannot be used .it has 20 ms, less than a frame of 25 ms"):
        FeatureCache(tmp_path / "cache", model).states(sample(tmp_path, "g0", 0.02))
    with pytest.raises(OSError, match="sample g2: .*text.wav cannot be used"):
        FeatureCache(tmp_path / "cache", model).fill(
            [Sample(id="g2", audio=(str(tmp_path / "text.wav"),), question="x")]
        )


def stream(tokenizer, batch=4, seed=0, count=40):
    samples = [
        Sample(id=f"s{i}", question=engine_fixture.question(i), answer="a", reasoning="b " * (i % 9))
        for i in range(count)
    ]
    sources = {"x": Source(samples[: count // 2], 1.0, {"think": 1.0, "direct": 1.0}), "y": Source(samples, 3.0)}
    sources["y"] = Source([s for s in samples if s.reasoning], 3.0, {"think": 1.0})
    build = lambda s, kind, rng: dialogue.example(tokenizer, s, kind)  # noqa: E731
    return Stream(sources, build, dialogue.fits, batch, seed)


def names(examples):
    return [(e.name, len(e.ids)) for e in examples]


def test_a_step_is_a_function_of_seed_and_step(tokenizer):
    one, two = stream(tokenizer), stream(tokenizer)
    order = [30, 2, 0, 55, 30]
    assert [names(one.at(s)) for s in order] == [names(two.at(s)) for s in order]
    assert [names(one.at(s)) for s in range(30)] != [names(stream(tokenizer, seed=1).at(s)) for s in range(30)]


def test_ranks_cut_one_batch(tokenizer):
    whole = stream(tokenizer).at(5)
    parts = [part(whole, rank, 3) for rank in range(3)]
    assert sorted(names(sum(parts, []))) == sorted(names(whole))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_sample_that_gives_nothing_is_named(tokenizer):
    source = {"x": Source([Sample(id="bare", question="x?")], 1.0, {"think": 1.0})}
    empty = Stream(source, lambda s, kind, rng: dialogue.example(tokenizer, s, kind), dialogue.fits, 2, 0)
    with pytest.raises(ValueError, match="sample bare of source 'x' has nothing for think"):
        empty.at(0)


def some(samples, tokenizer, **options):
    build = lambda s, kind, rng: dialogue.example(tokenizer, s, kind)  # noqa: E731
    return Stream({"x": Source(samples, 1.0, {"direct": 1.0})}, build, dialogue.fits, 4, 0, **options)


def test_what_cannot_be_used_is_an_error_or_is_counted(tokenizer):
    samples = [Sample(id=f"s{i}", question="is it a bell?", answer="a") for i in range(60)]
    samples[7] = Sample(id="long", question="bell " * 80, answer="a")
    samples[9] = Sample(id="bare", question="x?")
    with pytest.raises(ValueError, match="sample (long has .* max_tokens is 60|bare of source 'x' has nothing)"):
        some(samples, tokenizer, max_tokens=60).at(0)
    told: list[str] = []
    one, two = (some(samples, tokenizer, max_tokens=60, skip=told.append) for _ in range(2))
    whole = [e.name for step in range(24) for e in one.at(step)]
    assert sorted(one.skipped) == ["bare", "long"] and len(told) == 2 and "left out: sample" in told[0]
    assert not {"bare", "long"} & set(whole) and set(whole) == {s.id for s in samples} - {"bare", "long"}
    assert [e.name for step in range(24) for e in two.at(step)] == whole
    plain = some([s for s in samples], tokenizer, skip=lambda text: None)
    assert any(e.name == "long" for step in range(24) for e in plain.at(step))
    with pytest.raises(ValueError, match="3 samples in a row of source 'x' cannot be used, the last because: sample"):
        some(samples[:3], tokenizer, max_tokens=4, skip=told.append).at(0)


def test_a_full_disk_is_no_reason_to_leave_samples_out(tokenizer):
    def full(*given):
        raise OSError("feature cache /c cannot be written (No space left); free space")

    source = {"x": Source([Sample(id="a", question="x?", answer="b")], 1.0, {"direct": 1.0})}
    with pytest.raises(OSError, match="No space left"):
        Stream(source, full, dialogue.fits, 2, 0, skip=print).at(0)


def test_a_mixture_by_tokens_counts_tokens(tokenizer):
    short = [Sample(id=f"a{i}", question="is it?", answer="a") for i in range(20)]
    long = [Sample(id=f"b{i}", question="is it a loud bell or a soft piano? " * 6, answer="a") for i in range(20)]
    build = lambda s, kind, rng: dialogue.example(tokenizer, s, kind)  # noqa: E731
    sources = {"a": Source(short, 1.0, {"direct": 1.0}), "b": Source(long, 4.0, {"direct": 1.0})}
    tokens = {"a": 0, "b": 0}
    mixed = Stream(sources, build, dialogue.fits, 8, 0, by_tokens=True)
    for made in (e for step in range(48) for e in mixed.at(step)):
        tokens[made.name[0]] += len(made.ids)
    assert tokens["b"] / tokens["a"] == pytest.approx(4, rel=0.1)


def test_passes_hold_at_most_their_tokens(tokenizer):
    examples = stream(tokenizer, batch=16).at(3)
    groups = micro_batches(examples, 120)
    assert sorted(names(sum(groups, []))) == sorted(names(examples)) and len(groups) > 1
    assert all(len(g) * max(len(e.ids) for e in g) <= 120 for g in groups)
    with pytest.raises(ValueError, match="tokens and a pass holds 5"):
        micro_batches(examples, 5)
    packed = packing.groups(examples, 120)
    assert sorted(names(sum(packed, []))) == sorted(names(examples)) and 1 < len(packed) < len(examples)
    assert all(sum(len(e.ids) for e in g) <= 120 for g in packed)
    with pytest.raises(ValueError, match="tokens and a row holds 5"):
        packing.groups(examples, 5)


def test_packed_rows_score_like_padded_ones(tokenizer, model):
    from earwitness.train.modules import Policy

    rng = np.random.default_rng(0)
    states = [[rng.standard_normal((n, 32)).astype(np.float32)] for n in (6, 14)]
    items = [Sample(id=str(i), audio=("x",), question="x?", answer="loud bell") for i in range(2)]
    made = [dialogue.example(tokenizer, s, "direct", [h]) for s, h in zip(items, states)]
    made.append(dialogue.example(tokenizer, Sample(id="t", question="is?", answer="the note"), "direct"))
    patch, policy = model.config.audio_patch_token_id, Policy(model)
    with torch.no_grad():
        padded = policy(collate(made, 0, patch)).log_probs_BT
        packed = policy(collate_packed([made], 0, patch)).log_probs_BT
    flat = torch.cat([row[: len(e.ids)] for row, e in zip(padded, made)])
    assert torch.allclose(packed[0], flat, atol=1e-4) and bool((flat != 0).any())
    assert sum(audio_tokens(len(h[0])) for h in states) == int((collate(made, 0, patch).ids == patch).sum())
    wrong = made[0]._replace(states=made[1].states)
    with pytest.raises(ValueError, match="sample 0: 3 audio placeholders and 7 audio tokens"):
        collate_packed([[wrong, made[2]]], 0, patch)


# Dialogues


def spelt(tokenizer, made):
    """Return (what is read, what is learned) as text, stretch by stretch."""
    edges = np.flatnonzero(np.diff(made.learned)) + 1
    parts = [
        (bool(made.learned[s[0]]), tokenizer.decode(made.ids[s])) for s in np.split(np.arange(len(made.ids)), edges)
    ]
    return [text for is_learned, text in parts if not is_learned], [text for is_learned, text in parts if is_learned]


TURNS = (
    {"role": "system", "content": "be a pirate"},
    {"role": "user", "content": [{"type": "audio", "audio": "x"}, {"type": "text", "text": "which bell?"}]},
    {"role": "assistant", "content": "<think>\nit is low\n</think>\nthe loud bell"},
    {"role": "user", "content": [{"type": "text", "text": "and this?"}, {"type": "audio", "audio": "y"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "<think>\nit is soft\n</think>\na soft note"}]},
)
HEARD = [[np.zeros((6, 32), np.float16)], [np.zeros((9, 32), np.float16), np.zeros((2, 32), np.float16)]]


def test_only_the_last_turn_is_learned_unless_all_are_wanted(tokenizer):
    talk = Sample(id="t", messages=TURNS)
    last = dialogue.example(tokenizer, talk, "as_is", HEARD)
    read, learned = spelt(tokenizer, last)
    assert learned == ["it is soft\n</think>\na soft note<|EOT|>"]
    assert "it is low" not in read[0] and "the loud bell" in read[0] and read[0].endswith("<|BOT|>assistant\n<think>\n")
    assert [len(s) for s in last.states] == [6, 9, 2]
    every = dialogue.example(tokenizer, talk, "as_is", HEARD, learn_earlier=True)
    assert np.array_equal(every.ids, last.ids)
    assert spelt(tokenizer, every)[1] == ["the loud bell<|EOT|>", "it is soft\n</think>\na soft note<|EOT|>"]


def test_a_conversation_gives_its_kinds(tokenizer):
    talk = Sample(id="t", messages=TURNS, transcript="ahoy")
    bare = Sample(id="b", messages=(*TURNS[:4], {"role": "assistant", "content": "a note"}))
    assert [k for k in dialogue.KINDS if dialogue.fits(talk, k)] == ["think", "direct", "transcribe", "as_is"]
    assert [k for k in dialogue.KINDS if dialogue.fits(bare, k)] == ["direct", "as_is"]
    read, learned = spelt(tokenizer, dialogue.example(tokenizer, talk, "direct", HEARD))
    assert learned == ["a soft note<|EOT|>"] and read[0].endswith("<think>\n\n</think>\n")
    heard = dialogue.example(tokenizer, talk, "transcribe", HEARD)
    assert len(heard.states) == 3 and spelt(tokenizer, heard)[1] == ["ahoy<|EOT|>"]
    chained = dataclasses.replace(bare, reasoning="it rang")
    assert spelt(tokenizer, dialogue.example(tokenizer, chained, "think", HEARD))[1] == [
        "it rang\n</think>\na note<|EOT|>"
    ]
    asked = tokenizer.decode(dialogue.question(tokenizer, talk, HEARD))
    assert asked.endswith("<|EOT|><|BOT|>assistant\n<think>\n") and "a soft note" not in asked


def test_tools_are_offered_and_their_calls_learned(tokenizer):
    call = {"function": {"name": "listen", "arguments": {"again": True}}}
    turns = ({"role": "user", "content": "which?"}, {"role": "assistant", "content": "", "tool_calls": [call]})
    made = dialogue.example(tokenizer, Sample(id="t", messages=turns, tools=({"name": "listen"},)), "as_is")
    read, learned = spelt(tokenizer, made)
    body = 'function\nlisten\n{"again": true}'
    assert learned == [f"<tool_call>{body}</tool_call><|EOT|>"] and 'tool_json_schemas\n[{"name": "listen"}]' in read[0]
    written = (turns[0], {"role": "assistant", "content": f"<think>\nhm\n</think>\n<tool_call>{body}</tool_call>"})
    made = dialogue.example(tokenizer, Sample(id="t", messages=written), "as_is")
    assert spelt(tokenizer, made)[1] == [f"hm\n</think>\n<tool_call>{body}</tool_call><|EOT|>"]
    assert list(made.ids).count(tokenizer.convert_tokens_to_ids("<tool_call>")) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"messages": (*TURNS[:4], {"role": "assistant", "content": "<think>hm"})}, "ends without an answer"),
        ({"messages": (*TURNS[:2], {"role": "assistant", "content": TURNS[1]["content"]})}, "last turn holds audio"),
        ({"messages": ({"role": "user", "content": "x"},), "audio": ("x",), "answer": "b"}, "its messages do not hold"),
        ({"messages": ({"role": "bard", "content": "x"},), "answer": "b"}, "unknown role 'bard'"),
        ({"question": "x", "audio": ("x",), "answer": "b"}, "the messages hold 1 clips and audio_counts 2"),
    ],
)
def test_a_sample_that_makes_no_sense_is_named(tokenizer, fields, message):
    item = Sample(id="odd", **fields)
    with pytest.raises(ValueError, match=f"sample odd.*{message}"):
        dialogue.clips(item)
        dialogue.example(tokenizer, item, "as_is", HEARD if "audio" in fields or len(item.messages) > 1 else [])


def test_replies_are_preferred_after_one_prompt(tokenizer):
    item = Sample(id="p", messages=TURNS, chosen="<think>\nit rings\n</think>\na bell", rejected="no")
    chosen, rejected = dialogue.preference(tokenizer, item, HEARD)
    assert np.array_equal(chosen.ids[~chosen.learned], rejected.ids[~rejected.learned])
    assert "a soft note" not in tokenizer.decode(chosen.ids)
    assert spelt(tokenizer, rejected)[1] == ["\n</think>\nno<|EOT|>"]
    with pytest.raises(ValueError, match="sample p: what is chosen ends without an answer"):
        dialogue.preference(tokenizer, dataclasses.replace(item, chosen="<think>\nit rings"), HEARD)
