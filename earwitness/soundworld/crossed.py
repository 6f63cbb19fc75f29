"""The ``crossed`` suite: what the words say fully crossed with how the voice sounds, asked both ways.

Words are positive, neutral or negative, and so is the voice: high, lively and quick; even; or low, flat and slow, as
the speech suite's cheerful, neutral and sad. A sentence belongs to one split whatever voice says it, and every split
has speakers of its own that no suite trains on elsewhere, so neither can be known by heart.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from earwitness.soundworld import crossed_words as say
from earwitness.soundworld import speech
from earwitness.soundworld.core import SAMPLE_RATE, Facts, Layout, Params, QuestionType, Rng, Span, Suite
from earwitness.soundworld.grammar import Phrasings
from earwitness.soundworld.sequence import ending, pick, shuffled
from earwitness.soundworld.speech_facts import SPEAKERS
from earwitness.soundworld.spoken import of, tags
from earwitness.soundworld.voices import synthesise

VALUES = ("positive", "neutral", "negative")
STYLE = dict(zip(VALUES, ("cheerful", "neutral", "sad")))
_SOUNDS = dict(zip(VALUES, ("high, lively and quick", "even and plain", "low, flat and slow")))
# espeak-ng variants; no speaker of one split is heard in another.
VOICES = {
    "train": {
        "man": [f"{accent}+m{i}" for accent in ("en-US", "en") for i in range(1, 8)],
        "woman": [f"{accent}+f{i}" for accent in ("en-US", "en") for i in range(1, 6)],
    },
    "validation": {"man": ["en-US+max", "en+robert"], "woman": ["en-US+Alicia", "en+Andrea"]},
    "test": {"man": ["en-US+m8", "en+Lee"], "woman": ["en-US+linda", "en+steph"]},
    "heldout": {"man": ["en-US+Alex", "en+Gene"], "woman": ["en-US+Annie", "en+belinda"]},
}
# Pitch, range (espeak's scale of 0 to 99) and words a minute.
_MANNER = {"positive": (70, 92, 205), "neutral": (46, 45, 165), "negative": (28, 8, 120)}
_SLOT = {"train": (3.0, 3.4), "heldout": (3.6, 3.9)}


def layout(rng: Rng, split: str, kind: QuestionType, params: Params) -> Layout:
    """Return seconds, level and the place of the sentence; there is room for the slowest voice, whichever speaks."""
    lead, slot = float(rng.uniform(0.06, 0.25)), float(rng.uniform(*of(split, _SLOT)))
    return {
        "lead": round(lead, 3),
        "slot": round(slot, 3),
        "level_db": round(float(rng.uniform(-34, -24)), 1),
        "seconds": round(lead + slot + float(rng.uniform(0.1, 0.3)), 3),
    }


def propose(rng: Rng, split: str, frame: Layout, params: Params) -> Facts:
    """Return a sentence, a speaker and a voice; words and voice are drawn apart."""
    words, voice, speaker = pick(rng, VALUES), pick(rng, VALUES), pick(rng, SPEAKERS)
    sentence = say.sentence(rng, split, words)
    event = {"sentence": sentence, "words": words, "voice": voice, "speaker": speaker}
    event |= {"name": pick(rng, VOICES[split][speaker])}
    event |= {"start": frame["lead"], "end": round(frame["lead"] + frame["slot"], 3)}
    return {"events": [event], "transcript": sentence}


def key(facts: Facts) -> Any:
    """Return the sentence alone: all its voices stay in one split."""
    return facts["events"][0]["sentence"]


def render(facts: Facts, rng: Rng) -> tuple[np.ndarray, list[Span]]:
    """Return (waveform, spans) of the sentence over a faint hiss."""
    event = facts["events"][0]
    pitch, pitch_range, rate = (
        value + int(rng.integers(-spread, spread + 1)) for value, spread in zip(_MANNER[event["voice"]], (4, 5, 8))
    )
    room = event["end"] - event["start"]
    spoken, marks = synthesise(event["sentence"], event["name"], pitch, max(pitch_range, 0), rate)
    if len(spoken) > room * SAMPLE_RATE:
        rate = int(rate * len(spoken) / SAMPLE_RATE / room * 1.06) + 1
        spoken, marks = synthesise(event["sentence"], event["name"], pitch, max(pitch_range, 0), rate)
    wave = np.zeros(round(facts["seconds"] * SAMPLE_RATE), np.float32)
    start = event["start"] + float(rng.uniform(0, max(room - len(spoken) / SAMPLE_RATE, 0.0)))
    first = round(start * SAMPLE_RATE)
    spoken = spoken[: len(wave) - first]
    rms = float(np.sqrt(np.mean(np.square(spoken)))) or 1.0
    wave[first : first + len(spoken)] += spoken * (0.1 / rms)
    hiss = rng.standard_normal(len(wave), dtype=np.float32) * (0.1 * 10 ** (-rng.uniform(45, 60) / 20))
    said = {**event, "style": STYLE[event["voice"]], "intonation": "falling", "pace": "normal"}
    end = start + len(spoken) / SAMPLE_RATE
    background = Span(0.0, facts["seconds"], "background=none")
    return wave + hiss, [background, *speech._spans(said, 1, marks, start, end)]


def caption(facts: Facts) -> str:
    """Return the text twin: the sentence, what it says and how it is said."""
    event = facts["events"][0]
    said = f"The {event['speaker']} says '{event['sentence']}' in a {event['voice']} voice"
    return f"{said}, {_SOUNDS[event['voice']]}; the words are {event['words']}."


# Questions


def _agree(facts: Facts, params: Params) -> str:
    event = facts["events"][0]
    return "agree" if event["words"] == event["voice"] else "conflict"


def _chain(facts: Facts, asked: str) -> str:
    event = facts["events"][0]
    voice = f"The voice is {_SOUNDS[event['voice']]}, so it sounds {event['voice']}."
    words = f"I hear: {event['sentence']}. The words are {event['words']}."
    if asked == "voice":
        return f"I look for how the voice sounds. {voice} What the words say does not matter."
    if asked == "words":
        return f"I look for what the words say. {words} How the voice sounds does not matter."
    relation = "the same" if event["words"] == event["voice"] else "not the same"
    return f"I look for words and voice. {voice} {words} {event['voice']} and {event['words']} are {relation}."


def _make(name: str, steps: int, words: Phrasings, choices: tuple[str, ...], weight: float) -> QuestionType:
    def draw(rng: Rng, split: str) -> Params:
        return {"asked": name, "choices": shuffled(rng, choices)}

    def answer(facts: Facts, params: Params) -> str:
        return _agree(facts, params) if name == "agree" else facts["events"][0][name]

    def chain(facts: Facts, params: Params) -> str:
        return ending(_chain(facts, name), answer(facts, params))

    return QuestionType(name, steps, "contextual", words, draw, answer, chain, None, 1, weight)


TYPES = (
    _make("voice", 1, say.ASK_VOICE, VALUES, 1.0),
    _make("words", 2, say.ASK_WORDS, VALUES, 1.0),
    _make("agree", 3, say.ASK_AGREE, ("agree", "conflict"), 0.6),
)
_TAGS = (*tags(say.WORDS), "style=cheerful", "style=sad")
SUITE = Suite("crossed", TYPES, layout, propose, key, render, caption, _TAGS)
