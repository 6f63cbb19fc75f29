"""Every evidence row runs in its reduced form, and what must hold holds."""

import importlib.util
import json
import pathlib
import sys

import pytest
from shipped import needs_weights

ROOT = pathlib.Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("evidence_run", ROOT / "evidence" / "run.py")
evidence = importlib.util.module_from_spec(SPEC)
sys.modules["evidence_run"] = evidence
SPEC.loader.exec_module(evidence)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


ASKS = (
    "distribution", "faults", "learns", "listens", "long_audio", "outside", "parity", "quantized", "resume",
    "suites", "throughput", "training",
)  # fmt: skip
ROWS = [pytest.param(name, marks=needs_weights if name in ASKS else ()) for name in evidence.row_names()]


@pytest.mark.parametrize("name", ROWS)
def test_reduced_row_holds(name):
    record = evidence.measure(name, reduced=True)
    json.dumps(record)
    assert record["figures"]
    assert all(record["holds"].values()), record["holds"]


def test_a_full_row_is_written_whole(tmp_path, monkeypatch):
    rows = tmp_path / "rows"
    rows.mkdir()
    (rows / "plain.py").write_text("def run(reduced, folder):\n    return {'figures': {'n': 1}, 'holds': {'n': 0}}\n")
    monkeypatch.setattr(evidence, "ROWS", rows)
    monkeypatch.setattr(evidence, "RESULTS", tmp_path / "out")
    assert evidence.main(["plain"]) == 1
    written = json.loads((tmp_path / "out" / "plain.json").read_text())
    assert written["figures"] == {"n": 1} and written["holds"] == {"n": False}
    assert {"row", "commit", "command", "date", "machine"} <= written.keys()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["plain.json"]


def test_unknown_row_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as left:
        evidence.main(["no_such_row"])
    assert left.value.code == 2
    assert "no row 'no_such_row'" in capsys.readouterr().err
