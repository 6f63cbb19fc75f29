"""Training, contract row 6: a fault ends a run with one sentence that says what and where; the run goes on after it.

Every fault strikes a run that has a checkpoint. The command must end within a minute, with code 1 and one sentence;
then the fault is taken away, the same command is given again, and the end is bit for bit that of a run that met none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import training_runs

from earwitness import audio, soundworld
from earwitness.data import collate, dialogue
from earwitness.records import append_line
from earwitness.train import metrics

TRAINS = True
STEPS, SECONDS = 8, 60.0
_FOLDER = re.compile(r"/\S*/")
SERVED = str(pathlib.Path(training_runs.__file__).with_name("served.py"))


@dataclasses.dataclass(frozen=True)
class Fault:
    """Something that goes wrong while a run continues."""

    says: str
    """A pattern that the sentence matches."""
    stage: str = "sft"
    ranks: int = 1
    data: Callable[[pathlib.Path], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    """Spoils what is on disk and restores it."""
    overrides: tuple[str, ...] = ()
    strike: Callable[[subprocess.Popen[str], pathlib.Path], None] | None = None
    """Done to the running command after its first new step."""


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Provoke every fault (reduced: two) and go on after each."""
    _write(folder)
    done = folder / "faults.jsonl"
    rows = {row["name"]: row for row in map(json.loads, done.read_text().splitlines())} if done.exists() else {}
    whole: dict[tuple[str, int], dict[str, Any]] = {}
    for name, fault in FAULTS.items():
        if name in rows or (reduced and name not in REDUCED):
            continue
        kind = (fault.stage, fault.ranks)
        if kind not in whole:
            place = folder / f"whole-{fault.stage}-{fault.ranks}"
            training_runs.run(folder, fault.stage, f"run={place}", ranks=fault.ranks)
            whole[kind] = training_runs.final_state(place)
        rows[name] = {"name": name, **_provoke(folder, name, fault, whole[kind])}
        append_line(done, json.dumps(rows[name]) + "\n")
    rows["placeholders"] = {"name": "placeholders", **_placeholders()}
    figures = {name: {key: value for key, value in row.items() if key != "name"} for name, row in rows.items()}
    holds = {}
    for name, row in rows.items():
        holds[name] = row["one_sentence"] and row.get("code", 1) == 1 and not row.get("different")
        holds[name] = holds[name] and row.get("seconds", 0) <= SECONDS
    return {"figures": figures, "holds": holds}


def _write(folder: pathlib.Path) -> None:
    """Write configs, a manifest and its sounds as files."""
    training_runs.manifests(folder, 24)
    lines = []
    for number, line in enumerate((folder / "data.jsonl").read_text().splitlines()):
        row = json.loads(line)
        if row.get("audio"):
            wave = soundworld.waveform(soundworld.sample("music", "train", number))
            audio.write_wav(folder / f"{number}.wav", wave)
            row["audio"] = [f"{number}.wav"]
        lines.append(json.dumps(row) + "\n")
    (folder / "data.jsonl").write_text("".join(lines))
    for stage in ("sft", "rlvr"):
        training_runs.config(folder, stage, STEPS, lr=1e-4)


def _provoke(folder: pathlib.Path, name: str, fault: Fault, whole: dict[str, Any]) -> dict[str, Any]:
    """Return what a fault did to a run, and whether the run went on as if there had been none."""
    place = folder / name
    shutil.rmtree(place, ignore_errors=True)
    training_runs.run(folder, fault.stage, f"run={place}", "--minutes=0", ranks=fault.ranks)
    os.environ["ROLLOUT_SERVER"] = str(folder / "server")
    program = (SERVED,) if fault.stage == "rlvr" else ("-m", "earwitness")
    with fault.data(folder):
        process = training_runs.start(
            folder, fault.stage, f"run={place}", *fault.overrides, ranks=fault.ranks, program=program
        )
        if fault.strike:
            while process.poll() is None and len(metrics.read(place)) < 2:
                time.sleep(0.01)
            if process.poll() is None:
                fault.strike(process, folder)
        begun = time.monotonic()
        said = _listen(process, fault.says)
        seconds = time.monotonic() - begun
        said += process.communicate()[1]
    found = [line for line in said.splitlines() if re.search(fault.says, line)]
    training_runs.run(folder, fault.stage, f"run={place}", ranks=fault.ranks)
    state = training_runs.final_state(place)
    return {
        "said": _FOLDER.sub(".../", found[0]) if found else said[-500:],
        "one_sentence": bool(found) and (fault.ranks > 1 or "Traceback" not in said),
        "code": process.returncode,
        "seconds": round(seconds, 1),
        "different": training_runs.differing(whole, state),
    }


def _listen(process: subprocess.Popen[str], pattern: str) -> str:
    """Return what a process said up to the line that matches, or all."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if re.search(pattern, line):
            break
    return said


# What goes wrong


@contextlib.contextmanager
def _cut_lines(folder: pathlib.Path) -> Iterator[None]:
    path = folder / "data.jsonl"
    text = path.read_text()
    path.write_text("".join(line[:-9] + "\n" for line in text.splitlines()))
    yield
    path.write_text(text)


@contextlib.contextmanager
def _without_sound(folder: pathlib.Path) -> Iterator[None]:
    with _sounds(folder) as paths:
        for path in paths:
            path.unlink()
        yield


@contextlib.contextmanager
def _short_sound(folder: pathlib.Path) -> Iterator[None]:
    with _sounds(folder) as paths:
        for path in paths:
            audio.write_wav(path, np.zeros(100, np.float32))
        yield


@contextlib.contextmanager
def _sounds(folder: pathlib.Path) -> Iterator[list[pathlib.Path]]:
    """Yield the sound files; afterwards they are as they were."""
    kept = {path: path.read_bytes() for path in sorted(folder.glob("*.wav"))}
    yield list(kept)
    for path, content in kept.items():
        path.write_bytes(content)


def _limit(kind: int, size: int) -> Callable[[subprocess.Popen[str], pathlib.Path], None]:
    return lambda process, folder: resource.prlimit(process.pid, kind, (size, size))


def _signal_rank(number: int) -> Callable[[subprocess.Popen[str], pathlib.Path], None]:
    def strike(process: subprocess.Popen[str], folder: pathlib.Path) -> None:
        ranks = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(ranks[-1]), number)

    return strike


def _kill_server(process: subprocess.Popen[str], folder: pathlib.Path) -> None:
    os.kill(int((folder / "server").read_text()), signal.SIGKILL)


def _placeholders() -> dict[str, Any]:
    """Return what is said of a sample whose prompt has no place for its sound; no manifest can hold one."""
    states = [[np.zeros((25, 8), np.float16)]]
    example = dialogue.Example("a7", np.arange(9, dtype=np.int32), np.arange(9) > 4, tuple(states[0]))
    try:
        collate.collate([example], 0, 99)
    except ValueError as error:
        return {"said": str(error), "one_sentence": bool(re.search("sample a7: 0 audio placeholders and", str(error)))}
    return {"said": "", "one_sentence": False}


LATE = "loop.checkpoint_seconds=3600"
FAULTS = {
    "corrupt_line": Fault(r"^earwitness: \S+data.jsonl, line \d+: ", data=_cut_lines),
    "audio_vanished": Fault(r"^earwitness: sample music-train-\d+: \S+\.wav cannot be used \(", data=_without_sound),
    "audio_too_short": Fault(r"^earwitness: sample music-train-\d+: .*less than a frame of 25 ms", data=_short_sound),
    "loss_is_nan": Fault(r"^earwitness: step \d+: the gradient is", overrides=("optimiser.lr=1e30", LATE)),
    "no_memory": Fault(
        r"^earwitness: step \d+: out of memory;", overrides=(LATE,), strike=_limit(resource.RLIMIT_AS, 1)
    ),
    "disk_full": Fault(r"^earwitness: .*checkpoint.*free space", strike=_limit(resource.RLIMIT_FSIZE, 1 << 20)),
    "rollout_server_dies": Fault(r"^earwitness: .*the rollout server is gone", stage="rlvr", strike=_kill_server),
    "rank_dies": Fault(r"exitcode *: -9|Signal 9", ranks=2, strike=_signal_rank(signal.SIGKILL)),
    "rank_hangs": Fault(r"rank 1 has been silent for \d+ s", ranks=2, strike=_signal_rank(signal.SIGSTOP)),
}
REDUCED = ("audio_vanished", "rollout_server_dies")
