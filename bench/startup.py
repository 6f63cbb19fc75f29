"""Where the time of ``earwitness ask`` goes, from process start to the first token, on the demo clip.

A fresh process does what ``ask`` does, step by step, and notes the time after each. Writes
``bench/results/startup.json``.

    python bench/startup.py
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "startup.json"
CLIP = ROOT / "examples" / "two_notes.wav"
QUESTION = "Which note is higher, the first or the second?"

STEPS = """
import json, os, time
marks = {}
begun = float(os.environ["BEGUN"])
mark = lambda name: marks.__setitem__(name, time.time() - begun)
mark("interpreter")
import torch
mark("import torch")
import earwitness.engines.local
mark("import transformers' Qwen2 and the engine")
import earwitness as ew
engine = ew.load()
mark("load the model")
wave = ew.load_audio(CLIP)
mark("read the clip")
first = []
engine.ask(wave, QUESTION, on_event=lambda event: first or (first.append(1), mark("first token")))
mark("whole reply")
print(json.dumps(marks))
"""


def once() -> dict[str, float]:
    """Return seconds since process start at the end of each step."""
    script = STEPS.replace("CLIP", repr(str(CLIP))).replace("QUESTION", repr(QUESTION))
    environment = {**os.environ, "BEGUN": repr(time.time())}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def command_seconds(arguments: list[str]) -> float:
    """Return the wall time of a whole command."""
    start = time.perf_counter()
    command = [sys.executable, "-c", "from earwitness.cli import main; raise SystemExit(main())", *arguments]
    subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    return time.perf_counter() - start


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args(argv).rounds
    runs = [once() for _ in range(rounds)]
    at = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    names = list(at)
    took = {name: at[name] - (at[names[i - 1]] if i else 0.0) for i, name in enumerate(names)}
    result = {
        "rounds": rounds,
        "seconds_since_start": {k: round(v, 3) for k, v in at.items()},
        "seconds_of_step": {k: round(v, 3) for k, v in took.items()},
        "ask_command_seconds": round(command_seconds(["ask", str(CLIP), QUESTION]), 3),
        "help_seconds": round(statistics.median(command_seconds(["-h"]) for _ in range(rounds)), 3),
    }
    for name in names:
        print(f"{name:42} {took[name]:7.3f} s, at {at[name]:7.3f} s")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
