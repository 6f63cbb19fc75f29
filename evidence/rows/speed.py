"""Contract row 4: the ratios of ``bench/``, each measured in one run on the same weights."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Run the three benchmarks; the reduced form has few requests and checks that the tables can be made."""
    output = folder / "generate.json"
    small = ["--requests", "12", "--single", "2", "--repeats", "1", "--sizes", "12"] if reduced else []
    _bench("generate.py", *small, *(["--output", str(output)] if reduced else []))
    generate = json.loads((output if reduced else ROOT / "bench" / "results" / "generate.json").read_text())
    figures: dict[str, Any] = {"generate": generate["ratios"], "generate_dtype": generate["dtype"]}
    holds = {"batched_and_single_measured": all(ratio > 0 for ratio in generate["ratios"].values())}
    if reduced:
        return {"figures": figures, "holds": holds}
    _bench("encoder.py")
    _bench("startup.py")
    encoder = json.loads((ROOT / "bench" / "results" / "encoder.json").read_text())
    startup = json.loads((ROOT / "bench" / "results" / "startup.json").read_text())
    figures |= {"encoder": encoder, "startup": startup, "generate_runs": generate["runs"]}
    holds = {
        "batched_twice_transformers": generate["ratios"]["batched"] >= 2,
        "batch_1_not_slower": generate["ratios"]["batch 1"] >= 1,
        "encoder_quarter_of_padded": encoder["speedup_over_padded"] >= 4,
        "encoder_faster_than_unpadded": encoder["speedup_over_unpadded"] > 1,
        "encoder_70_percent_of_matmul": encoder["share_of_matmul_rate"] >= 0.7,
        "peak_not_higher": encoder["peak_megabytes"]["ours"] <= encoder["peak_megabytes"]["padded"],
        "help_below_0.3_seconds": startup["help_seconds"] < 0.3,
    }
    return {"figures": figures, "holds": holds}


def _bench(script: str, *arguments: str) -> None:
    subprocess.run([sys.executable, str(ROOT / "bench" / script), *arguments], check=True, cwd=ROOT, stdout=sys.stderr)
