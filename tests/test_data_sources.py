"""Mixtures, shares of question types, packing and importers."""

import json
from collections import Counter

import numpy as np
import pytest

from earwitness import audio
from earwitness.data import importers, mixture, packing
from earwitness.data.dialogue import Example
from earwitness.data.mixture import Mixture, Shuffle
from earwitness.data.stream import thinned
from earwitness.records import Sample, read_manifest


def tone(hz=440.0, seconds=0.2):
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * 16_000)) / 16_000)).astype(np.float32)


# Mixtures


@pytest.mark.parametrize(
    "weights", [{"text": 2, "audio": 3}, {"a": 1, "b": 1e-3, "c": 5}, {"a": 0.1, "b": 0.7, "c": 0.2}, {"only": 1}]
)
def test_shares_are_exact_within_rounding(weights):
    mix = Mixture(weights, seed=3)
    total = sum(weights.values())
    seen: Counter = Counter()
    for n in range(4 * mix.block):
        draw = mix.at(n)
        assert draw.number == seen[draw.source]  # every item of a source is taken once, in order
        seen[draw.source] += 1
        slack = 1 if (n + 1) % mix.block == 0 else 2 + len(weights)
        for name, weight in weights.items():
            assert abs(seen[name] - (n + 1) * weight / total) <= slack + 1e-6


def test_the_report_sets():
    mix = Mixture(mixture.RL_ITEMS, seed=0)
    counts = Counter(mix.at(n).source for n in range(5_000))
    assert abs(counts["text"] - 2_000) <= 2
    mix = Mixture.by_tokens(mixture.MIDTRAINING_TOKENS, {"text": 1_000, "audio": 250}, seed=0)
    assert float(mix.shares["text"]) == pytest.approx(1 / 17)


def test_a_stream_resumes_at_any_position_and_has_no_state():
    mix, again = Mixture({"a": 1, "b": 2}, seed=1), Mixture({"a": 1, "b": 2}, seed=1)
    stream = mix.draws()
    first = [next(stream) for _ in range(300)]
    resumed = again.draws(123)
    assert [next(resumed) for _ in range(177)] == first[123:]
    assert again.at(7) == first[7]
    assert [Mixture({"a": 1, "b": 2}, seed=2).at(n) for n in range(300)] != first


def test_shuffle_is_a_permutation_an_epoch():
    order = Shuffle(10, seed=0, name="a")
    epochs = [[order.at(10 * e + i) for i in range(10)] for e in range(3)]
    for number, epoch in enumerate(epochs):
        assert {e for e, _ in epoch} == {number} and sorted(i for _, i in epoch) == list(range(10))
    assert [i for _, i in epochs[0]] != [i for _, i in epochs[1]]
    assert [order.at(i) for i in range(10)] != [Shuffle(10, seed=0, name="b").at(i) for i in range(10)]


def test_mixture_errors():
    for weights, message in (
        ({}, "at least one source"),
        ({"a": 0}, "weight of source 'a' is 0"),
        ({"a": 1, "b": 1e-9}, "millionth"),
    ):
        with pytest.raises(ValueError, match=message):
            Mixture(weights, 0)
    with pytest.raises(ValueError, match="source 'b' needs its mean tokens"):
        Mixture.by_tokens({"a": 1, "b": 1}, {"a": 1}, 0)
    with pytest.raises(ValueError, match="source 'x' has no items"):
        Shuffle(0, 0, "x")
    with pytest.raises(ValueError, match="item -1"):
        Mixture({"a": 1}, 0).at(-1)


# Packing


def dialogues(lengths, seed=0):
    draw = np.random.default_rng(seed)
    made = []
    for number, n in enumerate(lengths):
        ids, start = draw.integers(1, 1000, n).astype(np.int32), int(draw.integers(0, n))
        states = (np.full((2, 4), number, dtype=np.float16),)
        made.append(Example(str(number), ids, np.arange(n) >= start, states))
    return made


@pytest.mark.parametrize("seed", range(5))
def test_packing_loses_and_splits_nothing(seed):
    draw = np.random.default_rng(seed)
    given = dialogues(draw.integers(1, 100, 70), seed)
    groups = packing.groups(given, max_tokens=128)
    assert sorted(int(e.name) for group in groups for e in group) == list(range(70))
    for group in groups:
        row = packing.join(group)
        assert len(row.ids) <= 128 and row.cu_seqlens[0] == 0 and row.cu_seqlens[-1] == len(row.ids)
        for s, dialogue in enumerate(group):
            part = slice(row.cu_seqlens[s], row.cu_seqlens[s + 1])
            assert np.array_equal(row.ids[part], dialogue.ids)
            assert np.array_equal(row.position_ids[part], np.arange(len(dialogue.ids)))
            assert (row.sequence_ids[part] == s).all()
            assert not row.learned[part][0]
            assert np.array_equal(row.learned[part][1:], dialogue.learned[1:])
            assert (row.states[s] == int(dialogue.name)).all()


def test_packing_is_tight_and_deterministic():
    lengths = np.random.default_rng(1).integers(10, 100, 200).tolist()
    rows = packing.pack_lengths(lengths, 128)
    assert rows == packing.pack_lengths(lengths, 128)
    assert len(rows) <= 11 / 9 * -(-sum(lengths) // 128) + 1
    assert packing.pack_lengths([6, 4, 5, 5], 10) == [[0, 1], [2, 3]]


def test_no_token_attends_across_sequences():
    rows = [packing.join(dialogues([3, 2])), packing.join(dialogues([4]))]
    batch = packing.stack(rows, pad_id=9, length=6)
    mask = packing.attention_mask(batch["sequence_ids"])
    for b, row in enumerate(rows):
        for query in range(6):
            for key in range(6):
                ids = batch["sequence_ids"][b]
                sees = key == query or (ids[query] == ids[key] != packing.PADDING and key <= query)
                assert mask[b, query, key] == sees
        assert (batch["ids"][b, len(row.ids) :] == 9).all() and not batch["learned"][b, len(row.ids) :].any()


def test_attention_of_packed_sequences_equals_that_of_each_alone():
    given = dialogues([5, 3, 4])
    row = packing.join(given)
    states = np.random.default_rng(0).standard_normal((len(row.ids), 8))

    def attend(x, mask):
        scores = np.where(mask, x @ x.T, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        return weights / weights.sum(-1, keepdims=True) @ x

    packed = attend(states, packing.attention_mask(row.sequence_ids))
    for start, end in zip(row.cu_seqlens, row.cu_seqlens[1:]):
        alone = attend(states[start:end], np.tri(end - start, dtype=bool))
        assert np.allclose(packed[start:end], alone, atol=1e-12)


def test_packing_errors_name_the_sequence():
    with pytest.raises(ValueError, match="sample 3 has 11 tokens and a row holds 10"):
        packing.groups(dialogues([1, 2, 3, 11]), 10)
    with pytest.raises(ValueError, match="item 1 has 0 tokens"):
        packing.pack_lengths([1, 0], 10)
    with pytest.raises(ValueError, match="does not fit in 2"):
        packing.stack([packing.join(dialogues([3]))], 0, length=2)


# Importers


@pytest.fixture
def table(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    def write(rows, name="part.parquet"):
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / name)
        return tmp_path / name

    return write


COLUMNS = {"audio": "clip", "question": "q", "choices": "options", "answer": "a", "extra.level": "level"}


def row(hz=440.0, **more):
    clip = {"bytes": audio.encode_wav(tone(hz)), "path": "x.wav"}
    return {"clip": clip, "q": "Which?", "options": ["low", "high"], "a": 1, "level": "hard", "unused": 1, **more}


def test_parquet(table, tmp_path):
    files = [table([row(400 + i) for i in range(100)], "a.parquet"), table([row(400)], "b.parquet")]
    out = tmp_path / "m.jsonl"
    count = importers.import_parquet(files, out, COLUMNS, fixed={"answer_type": "choice"}, answer_is_index=True)
    samples = list(read_manifest(out))
    assert count == len(samples) == 101
    assert samples[0].id == "a-1" and samples[0].answer == "high" and samples[0].choices == ("low", "high")
    assert samples[0].extra == {"level": "hard"} and samples[0].answer_type == "choice"
    assert samples[100].audio == samples[0].audio  # the same bytes are one file
    assert len(list((tmp_path / "m-audio").iterdir())) == 100
    assert np.allclose(audio.load_audio(samples[3].audio[0]), tone(403), atol=1e-4)
    first = out.read_bytes()
    importers.import_parquet(files, out, COLUMNS, fixed={"answer_type": "choice"}, answer_is_index=True)
    assert out.read_bytes() == first


def test_parquet_forms_of_audio_and_lists(table, tmp_path):
    audio.write_wav(tmp_path / "beside.wav", tone())
    rows = [{"clip": [{"bytes": None, "path": "beside.wav"}] * 2, "q": "?", "options": '["x", "y"]'}]
    out = tmp_path / "m.jsonl"
    importers.import_parquet([table(rows)], out, {"audio": "clip", "question": "q", "choices": "options"})
    (sample,) = read_manifest(out)
    assert sample.audio == (str(tmp_path / "beside.wav"),) * 2 and sample.choices == ("x", "y")


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"clip": {"bytes": b"", "path": None}}, "row 2: the audio has no bytes"),
        ({"clip": {"bytes": b"nonsense", "path": None}}, "row 2: "),
        ({"q": None}, "row 2: field 'question'"),
        ({"a": 2}, "row 2: answer '2' is not the index"),
        ({"a": None}, "row 2: answer 'None' is not the index"),
    ],
)
def test_parquet_errors_name_file_and_row_and_leave_nothing(table, tmp_path, bad, message):
    out = tmp_path / "m.jsonl"
    out.write_text("kept")
    with pytest.raises(ValueError, match=f"part.parquet, {message}"):
        importers.import_parquet([table([row(), row(**bad)])], out, COLUMNS, answer_is_index=True)
    assert out.read_text() == "kept" and not list(tmp_path.glob(".m*"))


def test_parquet_errors_of_columns_and_files(table, tmp_path):
    file, out = table([row()]), tmp_path / "m.jsonl"
    with pytest.raises(ValueError, match="no column 'sound' for audio; it has clip"):
        importers.import_parquet([file], out, {"audio": "sound"})
    with pytest.raises(ValueError, match="'choises' is no field of a sample .did you mean 'choices'"):
        importers.import_parquet([file], out, {"choises": "options"})
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match="bad.parquet cannot be read as parquet"):
        importers.import_parquet([tmp_path / "bad.parquet"], out, COLUMNS)
    with pytest.raises(OSError, match="none.parquet does not exist"):
        importers.import_parquet([tmp_path / "none.parquet"], out, COLUMNS)
    with pytest.raises(ValueError, match="row 2: id '1' was used before"):
        importers.import_parquet([table([row(), row()])], out, {**COLUMNS, "id": "unused"})
    assert not out.exists()


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    (folder / "deep").mkdir(parents=True)
    for name in ("b.wav", "a.wav", "deep/c.wav"):
        audio.write_wav(folder / name, tone())
    (folder / "notes.txt").write_text("no audio")
    return folder


def test_folder(clips, tmp_path):
    out = tmp_path / "m.jsonl"
    assert importers.import_folder(clips, out, question="What is heard?", fixed={"answer_type": "open"}) == 3
    samples = list(read_manifest(out))
    assert [s.id for s in samples] == ["a.wav", "b.wav", "deep/c.wav"]
    assert samples[2].audio == (str(clips / "deep/c.wav"),) and samples[0].answer_type == "open"


def test_folder_with_questions(clips, tmp_path):
    out, table = tmp_path / "m.jsonl", tmp_path / "q.csv"
    table.write_text('file,question,choices,answer,level\na.wav,"High, or low?",high|low,low,3\na.wav,Who?,,,\n')
    assert importers.import_folder(clips, out, table) == 2
    first, second = read_manifest(out)
    assert (first.question, first.choices, first.extra) == ("High, or low?", ("high", "low"), {"level": "3"})
    assert second.choices == () and second.answer is None and second.id == "a.wav-2"
    lines = tmp_path / "q.jsonl"
    lines.write_text(json.dumps({"file": "b.wav", "answer": "x", "tags": ["t"]}) + "\n\n")
    assert importers.import_folder(clips, out, lines, question="Which?") == 1
    (sample,) = read_manifest(out)
    assert (sample.question, sample.tags) == ("Which?", ("t",))


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("q.csv", "file,question\na.wav,Q\nz.wav,Q\n", "q.csv, line 3: .*z.wav does not exist"),
        ("q.csv", "file,question\na.wav\n", "q.csv, line 2: the row does not have the 2 cells"),
        ("q.csv", "question\nQ\n", "q.csv, line 2: field 'file' is missing"),
        ("q.csv", "file,question\nnotes.txt,Q\n", "q.csv, line 2: .*notes.txt"),
        ("q.csv", "file,question\n", "there are no rows"),
        ("q.jsonl", '{"file": "a.wav", "question": "Q"}\n{"file":\n', "q.jsonl, line 2: "),
        ("q.jsonl", '{"file": "a.wav", "qestion": "Q"}\n', "q.jsonl, line 1: unknown field 'qestion'"),
        ("q.jsonl", '{"file": "a.wav"}\n', "q.jsonl, line 1: field 'question'"),
        ("q.txt", "", "q.txt is neither .csv nor .jsonl"),
    ],
)
def test_folder_errors_name_file_and_line(clips, tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        importers.import_folder(clips, tmp_path / "m.jsonl", tmp_path / name)
    assert not (tmp_path / "m.jsonl").exists()


def test_folder_that_is_empty_or_missing(tmp_path):
    with pytest.raises(ValueError, match="holds no audio files"):
        importers.import_folder(tmp_path, tmp_path / "m.jsonl", question="?")
    with pytest.raises(ValueError, match="is not a folder"):
        importers.import_folder(tmp_path / "x", tmp_path / "m.jsonl", question="?")


def test_of_some_question_types_a_share_is_kept_spread_evenly():
    samples = [Sample(id=f"s{i}", question="x?", task="rare" if i % 2 else "usual") for i in range(80)]
    kept = thinned(samples, {"rare": 0.25})
    rare = [int(s.id[1:]) for s in kept if s.task == "rare"]
    assert [s.id for s in kept if s.task == "usual"] == [s.id for s in samples if s.task == "usual"]
    assert len(rare) == 10 and {b - a for a, b in zip(rare, rare[1:])} == {8}
    assert thinned(samples, {}) == samples and {s.task for s in thinned(samples, {"rare": 0.0})} == {"usual"}
