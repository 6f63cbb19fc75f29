"""Whether a chain hangs together: no contradiction, no empty repetition, and the conclusion that its answer gives."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from earwitness.acoustics.quantity import NAMES
from earwitness.grounding import sentences
from earwitness.grounding.claims import Claim
from earwitness.grounding.extract import extract

# Of these a thing has only one at a time.
_SINGLE = (
    "pitch_value",
    "count",
    "tempo",
    "key",
    "chord",
    "contour",
    "intonation",
    "trend",
    "rhythm",
    "level",
    "order",
    "register",
)
_TAKEN_BACK = re.compile(
    r"\b(?:wait|actually|no,|correction|rather|hold on|let me (?:listen|check|hear|count|recheck)|on second|again|"
    r"I was wrong|mistake)\b",
    re.I,
)
_CONCLUSION = re.compile(
    r"\b(?:so|therefore|thus|hence)?,?\s*(?:the|my)\s+(?:final\s+|correct\s+|best\s+)?answer\s+(?:is|should\s+be|must\s+be|would\s+be)\s*:?\s*(?P<answer>[^.\n;]+)",
    re.I,
)
_NAMES = re.compile(r"\b([A-G]#?)(\d)\s+is\s+(higher|lower)\s+than\s+([A-G]#?)(\d)\b")
_NUMBERS = re.compile(r"\b(\d+)\s+(?:is\s+(more|less)\s+than|(equals))\s+(\d+)\b")
_REPEATED_WORDS = 5


@dataclass(frozen=True)
class Fault:
    """One place where a chain does not hang together."""

    kind: str
    """``contradiction``, ``false step``, ``conclusion``, ``repetition`` or ``empty``."""
    reason: str
    start: int = 0


def check(chain: str, answer: str | None = None, claims: list[Claim] | None = None) -> list[Fault]:
    """Return the faults of a chain; none means that it is coherent.

    ``answer`` is the answer that followed; without it the conclusion is not compared. ``claims`` saves extracting
    them again.
    """
    if not re.search(r"\w", chain):
        return [Fault("empty", "there is no reasoning")]
    claims = extract(chain) if claims is None else claims
    faults = [*_contradictions(chain, claims), *_false_steps(chain), *_repetitions(chain)]
    if answer is not None:
        faults += _conclusion(chain, answer)
    return faults


def _contradictions(chain: str, claims: list[Claim]) -> list[Fault]:
    """Find two claims that exclude each other, unless the chain takes the first one back in between."""
    faults: list[Fault] = []
    latest: dict[tuple, Claim] = {}
    for claim in claims:
        if claim.kind not in _SINGLE or claim.subject.unit in ("note", "sound", "word") and _is_open(claim):
            continue
        key = (claim.kind, str(claim.subject), claim.aspect, str(claim.other), claim.unit)
        before = latest.get(key)
        if before is not None and _excludes(before, claim) and not _TAKEN_BACK.search(chain[before.end : claim.end]):
            faults.append(Fault("contradiction", f"{before.text!r} and then {claim.text!r}", claim.start))
        latest[key] = claim
    return faults


def _is_open(claim: Claim) -> bool:
    return claim.kind != "count" and claim.subject.index is None and claim.subject.extreme is None


def _excludes(a: Claim, b: Claim) -> bool:
    if a.is_negated != b.is_negated:
        return a.value == b.value
    if a.is_negated or a.value == b.value:
        return False
    if isinstance(a.value, float) and isinstance(b.value, float):
        return not math.isclose(a.value, b.value, rel_tol=0.1)
    if a.kind == "key":  # "C# minor" and "minor" agree
        return not (str(a.value).endswith(str(b.value)) or str(b.value).endswith(str(a.value)))
    if a.kind == "register":  # a woman may have a low voice
        return {a.value, b.value} in ({"man", "woman"}, {"low", "high"})
    return type(a.value) is type(b.value)


def _false_steps(chain: str) -> list[Fault]:
    """Find comparisons of note names or numbers that are false as such."""
    faults = []
    for m in _NAMES.finditer(chain):
        first, second = (12 * int(m[o]) + NAMES.index(m[n]) if m[n] in NAMES else None for n, o in ((1, 2), (4, 5)))
        if first is not None and second is not None and (first > second) != (m[3] == "higher"):
            faults.append(Fault("false step", f"{m[0]!r} is false", m.start()))
    for m in _NUMBERS.finditer(chain):
        a, b = int(m[1]), int(m[4])
        right = a == b if m[3] else a > b if m[2] == "more" else a < b
        if not right:
            faults.append(Fault("false step", f"{m[0]!r} is false", m.start()))
    return faults


def _repetitions(chain: str) -> list[Fault]:
    """Find a sentence said three times, or a phrase of five words or more three times in a row."""
    seen: dict[str, int] = {}
    for sentence in sentences.split(chain):
        words = " ".join(re.findall(r"\w+", sentence.text.lower()))
        if len(words.split()) < 4:
            continue
        seen[words] = seen.get(words, 0) + 1
        if seen[words] == 3:
            return [Fault("repetition", f"{sentence.text[:60]!r} is said three times", sentence.start)]
    words_of = re.findall(r"\w+", chain.lower())
    for size in range(_REPEATED_WORDS, 13):
        for i in range(len(words_of) - 3 * size + 1):
            if words_of[i : i + size] == words_of[i + size : i + 2 * size] == words_of[i + 2 * size : i + 3 * size]:
                return [Fault("repetition", f"{' '.join(words_of[i : i + size])!r} comes three times in a row")]
    return []


def _conclusion(chain: str, answer: str) -> list[Fault]:
    found = list(_CONCLUSION.finditer(chain))
    if not found:
        return []
    last = found[-1]
    if same_answer(last["answer"], answer) or sentences.is_negated(sentences.Sentence(chain, 0), last.start()):
        return []
    return [
        Fault(
            "conclusion", f"it concludes {last['answer'].strip()!r} and answers {answer.strip()[:60]!r}", last.start()
        )
    ]


def same_answer(concluded: str, answer: str) -> bool:
    """Return whether two wordings name the same answer: alike but for case, marks and articles, or one in the other."""
    a, b = _plain(concluded), _plain(answer)
    if not a or not b:
        return a == b
    shorter, longer = sorted((a, b), key=len)
    return bool(re.search(rf"(?:^| ){re.escape(shorter)}(?: |$)", longer))


def _plain(text: str) -> str:
    words = re.findall(r"[\w#]+", text.lower())
    return " ".join(w for w in words if w not in ("the", "a", "an", "option", "is", "it", "therefore", "answer"))
