"""Pages of runs: what was measured stands in them, counts included; two runs are compared on the items of both."""

import html.parser
import json
import re

import pytest

from earwitness import cli, soundworld
from earwitness.engines.protocol import Engine, Sampling
from earwitness.evaluate import report, tasks
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
    assert page.count('<mark class="') >= 1 and "knows all but 3" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)  # nothing from elsewhere
    assert (runs / "after" / "report.md").read_text() == table


def test_two_runs_are_compared_in_pairs(runs, tmp_path, capsys):
    folders = [str(runs / "before"), str(runs / "after")]
    assert cli.main(["report", *folders, "--data", "music", "--items", "0", "--out", str(tmp_path / "both.html")]) == 0
    (before,), (after,) = (report.read(runs / name) for name in ("before", "after"))
    found = report.compare(before, after)
    assert (found["n"], found["only_first"], found["only_second"]) == (30, 0, 9) and found["p"] == pytest.approx(2**-8)
    page = (tmp_path / "both.html").read_text()
    assert "-30.0 (" in page and "by think budget" in page and "0.0039" in page
    assert "<audio" not in page and capsys.readouterr().out.count("| soundworld |") == 2


def test_published_rows_are_marked_and_whole():
    for table in report.yaml.safe_load(report.PUBLISHED.read_text()):
        assert "(published)" in table["table"]
        assert all(len(values) == len(table["columns"]) for values in table["rows"].values())
    ours = report.yaml.safe_load(report.PUBLISHED.read_text())[0]["rows"]["Step-Audio-R1"]
    assert sum(ours) / len(ours) == pytest.approx(83.6, abs=0.05)


def test_what_is_no_run_is_said(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path)]) == 1
    assert "holds no finished task" in capsys.readouterr().err
    (tmp_path / "soundworld").mkdir()
    (tmp_path / "soundworld" / "summary.json").write_text(json.dumps({}))
    assert cli.main(["report", str(tmp_path)]) == 1
    with pytest.raises(SystemExit):
        cli.main(["report", str(tmp_path), "--out", "x.pdf"])
