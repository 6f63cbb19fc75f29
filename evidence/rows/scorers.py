"""Contract row: the official scorers decide as the authors' scripts do, on every case of tables written by hand."""

from __future__ import annotations

import importlib
import pathlib
import sys
import tempfile
from typing import Any

TESTS = pathlib.Path(__file__).resolve().parents[2] / "tests"
LEAST = 60
"""Cases that each scorer has at least."""


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Score all cases of ``tests/tables``, as ``earwitness score`` reads them; the reduced form is the same."""
    del reduced
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))
    tables = importlib.import_module("test_tasks_official")
    figures: dict[str, Any] = {}
    holds: dict[str, bool] = {}
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        for name in tables.FIELDS:
            pairs = list(zip(tables.cases(name), tables.decisions(name, pathlib.Path(fresh)), strict=True))
            agreed = sum(decision.official is official for (_, _, official, _), decision in pairs)
            fixed = [(robust, decision.robust) for (_, _, _, robust), decision in pairs if robust is not None]
            figures[name] = {
                "cases": len(pairs),
                "official_agrees": agreed,
                "left_out_by_the_authors": sum(official is None for (_, _, official, _), _ in pairs),
                "robust_fixed": len(fixed),
                "robust_agrees": sum(wanted is found for wanted, found in fixed),
                "longest_output": max(len(text or "") for (_, text, _, _), _ in pairs),
            }
            holds[name] = agreed == len(pairs) >= LEAST
            holds[f"{name}_robust"] = figures[name]["robust_agrees"] == len(fixed)
    return {"figures": figures, "holds": holds}
