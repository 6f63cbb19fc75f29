"""The runner: every item accounted for, resumed with the same result, and no count left out."""

import dataclasses
import importlib.util
import json
import pathlib
import signal
import subprocess
import sys
import time
import types
import weakref

import numpy as np
import pytest

from earwitness import audio, cli, prompt
from earwitness.engines import Engine, Sampling
from earwitness.engines.endpoint import EndpointEngine
from earwitness.evaluate import tasks
from earwitness.evaluate.judging import Judge
from earwitness.evaluate.run_records import RECORD_BYTES, RecordFile
from earwitness.evaluate.runner import Settings, items, run_task, waiting
from earwitness.evaluate.statistics import shuffled
from earwitness.evaluate.task import Dataset, Task
from earwitness.records import Reply, Sample

BENCH = pathlib.Path(__file__).parent.parent / "bench" / "evaluate.py"
SPEC = importlib.util.spec_from_file_location("bench_evaluate", BENCH)
bench = importlib.util.module_from_spec(SPEC)
sys.modules["bench_evaluate"] = bench
SPEC.loader.exec_module(bench)

CHOICES = ("a bell", "a long siren", "rain")


class Listen(Task):
    """The second half of the items is one group; the authors leave out what does not begin with a letter."""

    id = "listen"
    groups = {"half": lambda sample: "late" if int(sample.id) >= 5 else ""}

    def load(self, data):
        if not data.is_dir():
            raise FileNotFoundError(f"{data} is not there; give the folder")
        return Dataset(samples(10, data), "v1", "abc", ("item 3 is odd",))

    def official(self, sample, output):
        return output == sample.answer if output and output[0].isalpha() else None


def samples(count, folder=None):
    clip = ()
    if folder is not None:
        (folder / "clip.wav").write_bytes(audio.encode_wav(np.zeros(800, dtype=np.float32)))
        clip = (str(folder / "clip.wav"),)
    return tuple(
        Sample(str(i), clip, f"q{i}?", choices=CHOICES, answer=CHOICES[i % 3], answer_type="choice")
        for i in range(count)
    )


class Says(Engine):
    """Answers with what ``say(question, request)`` returns; an exception is raised. ``asked`` keeps the questions."""

    name = "says"

    def __init__(self, say, batch=4):
        self.say, self.batch, self.asked = say, batch, []

    def generate(self, requests, sampling=None, on_event=None):
        waiting = []
        for request in requests:
            waiting.append(request)
            if len(waiting) == self.batch:
                yield from map(self._reply, waiting)
                waiting = []
        yield from map(self._reply, waiting)

    def _reply(self, request):
        question = request.messages[-1]["content"][0]["text"].split("?")[0]
        self.asked.append(question)
        assert all(isinstance(clip, np.ndarray) for clip in prompt.clips(request.messages))
        said = self.say(question, request)
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, Reply) else Reply("I listen.", said, thinking_tokens=3, answer_tokens=2)


def data_of(folder, count=10):
    return Dataset(samples(count, folder), "v1", "abc")


def rows_of(folder):
    return list(RecordFile(folder).rows())


def told(folder):
    """Return the records without their timings."""
    return [{k: v for k, v in row.items() if k not in ("seconds", "first_token_seconds")} for row in rows_of(folder)]


# -- one run -----------------------------------------------------------------------------------------------------------


def test_every_item_has_a_record_and_every_count_stands_beside_the_score(tmp_path):
    odd = {
        "q1": Reply("so", "", "no_answer"),
        "q2": Reply("and on and", "", "truncated"),
        "q4": "!",
        "q7": ValueError("the prompt is too long; use a shorter clip"),
    }
    engine = Says(lambda q, request: odd.get(q, CHOICES[int(q[1:]) % 3]))
    data = dataclasses.replace(data_of(tmp_path), problems=("item 3 is odd",))
    summary = run_task(Listen(), data, engine, Settings(), tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    assert [(row["item"], row["id"], row["repeat"]) for row in rows] == [(i, str(i), 0) for i in range(10)]
    assert rows[0]["output"] == rows[0]["answer"] == "a bell" and rows[0]["thinking"] == "I listen."
    assert rows[0]["official"] is True and rows[0]["robust"] is True and rows[0]["rule"]
    assert rows[7]["status"] == "error" and rows[7]["error"] == "the prompt is too long; use a shorter clip"
    assert [row["rule"] for row in rows[1:3]] == ["empty", "truncated"] and rows[7]["rule"] == "error"
    assert {k: v for k, v in summary["counts"].items() if v} == {
        "left_out": 4,
        "unparsed": 1,
        "truncated": 1,
        "empty": 1,
        "error": 1,
    }
    assert (summary["n"], summary["official"]["n"], summary["official"]["score"]) == (10, 6, 1.0)
    assert summary["robust"]["score"] == 0.6 and summary["robust"]["n"] == 10
    assert summary["groups"]["half"]["late"]["robust"]["n"] == 5
    assert summary["problems"] == ["item 3 is odd"] and summary["version"] == "v1"
    assert summary["status"] == {"complete": 7, "no_answer": 1, "truncated": 1, "error": 1}
    assert summary["cost"]["thinking_tokens"] == 21
    assert summary["baselines"] == {
        "n": 10,
        "chance": pytest.approx(1 / 3),
        "best_position": 0.4,
        "longest_choice": 0.3,
    }
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary


def test_an_item_without_its_sound_is_an_error_and_no_guess(tmp_path):
    data = data_of(tmp_path)
    broken = dataclasses.replace(data.samples[2], audio=())
    gone = dataclasses.replace(data.samples[3], audio=(str(tmp_path / "gone.wav"),))
    data = dataclasses.replace(data, samples=(*data.samples[:2], broken, gone, *data.samples[4:]))
    engine = Says(lambda q, request: "rain")
    for concurrency in (0, 2):
        engine.asked.clear()
        run_task(Listen(), data, engine, Settings(concurrency=concurrency), tmp_path / f"run{concurrency}")
        rows = rows_of(tmp_path / f"run{concurrency}")
        assert [row["status"] for row in rows].count("error") == 2 and len(engine.asked) == 8
        assert "has no audio" in rows[2]["error"] and "gone.wav" in rows[3]["error"]


def test_long_and_strange_texts_are_kept_whole_beside_short_records(tmp_path):
    texts = ["x" * 100_000, "\ud800 half", "\u2028\x00\r\n", "", "\U0001f514" * 450, "d" * 1700, "e" * 1500]
    engine = Says(lambda q, request: Reply(texts[int(q[1:])], texts[int(q[1:])]))
    run_task(Listen(), data_of(tmp_path, len(texts)), engine, Settings(), tmp_path / "run")
    assert [row["output"] for row in rows_of(tmp_path / "run")] == texts
    lines = (tmp_path / "run" / "records.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == len(texts) and max(map(len, lines)) <= RECORD_BYTES
    (tmp_path / "run" / "long.jsonl").unlink()
    with pytest.raises(ValueError, match="lacks the text of item 0; restore"):
        rows_of(tmp_path / "run")


def test_repeats_differ_by_seed_and_are_clustered_by_item(tmp_path):
    seeds = {}

    def say(question, request):
        seeds.setdefault(question, []).append(request.seed)
        return CHOICES[int(question[1:]) % 3] if int(question[1:]) < 6 else "rain"

    summary = run_task(Listen(), data_of(tmp_path), Says(say), Settings(repeats=3), tmp_path / "run")
    assert all(len(set(of)) == 3 for of in seeds.values()) and len(set(sum(seeds.values(), []))) == 30
    assert (summary["n"], summary["items"], summary["repeats"]) == (30, 10, 3)
    once = run_task(Listen(), data_of(tmp_path), Says(say), Settings(), tmp_path / "once")
    assert summary["robust"]["runs"] == [once["robust"]["score"]] * 3
    width = summary["robust"]["high"] - summary["robust"]["low"]
    assert width > 0.9 * (once["robust"]["high"] - once["robust"]["low"])  # 30 answers are no 30 items


def test_items_of_one_recording_are_not_independent(tmp_path):
    data = data_of(tmp_path, 40)
    cut = [dataclasses.replace(s, source={"url": f"video {i // 10}"}) for i, s in enumerate(data.samples)]
    engine = Says(lambda q, request: CHOICES[int(q[1:]) % 3] if int(q[1:]) < 20 else "no idea")
    alone = run_task(Listen(), data, engine, Settings(), tmp_path / "alone")["robust"]
    shared = dataclasses.replace(data, samples=tuple(cut), sha256="def")
    together = run_task(Listen(), shared, engine, Settings(), tmp_path / "together")["robust"]
    assert together["score"] == alone["score"] == 0.5 and together["clusters"] == 4 and "clusters" not in alone
    assert together["high"] - together["low"] > 2 * (alone["high"] - alone["low"]) and "runs" not in together


def test_shuffled_choices_are_asked_and_scored_in_their_new_order(tmp_path):
    seen = []

    def say(question, request):
        text = request.messages[-1]["content"][0]["text"]
        options = dict(line.split(". ") for line in text.split("\n") if line[1:2] == ".")
        seen.append(tuple(options.values()))
        return next(letter for letter, choice in options.items() if choice == CHOICES[int(question[1:]) % 3])

    summary = run_task(Listen(), data_of(tmp_path), Says(say), Settings(shuffle=1), tmp_path / "run")
    assert summary["robust"]["score"] == 1.0 and len(set(seen)) > 2
    assert [s.choices for s in items(data_of(tmp_path), Settings(shuffle=1))] == seen
    assert {shuffled(s, 1).choices for s in samples(60)} == {
        (a, b, c) for a in CHOICES for b in CHOICES for c in CHOICES if len({a, b, c}) == 3
    }


# -- interruption ------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_where_it_stopped_and_asks_failed_items_again(tmp_path):
    settings, data = Settings(Sampling(seed=3)), data_of(tmp_path)
    right = Says(lambda q, request: f"{CHOICES[int(q[1:]) % 3]} {request.seed}")
    whole = run_task(Listen(), data, right, settings, tmp_path / "whole")
    assert [row["id"] for row in rows_of(tmp_path / "whole")] == [str(i) for i in range(10)]

    def breaks(question, request):
        if question == "q5":
            raise KeyboardInterrupt
        return ValueError("no") if question == "q1" else right.say(question, request)

    with pytest.raises(KeyboardInterrupt):
        run_task(Listen(), data, Says(breaks, batch=1), settings, tmp_path / "run")
    with open(tmp_path / "run" / "records.jsonl", "ab") as file:
        file.write(b'{"item":5,"repeat":0,"id":"5","outp')
    assert waiting(data.samples, settings, tmp_path / "run") == 6
    again = Says(right.say)
    summary = run_task(Listen(), data, again, settings, tmp_path / "run")
    assert sorted(again.asked) == ["q1", "q5", "q6", "q7", "q8", "q9"]
    assert told(tmp_path / "run") == told(tmp_path / "whole")
    assert {k: v for k, v in summary.items() if k != "cost"} == {k: v for k, v in whole.items() if k != "cost"}
    none = Says(right.say)
    run_task(Listen(), data, none, settings, tmp_path / "run")
    assert none.asked == []


def test_a_larger_limit_goes_on_and_a_smaller_one_loses_nothing(tmp_path):
    engine, data = Says(lambda q, request: "rain"), data_of(tmp_path)
    assert run_task(Listen(), data, engine, Settings(limit=3), tmp_path / "run")["n"] == 3
    assert run_task(Listen(), data, engine, Settings(), tmp_path / "run")["n"] == 10
    assert run_task(Listen(), data, engine, Settings(limit=2), tmp_path / "run")["n"] == 2
    assert len(engine.asked) == 10 and len(rows_of(tmp_path / "run")) == 10


def test_a_killed_run_ends_as_one_that_was_not(tmp_path):
    with bench.Server(misbehaves=False) as server:
        killed = subprocess.Popen(bench.client_command(server.url, 200, tmp_path / "killed"), stdout=subprocess.DEVNULL)
        records = tmp_path / "killed" / "run" / "records.jsonl"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (records.exists() and records.read_bytes().count(b"\n") > 60):
            time.sleep(0.005)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        before = records.read_bytes().count(b"\n")
        assert 60 < before < 200 and not (tmp_path / "killed" / "run" / "summary.json").exists()
        asked = sum(server.asked.values())
        for name in ("killed", "whole"):
            bench.run_client(server.url, 200, tmp_path / name, 2)
        # What was in flight when it was killed may reach the server later.
        assert 0 <= sum(server.asked.values()) - asked - (400 - before) <= 32
    assert told(tmp_path / "killed" / "run") == told(tmp_path / "whole" / "run")
    first, second = (json.loads((tmp_path / n / "run" / "summary.json").read_text()) for n in ("killed", "whole"))
    assert {k: v for k, v in first.items() if k != "cost"} == {k: v for k, v in second.items() if k != "cost"}


def test_another_run_in_the_folder_is_refused(tmp_path):
    engine, data = Says(lambda q, request: "rain"), data_of(tmp_path)
    run_task(Listen(), data, engine, Settings(limit=1), tmp_path / "run")
    for settings, words in (
        (Settings(Sampling(temperature=0.5)), "temperature 0.0, not 0.5; give another --out"),
        (Settings(prompt="authors"), "prompt 'report', not 'authors'"),
        (Settings(think=False), "think True, not False"),
    ):
        with pytest.raises(ValueError, match=words):
            run_task(Listen(), data, engine, settings, tmp_path / "run")
    with pytest.raises(ValueError, match="sha256 'abc', not 'def'"):
        run_task(Listen(), dataclasses.replace(data, sha256="def"), engine, Settings(), tmp_path / "run")
    (tmp_path / "run" / "records.jsonl").write_text('{"item": 0}\n')
    with pytest.raises(ValueError, match="line 1 is no record of a run"):
        run_task(Listen(), data, engine, Settings(), tmp_path / "run")


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"limit": 0}, {"concurrency": -1}, {"tries": 0}])
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*; it must be"):
        Settings(**wrong)


def test_a_prompt_that_a_task_does_not_have(tmp_path):
    with pytest.raises(ValueError, match="listen has no prompt 'own'; choose one of report, authors"):
        run_task(Listen(), data_of(tmp_path), Says(None), Settings(prompt="own"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# -- engines that fail -------------------------------------------------------------------------------------------------


def test_only_what_the_engine_holds_is_in_memory(tmp_path):
    clips, most = [], 0

    def say(question, request):
        nonlocal most
        clips.extend(weakref.ref(clip) for clip in prompt.clips(request.messages))
        most = max(most, sum(clip() is not None for clip in clips))
        return "rain"

    for concurrency in (0, 2):
        run_task(
            Listen(), data_of(tmp_path, 60), Says(say), Settings(concurrency=concurrency), tmp_path / f"{concurrency}"
        )
    assert 1 <= most <= 8


@pytest.mark.parametrize("concurrency", [0, 3])
def test_a_server_that_is_down_stops_the_run_with_one_sentence(tmp_path, concurrency):
    engine = Says(lambda q, request: OSError("the server is down"))
    settings = Settings(concurrency=concurrency, tries=1)
    with pytest.raises(OSError, match="20 items failed in a row, the last because the server is down; mend that"):
        run_task(Listen(), data_of(tmp_path, 60), engine, settings, tmp_path / "run")
    assert all(row["status"] == "error" for row in rows_of(tmp_path / "run")) and len(engine.asked) < 60
    mended = run_task(Listen(), data_of(tmp_path, 60), Says(lambda q, r: "rain"), settings, tmp_path / "run")
    assert mended["counts"]["error"] == 0 and mended["n"] == 60


def test_an_item_is_tried_again_and_nonsense_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("earwitness.evaluate.runner._FIRST_PAUSE_SECONDS", 0.001)
    tries = {}

    def say(question, request):
        tries[question] = tries.get(question, 0) + 1
        if question == "q2" and tries[question] < 3:
            return OSError("busy")
        return {"q4": OSError("gone"), "q5": TypeError("'str' has no get")}.get(question, "rain")

    run_task(Listen(), data_of(tmp_path), Says(say), Settings(concurrency=4, tries=3), tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    assert rows[2]["status"] == "complete" and [rows[i]["tries"] for i in (1, 2, 4, 5)] == [1, 3, 3, 1]
    assert rows[4]["error"] == "gone" and rows[5]["error"] == "TypeError: 'str' has no get"
    assert tries["q4"] == 3 and tries["q5"] == 1


def test_every_kind_of_garbage_is_a_record(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "fault", lambda item: "garbage")
    monkeypatch.setattr(bench, "_draw", lambda item, what: item)
    count = len(bench.GARBAGE)
    with bench.Server() as server:
        engine = EndpointEngine(server.url, timeout_seconds=5)
        data = bench.knocks(count, tmp_path / "clip.wav")
        summary = run_task(bench.Listed(), data, engine, Settings(concurrency=4, tries=1), tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    ends = {bench.GARBAGE[row["item"]][:60]: row["status"] for row in rows}
    assert len(rows) == count and all("\n" not in row.get("error", "") for row in rows)
    assert sorted(ends.values()).count("error") == 8
    assert summary["counts"]["error"] == 8 and summary["counts"]["truncated"] == 1 and summary["counts"]["empty"] == 1
    assert rows[5]["output"] == "\ud800 \x00 B" and len(rows[6]["output"]) > 100_000


# -- command -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def listen_task(monkeypatch):
    monkeypatch.setattr(tasks, "IDS", (*tasks.IDS, "listen", "other"))
    for name in ("listen", "other"):
        task = type("Named", (Listen,), {"id": name})()
        monkeypatch.setitem(sys.modules, f"earwitness.evaluate.tasks.{name}", types.SimpleNamespace(TASK=task))


def test_the_command_runs_tasks_and_prints_every_count(tmp_path, capsys, monkeypatch, listen_task):
    for name in ("listen", "other"):
        (tmp_path / name).mkdir()
    engine = Says(lambda q, request: "!" if q == "q4" else "a bell")
    monkeypatch.setattr("earwitness.engines.load", lambda *args, **options: engine)
    common = ["eval", "--task", "listen,other", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    assert cli.main(common) == 0
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first == (
        "listen: official 44.4 % (18.9 to 73.3), robust 40.0 % (16.8 to 68.7); n 10; left out 1, unparsed 1"
    )
    assert second.startswith("other: ") and "listen: item 3 is odd" in err
    assert json.loads((tmp_path / "run" / "summary.json").read_text()).keys() == {"listen", "other"}
    assert cli.main([*common, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["other"]["n"] == 10 and "10 of 10 are answered already" in err and len(engine.asked) == 20


def test_a_dry_run_shows_counts_and_a_prompt_and_loads_no_model(tmp_path, capsys, monkeypatch, listen_task):
    monkeypatch.setattr("earwitness.engines.load", lambda *args, **options: pytest.fail("loaded"))
    assert cli.main(["eval", "--task", "listen", "--data", str(tmp_path), "--limit", "4", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "listen: version v1, 10 items in the data, sha256 abc" in out
    assert "questions: 4 items x 1, 4 clips, 1 problems" in out
    assert "q0?" in out and "A. a bell" in out and out.rstrip().endswith("<think>")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--task", "nonsense", "--out", "x"], "there is no task 'nonsense'"),
        (["--task", "listen", "--data", "/no/where", "--out", "x"], "/no/where is not there"),
        (["--task", ",", "--out", "x"], "names no task"),
    ],
)
def test_a_wrong_command_is_one_sentence(capsys, listen_task, options, words):
    assert cli.main(["eval", *options]) == 1
    assert words in capsys.readouterr().err


# -- scoring again -----------------------------------------------------------------------------------------------------


def test_a_finished_run_is_scored_again_without_a_model(tmp_path, capsys, monkeypatch, listen_task):
    engine = Says(lambda q, request: "x" * 3000 if q == "q1" else "!" if q == "q4" else "a bell")
    monkeypatch.setattr("earwitness.engines.load", lambda *args, **options: engine)
    common = ["--task", "listen", "--data", str(tmp_path)]
    assert cli.main(["eval", *common, "--out", str(tmp_path / "run"), "--shuffle", "3", "--json"]) == 0
    before = json.loads(capsys.readouterr().out)["listen"]
    monkeypatch.setattr("earwitness.engines.load", lambda *args, **options: pytest.fail("loaded"))
    assert cli.main(["score", str(tmp_path / "run" / "listen"), *common, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert [item["id"] for item in again["items"]] == [str(i) for i in range(10)]
    for name in ("n", "official", "robust", "counts", "rules", "groups"):
        assert again["summary"][name] == before[name]
    rows = rows_of(tmp_path / "run" / "listen")
    assert [(item["official"], item["robust"], item["rule"]) for item in again["items"]] == [
        (row["official"], row["robust"], row["rule"]) for row in rows
    ]
    assert cli.main(["score", str(tmp_path / "run" / "listen"), "--task", "other", "--data", str(tmp_path)]) == 1
    assert "is a run with task listen, not other" in capsys.readouterr().err


class Opinions(Listen):
    """Its items have free answers."""

    def load(self, data):
        found = super().load(data)
        free = (dataclasses.replace(s, choices=(), answer_type="open") for s in found.samples)
        return dataclasses.replace(found, samples=tuple(free))

    def official(self, sample, output):
        return None

    def judge_messages(self, prediction):
        return [[prompt.user_message(f"{prediction.output}?")]] if prediction.output else []

    def judged(self, prediction):
        return float(prediction.judged[0]) if prediction.judged else None


def test_a_run_is_judged_and_its_judge_is_not_asked_twice(tmp_path):
    engine = Says(lambda q, request: "" if q == "q3" else f"opinion {q}")
    data = Opinions().load(tmp_path)
    blind = run_task(Opinions(), data, engine, Settings(), tmp_path / "run")
    assert blind["official"]["n"] == 0 and blind["counts"]["unjudged"] == 9 and "judge" not in blind
    asked = Says(lambda q, request: "4" if q == "opinion q1" else "2")
    for _ in range(2):
        judge = Judge(tmp_path / "run" / "judge.jsonl", asked)
        found = run_task(Opinions(), data, engine, Settings(), tmp_path / "run", judge=judge)
        assert found["official"] == {"score": 20 / 9, "n": 9} and found["counts"]["unjudged"] == 0
        assert len(asked.asked) == 9 and len(engine.asked) == 10 and found["judge"] == "says"
    rows = rows_of(tmp_path / "run")
    assert (rows[1]["official"], rows[1]["judged"], rows[1]["rule"]) == (4.0, 4.0, "judge")
    assert rows[3]["rule"] == "empty" and "judged" not in rows[3]
