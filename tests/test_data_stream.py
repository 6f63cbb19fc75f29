"""Manifests, the feature cache and the stream of examples."""

import concurrent.futures
import json

import engine_fixture
import numpy as np
import pytest

from earwitness import audio
from earwitness.data import dialogue
from earwitness.data.cache import FeatureCache
from earwitness.data.collate import collate, collate_packed
from earwitness.data.manifest import Manifest
from earwitness.data.packing import join
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


def sample(folder, name, seconds, hz=440.0):
    path = folder / f"{name}.wav"
    audio.write_wav(path, engine_fixture.tone(seconds, hz))
    return Sample(id=name, audio=(str(path),), question="What?", answer="a")


def test_the_cache_gives_what_the_encoder_gives(tmp_path, model):
    cache = FeatureCache(tmp_path / "cache", model)
    samples = [sample(tmp_path, "a", 1.0), sample(tmp_path, "b", 30.0), sample(tmp_path, "c", 0.001)]
    assert cache.fill(samples) == 3 and cache.fill(samples) == 0
    for item in samples:
        chunks = audio.split_chunks(audio.load_audio(item.audio[0]))
        for given, wanted in zip(cache.states(item)[0], model.encode_frames(chunks), strict=True):
            assert np.allclose(given, wanted.detach().numpy(), atol=2e-2, rtol=2e-3)
    assert len(cache.states(samples[1])[0]) == 2


def test_the_cache_follows_content_not_names(tmp_path, model):
    cache = FeatureCache(tmp_path / "cache", model)
    first = cache.states(sample(tmp_path, "a", 0.5, 300.0))[0][0].copy()
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


def test_sound_that_vanished_names_sample_and_file(tmp_path, model):
    gone = Sample(id="g1", audio=(str(tmp_path / "gone.wav"),), question="x")
    with pytest.raises(OSError, match=r"sample g1: .*gone.wav cannot be used .No such file.*take the sample out"):
        FeatureCache(tmp_path / "cache", model).states(gone)
    (tmp_path / "text.wav").write_text("hello")
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
    empty = Stream(source, lambda *a: None, dialogue.fits, 2, 0)
    with pytest.raises(ValueError, match="sample bare of source 'x' has nothing for think"):
        empty.at(0)


def test_passes_hold_at_most_their_tokens(tokenizer):
    examples = stream(tokenizer, batch=16).at(3)
    groups = micro_batches(examples, 120)
    assert sorted(names(sum(groups, []))) == sorted(names(examples)) and len(groups) > 1
    assert all(len(g) * max(len(e.ids) for e in g) <= 120 for g in groups)
    with pytest.raises(ValueError, match="tokens and a pass holds 5"):
        micro_batches(examples, 5)


def test_packed_rows_score_like_padded_ones(tokenizer, model):
    import torch

    from earwitness.train.modules import Policy

    rng = np.random.default_rng(0)
    states = [[rng.standard_normal((n, 32)).astype(np.float32)] for n in (6, 14)]
    items = [Sample(id=str(i), audio=("x",), question="x?", answer="loud bell") for i in range(2)]
    made = [dialogue.example(tokenizer, s, "direct", [h]) for s, h in zip(items, states)]
    made.append(dialogue.example(tokenizer, Sample(id="t", question="is?", answer="the note"), "direct"))
    patch, policy = model.config.audio_patch_token_id, Policy(model)
    with torch.no_grad():
        padded = policy(collate(made, 0, patch)).log_probs_BT
        packed = policy(collate_packed([join(made)], 0)).log_probs_BT
    flat = torch.cat([row[: len(e.ids)] for row, e in zip(padded, made)])
    assert torch.allclose(packed[0], flat, atol=1e-4) and bool((flat != 0).any())
    assert sum(audio_tokens(len(h[0])) for h in states) == int((collate(made, 0, patch).ids == patch).sum())
