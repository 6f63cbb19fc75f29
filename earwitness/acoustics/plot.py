"""A picture of a recording: waveform, spectrogram, pitch, level and onsets on one time axis. Needs matplotlib."""

from __future__ import annotations

import pathlib

import numpy as np

from earwitness.acoustics.frames import FRAME_SECONDS, RATE
from earwitness.acoustics.measurements import Measurements


def save(found: Measurements, path: str | pathlib.Path) -> None:
    """Write the picture; the ending of the path decides the format. ``ValueError`` for one that is unknown."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    frames = found.frames
    figure, (top, middle, low, bottom) = pyplot.subplots(
        4, 1, figsize=(11, 9), sharex=True, layout="constrained", height_ratios=(1, 2, 1.4, 1)
    )
    every = max(1, len(found.wave) // 40_000)
    top.plot(np.arange(0, len(found.wave), every) / RATE, found.wave[::every], linewidth=0.5)
    for at in found.onsets:
        top.axvline(at, color="tab:red", linewidth=0.7)
    top.set_ylabel("wave, onsets (red)")
    step = max(1, len(frames.power) // 2000)
    shown = 10 * np.log10(frames.power[::step].T + 1e-10)
    middle.imshow(
        shown,
        origin="lower",
        aspect="auto",
        extent=(0, found.seconds, 0, RATE / 2),
        vmin=shown.max() - 70,
        cmap="magma",
    )
    middle.set_ylabel("Hz")
    low.semilogy(found.pitch.times, found.pitch.hz, ".", markersize=2.5)
    for note in found.notes:
        if note.hz:
            low.plot([note.start, note.end], [note.hz, note.hz], color="tab:orange", linewidth=2, alpha=0.6)
            if len(found.notes) <= 40:
                low.annotate(note.name, (note.start, note.hz), textcoords="offset points", xytext=(0, 4), fontsize=8)
    low.set_ylabel("pitch, Hz")
    bottom.plot(np.arange(len(frames.level_db)) * FRAME_SECONDS, frames.level_db, linewidth=0.8)
    bottom.set_ylabel("level, dB")
    bottom.set_xlabel("seconds")
    bottom.set_xlim(0, found.seconds)
    try:
        figure.savefig(path, dpi=120)
    except ValueError as error:
        if "format" in str(error).lower():
            raise ValueError(f"{path} has no picture format that is known; end it in .png, .svg or .pdf") from None
        raise
    finally:
        pyplot.close(figure)
