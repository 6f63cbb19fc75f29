"""Contract row: whatever the endpoint of a judge does, no case is lost and none passes in silence."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Run the tests with endpoints that are down, slow, busy or talk nonsense; reduced, only count them."""
    del folder
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/test_grounding_judge.py",
        *(["--collect-only"] if reduced else []),
    ]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    last = out.strip().splitlines()[-1]
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error|skipped|tests? collected)", last)}
    total = counts.get("passed", 0) + counts.get("tests collected", 0)
    holds = {"no_failure": not counts.keys() & {"failed", "error", "skipped"}, "tests": total >= 30}
    return {"figures": {"result": last, **counts}, "holds": holds}
