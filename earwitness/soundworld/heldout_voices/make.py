"""Make the held-out recordings of the speech suite: every word of its vocabulary by two voices of flite.

Needs the ``flite`` program (``apt-get install flite``), and only when the vocabulary changes:

    python -m earwitness.soundworld.heldout_voices.make

Writes ``slt.ogg`` (a woman), ``rms.ogg`` (a man) and ``index.json`` (voice -> word -> first and last sample) beside
this file. Flite and its voices are free software under a licence in the manner of BSD.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import tempfile

import numpy as np
import soundfile

from earwitness.soundworld.speech_facts import CATEGORY

_RATE = 16_000
_PAUSE = 800  # samples between words, so that the codec does not smear one into the next


def _say(word: str, voice: str) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "word.wav"
        subprocess.run(["flite", "-voice", voice, "-t", word, "-o", str(path)], check=True)
        wave, rate = soundfile.read(path, dtype="float32")
    if rate != _RATE:
        raise OSError(f"flite's voice {voice} speaks at {rate} Hz, not {_RATE}; use another version of flite")
    loud = np.flatnonzero(np.abs(wave) > 0.02 * np.abs(wave).max())
    return wave[max(int(loud[0]) - 80, 0) : int(loud[-1]) + 240]


def main() -> None:
    """Write the recordings and their index."""
    here, index = pathlib.Path(__file__).parent, {}
    for voice in ("slt", "rms"):
        parts, words, at = [], {}, 0
        for word in CATEGORY:
            wave = _say(word, voice)
            words[word] = [at, at + len(wave)]
            parts += [wave, np.zeros(_PAUSE, np.float32)]
            at += len(wave) + _PAUSE
        soundfile.write(here / f"{voice}.ogg", np.concatenate(parts), _RATE, format="OGG", subtype="VORBIS")
        index[voice] = words
    (here / "index.json").write_text(json.dumps(index) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
