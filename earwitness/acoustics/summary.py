"""The measurements of a recording as a list to print or to store: what is heard in it, then the events in time."""

from __future__ import annotations

from typing import Any

from earwitness.acoustics.measurements import Measurements
from earwitness.acoustics.quantity import Quantity

_MANY = 200


def quantities(found: Measurements) -> list[Quantity]:
    """Return everything that is measured on a clip as a whole, also what could not be."""
    return [
        found.duration,
        found.level(),
        found.signal_to_noise,
        found.trend(),
        found.num_events,
        found.num_onsets,
        found.num_notes,
        found.tempo,
        found.key,
        found.chord,
        found.voice_pitch(),
        found.pitch_range(),
        found.final_intonation(),
        found.syllables,
        found.speaking_rate,
        found.harmonicity(),
        found.centroid(),
        found.flatness(),
        *found.balance(),
    ]


def events(found: Measurements) -> list[dict[str, Any]]:
    """Return notes, other events and pauses in order of time, at most 200 of each kind.

    Where notes have no clear pitch they are listed as events. Times are seconds, levels dB below full scale.
    """
    rows: list[dict[str, Any]] = []
    pitched = [n for n in found.notes if n.hz is not None]
    for number, note in enumerate(found.notes[:_MANY], 1):
        if note.hz is None:
            continue
        row = {"what": "note", "number": number, "start": note.start, "end": note.end, "level_db": note.level_db}
        row |= {"pitch": note.name, "hz": note.hz, "pitch_error_semitones": note.pitch_error}
        rows.append(row | ({} if note.octave_is_sure else {"octave": "unsure"}))
    if len(pitched) < len(found.notes) or not pitched:
        for number, event in enumerate(found.events[:_MANY], 1):
            row = {"what": "sound", "number": number, "start": event.start, "end": event.end}
            rows.append(row | {"level_db": event.level_db, "centroid_hz": found.centroid(event.start, event.end).value})
    rows += [{"what": "pause", "start": a, "end": b} for a, b in found.pauses[:_MANY]]
    rows.sort(key=lambda row: (row["start"], row["what"]))
    return [{k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
