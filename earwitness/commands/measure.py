"""``earwitness measure``: what can be measured in any recording, with no model at all."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earwitness.acoustics import Quantity

SUMMARY = "measure pitch, notes, loudness, rhythm, voice and timbre in a recording; needs no model"
EXAMPLES = """examples:
  earwitness measure clip.wav
  earwitness measure interview.m4a --plot interview.png
  earwitness measure clip.wav --json"""

_GROUPS = {
    "clip": ("duration", "level", "signal-to-noise ratio", "loudness trend", "events", "onsets"),
    "music": ("notes", "tempo", "key", "chord"),
    "voice": ("voice pitch", "pitch range", "final intonation", "syllables", "speaking rate"),
    "timbre": ("harmonics-to-noise ratio", "spectral centroid", "spectral flatness", "energy"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("clip", metavar="CLIP", help="an audio or video file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--plot", metavar="FILE", help="also draw waveform, spectrogram, pitch and level (.png, .svg)")


def run(args: argparse.Namespace) -> int:
    """Print the measurements and return 0."""
    from earwitness import audio
    from earwitness.acoustics import Measurements, summary

    found = Measurements(audio.load_audio(args.clip))
    if args.plot:
        from earwitness.acoustics import plot

        plot.save(found, args.plot)
        print(f"earwitness: the picture is in {args.plot}", file=sys.stderr)
    quantities, events = summary.quantities(found), summary.events(found)
    if args.json:
        record = {"clip": args.clip, "measurements": [q.to_json() for q in quantities], "events": events}
        print(json.dumps(record, ensure_ascii=False))
    else:
        _print(quantities, events)
    return 0


def _print(quantities: list[Quantity], events: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "measured", "value", "surely within", "where"):
        table.add_column(heading, justify="right" if heading == "value" else "left", no_wrap=True)
    table.add_column("remark", style="dim")
    whole = quantities[0].number
    made = [q for q in quantities if q.value is not None]
    for group, names in _GROUPS.items():
        for i, q in enumerate([q for q in made if q.name.startswith(names)]):
            table.add_row(group if i == 0 else "", *_cells(q, whole))
    console.print(table)
    for q in quantities:
        if q.value is None:
            console.print(f"not measurable: {q.name}, {q.note}", style="dim")
    if events:
        rows = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="in time", title_justify="left")
        for heading in ("from", "to", "what", "pitch", "level"):
            rows.add_column(heading, justify="left" if heading in ("what", "pitch") else "right")
        for event in events:
            rows.add_row(*_event_cells(event))
        console.print(rows)


def _cells(q: Quantity, whole: float) -> list[str]:
    """Return name, value with unit, interval, the span where it is not the whole clip, and the remark."""
    value = q.value if isinstance(q.value, str) else f"{_short(q.number)} {q.unit}".strip()
    interval = f"{_short(q.low)} to {_short(q.high)}" if isinstance(q.value, (int, float)) and q.low < q.high else ""
    where = f"{q.start:.2f} to {q.end:.2f} s" if q.end - q.start < 0.95 * whole else ""
    return [q.name, value, interval, where, q.note]


def _event_cells(event: dict[str, Any]) -> list[str]:
    what = f"{event['what']} {event['number']}" if "number" in event else event["what"]
    pitch = f"{event['pitch']} ({event['hz']:.1f} Hz)" if "hz" in event else ""
    if not pitch and event.get("centroid_hz"):
        pitch = f"centroid {event['centroid_hz']:.0f} Hz"
    level = f"{event['level_db']:.1f} dB" if "level_db" in event else ""
    return [f"{event['start']:.2f}", f"{event['end']:.2f}", what, pitch, level]


def _short(x: float) -> str:
    return f"{x:.0f}" if abs(x) >= 100 else f"{x:.3g}"
