"""The tasks inside inspect_ai: the same items and verdicts; skipped where it is not installed (extra ``inspect``)."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

inspect_ai = pytest.importorskip("inspect_ai")

from inspect_ai.model import ContentAudio, ContentText, ModelOutput, ModelUsage, get_model  # noqa: E402

from earwitness import audio  # noqa: E402
from earwitness.evaluate import inspect_tasks, tasks  # noqa: E402

ITEM = {"question": "Who barks?", "choices": ["Dog", "Cat"], "answer": "Dog", "task": "sound", "sub-category": "s"}
FOUR = {"question": "Who barks?", "choice_a": "dog", "choice_b": "cat", "answer_gt": "dog", "task_name": "t"}


@pytest.fixture
def mmau(tmp_path):
    (tmp_path / "a.wav").write_bytes(audio.encode_wav(np.zeros(1600, dtype=np.float32)))
    items = [ITEM | {"id": name, "audio_id": "a.wav"} for name in ("a", "b", "c", "a")]
    (tmp_path / "mmau-test-mini.json").write_text(json.dumps(items))
    return tmp_path


def replies(*texts, **more):
    """Return what a mock says; with its usage, because inspect_ai would fetch a tokenizer to count it."""
    found = [ModelOutput.from_content("mockllm/model", text, **more) for text in texts]
    for each in found:
        each.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
    return found


def run(task, said, folder, **more):
    model = get_model("mockllm/model", custom_outputs=said)
    (log,) = inspect_ai.eval(task, model=model, log_dir=str(folder / "logs"), display="none", max_connections=1, **more)
    assert log.status == "success", log.error
    return log


def test_items_and_verdicts_are_ours(mmau):
    said = replies("Dog", "B", "<think>cat?</think>Dog") + replies("It must be the Dog", stop_reason="max_tokens")
    log = run(inspect_tasks.inspect_task("mmau", str(mmau)), said, mmau)
    found = {s.id: {name: (x.value, x.explanation) for name, x in s.scores.items()} for s in log.samples}
    assert found == {
        "a": {"official": (1.0, "text"), "robust": (1.0, "text")},
        "b": {"official": (0.0, "letter"), "robust": (0.0, "letter")},
        "c": {"official": (0.0, "text"), "robust": (1.0, "text")},
        "a (2)": {"official": (1.0, "truncated"), "robust": (0.0, "truncated")},
    }
    assert {s.name: s.metrics["mean"].value for s in log.results.scores} == {"official": 0.5, "robust": 0.5}
    assert "the id a stands twice" in " ".join(log.eval.metadata["problems"])


def test_the_question_is_asked_with_its_clip(mmau):
    log = run(inspect_tasks.inspect_task("mmau", str(mmau)), replies(*["Dog"] * 4), mmau)
    text, clip = log.samples[0].messages[0].content
    assert isinstance(text, ContentText) and text.text == tasks.get("mmau").text(
        tasks.get("mmau").load(mmau).samples[0]
    )
    assert isinstance(clip, ContentAudio) and clip.format == "wav"
    (message,) = inspect_tasks.chat([{"role": "human", "content": [{"type": "audio", "audio": str(mmau / "a.wav")}]}])
    assert message.role == "user" and message.content[0].audio.startswith("data:audio/wav;base64,")


def test_what_the_authors_leave_out_is_unscored(tmp_path):
    (tmp_path / "a.wav").write_bytes(audio.encode_wav(np.zeros(1600, dtype=np.float32)))
    rows = [FOUR | {"id": i, "audio_path": "a.wav"} for i in range(2)]
    (tmp_path / "mmsu.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = replies("dog", "A")
    task = inspect_tasks.inspect_task("mmsu", str(tmp_path / "mmsu.jsonl"))
    log = run(task, said, tmp_path)
    official = [s.scores["official"].value for s in log.samples]
    assert math.isnan(official[0]) and official[1] == 1.0
    scores = {s.name: s for s in log.results.scores}
    assert scores["official"].metrics["mean"].value == 1.0 and scores["official"].unscored_samples == 1
    assert scores["robust"].metrics["mean"].value == 1.0 and scores["robust"].scored_samples == 2


def test_a_grader_decides_what_rules_cannot(tmp_path):
    (tmp_path / "a.wav").write_bytes(audio.encode_wav(np.zeros(1600, dtype=np.float32)))
    row = {
        "uniq_id": 1,
        "question": "What is heard?",
        "answer_gt": "A dog.",
        "meta_info": "a dog barks",
        "path": "a.wav",
    }
    (tmp_path / "sound_QA_clotho").mkdir()
    (tmp_path / "a.wav").rename(tmp_path / "sound_QA_clotho" / "a.wav")
    (tmp_path / "Chat_meta.json").write_text(json.dumps([row | {"task_name": "sound_QA", "dataset_name": "clotho"}]))
    task = inspect_tasks.inspect_task("air_bench", str(tmp_path / "Chat_meta.json"), judge=True)
    grader = get_model("mockllm/model", custom_outputs=replies(*["8 6"] * 8), memoize=False)
    log = run(task, replies("A dog"), tmp_path, model_roles={"grader": grader})
    assert log.samples[0].scores["official"].value == 7.0


def test_tasks_are_registered_under_the_name_of_the_package(tmp_path):
    # Away from the checkout, whose egg-info would hide from inspect_ai that the package is installed.
    code = (
        "from earwitness.evaluate import inspect_tasks, tasks; from inspect_ai._util import registry;"
        "assert all(registry.registry_lookup('task', f'earwitness/{name}') for name in tasks.IDS)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(ValueError, match="there is no task 'mmou'"):
        inspect_tasks.inspect_task("mmou")
