"""What a run tells while it runs: a line on the terminal, ``metrics.jsonl``, TensorBoard where it is installed."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any, TextIO

TOKENS, SECONDS = "tokens", "seconds"


class Metrics:
    """Averages numbers over a window of steps; writes them once a window, on the first rank."""

    def __init__(self, folder: pathlib.Path, is_writer: bool, every: int) -> None:
        """Open the logs of a run.

        Args:
            folder: the run folder.
            is_writer: False on all ranks but one.
            every: steps in a window.
        """
        self._writer = _tensorboard(folder) if is_writer else None
        self._file = _append(folder / "metrics.jsonl") if is_writer else None
        self._every, self._window = every, list[dict[str, float]]()

    def add(self, step: int, last: int, numbers: dict[str, float]) -> None:
        """Add the numbers of a finished step, the same on every rank.

        ``tokens`` and ``seconds`` become tokens per second; with them comes the time left to step ``last``.
        """
        self._window.append(numbers)
        if step % self._every and step != last:
            return
        names = dict.fromkeys(name for window in self._window for name in window)
        means = {n: _mean([w[n] for w in self._window if n in w]) for n in names}
        self._window = []
        if self._file is None:
            return
        self._file.write(json.dumps({"step": step, **{n: float(f"{v:.9g}") for n, v in means.items()}}) + "\n")
        self._file.flush()
        if self._writer:
            for name, value in means.items():
                self._writer.add_scalar(name, value, step)
        print(_line(step, last, means), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Close the files."""
        if self._file:
            self._file.close()
        if self._writer:
            self._writer.close()


def read(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Return the rows of a run's ``metrics.jsonl`` in order of steps.

    A run that was killed logged steps which it then did again: the last row of a step counts. A line that the kill cut
    short is left out.
    """
    path = folder / "metrics.jsonl"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; name the folder of a run that has made a step")
    rows: dict[int, dict[str, Any]] = {}
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[row["step"]] = row
    return [rows[step] for step in sorted(rows)]


def _append(path: pathlib.Path) -> TextIO:
    """Open a file of lines at its end; a line that a kill cut short is ended first."""
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    if file.tell():
        file.seek(file.tell() - 1)
        if file.read() != "\n":
            file.write("\n")
    return file


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _line(step: int, last: int, means: dict[str, float]) -> str:
    shown = [f"{name} {value:.4g}" for name, value in means.items() if name not in (TOKENS, SECONDS)]
    seconds = means.get(SECONDS, 0.0)
    if seconds and TOKENS in means:
        shown.append(f"{means[TOKENS] / seconds:,.0f} tokens/s")
    return f"step {step} of {last}: {', '.join(shown)}; {seconds * (last - step) / 60:.1f} min left"


def _tensorboard(folder: pathlib.Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # in the extra "train"; the other logs hold the same numbers
        return None
    return SummaryWriter(str(folder / "tensorboard"))
