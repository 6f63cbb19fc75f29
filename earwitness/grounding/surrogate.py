"""Textual surrogates: a chain that reasons from words, a transcript, a caption or metadata instead of from the sound.

The report (arXiv 2511.15848, section 1) names the failure; its appendix prints two such chains. The detector counts
sentences of evidence: what is claimed of the sound, and what is drawn from text. It knows nothing of the recording.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from earwitness.grounding import sentences
from earwitness.grounding.sentences import Sentence

_SOUND = (
    r"(?:the\s+|any\s+|this\s+|that\s+|your\s+|an?\s+)?(?:actual\s+|real\s+|provided\s+)?(?:audio|sounds?|"
    r"recordings?|clips?)(?!\s+of\b)"
)
_APOSTROPHE = "['\u2019]"
# It says that it does not hear.
DENIAL = re.compile(
    rf"\b(?:can(?:not|{_APOSTROPHE}t|\s+not)|could\s*n(?:o|{_APOSTROPHE})t|unable\s+to|not\s+able\s+to|do\s*n(?:o|{_APOSTROPHE})t\s+have\s+the\s+ability\s+to|no\s+way\s+to|"
    rf"impossible\s+(?:for\s+me\s+)?to)\s+(?:actually\s+|really\s+|directly\s+|physically\s+|truly\s+|literally\s+)*[\"\u201c']?(?:hear|listen(?:\s+to)?|process|play|access|perceive|analy[sz]e)[\"\u201d']?\s*"
    rf"(?:{_SOUND}\b|it\b(?!\s+(?:well|clearly|anymore|again|at))|(?=[.,;:!]))|"
    rf"\b(?:do\s*n(?:o|{_APOSTROPHE})t|did\s*n(?:o|{_APOSTROPHE})t)\s+(?:actually\s+)?(?:have|receive|get)\s+(?:access\s+to\s+)?{_SOUND}\b|"
    r"\bwithout\s+(?:actually\s+)?(?:hearing|listening|access\s+to\s+the\s+audio)\b|"
    r"\b(?:as|am|I{_APOSTROPHE}m)\s+(?:just\s+|only\s+)?an?\s+(?:text|language|text-based|text-only)(?:-based|-only)?\s+(?:AI\s+|language\s+)?model\b|"
    rf"\bno\s+audio\s+(?:was|is|has\s+been)\s+(?:provided|attached|included|given)\b".replace(
        "{_APOSTROPHE}", _APOSTROPHE
    ),
    re.IGNORECASE,
)
# It takes a text for the recording.
_GIVEN_TEXT = re.compile(
    r"\b(?:transcripts?|transcription|captions?|subtitles?|metadata|file\s*name|filename|title|tags|description\s+of\s+the\s+(?:audio|clip))\b"
    r"(?!\s+(?:can\s+be\s+ignored|is\s+not|does\s+not|tells\s+nothing|aside|alone))",
    re.IGNORECASE,
)
_GIVEN_CONTEXT = re.compile(
    r"\b(?:user\s+(?:just\s+|only\s+|has\s+|might\s+have\s+)?(?:provided|gave|given|mentioned|wrote|shared)\s+(?:an?\s+|the\s+|some\s+)?(?:\w+\s+){0,2}?(?:transcript\w*|words|text|clues|lyrics|context)|"
    r"rely\s+on\s+(?:the\s+)?(?:context|text|words|transcript\w*)|(?:words|text)\s+given)\b",
    re.IGNORECASE,
)
# It argues from what is said or sung.
_LEXICAL = re.compile(
    r"\b(?:terminology|vocabulary|jargon|key\s+terms?|keywords?|lyrics?|phras(?:e|ing)s?\b(?!\s+(?:length|rhythm|shape))|the\s+(?:words?|phrases?|terms?|sentences?|lines?)\s+[\"\u201c']|"
    r"(?:technical|specific|specialized)\s+(?:terms?|language|words)|topics?\s+(?:is|are|of|about)|the\s+topic|the\s+content\s+(?:is|of)|subject\s+matter|"
    r"(?:words?|terms?|phrases?|lyrics|content|text)\s+(?:suggests?|mentions?|indicates?|implies|imply|points?\s+to|refers?\s+to|describes?|talks?\s+about|is\s+about|are\s+about)|"
    r"mentions?\s+(?:of\s+)?[\"\u201c'][^\"\u201d']+[\"\u201d']|(?:speaker|user|singer|he|she|they)\s+mentions?|word\s+choice|(?:usually\s+)?refers?\s+to|is\s+(?:about|talking\s+about)\s+(?:the\s+)?(?:government|politics|statistics|love|sadness))",
    re.IGNORECASE,
)
# It argues from the world and not from this recording.
_WORLD = re.compile(
    r"\b(?:(?:typically|usually|commonly|often|in\s+many\s+(?:cases|\w+\s+interviews?))\b|common\s+(?:background|knowledge)|background\s+sounds?\s+(?:would|could|might)\s+be|"
    r"there\s+must\s+be\s+a\s+standard\s+answer|most\s+likely\s+answer\s+(?:given|based\s+on)\s+(?:the\s+)?context)",
    re.IGNORECASE,
)
# It says something of the sound itself.
_ACOUSTIC = re.compile(
    r"\b(?:pitch\w*|timbre\w*|tempo|rhythm\w*|beats?|bpm|hz|semitones?|octaves?|intonation|inflection|prosod\w+|melod\w+|harmon\w+|chords?|major|minor|key\s+of|"
    r"loud\w*|soft(?:er|ly)?|quiet\w*|volume|intensity|crescendo|decrescendo|fad(?:es?|ing)|vibrato|reverb\w*|echo\w*|resonan\w+|hum(?:ming)?|hiss\w*|rumbl\w+|buzz\w*|"
    r"pac(?:e|ing)|speaking\s+rate|pauses?|silences?|tone|accent\w*|articulat\w+|enunciat\w+|clarity|breath\w*|"
    r"vocal\s+fry|monoton\w+|deep\s+voice|high[- ]pitched|low[- ]pitched|"
    r"notes?|onsets?|attack|decay\w*|sustain\w*|drums?|bass\s?line|synth\w*|piano|guitar|violin|flute|trumpet|organ|bells?|siren|engine|"
    r"ris(?:es|ing)|falling|louder|higher|lower|brighter|darker|background\s+noise|I\s+hear|is\s+heard|can\s+be\s+heard|by\s+the\s+(?:man|woman))\b|"
    r"(?<![A-Za-z#])[A-G]#?[2-6]\b",
    re.IGNORECASE,
)
# "The noise parameter" and "sound like technical terms" speak of words.
_NOT_ACOUSTIC = re.compile(
    r"\bnoise\s+parameter\b|\bsounds?\s+(?:like\s+)?(?:technical|familiar|right|plausible|reasonable|good|like\s+a\s+plan|like\s+technical)\b|\bon\s+that\s+note\b|\bnotes?\s+that\b|\bkey\s+(?:terms?|points?|clues?)\b|"
    r"\bmajor\s+(?:role|issue|topic|part|city)\b|\bminor\s+(?:role|issue|detail)\b|\b(?:user|question|options?)\b.{0,30}\b(?:background\s+sounds?|sound\s+scene)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Evidence:
    """One sentence that shows what a chain reasons from."""

    kind: str
    """``denial``, ``given text``, ``lexical``, ``world`` or ``acoustic``."""
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class SurrogateReport:
    """What a chain reasons from, and whether that is text instead of sound."""

    is_surrogate: bool
    reason: str
    textual_share: float
    """Of its sentences of evidence, how many draw on text or on the world in general; 0 without evidence."""
    evidence: tuple[Evidence, ...]

    def count(self, kind: str) -> int:
        """Return the number of sentences of a kind."""
        return sum(e.kind == kind for e in self.evidence)


def detect(chain: str, about_words: bool = False) -> SurrogateReport:
    """Return whether a chain is a textual surrogate.

    It is one where it says that it cannot hear, where it leans on a transcript, caption or metadata, or where what it
    draws from words or general knowledge outweighs what it says of the sound three to one. With ``about_words`` the
    question is about what was said, and words are evidence of the sound; a denial and a given text still count.
    """
    evidence = [e for s in sentences.split(chain) for e in _evidence(s)]
    counts = {
        kind: sum(e.kind == kind for e in evidence) for kind in ("denial", "given text", "lexical", "world", "acoustic")
    }
    textual = counts["denial"] + counts["given text"] + counts["world"] + (0 if about_words else counts["lexical"])
    total = textual + counts["acoustic"]
    share = textual / total if total else 0.0
    reason = ""
    if counts["denial"]:
        reason = "it says that it cannot hear"
    elif counts["given text"] and counts["given text"] >= 0.5 * counts["acoustic"]:
        reason = "it leans on a transcript, a caption or metadata"
    elif textual and share >= 0.75:
        reason = "it argues from words or from general knowledge, not from the sound"
    return SurrogateReport(bool(reason), reason or "it speaks of the sound", share, tuple(evidence))


def denies_hearing(text: str) -> bool:
    """Return whether a text claims that the model cannot hear or process audio, or that it is a text model."""
    return bool(DENIAL.search(text))


def _evidence(sentence: Sentence) -> list[Evidence]:
    """Return the kinds of evidence of a sentence; acoustic only where something is asserted."""
    text = sentence.text
    kinds = []
    if DENIAL.search(text):
        kinds.append("denial")
    if _GIVEN_TEXT.search(text) or _GIVEN_CONTEXT.search(text):
        kinds.append("given text")
    if _LEXICAL.search(text):
        kinds.append("lexical")
    if _WORLD.search(text):
        kinds.append("world")
    cleaned = _NOT_ACOUSTIC.sub(" ", text)
    for match in _ACOUSTIC.finditer(cleaned):
        moved = Sentence(cleaned, sentence.start)
        if not sentences.is_supposed(moved, match.start(), match.end()) and "world" not in kinds:
            kinds.append("acoustic")
            break
    return [Evidence(kind, text, sentence.start, sentence.start + len(text)) for kind in kinds]
