"""Clips of known settings with sentences that are surely true or surely false of them.

Two halves, ``tuning`` and ``heldout``: they share no sentence, no instrument, no voice and no seed. The verifier was
improved on the first, into which two earlier held-out halves went once they had been looked at; the second was written
when that was finished, and decides the figures.
"""

import collections
import dataclasses
import json
import pathlib

import numpy as np
import synths
from synths import BRASS, CLARINET, PIPE, PURE, REED, SAW, STRING, hz_of, name_of

from earwitness.acoustics import Measurements
from earwitness.grounding import verify_chain
from earwitness.soundworld.voices import synthesise

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
CARDINALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclasses.dataclass(frozen=True)
class Planted:
    """One sentence about a clip."""

    kind: str
    text: str
    is_true: bool
    wave: np.ndarray


SENTENCES = json.loads(pathlib.Path(__file__).with_name("planted_sentences.json").read_text())
_SIZES = {4: "major third", 5: "fourth", 7: "fifth", 12: "octave", 3: "minor third"}
_TEXTS = {
    "tuning": (
        "the train to the city leaves every morning",
        "my brother bought a new computer last summer",
        "we walked along the river until it was dark",
    ),
    "heldout": (
        "the orchestra plays outside on warm evenings",
        "his sister found a small coin under the carpet",
        "everyone was waiting for the end of the winter",
    ),
}
_VOICES = {"tuning": (("en-US+m3", "en-US+f2"), ("en-US+m7", "en-US+f5")), "heldout": (("en-US+m2", "en-US+f3"),)}


class Planter:
    """Collects planted sentences of one half."""

    def __init__(self, half, seed):
        self.half, self.rng, self.out = half, np.random.default_rng(seed), []
        self.words = SENTENCES[half]
        self.soft = {"tuning": ("softer", "soft"), "heldout": ("quieter", "quiet")}[half]

    def add(self, kind, wave, is_true, **fields):
        forms = self.words[kind]
        needed = [f for f in forms if _fits(f, fields)]

        text = needed[int(self.rng.integers(len(needed)))].format(**fields)
        self.out.append(Planted(kind, text, is_true, wave))

    def instrument(self):
        """Return a function (hz, seconds, level_db) -> wave of one of the half's instruments."""
        rng = self.rng
        kind = int(rng.integers(4))
        if self.half == "heldout":
            if kind == 0:
                return lambda hz, s, db: synths.fm(hz, s, db)
            if kind == 1:
                return lambda hz, s, db: synths.tone(hz, s, SAW, db, vibrato_cents=20, attack=0.04, vibrato_hz=6.2)
            return lambda hz, s, db: synths.tone(hz, s, CLARINET, db, attack=0.03, decay=2.0 * (kind - 2))
        if kind == 0:
            return lambda hz, s, db: synths.pluck(hz, s, db, seed=int(hz))
        if kind == 1:
            return lambda hz, s, db: synths.tone(hz, s, STRING, db, vibrato_cents=15, attack=0.05)
        harmonics = (REED, PURE, BRASS, PIPE)[int(rng.integers(4))]
        return lambda hz, s, db: synths.tone(hz, s, harmonics, db)


def _fits(form, fields):
    try:
        form.format(**fields)
    except KeyError:
        return False
    return True


def plant(half, rounds=10):
    """Return the planted sentences of a half."""
    p = Planter(half, {"tuning": 11, "heldout": 90125}[half])
    for r in range(rounds):
        _melodies(p)
        _levels(p)
        _shapes(p, r)
        _rhythms(p, r)
        _single(p, r)
        if r < 6:
            _speech(p, r)
    return p.out


def _melodies(p):
    rng, play = p.rng, p.instrument()
    n = int(rng.integers(3, 6))
    midis = list(rng.choice(np.arange(52, 80, 2), n, replace=False) + rng.integers(0, 2))
    cents = float(rng.uniform(-25, 25))
    wave, _ = synths.row(
        [play(hz_of(m + cents / 100), float(rng.uniform(0.25, 0.4)), -20) for m in midis], noise_db=-65
    )
    a, b = (int(x) for x in rng.choice(n, 2, replace=False))
    higher = midis[a] > midis[b]
    for is_true in (True, False):
        more = "higher" if higher == is_true else "lower"
        p.add("pitch order", wave, is_true, a=ORDINALS[a], b=ORDINALS[b], i=a + 1, j=b + 1, more=more)
        top = int(np.argmax(midis)) if is_true else int(np.argmin(midis))
        p.add("highest", wave, is_true, a=ORDINALS[top], i=top + 1)
        low = int(np.argmin(midis)) if is_true else int(np.argmax(midis))
        p.add("lowest", wave, is_true, a=ORDINALS[low], i=low + 1, adv="last" if low == n - 1 else ORDINALS[low])
        off = 0 if is_true else int(rng.choice([-3, -2, 2, 4]))
        p.add("name", wave, is_true, a=ORDINALS[a], i=a + 1, name=name_of(int(midis[a]) + off))
        p.add("hz", wave, is_true, a=ORDINALS[b], hz=hz_of(midis[b] + cents / 100) * (1 if is_true else 1.25))
        p.add("count", wave, is_true, n=CARDINALS[n + (0 if is_true else int(rng.choice([-1, 1])))])


def _levels(p):
    rng, play = p.rng, p.instrument()
    n = int(rng.integers(3, 6))
    loud = rng.permutation([True, False] + [bool(x) for x in rng.integers(0, 2, n - 2)])
    long = rng.permutation([True, False] + [bool(x) for x in rng.integers(0, 2, n - 2)])
    midi = int(rng.integers(55, 76))
    notes = [play(hz_of(midi), 0.55 if lo else 0.2, -18 if up else -31) for up, lo in zip(loud, long)]
    wave, _ = synths.row(notes, gap=0.1, noise_db=-70)
    a, b = int(rng.choice(np.flatnonzero(loud))), int(rng.choice(np.flatnonzero(~loud)))
    c, d = int(rng.choice(np.flatnonzero(long))), int(rng.choice(np.flatnonzero(~long)))
    for is_true in (True, False):
        word = "louder" if is_true else p.soft[0]
        p.add("louder", wave, is_true, a=ORDINALS[a], b=ORDINALS[b], i=a + 1, j=b + 1, louder=word)
        which = a if rng.random() < 0.5 else b
        p.add("level", wave, is_true, a=ORDINALS[which], level="loud" if (which == a) == is_true else p.soft[1])
        p.add("longer", wave, is_true, a=ORDINALS[c], b=ORDINALS[d], longer="longer" if is_true else "shorter")


def _shapes(p, r):
    rng, play = p.rng, p.instrument()
    shapes = {
        "rising": (0, 3, 5, 9),
        "falling": (9, 5, 3, 0),
        "up then down": (0, 5, 8, 2),
        "down then up": (8, 3, 1, 6),
    }
    verbs = {
        "rising": "rises",
        "falling": "descends",
        "up then down": "rises and then falls",
        "down then up": "falls and then rises",
    }
    name = list(shapes)[r % 4]
    root = int(rng.integers(55, 70))
    wave, _ = synths.row([play(hz_of(root + s), 0.3, -20) for s in shapes[name]], noise_db=-65)
    for is_true in (True, False):
        said = name if is_true else list(shapes)[(r + 1 + int(rng.integers(3))) % 4]
        way2 = {"rising": "up", "falling": "down"}.get(said, said)
        p.add("contour", wave, is_true, way=said, way2=way2, way3=verbs[said])
    size = (3, 4, 5, 7, 12)[r % 5]
    up = bool(rng.integers(2))
    pair, _ = synths.row([play(hz_of(root), 0.4, -20), play(hz_of(root + (size if up else -size)), 0.4, -20)])
    for is_true in (True, False):
        k = size if is_true else (3, 4, 5, 7, 12)[(r + 2) % 5]
        above = "above" if up else "below"
        p.add("interval", pair, is_true, k=k, size=_SIZES[k], a="second", b="first", above=above)
    mode = ("major", "minor")[r % 2]
    triad, _ = synths.row([play(hz_of(root + s), 0.4, -20) for s in (0, 4 if mode == "major" else 3, 7)])
    for is_true in (True, False):
        p.add("chord", triad, is_true, mode=mode if is_true else ("minor", "major")[r % 2])
    if r < 6:
        steps = (
            (0, 2, 4, 5, 7, 4, 0, 9, 7, 5, 4, 2, 0, 7, 0)
            if mode == "major"
            else (0, 2, 3, 5, 7, 3, 0, 8, 7, 5, 3, 2, 0, 7, 0)
        )
        tune, _ = synths.row([play(hz_of(root + s), 0.34, -20) for s in steps], gap=0.04)
        for is_true in (True, False):
            key = root if is_true else root + (2, 6, 1)[r % 3]
            p.add("key", tune, is_true, root=name_of(key)[:-1].replace("#", " sharp"), mode=mode)


def _rhythms(p, r):
    rng, play = p.rng, p.instrument()
    bpm = float((66, 84, 100, 126, 150, 174, 72, 160, 112, 92)[r % 10] + rng.uniform(-2, 2))
    notes = [(0.2 + i * 60 / bpm, play(hz_of(62 + i % 5), 0.12, -20)) for i in range(8)]
    wave = synths.place(notes, 0.6 + 8 * 60 / bpm)
    for is_true in (True, False):
        p.add("tempo", wave, is_true, bpm=bpm * (1 if is_true else (1.25, 0.8)[r % 2]))
    pace = "slow" if bpm < 88 else "fast" if bpm > 150 else ""
    if pace:
        for is_true in (True, False):
            p.add("pace", wave, is_true, pace=pace if is_true else {"slow": "fast", "fast": "slow"}[pace])
    n = int(rng.integers(2, 8))
    gaps = np.cumsum(rng.uniform(0.3, 0.6, n))
    wave = synths.place([(g, synths.noise(0.07, -20, seed=r)) for g in gaps], gaps[-1] + 0.4)
    for is_true in (True, False):
        p.add("beeps", wave, is_true, n=CARDINALS[n + (0 if is_true else int(rng.choice([-1, 1, 2])))])


def _single(p, r):
    rng, play = p.rng, p.instrument()
    hz = hz_of(int(rng.integers(57, 72)))
    seconds = float(rng.uniform(1.5, 3))
    held = synths.tone(hz, seconds, SAW if p.half == "heldout" else REED, -20)
    ramp = 10 ** (np.linspace(-18, 0, len(held)) / 20)
    grows = bool(r % 2)
    wave = synths.place([(0.1, held * (ramp if grows else ramp[::-1]))], seconds + 0.2)
    plain = synths.place([(0.3, held)], seconds + 0.6)
    for is_true in (True, False):
        louder = grows == is_true
        p.add(
            "trend",
            wave,
            is_true,
            louder="louder" if louder else "softer",
            grows="increases" if louder else "decreases",
        )
        p.add("lasts", plain, is_true, s=seconds * (1 if is_true else (1.8, 0.5)[r % 2]))
        whole = synths.place([(0.5, play(hz, 0.4, -20)), (2.1, play(hz, 0.4, -20))], 3 + r)
        p.add("clip", whole, is_true, s=3 + r if is_true else (3 + r) * (2 if r % 2 else 0.5) + 1)
        p.add("begins", whole, is_true, s=2.1 if is_true else (1.2, 3.2)[r % 2])
        p.add("pause", whole, is_true, s=1.2 if is_true else (0.4, 2.2)[r % 2]) if p.half == "tuning" else None
    bright = (
        synths.tone(hz * 2, 1, [0.3, 0.5, 0.8, 1, 1, 1, 1, 1, 0.9, 0.8], -20)
        if r % 2
        else synths.tone(hz / 2, 1, [1, 0.2], -20)
    )
    colour = synths.place([(0.1, bright)], 1.2, -80)
    hiss, pure = (
        synths.place([(0.1, synths.noise(1, -20, r))], 1.2, -80),
        synths.place([(0.1, held)], seconds + 0.2, -80),
    )
    struck = synths.place(
        [(0.1, synths.tone(hz, 1.2, CLARINET if p.half == "heldout" else PIPE, -18, decay=5.0, attack=0.003))], 1.5, -80
    )
    shaken = synths.place(
        [(0.1, synths.tone(hz, 1.5, SAW if p.half == "heldout" else BRASS, -20, vibrato_cents=40 if r % 2 else 0))],
        1.8,
        -80,
    )
    for is_true in (True, False):
        p.add("timbre", colour, is_true, word="bright" if (r % 2 == 1) == is_true else "dark")
        p.add("timbre", hiss if r % 2 else pure, is_true, word="noisy" if (r % 2 == 1) == is_true else "tonal")
        p.add(
            "timbre", struck if r % 2 else pure, is_true, word="percussive" if (r % 2 == 1) == is_true else "sustained"
        )
        p.add("vibrato", shaken, is_true, some="a clear" if (r % 2 == 1) == is_true else "no")
    db = -30 if r % 2 else -75
    rough, _ = synths.row([play(hz, 0.5, -18) for _ in range(3)], gap=0.4, noise_db=db)
    for is_true in (True, False):
        noisy = (r % 2 == 1) == is_true
        p.add("noise", rough, is_true, word="noisy" if noisy else "clean", much="a lot of" if noisy else "no")


def _speech(p, r):
    text = _TEXTS[p.half][r % 3]
    man, woman = _VOICES[p.half][r % len(_VOICES[p.half])]
    asks = r % 2 == 0
    spoken, _ = synthesise(text + ("?" if asks else "."), man, pitch=45, pitch_range=70, rate_wpm=160)
    wave = synths.place([(0.2, spoken)], len(spoken) / 16_000 + 0.4, -75)
    speed = "fast" if r % 2 else "slow"
    quick, _ = synthesise(text, man, pitch=45, rate_wpm=290 if r % 2 else 100)
    quick = synths.place([(0.2, quick)], len(quick) / 16_000 + 0.4, -75)
    low = r % 2 == 0
    deep, _ = synthesise(text, man if low else woman, pitch=20 if low else 80, pitch_range=30)
    deep = synths.place([(0.2, deep)], len(deep) / 16_000 + 0.4, -75)
    lively = r % 2 == 0
    moved, _ = synthesise(text, woman, pitch=50, pitch_range=99 if lively else 0)
    moved = synths.place([(0.2, moved)], len(moved) / 16_000 + 0.4, -75)
    half = len(spoken) // 2
    broken = synths.place(
        [(0.2, spoken[:half]), (0.2 + half / 16_000 + 0.9, spoken[half:])], len(spoken) / 16_000 + 1.4, -75
    )
    for is_true in (True, False):
        up = asks == is_true
        p.add(
            "end",
            wave,
            is_true,
            rises="rises" if up else "falls",
            rising="rising" if up else "falling",
            goes="goes up" if up else "goes down",
        )
        said = speed if is_true else {"fast": "slow", "slow": "fast"}[speed]
        p.add("speed", quick, is_true, fast=said, quickly={"fast": "quickly", "slow": "slowly"}[said])
        p.add("register", deep, is_true, deep="deep" if low == is_true else "high-pitched")
        p.add("range", moved, is_true, flat="lively" if lively == is_true else "monotone")
        p.add("pause", broken, is_true, s=0.9 if is_true else 2.5)
        p.add("any pause", broken if is_true else quick, is_true)


def score(half, rounds=10):
    """Return counts, precision and recall of the verdicts on a half; uncheckable and unseen claims count as missed.

    A sentence is refuted where any claim in it is, and verified where one is and none is refuted.
    """
    items, cache, counts = plant(half, rounds), {}, collections.Counter()
    for item in items:
        found = cache.setdefault(id(item.wave), Measurements(item.wave))
        seen = [v.outcome for v in verify_chain(item.text, found)]
        outcome = "refuted" if "refuted" in seen else "verified" if "verified" in seen else "open"
        counts[item.is_true, outcome] += 1
    true, false = (sum(n for (is_true, _), n in counts.items() if is_true == wanted) for wanted in (True, False))
    verified, refuted = (counts[True, o] + counts[False, o] for o in ("verified", "refuted"))
    return {
        "true": true,
        "false": false,
        "verified_precision": round(counts[True, "verified"] / verified, 4),
        "verified_recall": round(counts[True, "verified"] / true, 4),
        "refuted_precision": round(counts[False, "refuted"] / refuted, 4),
        "refuted_recall": round(counts[False, "refuted"] / false, 4),
    }
