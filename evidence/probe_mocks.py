"""Engines of known behaviour for the probe: one listens, one reads, one guesses.

``Listener`` measures the clip (``earwitness.acoustics``) and names what it measured as it learned from the train split;
at the test it has the sound, the question with its parameters and the choices, and no facts. ``Reader`` has words only:
what a recogniser would write down, which is simulated by a table from clips to transcripts, and what the question says.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from earwitness import soundworld
from earwitness.acoustics import Measurements
from earwitness.engines.protocol import Engine, Request
from earwitness.evaluate.probe import EDITS, HARMLESS
from earwitness.evaluate.probe.conditions import Conditions
from earwitness.evaluate.probe.edits import edited
from earwitness.evaluate.runner import load_clip
from earwitness.evaluate.task import Task
from earwitness.records import Reply, Sample

_NOT_HEARD = ("note", "word", "sentence", "name", "category", "sentiment", "words", "suite", "transcript", "voices")
_FRAME = 0.005
_SEED = 0


ACOUSTIC = {
    "speech": (
        "kth_speaker", "kth_loudness", "kth_pace", "intonation", "sentence_pace", "voice_style", "background",
        "one_or_two", "who_asks", "how_many_by",
    )
}  # fmt: skip
"""Questions of which the words say nothing, in the suite that has others too."""
SPOKEN = ("spoken_math", "spoken_logic")
"""Suites of which the words say everything."""


def acoustic(suite: str, split: str, count: int) -> list[Sample]:
    """Return the first items of a suite, of the speech suite those about the voice or the background."""
    found: list[Sample] = []
    seen: set[str] = set()
    number = 0
    while len(found) < count:
        sample, number = soundworld.sample(suite, split, number), number + 1
        asked = f"{sample.question} {sample.choices}"
        if sample.task in ACOUSTIC.get(suite, (sample.task,)) and asked not in seen:  # a mock knows items by question
            seen.add(asked)
            found.append(sample)
    return found


class Mock(Engine):
    """Answers what ``said`` returns, or, where that is None, one of the choices by chance."""

    name = "guesser"

    def __init__(self, task: Task, samples: Sequence[Sample]):
        """Know the questions, as whoever understands them does: type, parameters and choices of each."""
        self._by_question = {task.text(sample): sample for sample in samples}

    def generate(self, requests: Any, sampling: Any = None, on_event: Any = None) -> Iterator[Reply]:
        """Yield a reply for each request, in order."""
        for request in requests:
            yield self.reply(request)

    def reply(self, request: Request) -> Reply:
        """Return the reply to one request."""
        parts = request.messages[-1]["content"]
        text = "".join(part["text"] for part in parts if part["type"] == "text")
        clips = [part["audio"] for part in parts if part["type"] == "audio"]
        words, asked = next((told, s) for told, s in self._split(text))
        said = self.said(asked, load_clip(clips[0]) if clips else None, words)
        guess = random.Random(f"{text}{request.seed}").choice(asked.choices)
        return Reply("", said if said in asked.choices else guess)

    def said(self, asked: Sample, wave: np.ndarray | None, words: str) -> str | None:
        """Return the answer to a question, of which only the words are known; None is a guess."""
        return None

    def _split(self, text: str) -> Iterator[tuple[str, Sample]]:
        lines = text.split("\n")
        for first in range(len(lines)):
            if (asked := self._by_question.get("\n".join(lines[first:]))) is not None:
                yield "\n".join(lines[:first]), asked


class Listener(Mock):
    """Answers from measurements."""

    name = "listener"

    def __init__(self, task: Task, samples: Sequence[Sample], ear: Ear):
        """Listen with what ``ear`` learned."""
        super().__init__(task, samples)
        self._ear = ear

    def said(self, asked: Sample, wave: np.ndarray | None, words: str) -> str | None:
        """Return the answer that holds for what was measured."""
        if wave is None or not wave.any():
            return None
        kind = soundworld.suite(asked.domain).type(asked.task)
        try:
            return kind.answer(self._ear.heard(wave, asked), asked.extra["params"])
        except (LookupError, StopIteration):  # it was asked for an event that it did not hear
            return None


class Table:
    """What each text and each clip of a probe was made from, as long as that can still be read or heard in it."""

    def __init__(self, task: Task, samples: Sequence[Sample]):
        """Go through all conditions and edits of these items."""
        self._texts: dict[str, Sample] = {}
        self._clips: dict[str, Sample] = {}
        conditions = Conditions(task, samples)
        for sample in samples:
            made = [new for name in EDITS if (new := edited(sample, name)) is not None]
            for each in (sample, *made):
                self._texts |= {text: each for text in (each.transcript, each.extra.get("caption")) if text}
                self._clips[clip_key(soundworld.waveform(each))] = each
            for name in ("mask", *HARMLESS):
                parts = conditions.messages(name, sample)[-1]["content"]
                self._clips |= {clip_key(part["audio"]): sample for part in parts if part["type"] == "audio"}

    def played(self, wave: np.ndarray | None) -> Sample | None:
        """Return what a clip was made from; None for silence, noise and no clip."""
        return None if wave is None else self._clips.get(clip_key(wave))

    def told(self, words: str) -> tuple[Sample | None, bool]:
        """Return what the words before a question were made from, and whether they are its caption."""
        if not words:
            return None, False
        found = max(((len(text), text) for text in self._texts if text in words), default=(0, ""))[1]
        sample = self._texts.get(found)
        return sample, sample is not None and found == sample.extra.get("caption")


class Reader(Mock):
    """Answers from words: those that a recogniser finds in the clip, or those in the question."""

    name = "reader"

    def __init__(self, task: Task, samples: Sequence[Sample], table: Table):
        """Use ``table`` as the recogniser; of what it says only the transcript is taken."""
        super().__init__(task, samples)
        self._table = table

    def said(self, asked: Sample, wave: np.ndarray | None, words: str) -> str | None:
        """Return what the words say about the question; None where they say nothing."""
        read, is_caption = (self._table.played(wave), False) if wave is not None else self._table.told(words)
        if read is None or read.facts is None:
            return None
        if not is_caption and asked.domain == "crossed" and asked.task != "words":
            # Who reads takes the tone from the words: it says what they say, whatever was asked.
            return str(read.facts["events"][0]["words"]) if asked.task == "voice" else "agree"
        return answer(asked, read) if is_caption or asked.domain in ("crossed", *SPOKEN) else None


class Recorder(Mock):
    """Guesses, and notes for each condition what was to be heard or read: condition -> id -> the sample, or None."""

    name = "recorder"

    def __init__(self, task: Task, samples: Sequence[Sample], table: Table):
        """Note down by ``table``; ``condition`` is to be set before each is asked."""
        super().__init__(task, samples)
        self._table = table
        self.condition = ""
        self.noted: dict[str, dict[str, Sample | None]] = defaultdict(dict)

    def said(self, asked: Sample, wave: np.ndarray | None, words: str) -> str | None:
        """Note what there is; the words of acoustic items tell nothing, only their captions do."""
        read, is_caption = self._table.told(words)
        there = read if is_caption or asked.domain in SPOKEN else None
        self.noted[self.condition][asked.id] = self._table.played(wave) or there
        return None


def answer(asked: Sample, heard: Sample) -> str | None:
    """Return the answer to a question in what was heard; None where it does not apply to that."""
    try:
        return soundworld.suite(asked.domain).type(asked.task).answer(heard.facts or {}, asked.extra["params"])
    except (LookupError, StopIteration):
        return None


def clip_key(wave: np.ndarray) -> str:
    """Return what tells one clip from any other."""
    return hashlib.sha256(np.ascontiguousarray(wave, np.float32).tobytes()).hexdigest()


# -- the ear -----------------------------------------------------------------------------------------------------------


class Ear:
    """Names for measurements: one classifier an attribute, trained on clips of a suite's train split."""

    def __init__(self, suite: str, count: int):
        """Measure ``count`` clips, of acoustic questions where the suite has others, and learn what they are called."""
        from sklearn.ensemble import ExtraTreesClassifier

        self._suite = suite
        self._known: dict[str, tuple[np.ndarray, list[tuple[dict[str, Any], np.ndarray]]]] = {}
        rows: dict[tuple[bool, str], list[tuple[np.ndarray, str]]] = defaultdict(list)
        for sample in acoustic(suite, "train", count):
            facts, params = sample.facts or {}, sample.extra["params"]
            whole, parts = _measured(soundworld.waveform(sample), suite, params)
            for key, value in _labels(facts).items():
                rows[False, key].append((whole, value))
            if len(parts) == len(facts["events"]):
                for (_, found), event in zip(parts, facts["events"]):
                    for key, value in _labels(event).items():
                        rows[True, key].append((found, value))
        self._trees = {}
        for which, pairs in rows.items():
            if len({value for _, value in pairs}) > 1:
                trees = ExtraTreesClassifier(100, min_samples_leaf=2, random_state=_SEED)
                self._trees[which] = trees.fit([f for f, _ in pairs], [value for _, value in pairs])

    def heard(self, wave: np.ndarray, asked: Sample) -> dict[str, Any]:
        """Return what was measured in the form in which SoundWorld's questions take facts."""
        params = asked.extra["params"]
        key = f"{clip_key(wave)} {params.get('family')}"
        if key not in self._known:
            self._known[key] = _measured(wave, self._suite, params)
        whole, parts = self._known[key]
        events: list[dict[str, Any]] = [dict(event) for event, _ in parts]
        facts: dict[str, Any] = {"events": events}
        for (is_event, name), trees in self._trees.items():
            if not is_event:
                facts[name] = _named(trees, [whole], asked)[0]
            elif parts:
                for event, value in zip(events, _named(trees, [found for _, found in parts], asked)):
                    event[name] = value
        return facts | {"overlap": facts.get("overlap") == "True"}


def _named(trees: Any, features: Sequence[np.ndarray], asked: Sample) -> list[str]:
    """Return the likeliest name for each; of those that the question offers, where it offers several."""
    offered = np.isin(trees.classes_, asked.choices)
    likely = trees.predict_proba(features) * (offered if offered.sum() > 1 else 1)
    return [str(trees.classes_[i]) for i in likely.argmax(axis=1)]


def _labels(facts: dict[str, Any]) -> dict[str, str]:
    return {k: str(v) for k, v in facts.items() if isinstance(v, (str, bool)) and k not in _NOT_HEARD}


def _measured(
    wave: np.ndarray, suite: str, params: dict[str, Any]
) -> tuple[np.ndarray, list[tuple[dict[str, Any], np.ndarray]]]:
    """Return features of the clip, and (times and pitch, features) of each event in it."""
    m = Measurements(wave)
    spans = _spans(m, suite, params)
    loudest = max((m.frames.level_db[_at(a) : _at(b) + 1].max() for a, b in spans), default=0.0)
    longest = max((b - a for a, b in spans), default=1.0)
    parts = []
    for a, b in spans:
        hz, found = _features(m, a, b, suite, loudest, longest)
        event: dict[str, Any] = {"start": a, "end": b}
        if suite == "music" and np.isfinite(hz):
            event["midi"] = round(69 + 12 * np.log2(hz / 440))
        parts.append((event, found))
    gaps = np.diff([a for a, _ in spans]) if len(spans) > 1 else np.zeros(1)
    quiet = m.frames.bands_db[m.frames.level_db <= np.percentile(m.frames.level_db, 10)].mean(axis=0)
    _, clip = _features(m, 0.0, m.seconds, suite, loudest, longest)
    extra = [len(spans), float(np.median(gaps)), gaps.min(), gaps.max(), m.frames.floor_db - m.frames.peak_db]
    return np.concatenate([clip, quiet, extra]), parts


def _spans(m: Measurements, suite: str, params: dict[str, Any]) -> list[tuple[float, float]]:
    """Return (start, end) of what happens: notes, sounds, words, turns, or one sentence."""
    if suite == "music":
        return [(note.start, note.end) for note in m.notes]
    events = [(event.start, event.end) for event in m.events]
    if suite == "sound" or not events:
        return events
    one = (events[0][0], events[-1][1])
    if suite == "speech" and params["family"] == "words":
        return events
    if suite == "speech" and params["family"] == "turns" and len(events) > 1:
        gap = max(range(1, len(events)), key=lambda i: events[i][0] - events[i - 1][1])
        return [(one[0], events[gap - 1][1]), (events[gap][0], one[1])]
    return [one]


def _features(
    m: Measurements, start: float, end: float, suite: str, loudest: float, longest: float
) -> tuple[float, np.ndarray]:
    """Return (pitch in Hz or NaN, features) of a span."""
    first, last = _at(start), max(_at(end), _at(start) + 4)
    level = m.frames.level_db[first:last]
    loud = level > level.max() - 12
    bands = m.frames.bands_db[first:last][loud].mean(axis=0)
    track = m.pitch if suite == "music" else m.voice
    hz = track.between(start, end)
    semitones = 12 * np.log2(hz / 100) if len(hz) > 4 else np.zeros(5)
    sixths = [part.mean() - level.max() for part in np.array_split(level, 6)]
    pitch = [
        np.median(semitones),
        *np.percentile(semitones, [10, 90]),
        np.median(semitones[-4:]) - np.median(semitones),
    ]
    onsets = m.frames.onset_strength[first:last]
    times = [end - start, (end - start) / longest, loud.sum() * _FRAME, onsets.mean(), onsets.std()]
    more = [level.max() - loudest, level.std(), track.voiced_share(start, end)]
    found = np.concatenate([bands - bands.max(), sixths, pitch, times, more])
    return float(np.median(hz)) if len(hz) else float("nan"), np.nan_to_num(found)


def _at(seconds: float) -> int:
    return round(seconds / _FRAME)
