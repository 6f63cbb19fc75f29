"""Contract row: against a server that fails, stalls, limits and talks nonsense, every item is accounted for."""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any

from load_bench import bench

from earwitness.evaluate.run_records import RECORD_BYTES

GIB = 1.0


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Ask 10,000 items (reduced: 300) of a server that misbehaves, from a process whose memory is measured."""
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        found = bench("evaluate").unreliable_server(
            300 if reduced else 10_000, pathlib.Path(fresh), tries=2 if reduced else 3
        )
    holds = {
        "every_item_accounted_for": found["accounted_for"] and found["records"] == found["items"],
        "errors_are_the_servers": found["right_errors"],
        "memory_below_1_gib": found["peak_gib"] < GIB,
        "records_below_2_kb": found["longest_record_bytes"] <= RECORD_BYTES,
    }
    return {"figures": found, "holds": holds}
