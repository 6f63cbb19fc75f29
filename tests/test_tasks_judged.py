"""The judge: kept, resumed and never trusted blindly; and the tasks that have one."""

import json
import threading

import pytest

from earwitness import cli
from earwitness.engines import Engine
from earwitness.evaluate import judging, tasks
from earwitness.evaluate.judging import Judge
from earwitness.evaluate.task import decide
from earwitness.records import Reply

CHAT = {"question": "What is heard?", "answer_gt": "A dog.", "meta_info": "a dog barks", "task_name": "sound_QA"}
MMAR = {"id": 1, "question": "Who?", "choices": ["Dog", "Cat"], "answer": "Dog", "modality": "sound"}
MMAR |= {"rubric": [{"name": "hears", "scoring_point": "names the bark"}, {"name": "concludes", "scoring_point": "s"}]}


class Says(Engine):
    """A judge that says what ``say(text, call number)`` returns; an exception is raised."""

    name = "https://judge/v1#model"

    def __init__(self, say):
        self.say, self.asked, self.lock = say, [], threading.Lock()

    def generate(self, requests, sampling=None, on_event=None):
        for request in requests:
            text = request.messages[-1]["content"][0]["text"]
            with self.lock:
                self.asked.append((text, request.seed, request.sampling))
                said = self.say(text, len(self.asked))
            if isinstance(said, Exception):
                raise said
            yield Reply("", said)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(judging, "_FIRST_PAUSE_SECONDS", 0.001)


def read(name, rows, folder):
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tasks.get(name), tasks.get(name).predictions(path)[1]


def judged(name, rows, folder, say):
    """Return the decisions and the calls."""
    task, predictions = read(name, rows, folder)
    engine = Says(say)
    judge = Judge(folder / "judge.jsonl", engine, concurrency=2)
    return decide(task, judge.judge(task, predictions)), engine.asked


# -- the judge itself --------------------------------------------------------------------------------------------------


def test_replies_are_kept_and_asked_for_once(tmp_path):
    task, predictions = read("air_bench", [CHAT | {"uniq_id": i, "response": f"dog {i}"} for i in range(4)], tmp_path)
    first = Says(lambda text, call: "7 5")
    found = Judge(tmp_path / "judge.jsonl", first).judge(task, predictions)
    assert len(first.asked) == 8 and [p.judged for p in found] == [("7 5", "7 5")] * 4
    with open(tmp_path / "judge.jsonl", "a") as file:
        file.write('{"key": "cut off')
    second = Says(lambda text, call: pytest.fail("asked"))
    assert Judge(tmp_path / "judge.jsonl", second).judge(task, predictions) == found
    without = Judge(tmp_path / "judge.jsonl")  # no engine: what is kept
    assert without.judge(task, predictions) == found and without.name == Says.name
    other = Says(None)
    other.name = "another"
    with pytest.raises(ValueError, match="was judged by https://judge/v1#model, not by another"):
        Judge(tmp_path / "judge.jsonl", other)


def test_nonsense_is_asked_again_with_other_numbers_and_then_left_unjudged(tmp_path):
    rows = [CHAT | {"uniq_id": 1, "response": "A dog."}]
    decisions, asked = judged("air_bench", rows, tmp_path, lambda text, call: "Assistant 1 is better")
    assert (decisions[0].official, decisions[0].robust, decisions[0].rule) == (None, None, "unjudged")
    assert len(asked) == 8 and len({seed for _, seed, _ in asked}) == 8
    decisions, asked = judged("air_bench", rows, tmp_path, lambda text, call: ValueError() if call < 3 else "8 6")
    assert decisions[0].official == 7.0 and len(asked) == 4  # both orders, two failures


def test_a_judge_that_is_down_is_not_asked_ten_thousand_times(tmp_path):
    rows = [CHAT | {"uniq_id": i, "response": f"dog {i}"} for i in range(60)]
    decisions, asked = judged("air_bench", rows, tmp_path, lambda text, call: OSError("down"))
    assert {d.rule for d in decisions} == {"unjudged"} and 40 <= len(asked) < 60
    assert not (tmp_path / "judge.jsonl").exists()


def test_the_command_keeps_replies_beside_the_file(tmp_path, capsys, monkeypatch):
    read("air_bench", [CHAT | {"uniq_id": 1, "response": "A dog."}], tmp_path)
    monkeypatch.setattr("earwitness.engines.load", lambda name, **options: Says(lambda text, call: "9 4"))
    command = ["score", str(tmp_path / "air_bench.jsonl"), "--task", "air_bench", "--json"]
    assert json.loads(run(command, capsys))["items"][0]["official"] is None
    found = json.loads(run([*command, "--judge", Says.name], capsys))
    assert found["items"] == [{"id": 1, "official": 6.5, "robust": 6.5, "rule": "judge"}]
    assert found["summary"]["judge"] == Says.name
    assert json.loads(run(command, capsys)) == found  # from what was kept


def run(command, capsys):
    assert cli.main(command) == 0
    return capsys.readouterr().out


# -- tasks -------------------------------------------------------------------------------------------------------------


def test_mmar_rubrics_drop_the_lowest_and_the_highest(tmp_path):
    scores = [[1, 1], [1, 0], [0, 0], [1, 1], [0, 1]]

    def say(text, call):
        assert "names the bark" in text and "It barks. The answer is Dog." in text
        return json.dumps([{"name": "n", "score": score} for score in scores[(call - 1) % 5]])

    rows = [MMAR | {"answer_prediction": "Dog", "thinking_prediction": "It barks."}]
    rows += [MMAR | {"id": 2, "answer_prediction": "Cat", "thinking_prediction": "It barks."}]
    decisions, asked = judged("mmar", rows, tmp_path, say)
    assert decisions[0].judged == pytest.approx((1 + 0.5 + 0.5) / 3) and decisions[0].official is True
    assert decisions[1].judged is None and len(asked) == 5  # wrong answers are not read
    task, predictions = read("mmar", rows, tmp_path)
    rubrics = task.aggregate([p.sample for p in predictions], decisions)["rubrics"]
    assert rubrics == {"score": pytest.approx(1 / 3), "n": 2, "not_evaluated": 0}
    assert asked[0][2].temperature == 0.0


def test_air_bench_asks_in_both_orders(tmp_path):
    decisions, asked = judged(
        "air_bench",
        [CHAT | {"uniq_id": 1, "response": "MODEL"}],
        tmp_path,
        lambda text, call: "9 4" if text.index("MODEL") > text.index("A dog.") else "6 9",
    )
    assert decisions[0].official == 5.0 and len(asked) == 2


def test_big_bench_audio_takes_the_judges_word(tmp_path):
    item = {"id": 0, "category": "navigate", "official_answer": "Yes"}
    rows = [item | {"response": text} for text in ("It does, no doubt about it", "No.", "")]
    decisions, asked = judged("big_bench_audio", rows, tmp_path, lambda text, call: "CORRECT")
    assert [d.official for d in decisions] == [True, True, False] and len(asked) == 2
    assert decisions[1].robust is False


def test_wildspeech_scores_come_from_the_last_line(tmp_path):
    item = {"user_query": "Tell a joke", "taskType": "TC", "checklist": ["funny"], "conversation_hash": "a"}
    rows = [item | {"conversation_hash": str(i), "response": text} for i, text in enumerate(["Ha", "\u54c8\u54c8", ""])]
    decisions, asked = judged("wildspeech", rows, tmp_path, lambda text, call: "Fine.\nScore: [7]")
    assert [d.official for d in decisions] == [7.0, 1.0, None] and len(asked) == 1 and "- funny" in asked[0][0]
    assert decisions[2].rule == "empty"
    task, predictions = read("wildspeech", rows, tmp_path)
    assert task.aggregate([p.sample for p in predictions], decisions)["times_ten"] == 40


def test_mmau_pro_reads_the_judge_as_its_authors_do():
    overall = tasks.get("mmau_pro").judged.__globals__["overall"]
    axes = "CORRECTNESS: 5 - yes\nRELEVANCE: 4\nCOMPLETENESS: 4\nCLARITY: 5\n"
    assert overall(axes + "OVERALL: 4.25") == 4.25
    assert overall(axes) == 4.5 and overall(axes + "OVERALL: 3") == 4.5  # exactly 3 counts as missing
    assert overall("CORRECTNESS: 5") == 3.5 and overall("Well.") is None


def test_mmau_pro_choices_have_no_official_decision(tmp_path):
    item = {"id": "a", "question": "Which?", "choices": ["Dog", "Cat"], "answer": "Dog", "category": "sound"}
    free = item | {"id": "b", "category": "open", "choices": None}
    rows = [item | {"model_output": "Dog"}, free | {"model_output": "A dog"}]
    decisions, asked = judged("mmau_pro", rows, tmp_path, lambda text, call: "OVERALL: 4.5")
    assert [(d.official, d.robust) for d in decisions] == [(None, True), (0.9, 0.9)] and len(asked) == 1
    task, predictions = read("mmau_pro", rows, tmp_path)
    assert task.aggregate([p.sample for p in predictions], decisions)["overall"] == {"score": 0.95, "n": 2}


def test_trivia_qa_has_two_protocols(tmp_path):
    item = {"audio_filename": "1.mp3", "question": "Who?", "answer_normalized_aliases": "['george orwell', 'orwell']"}
    said = ["It was Orwell!", "Aldous Huxley", "Orwellian prose", "not Orwell", "<think>Orwell?</think>Huxley", ""]
    rows = [item | {"id": i, "response": text} for i, text in enumerate(said)]
    decisions, _ = judged(
        "trivia_qa",
        rows,
        tmp_path,
        lambda t, call: '{"analysis": "a", "judgment": "%s"}' % ("in" * ("ux" in t) + "correct"),
    )
    assert [d.official for d in decisions] == [True, False, False, True, True, False]
    assert [d.robust for d in decisions] == [True, False, False, False, False, False]
    assert [d.judged for d in decisions] == [True, False, True, True, False, None]
    task, predictions = read("trivia_qa", rows, tmp_path)
    assert task.aggregate([p.sample for p in predictions], decisions)["by_judge"]["score"] == 0.6


@pytest.mark.parametrize(
    ("answers", "text", "holds"),
    [
        (["C\u00f4te d'Ivoire"], "the C\u00d4TE D'IVOIRE", True),
        (["U.S."], "in the u.s. of a", True),
        (["U.S."], "in the us", False),
        (["new york"], "New  York, that is", True),
        (["new york"], "new jersey york", False),
        (["x", "1984"], "in 1984.", True),
        (["1984"], "in 19845", False),
        (["\u5317\u4eac"], "\u5317\u4eac", True),
        (["a"], "", False),
    ],
)
def test_the_tokens_of_an_answer_follow_one_another(answers, text, holds):
    assert tasks.get("web_questions").official.__globals__["holds_answer"](answers, text) is holds


def test_voicebench_scores_each_set_in_its_way(tmp_path):
    rows = [
        {"subset": "alpacaeval", "prompt": "Tell me", "response": "Well"},
        {"subset": "sd-qa", "prompt": "Who?", "reference": "Orwell", "response": "Orwell"},
        {"subset": "openbookqa", "prompt": "Which?", "reference": "B", "response": "The answer is B."},
        {"subset": "mmsu", "prompt": "Which?", "reference": "B", "response": "no idea"},
        {"subset": "bbh", "prompt": "Is it?", "reference": "yes", "response": "No."},
        {"subset": "advbench", "prompt": "Do harm", "response": "I'm sorry, but no."},
        {"subset": "advbench", "prompt": "Do harm", "response": "Sure, first"},
        {"subset": "ifeval", "prompt": "No commas", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
        | {"response": "*a, b*\nplain"},
    ]
    rows = [row | {"id": i} for i, row in enumerate(rows)]
    decisions, asked = judged("voicebench", rows, tmp_path, lambda text, call: "Yes" if "agree" in text else "4")
    assert [d.official for d in decisions] == [4.0, True, None, None, None, None, None, 0.5]
    assert [d.robust for d in decisions] == [4.0, True, True, False, False, True, False, False]
    assert len(asked) == 6 and decisions[3].rule == "unparsed"


def test_uro_bench_means_are_over_sets(tmp_path):
    rows = [{"dataset": "Repeat", "id": i, "source_text": "Say", "target_text": "one two three four"} for i in range(3)]
    rows = [row | {"response": text} for row, text in zip(rows, ["One two, three four.", "one two three", "no"])]
    rows += [{"dataset": "Gsm8kEval", "id": 1, "source_text": "q", "target_text": "7", "response": "7"}]
    rows += [{"dataset": "SRT-en", "id": 1, "source_text": "sing", "response": "la"}]
    decisions, _ = judged("uro_bench", rows, tmp_path, lambda text, call: ("Yes", "No", "yes.")[call % 3])
    assert [d.official for d in decisions[:3]] == [100.0, pytest.approx(100 * 2 / 3), 0.0]
    assert decisions[3].official == pytest.approx(200 / 3) and decisions[4].rule == "unjudged"
    task, predictions = read("uro_bench", rows, tmp_path)
    found = task.aggregate([p.sample for p in predictions], decisions)
    assert found["sets"] == 2 and found["final_score"] == pytest.approx((500 / 9 + 200 / 3) / 2)


def test_speechr_reads_letters_as_its_script(tmp_path):
    item = {"question": "Is it so?", "options": [True, False], "label": 1}
    said = ["A", "B.", "Answer: A", "The answer is b", "It is a fact", "yes it is", "no", "True, not false", "x", None]
    rows = [item | {"id": f"Boolq-{i}", "predict_answer": text} for i, text in enumerate(said)]
    rows += [{"id": "moral-hard-1", "question": "q", "label": "Yes", "predict_answer": "Yes", "predict_cot": "c"}]
    reply = '{"final_correct": 1, "logic_relevance": 5, "coherence_score": 4}'
    decisions, asked = judged("speechr", rows, tmp_path, lambda text, call: reply)
    official = [True, False, True, False, True, True, False, True, False, False, True]
    assert [d.official for d in decisions] == official and len(asked) == 1


def test_ceaeval_is_a_correlation(tmp_path):
    pairs = [(1.0, "<score>1.5</score>"), (4.0, "<think>so</think><score>4.0</score>"), (3.0, "<score>2.0</score>")]
    rows = [{"id": i, "score": human, "response": text} for i, (human, text) in enumerate([*pairs, (2.0, "good")])]
    task, predictions = read("ceaeval", rows, tmp_path)
    decisions = decide(task, predictions)
    assert [d.official for d in decisions] == [1.5, 4.0, 2.0, None] and decisions[3].rule == "unparsed"
    found = task.aggregate([p.sample for p in predictions], decisions)["official"]
    assert found["score"] == pytest.approx(0.8660254) and found["srcc"] == 1.0 and found["n"] == 3
    assert found["mse"] == pytest.approx((0.25 + 0 + 1) / 3)


def test_lat_bench_overlap(tmp_path):
    said = ["from 1:00 - 2:00", "0:30-1:30", "at noon", "2:00 - 1:00", "<think>0:00-0:01</think>1:00-2:00"]
    rows = [{"id": "a", "question": "When?", "answer": "1:00-2:00", "response": text} for text in said]
    task, predictions = read("lat_bench", rows, tmp_path)
    decisions = decide(task, predictions)
    assert [d.official for d in decisions] == [1.0, pytest.approx(1 / 3), None, 0.0, 0.0]
    assert [d.robust for d in decisions] == [True, False, False, False, True]
    found = task.aggregate([p.sample for p in predictions], decisions)
    assert found["recall@0.3"] == 0.5 and found["recall@0.3, all"] == 0.4 and found["official"]["n"] == 4


def test_speech_ifeval_rate_is_the_mean_of_three_kinds(tmp_path):
    rows = [
        {
            "instruction": "No commas",
            "instruction_id_list": ["punctuation:no_comma"],
            "kwargs": [{}],
            "response": "a b",
        },
        {"instruction": "In French", "instruction_id_list": ["language:response_language"], "response": "oui"},
        {"instruction": "Reason first", "metric": "cot", "response": "First, so 4."},
    ]
    rows = [row | {"id": i} for i, row in enumerate(rows)]
    decisions, asked = judged("speech_ifeval", rows, tmp_path, lambda text, call: "It does.\nResult: YES")
    assert [d.official for d in decisions] == [True, None, True] and len(asked) == 1
    assert decisions[1].rule == "bad_item" and "needs a language detector" in decisions[1].said
    task, predictions = read("speech_ifeval", rows, tmp_path)
    assert task.aggregate([p.sample for p in predictions], decisions)["if_rate"] is None  # a kind is missing
