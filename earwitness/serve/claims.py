"""``POST /v1/claims``: what a chain says of a clip, checked against the clip: verdicts with their places and times.

A client that shows a chain while it streams sends the clip once and then its ``audio_id``; the measurements of the
last clips are kept. Nothing here runs the model. Measuring needs the extra ``acoustics``.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from earwitness import prompt
from earwitness.acoustics import Measurements
from earwitness.grounding import ClaimChecker, Verdict, sentences, tally, targets
from earwitness.serve.audio_parts import load_clips
from earwitness.serve.errors import ApiError, wrong
from earwitness.serve.settings import Settings
from earwitness.serve.turns import Clip, check_text
from earwitness.serve.wire import read_json

MOST_SECONDS = 300.0
"""Of a clip, and of the clips whose measurements are kept: they take far more memory than the clip."""
MOST_CHARACTERS = 50_000
"""Of a chain; the longest published budget writes about as many."""
_LONGEST_SENTENCE = 2_000  # characters: the time for one grows with its square, and a model may repeat itself for ever
_LEAST_STRETCH = 0.2  # seconds; anything shorter is a click when it is played
_KNOWN = ("audio", "audio_id", "chain", "complete", "model")


@dataclass(frozen=True)
class Statement:
    """A chain and what it is about: a clip, or the id of one that was measured before."""

    chain: str
    is_complete: bool
    """False leaves out the last sentence, which is still being written."""
    wave: np.ndarray | None
    audio_id: str


def read_statement(data: bytes, settings: Settings) -> Statement:
    """Return what a body asks to be checked, its clip loaded by the rules of the chat route; ``ApiError`` if wrong."""
    body = read_json(data)
    for name in body:
        if name not in _KNOWN:
            near = difflib.get_close_matches(name[:60], _KNOWN, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "leave it out"
            raise ApiError(400, f"unknown field {name[:60]!r}; {hint}", name[:60], "unknown_parameter")
    chain, is_complete = body.get("chain"), body.get("complete", True)
    if not isinstance(chain, str):
        raise wrong("chain", "it must be a string, the reasoning to check")
    if len(chain) > MOST_CHARACTERS:
        raise ApiError(413, f"chain: it has {len(chain)} characters and at most {MOST_CHARACTERS} are read", "chain")
    if not isinstance(is_complete, bool):
        raise wrong("complete", "it must be true or false")
    check_text(chain, "chain")
    longest = max((len(sentence.text) for sentence in sentences.split(chain)), default=0)
    if longest > _LONGEST_SENTENCE:
        message = f"chain: one sentence has {longest} characters and at most {_LONGEST_SENTENCE} are read"
        raise ApiError(413, message, "chain")
    url, audio_id = body.get("audio"), body.get("audio_id")
    if isinstance(audio_id, str) and url is None:
        return Statement(chain, is_complete, None, audio_id)
    if not isinstance(url, str) or not url or audio_id is not None:
        raise wrong("audio", "give the base64 of an audio file, a URL, or the audio_id of an earlier reply instead")
    part: dict[str, Any] = {"type": "audio", "audio": Clip("audio", url, is_url=":" in url[:16])}
    most = min(settings.max_audio_seconds, MOST_SECONDS)
    messages: list[prompt.Message] = [{"role": "user", "content": [part]}]
    load_clips(messages, dataclasses.replace(settings, max_audio_seconds=most), min(30.0, settings.timeout_seconds))
    return Statement(chain, is_complete, part["audio"], hashlib.sha256(part["audio"].tobytes()).hexdigest())


class Witness:
    """Checks statements and keeps the measurements of the last clips; for one thread at a time."""

    def __init__(self) -> None:
        """Begin without any clip."""
        self._kept: OrderedDict[str, Measurements] = OrderedDict()

    def check(self, statement: Statement) -> dict[str, Any]:
        """Return the JSON of the reply; ``ApiError`` where the clip is no longer kept or nothing can be measured."""
        found = self._measurements(statement)
        try:
            checker = ClaimChecker(found)
            verdicts = checker.feed(statement.chain)
            if statement.is_complete:
                verdicts += checker.flush()
            claims = [{**_as_json(verdict), "stretches": stretches(verdict, found)} for verdict in verdicts]
        except ModuleNotFoundError as error:
            message = f"{error.name} is not installed, so that nothing is measured; install earwitness[acoustics]"
            raise ApiError(501, message, None, "no_measurements") from None
        return {
            "object": "claims",
            "audio_id": statement.audio_id,
            "seconds": round(found.seconds, 3),
            "position": checker.position,
            "claims": claims,
            "tally": tally(verdicts),
        }

    def _measurements(self, statement: Statement) -> Measurements:
        name = statement.audio_id
        if name not in self._kept:
            if statement.wave is None:
                raise ApiError(404, "audio_id: this clip is not kept; send it again as audio", "audio_id", "not_kept")
            self._kept[name] = Measurements(statement.wave)
        self._kept.move_to_end(name)
        while sum(found.seconds for found in self._kept.values()) > MOST_SECONDS and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return self._kept[name]


def _as_json(verdict: Verdict) -> dict[str, Any]:
    record = verdict.to_json()
    if isinstance(record.get("value"), float) and not math.isfinite(record["value"]):
        record["value"] = None  # "999...9 s": JSON has no infinity
    return record


def stretches(verdict: Verdict, found: Measurements) -> list[tuple[float, float]]:
    """Return the (start, end) in seconds of what a claim is about, in order; empty where it is about the whole clip.

    The subjects of the claim come first. Where measurements cannot tell which sound they mean, what was measured
    stands for them.
    """
    subjects = [subject for subject in (verdict.claim.subject, verdict.claim.other) if subject is not None]
    named = [targets.find(subject, found) for subject in subjects]
    spans = _narrow([(t.start, t.end) for t in named if isinstance(t, targets.Target)], found.seconds)
    spans = spans or _narrow([(q.start, q.end) for q in verdict.measured], found.seconds)
    out: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1]:
            out[-1] = out[-1][0], max(out[-1][1], end)
        else:
            out.append((start, end))
    return [(round(start, 3), round(end, 3)) for start, end in out]


def _narrow(spans: list[tuple[float, float]], seconds: float) -> list[tuple[float, float]]:
    """Return the spans that are a part of the clip, each long enough to be heard."""
    out = []
    for start, end in spans:
        wider = max(0.0, (_LEAST_STRETCH - (end - start)) / 2)
        start, end = max(0.0, start - wider), min(seconds, end + wider)
        if end - start < 0.98 * seconds:
            out.append((start, end))
    return out
