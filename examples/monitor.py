"""Monitoring: report when a sound is heard in a recording of any length, each report checked against the waveform.

    python examples/monitor.py night.flac siren
    python examples/monitor.py night.flac "smoke detector" http://localhost:8000/v1
    python examples/monitor.py                   three minutes made by SoundWorld, with two sirens among other sounds

The third word is a model: a folder, a hub name or a URL; without it the small model of the package listens, which
knows the sounds of SoundWorld only. One JSON line is printed for each report, while the recording is heard. ``claims``
are what the model's reasoning says of the stretch, and what measuring the stretch says of that.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np

import earwitness as ew
from earwitness import audio
from earwitness.acoustics import Measurements
from earwitness.engines.long_audio import ask_long
from earwitness.grounding import verify_chain
from earwitness.soundworld.sound_synth import background, event

SIRENS = (52.0, 141.0)
OTHERS = {12.0: "dog", 31.0: "horn", 70.0: "glass", 88.0: "whistle", 109.0: "bell", 166.0: "thunder"}


def main(argv: list[str]) -> int:
    """Listen, report, and say in the end when it was heard."""
    if not argv:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "street.wav"
            audio.write_wav(path, street())
            return main([str(path), "siren"])
    path, sound, *model = argv
    engine = ew.load(model[0] if model else None)

    def report(note, wave) -> None:
        verdicts = verify_chain(note.thinking, Measurements(wave))
        claims = [{"text": v.claim.text, "outcome": v.outcome} for v in verdicts]
        print(json.dumps({"heard": sound, "start": note.start, "end": note.end, "claims": claims}), flush=True)

    reply = ask_long(engine, audio.Recording(path), f"When is there a {sound}?", on_note=report, window_seconds=10)
    print(reply.answer)
    return 0


def street() -> np.ndarray:
    """Return three minutes of a street with a pair of sounds every 20 to 30 s."""
    rng = np.random.default_rng(5)
    wave = 0.006 * background("street", 180 * audio.SAMPLE_RATE, rng)
    for at, name in [*((at, "siren") for at in SIRENS), *OTHERS.items()]:
        sound = np.concatenate([event("steps", 0.5, False, rng, False), event(name, 0.5, False, rng, False)])
        first = round(at * audio.SAMPLE_RATE)
        wave[first : first + len(sound)] += sound
    return 0.4 * wave


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
