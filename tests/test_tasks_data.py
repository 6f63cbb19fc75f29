"""The published files: how they are read, and what is wrong with them is said, never scored in silence."""

import json
import pathlib

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from earwitness import audio, cli
from earwitness.evaluate import files, tasks
from earwitness.evaluate.task import Prediction, decide
from earwitness.evaluate.tasks import mmau

WAV = audio.encode_wav(np.zeros(800, dtype=np.float32))
ITEM = {"question": "Who barks?", "choices": ["Dog", "Cat"], "answer": "Dog", "task": "sound", "sub-category": "s"}


@pytest.fixture
def clips(monkeypatch, tmp_path):
    """Keep clips out of parquet under the test's folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home" / ".cache" / "earwitness" / "clips"


def write_mmau(folder, items):
    (folder / "test-mini-audios").mkdir(exist_ok=True)
    for item in items:
        (folder / "test-mini-audios" / f"{item['id']}.wav").write_bytes(WAV)
    (folder / "mmau-test-mini.json").write_text(json.dumps([{"audio_id": clip(item["id"])} | item for item in items]))
    return folder


def clip(name):
    return f"./test-mini-audios/{name}.wav"


def problems_of(folder, items):
    """Return what is said of these items, but for the version, which is no known one here."""
    said = tasks.get("mmau").load(write_mmau(folder, items)).problems
    return [sentence for sentence in said if "no known release" not in sentence]


# -- formats -----------------------------------------------------------------------------------------------------------


def test_mmau_from_its_folder_or_file(tmp_path):
    write_mmau(tmp_path, [ITEM | {"id": "a"}, ITEM | {"id": "b", "category": ["Reasoning"]}])
    for place in (tmp_path, tmp_path / "mmau-test-mini.json"):
        data = tasks.get("mmau").load(place)
        assert [sample.id for sample in data.samples] == ["a", "b"]
        assert pathlib.Path(data.samples[0].audio[0]).read_bytes() == WAV
        assert data.samples[0].choices == ("Dog", "Cat") and data.samples[1].extra["category"] == "Reasoning"


def test_a_release_is_known_by_its_hash(tmp_path, monkeypatch):
    write_mmau(tmp_path, [ITEM | {"id": "a"}])
    data = tasks.get("mmau").load(tmp_path)
    assert data.version == "unknown" and "is of no known release" in data.problems[0] and len(data.problems) == 1
    monkeypatch.setitem(mmau.RELEASES, data.sha256, "of today")
    data = tasks.get("mmau").load(tmp_path)
    assert (data.version, data.problems) == ("of today", ())


def test_parquet_with_sound_inside(tmp_path, clips):
    row = {"id": 1, "question": "Which?", "choice_a": "x", "choice_b": "y", "choice_c": None, "choice_d": ""}
    row |= {"answer_gt": "y", "task_name": "t", "category": "Perception", "audio": {"bytes": WAV, "path": "a.wav"}}
    parquet.write_table(pyarrow.Table.from_pylist([row, row | {"id": 2}]), tmp_path / "train-0.parquet")
    data = tasks.get("mmsu").load(tmp_path)
    assert [(s.id, s.choices, s.answer) for s in data.samples] == [("1", ("x", "y"), "y"), ("2", ("x", "y"), "y")]
    (stored,) = clips.iterdir()  # the same bytes are kept once
    assert {s.audio for s in data.samples} == {(str(stored),)} and stored.suffix == ".wav"
    assert stored.read_bytes() == WAV and not data.problems


def test_spoken_mqa_splits_are_its_files(tmp_path, clips):
    for split, answer in (("short_digit", "12"), ("multi_step_reasoning", ["#### 1,200"])):
        row = {"context": {"bytes": WAV, "path": None}, "context_transcript": "six times two"}
        row |= {"answer": {"text": answer}, "instruction": {"text": "Solve it."}}
        parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / f"{split}-00000-of-00001.parquet")
    samples = tasks.get("spoken_mqa").load(tmp_path).samples
    assert {s.task: s.answer for s in samples} == {"short_digit": "12", "multi_step_reasoning": "1200"}
    assert tasks.get("spoken_mqa").text(samples[0], "authors") == "Solve it."
    assert len({s.id for s in samples}) == 2


def test_audiobench_reads_both_of_its_layouts(tmp_path, clips):
    row = {"context": {"bytes": WAV, "path": None}, "instruction": "Which?", "choices": ["(A) light rain", "(B) wind"]}
    row |= {"answer": "(A) light rain", "other_attributes": {"task": "sound"}}
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "test-0.parquet")
    task = tasks.get("audiobench")
    (sample,) = task.load(tmp_path).samples
    assert (sample.choices, sample.answer, sample.task) == (("light rain", "wind"), "light rain", "sound")
    assert task.text(sample, "authors") == "Question:\nWhich?\nChoices:\n(A) light rain (B) wind"
    said = [task.official(sample, text) for text in ("It is light rain.", "(A)", "light rain or wind", None)]
    assert said == [True, False, False, None]
    number = {"split": "short_digit", "id": 1, "answer": "12", "prediction": "The answer is 12."}
    (tmp_path / "said.jsonl").write_text(json.dumps(number) + "\n")
    _, (given,) = task.predictions(tmp_path / "said.jsonl")
    assert task.officials([given]) == [True]


def test_air_bench_finds_its_clips(tmp_path):
    item = {"path": "a.wav", "question": "Which?", "choice_a": "x", "choice_b": "y", "answer_gt": "y", "uniq_id": 1}
    item |= {"task_name": "Audio_Grounding", "dataset_name": "AudioGrounding"}
    folder = tmp_path / "Foundation" / "Audio_Grounding_AudioGrounding"
    folder.mkdir(parents=True)
    (folder / "a.flac").write_bytes(WAV)
    (tmp_path / "Foundation_meta.json").write_text(json.dumps([item]))
    data = tasks.get("air_bench").load(tmp_path)
    assert data.samples[0].audio == (str(folder / "a.flac"),) and not data.problems


def test_prompts_are_the_reports_and_the_authors(tmp_path):
    write_mmau(tmp_path, [ITEM | {"id": "a"}])
    task = tasks.get("mmau")
    (sample,) = task.load(tmp_path).samples
    report, authors = (task.messages(sample, name)[-1]["content"] for name in task.prompts)
    assert [part["type"] for part in report] == ["text", "audio"]
    assert report[0]["text"] == (
        "Who barks?\nPlease choose the answer from the following options, do not provide any additional explanations "
        "or content: \nA. Dog\nB. Cat\n"
    )
    assert authors[0]["text"] == "Who barks?  Select one option from the provided choices.\n['Dog', 'Cat']."


# -- what is wrong with them -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"audio_id": clip("gone")}, "item b: the audio './test-mini-audios/gone.wav' is missing; put it under"),
        ({"audio_id": ""}, "item b names no audio; add the path of its clip"),
        ({"id": "a"}, "the id a stands twice; both items are scored"),
        ({"answer": "Horse"}, "item b: the answer 'Horse' is none of its choices; the authors' script scores it, the"),
        ({"answer": ""}, "item b has no answer; it is not scored"),
    ],
)
def test_one_sentence_each(tmp_path, changed, words):
    (said,) = problems_of(tmp_path, [ITEM | {"id": "a"}, ITEM | {"id": "b"} | changed])
    assert words in said and "\n" not in said


def test_many_of_a_kind_are_counted(tmp_path):
    said = problems_of(tmp_path, [ITEM | {"id": f"i{i}", "answer": "Horse"} for i in range(50)])
    assert len(said) == 21 and said[-1] == "30 more: answers that are no choice"


def test_an_answer_that_is_no_choice_is_not_scored_in_silence(tmp_path):
    task = tasks.get("mmau")
    data = task.load(write_mmau(tmp_path, [ITEM | {"id": "a", "answer": "Horse"}]))
    (decision,) = decide(task, [Prediction(data.samples[0], "Horse")])
    assert (decision.official, decision.robust, decision.rule) == (True, None, "bad_item")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[{"id": 1}]', "item 1: the field 'question' is missing; is it a file of this task?"),
        ('[{"id": 1, "question": "q", "choices": [], "answer": true}]', "the field 'answer' is a bool and not a text"),
        ('[{"id": 1, "question": "q", "choices": [{}], "answer": "a"}]', "'choices' is no list of texts; correct it"),
        ("\x00", "line 1: no JSON"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, text, words):
    (tmp_path / "mmau-test-mini.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        tasks.get("mmau").load(tmp_path)


def test_files_that_are_not_there_or_broken(tmp_path, capsys):
    (tmp_path / "latin").write_bytes('["caf\xe9"]'.encode("latin-1"))
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no")
    for name, place, words in (
        ("mmau", tmp_path / "no", "mmau-test-mini.json or mmau-test.json or *.parquet is missing; give the file"),
        ("mmau", tmp_path / "latin", "is not UTF-8 text"),
        ("mmsu", tmp_path, "not a parquet file; download it again"),
    ):
        assert cli.main(["eval", "--task", name, "--data", str(place), "--dry-run"]) == 1
        err = capsys.readouterr().err
        assert words in err and err.count("\n") == 1


def test_the_command_says_what_is_wrong_before_it_asks(tmp_path, capsys):
    write_mmau(tmp_path, [ITEM | {"id": "a"}, ITEM | {"id": "a"}])
    assert cli.main(["eval", "--task", "mmau", "--data", str(tmp_path), "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert "the id a stands twice" in err and "no known release" in err
    assert "version unknown, 2 items in the data" in out and "2 problems" in out


def test_rows_of_every_kind_of_file(tmp_path):
    (tmp_path / "a.csv").write_text('\ufeffid,text\n1,"two\nlines"\n', encoding="utf-8")
    assert list(files.rows(tmp_path / "a.csv")) == [(1, {"id": "1", "text": "two\nlines"})]
    (tmp_path / "a.json").write_text('\n\n{"id": 1}\n\n{"id": 2}\n')
    assert [row["id"] for _, row in files.rows(tmp_path / "a.json")] == [1, 2]


def test_soundworld_is_named_by_its_suites(tmp_path, monkeypatch):
    load = tasks.get("soundworld").load
    assert len(load(pathlib.Path("music/heldout")).samples) == 1000
    (tmp_path / "my-run.jsonl").write_text("{}")
    monkeypatch.chdir(tmp_path)
    for place in (".", str(tmp_path.parent)):  # a folder without a manifest stands for no choice of suites
        assert len(load(pathlib.Path(place)).samples) == 7000
    for place, words in (
        ("musik", "musik is no file, folder or suite; the suites are music"),
        ("music/dev", "no SoundW"),
    ):
        with pytest.raises(ValueError, match=words):
            load(pathlib.Path(place))


def test_a_file_without_items_is_refused(tmp_path):
    (tmp_path / "mmau-test-mini.json").write_text("[]")
    with pytest.raises(ValueError, match="holds no items; give the file that its publishers gave out"):
        tasks.get("mmau").load(tmp_path)
