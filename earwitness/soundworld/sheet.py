"""A contact sheet: waveform, spectrogram, question and answer of items, as one PNG."""

from __future__ import annotations

import os
import pathlib
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from earwitness import audio, soundworld
from earwitness.records import Sample
from earwitness.soundworld.core import SAMPLE_RATE, Span

_MAX_ITEMS = 48
_COLUMNS = 3
_WRAP = 62
_BLOCK = 80
"""Samples drawn as one column, from their lowest to their highest: 5 ms."""
_ITEM_INCHES = (4.6, 3.3)


def draw(items: Sequence[Sample], path: str | os.PathLike) -> None:
    """Draw items on a PNG of at most three columns; the spectrogram is the log-mel that the model hears.

    Raises:
        ValueError: no items, too many, or a name that does not end in .png.
        ModuleNotFoundError: matplotlib is not installed (extra ``train``).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = pathlib.Path(path).expanduser()
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path} does not end in .png; contact sheets are PNG files")
    if not 1 <= len(items) <= _MAX_ITEMS:
        raise ValueError(
            f"a contact sheet holds 1 to {_MAX_ITEMS} items and {len(items)} were asked for; lower --count"
        )
    columns = min(_COLUMNS, len(items))
    rows = -(-len(items) // columns)
    figure = Figure(figsize=(columns * _ITEM_INCHES[0], rows * _ITEM_INCHES[1]), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    cells = figure.subfigures(rows, columns, squeeze=False).flatten()
    for cell, item in zip(cells, items):
        _draw_item(cell, item)
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        figure.savefig(partial, format="png")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(
            f"{path} cannot be written ({error.strerror or error}); free space or give another path"
        ) from error


def _draw_item(cell: Any, item: Sample) -> None:
    wave, spans = soundworld.spans(item)
    wave = wave if len(wave) else np.zeros(SAMPLE_RATE, np.float32)  # an item without audio is drawn as silence
    seconds = len(wave) / SAMPLE_RATE
    steps = ", ".join(item.tags)
    question = textwrap.fill(item.question, _WRAP)
    options = textwrap.fill(" / ".join(f"[{c}]" if c == item.answer else c for c in item.choices), _WRAP)
    cell.suptitle(f"{item.id}  {item.task}  {steps}\n{question}\n{options}", fontsize=7, x=0.02, ha="left")
    above, below = cell.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    blocks = wave[: len(wave) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    times = [i * _BLOCK / SAMPLE_RATE for i in range(len(blocks))]
    above.fill_between(times, blocks.min(axis=1), blocks.max(axis=1), linewidth=0.4, color="tab:blue")
    peak = max(1e-3, float(abs(wave).max()))
    above.set(ylim=(-peak, peak), yticks=[])
    mel = audio.log_mel(wave)
    below.imshow(mel, origin="lower", aspect="auto", extent=(0, mel.shape[1] / 100, 0, mel.shape[0]), cmap="magma")
    below.set(xlim=(0, seconds), yticks=[0, 64, 128], ylabel="mel bin", xlabel="seconds")
    for start in sorted({span.start for span in spans if _is_event(span, seconds)}):
        below.axvline(start, color="white", linewidth=0.4, alpha=0.6)
    for axes in (above, below):
        axes.tick_params(labelsize=6)
    below.xaxis.label.set_size(6)
    below.yaxis.label.set_size(6)


def _is_event(span: Span, seconds: float) -> bool:
    return span.end - span.start < 0.9 * seconds
