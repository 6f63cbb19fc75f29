"""Pages of runs: what was measured stands in them, counts included; two runs are compared on the items of both."""

import dataclasses
import html.parser
import json
import re
import shutil

import pytest

from earwitness import cli, soundworld
from earwitness.engines.protocol import Engine, Sampling
from earwitness.evaluate import panels, report, tasks
from earwitness.evaluate.runner import Settings, run_task
from earwitness.evaluate.task import Dataset
from earwitness.records import Reply

TASK = tasks.get("soundworld")
SAMPLES = tuple(soundworld.sample("music", "test", number) for number in range(30))


class Knows(Engine):
    """Knows the answers to all questions but the first few."""

    def __init__(self, wrong):
        self.name, self._wrong = f"knows all but {wrong}", wrong

    def generate(self, requests, sampling=None, on_event=None):
        for request in requests:
            text = request.messages[0]["content"][0]["text"]
            place = next(i for i, sample in enumerate(SAMPLES) if TASK.text(sample) == text)
            answer = SAMPLES[place].answer if place >= self._wrong else "<b>no</b>"
            yield Reply("Note 1 is loud. <script>alert(1)</script>", answer, thinking_tokens=9)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    data = Dataset(SAMPLES, "1", "0" * 64)
    for name, wrong, budget in (("before", 12, 8), ("after", 3, None)):
        settings = Settings(Sampling(think_budget=budget))
        run_task(TASK, data, Knows(wrong), settings, root / name / "soundworld")
    return root


class Reader(html.parser.HTMLParser):
    """Checks that every element is closed in its order; keeps the tags."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        if tag not in ("meta", "br", "hr", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_shows_scores_counts_and_items(runs, capsys):
    assert cli.main(["report", str(runs / "after"), "--data", "music", "--items", "10"]) == 0
    table = capsys.readouterr().out
    assert "| after | soundworld | 30 | 90.0 (74.4-96.5) | 90.0 (74.4-96.5) |" in table
    page = (runs / "after" / "report.html").read_text()
    reader = Reader()
    reader.feed(page)
    assert reader.open == [] and reader.seen.count("audio") == reader.seen.count("details") == 10
    assert "script" not in reader.seen and "&lt;script&gt;" in page and "&lt;b&gt;no&lt;/b&gt;" in page
    assert "By length of the chain" in page and "9 to 9" in page
    assert page.count('<mark class="') >= 1 and "knows all but 3" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)  # nothing from elsewhere
    assert (runs / "after" / "report.md").read_text() == table


def test_accuracy_by_the_length_of_the_chain():
    row = {"repeat": 0, "thinking_tokens": 0, "robust": True}
    assert panels.by_length([row | {"item": i} for i in range(8)]) == {}
    rows = [row | {"item": i, "thinking_tokens": 10 * i, "robust": i < 4} for i in range(8)]
    found = panels.by_length([*rows, row | {"item": 9, "robust": None}])
    assert [(of["tokens"], of["n"], of["score"]) for of in found["bins"]] == [
        ((0, 10), 2, 1.0),
        ((20, 30), 2, 1.0),
        ((40, 50), 2, 0.0),
        ((60, 70), 2, 0.0),
    ]
    assert found["slope"] is None  # nothing was asked twice
    # Items differ, and within each item the longer of two chains is the right one: 20 tokens more, 1 more right.
    rows = [row | {"item": i, "thinking_tokens": 500 * i + 20 * r, "robust": bool(r)} for i in range(9) for r in (0, 1)]
    assert panels.by_length(rows)["slope"] == pytest.approx((5, 5, 5))


def test_two_runs_are_compared_in_pairs(runs, tmp_path, capsys):
    folders = [str(runs / "before"), str(runs / "after")]
    assert cli.main(["report", *folders, "--data", "music", "--items", "0", "--out", str(tmp_path / "both.html")]) == 0
    (before,), (after,) = (report.read(runs / name) for name in ("before", "after"))
    found = report.compare(before, after)
    assert found["detectable"] == pytest.approx(0.269, abs=0.002)
    assert (found["n"], found["only_first"], found["only_second"]) == (30, 0, 9) and found["p"] == pytest.approx(2**-8)
    page = (tmp_path / "both.html").read_text()
    assert "-30.0 (" in page and "by think budget" in page and "0.0039" in page
    assert "<audio" not in page and capsys.readouterr().out.count("| soundworld |") == 2


def test_an_id_that_stands_twice_is_compared_twice():
    rows = [{"id": "a", "repeat": 0, "robust": right} for right in (True, False)]
    first, second = (report.TaskRun(name, "t", {}, {}, of) for name, of in (("1", rows), ("2", rows[:1] * 2)))
    assert report.compare(first, second)["n"] == 2 and report.compare(first, second)["only_second"] == 1


GROUP = {
    "n": 40,
    "chance": 0.25,
    "real": {"n": 40, "accuracy": 0.9, "low": 0.8, "high": 0.95},
    "silence": {"n": 40, "accuracy": 0.3, "low": 0.2, "high": 0.45, "retention": 0.08, "p": 1e-9}
    | {"difference": [0.6, 0.4, 0.8], "dependence": 0.7, "changed": 0.7, "harm": 0.6, "help": 0.0},
    "sensitivity": {"n": 9, "value": 0.75, "low": 0.5, "high": 0.9},
    "chains": {"early_0": {"n": 9, "accuracy": 0.5, "low": 0.2, "high": 0.8}, "early_area": 0.1}
    | {"filler": {"n": 9, "accuracy": 0.5, "low": 0.2, "high": 0.8}},
    "claims": {"chains": 40, "precision": 0.9, "coverage": None, "surrogates": None},
    "conflict": {"asked for the voice": {"voice": 7, "words": 2, "n": 9}},
    "verdict": "listens",
}
for chain in ("early_0", "filler"):
    GROUP["chains"][chain]["same"] = {"n": 9, "value": 0.4, "low": 0.2, "high": 0.7}


def test_a_probe_is_a_panel_and_a_table(runs, tmp_path, capsys):
    shutil.copytree(runs / "after", tmp_path / "run")
    place = tmp_path / "run" / "soundworld"
    (place / "probe.json").write_text(json.dumps({"groups": {"music": GROUP}}))
    assert cli.main(["report", str(tmp_path / "run"), "--data", "music", "--items", "0"]) == 0
    table = capsys.readouterr().out
    assert "| items | n | official | robust | chance | silence | follows edits | steady | verdict |" in table
    assert "| music | 40 | 90.0 | 90.0 (80.0-95.0) | 25.0 | 30.0 | 75.0 | - | listens |" in table
    page = (tmp_path / "run" / "report.html").read_text()
    reader = Reader()
    reader.feed(page)
    assert reader.open == [] and "precision 90.0" in page and "follows the voice 7, the words 2, of 9" in page
    assert "<td>silence</td><td>40</td><td>30.0 (20.0-45.0)</td><td>8.0</td>" in page and "filler" in page


def test_published_rows_are_marked_and_whole():
    for table in report.yaml.safe_load(report.PUBLISHED.read_text()):
        assert "(published)" in table["table"]
        assert all(len(values) == len(table["columns"]) for values in table["rows"].values())
    known = {name for table in report.yaml.safe_load(report.PUBLISHED.read_text()) for name in table.get("tasks", ())}
    assert known <= set(tasks.IDS)
    ours = report.yaml.safe_load(report.PUBLISHED.read_text())[0]["rows"]["Step-Audio-R1"]
    assert sum(ours) / len(ours) == pytest.approx(83.6, abs=0.05)


def test_published_tables_stand_beside_the_tasks_that_they_name(runs, tmp_path):
    (run,) = report.read(runs / "after")
    for task, count in (("mmau", 1), ("big_bench_audio", 2), ("soundworld", 0)):
        page = report.write([dataclasses.replace(run, task=task)], {}, tmp_path / f"{task}.html").read_text()
        assert page.count("(published)") == count and ("GPT Realtime 0825" in page) == (count == 2)


def test_what_is_no_run_is_said(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path)]) == 1
    assert "holds no finished task" in capsys.readouterr().err
    (tmp_path / "soundworld").mkdir()
    (tmp_path / "soundworld" / "summary.json").write_text(json.dumps({}))
    assert cli.main(["report", str(tmp_path)]) == 1
    with pytest.raises(SystemExit):
        cli.main(["report", str(tmp_path), "--out", "x.pdf"])
