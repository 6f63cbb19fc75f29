"""``earwitness score``: predictions in each benchmark's own format, and the shape of what it prints."""

import json

import numpy as np
import pytest

from earwitness import audio, cli
from earwitness.engines import Engine
from earwitness.records import Reply

MMAU = {"question": "Who barks?", "choices": ["Dog", "Cat"], "answer": "Dog", "task": "sound", "difficulty": "easy"}
MMAU |= {"sub-category": "Counting", "category": ["Reasoning"], "audio_id": "./test-mini-audios/a.wav", "dataset": "d"}
MMAR = {"question": "Who barks?", "choices": ["Dog", "Cat"], "answer": "Dog", "modality": "sound", "sub-category": "s"}
MMAR |= {"category": "Signal Layer", "audio_path": "./audio/a.wav", "rubric": [{"name": "n", "scoring_point": "s"}]}
FOUR = {"question": "Who barks?", "choice_a": "dog", "choice_b": "cat", "choice_c": "cow", "answer_gt": "dog"}
MMSU = FOUR | {"choice_d": "bird", "category": "Perception", "sub-category": "Phonology", "task_name": "t"}
AIR = FOUR | {"path": "a.wav", "task_name": "Sound_AQA", "dataset_name": "clotho"}
CHAT = {"question": "What is heard?", "answer_gt": "A dog.", "meta_info": "a dog barks", "task_name": "sound_QA"}

# Task, items as the authors write them, [(official, robust, rule)].
FILES = {
    "mmau": (
        [
            MMAU | {"id": "a", "model_output": "Dog"},
            MMAU | {"id": "b", "model_output": "B"},
            MMAU | {"id": "c", "model_output": ""},
            MMAU | {"id": "d"},
            MMAU | {"id": "e", "model_output": None},
            MMAU | {"id": "f", "model_output": "<think>a cat?</think> Dog"},
        ],
        [
            (True, True, "text"),
            (False, False, "letter"),
            (False, False, "empty"),
            (None, False, "missing"),
            (None, False, "missing"),
            (False, True, "text"),
        ],
    ),
    "mmar": (
        [
            MMAR | {"id": "a", "answer_prediction": "Dog", "thinking_prediction": "It barks."},
            MMAR | {"id": "b", "answer_prediction": "A", "thinking_prediction": ""},
        ],
        [(True, True, "text"), (False, True, "letter")],
    ),
    "mmsu": (
        [
            MMSU | {"id": 7, "response": "A"},
            MMSU | {"id": 8, "response": "dog"},
            MMSU | {"id": 9, "response": "A careful cat"},
            MMSU | {"id": 10, "response": "None"},
            MMSU | {"id": 11},
            MMSU | {"id": 12, "response": None},
        ],
        [
            (True, True, "letter"),
            (None, True, "text"),
            (True, False, "contained"),
            (False, False, "unparsed"),
            (False, False, "empty"),
            (None, False, "missing"),
        ],
    ),
    "air_bench": (
        [
            AIR | {"uniq_id": 1, "response": "A. dog"},
            AIR | {"uniq_id": 2, "response": "None"},
            CHAT | {"uniq_id": 3, "response": "A dog."},
        ],
        [(True, True, "letter"), (None, False, "unparsed"), (None, None, "unjudged")],
    ),
    "spoken_mqa": (
        [
            {"id": 0, "split": "short_digit", "answer": "12", "prediction": "The answer is 12."},
            {"id": 1, "split": "multi_step_reasoning", "answer": "#### 1,200", "prediction": "6 * 200 = 1200"},
            {"id": 2, "split": "short_digit", "answer": "12", "prediction": "twelve"},
        ],
        [(True, True, "answer_is/number"), (True, True, None), (False, True, None)],
    ),
    "big_bench_audio": (
        [
            {"id": 0, "category": "navigate", "official_answer": "Yes", "response": "Yes, you do."},
            {"id": 1, "category": "object_counting", "official_answer": "7", "response": "seven"},
            {"id": 2, "category": "formal_fallacies", "official_answer": "valid", "response": "It is invalid."},
        ],
        [(True, True, None), (True, True, None), (False, False, None)],
    ),
}


def scored(capsys, path, name, *options):
    assert cli.main(["score", str(path), "--task", name, *options]) == 0
    return capsys.readouterr()


@pytest.mark.parametrize("is_list", [True, False], ids=["list", "lines"])
@pytest.mark.parametrize("name", FILES)
def test_the_authors_format_becomes_one_json_object(name, is_list, tmp_path, capsys):
    rows, wanted = FILES[name]
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps(rows) if is_list else "".join(json.dumps(row) + "\n" for row in rows))
    told = json.loads(scored(capsys, path, name, "--json").out)
    assert list(told) == ["task", "summary", "items"] and told["task"] == name
    assert all(list(item) == ["id", "official", "robust", "rule"] for item in told["items"])
    assert [item["id"] for item in told["items"]] == [row.get("id", row.get("uniq_id")) for row in rows]
    for item, (official, robust, rule) in zip(told["items"], wanted, strict=True):
        assert (item["official"], item["robust"]) == (official, robust), item
        assert rule in (None, item["rule"]), item


def test_the_summary_says_how_many_and_leaves_nothing_out(tmp_path, capsys):
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps(FILES["mmau"][0]))
    found = json.loads(scored(capsys, path, "mmau", "--json").out)["summary"]
    assert found["n"] == 6 and found["official"]["n"] == 4 and found["robust"]["n"] == 6
    assert (found["official"]["score"], found["robust"]["score"]) == (1 / 4, 2 / 6)
    assert found["official"]["low"] < 1 / 4 < found["official"]["high"]
    counts = {name: count for name, count in found["counts"].items() if count}
    assert counts == {"left_out": 2, "empty": 1, "missing": 2}
    assert {"unparsed", "truncated", "error"} < found["counts"].keys()
    assert found["groups"]["difficulty"]["easy"]["official"]["n"] == 4
    assert sum(found["rules"].values()) == 6
    assert found["problems"] == ["item d has no field 'model_output'; it has no prediction"]


def test_people_read_lines(tmp_path, capsys):
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps(FILES["mmau"][0]))
    out, err = scored(capsys, path, "mmau")
    assert out.startswith("mmau: 6 items; left out 2, empty 1, missing 2\n")
    assert "official  25.0 %" in out and "robust    33.3 %" in out and "sub category, Counting: " in out
    assert "item d has no field" in err


def test_a_chain_that_was_cut_is_no_answer(tmp_path, capsys):
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps([MMAU | {"id": "a", "model_output": "<think>It must be the Dog"}]))
    found = json.loads(scored(capsys, path, "mmau", "--json").out)
    assert found["items"][0] == {"id": "a", "official": True, "robust": False, "rule": "truncated"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "holds no predictions"),
        ("", "holds no predictions"),
        ('[{"id": 1}]', "no item has the field 'model_output' or 'model_prediction' with the model's text; add it"),
        ('[{"id": 1, "model_output": "x"}]', "item 1: the field 'question' is missing"),
        ('[{"id": 1, "model_output": {"a": 1}, "question": "q", "choices": ["a"], "answer": "a"}]', "is a dict; give"),
        ('[{"id": 1, "model_output": "x", "question": "q", "choices": "a", "answer": "a"}]', "no list of texts"),
        ("[1]", "item 1: not a JSON object"),
        ('{"id": 1}\n{"id"', "line 2: no JSON"),
        ("[{", "line 1: no JSON"),
    ],
)
def test_a_file_that_holds_no_predictions_is_one_sentence(tmp_path, capsys, text, words):
    path = tmp_path / "predictions.json"
    path.write_text(text)
    assert cli.main(["score", str(path), "--task", "mmau"]) == 1
    out, err = capsys.readouterr()
    assert words in err and err.count("\n") == 1 and not out


def test_what_is_not_there_is_said(tmp_path, capsys):
    for options, words in (
        ([str(tmp_path / "no.json"), "--task", "mmau"], "is not a file; give the file with the predictions"),
        ([str(tmp_path), "--task", "mmau"], "holds no run.json"),
        ([str(tmp_path), "--task", "mmou"], "there is no task 'mmou'; did you mean"),
    ):
        assert cli.main(["score", *options]) == 1
        err = capsys.readouterr().err
        assert words in err and err.count("\n") == 1


# -- submissions -------------------------------------------------------------------------------------------------------


class Barks(Engine):
    """Says that it is the dog."""

    name = "barks"

    def generate(self, requests, sampling=None, on_event=None):
        for _ in requests:
            yield Reply("It barks.", "Dog")


@pytest.fixture
def run_of(tmp_path, monkeypatch, capsys):
    """Return a function that runs a task on three items and gives the arguments by which its run is scored."""
    monkeypatch.setattr("earwitness.engines.load", lambda *args, **options: Barks())
    (tmp_path / "a.wav").write_bytes(audio.encode_wav(np.zeros(800, dtype=np.float32)))

    def run(name, item, file, *options):
        field = "audio_id" if "audio_id" in item else "audio_path"
        items = [item | {"id": str(i), field: "a.wav"} for i in range(3)]
        (tmp_path / file).write_text("".join(json.dumps(each) + "\n" for each in items))
        common = ["--task", name, "--data", str(tmp_path / file)]
        assert cli.main(["eval", *common, "--out", str(tmp_path / "run"), *options]) == 0
        capsys.readouterr()
        return [str(tmp_path / "run" / name), *common], items

    return run


def test_a_run_becomes_the_file_that_authors_take(run_of, tmp_path, capsys):
    for name, item, file, out in (
        ("mmau", MMAU, "mmau-test-mini.json", "mmau.json"),
        ("mmar", MMAR, "MMAR-meta.jsonl", "mmar.jsonl"),
        ("mmsu", MMSU, "mmsu.jsonl", "mmsu-out.jsonl"),
    ):
        run, items = run_of(name, item, file)
        assert cli.main(["score", *run, "--export", str(tmp_path / out)]) == 0
        capsys.readouterr()
        text = (tmp_path / out).read_text()
        rows = json.loads(text) if out.endswith(".json") else [json.loads(line) for line in text.splitlines()]
        mmar = {"answer_prediction": "Dog", "thinking_prediction": "It barks."}
        said = {"mmau": {"model_output": "Dog"}, "mmar": mmar, "mmsu": {"response": "Dog"}}[name]
        assert rows == [each | said for each in items]
        found = json.loads(scored(capsys, tmp_path / out, name, "--json").out)["summary"]
        assert found["official"]["score"] == {"mmau": 1, "mmar": 1, "mmsu": 0}[name]  # "Dog" begins with a D


def test_what_would_mislead_is_not_exported(run_of, tmp_path, capsys):
    for options in (["--shuffle", "1"], ["--repeats", "2"]):
        run, _ = run_of("mmau", MMAU, "mmau-test-mini.json", *options)
        assert cli.main(["score", *run, "--export", str(tmp_path / "out.json")]) == 1
        assert "give a run with one repeat and the choices in their order" in capsys.readouterr().err
        for file in (tmp_path / "run" / "mmau").iterdir():
            file.unlink()
    assert not (tmp_path / "out.json").exists()
