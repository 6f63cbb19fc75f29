"""Contract row: evaluation in batches against one item at a time, and what the runner costs beside generation."""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any

from load_bench import bench

RATIO, SHARE = 5.0, 0.05
_LOOSE = 4.0  # of the bounds, where few items are asked on a machine that others use


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Ask 256 items of the small model in one run, 16 of them also one by one (reduced: 24 and 2, looser bounds)."""
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        found = bench("evaluate").throughput(*((24, 2) if reduced else (256, 16)), pathlib.Path(fresh))
    loose = _LOOSE if reduced else 1.0
    holds = {"batches": found["ratio"] >= RATIO / loose, "runner": found["runner_share"] < SHARE * loose}
    return {"figures": found, "holds": holds}
