"""Contract row 5: every kind of bad input has a test, and each gives the right result or one sentence."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = ("test_audio_files.py", "test_cli.py", "test_engines.py", "test_model_checkpoint.py", "test_model_config.py")


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Run the tests that feed bad input; reduced, only count them, since the test suite runs them beside."""
    del folder
    paths = [f"tests/{name}" for name in FILES]
    command = [sys.executable, "-m", "pytest", *paths, *(["--collect-only"] if reduced else [])]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    last = out.strip().splitlines()[-1]
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error|skipped|tests? collected)", last)}
    figures = {"files": list(FILES), "result": last, **counts}
    total = counts.get("passed", 0) + counts.get("tests collected", 0)
    return {"figures": figures, "holds": {"no_failure": not counts.keys() & {"failed", "error"}, "tests": total > 100}}
