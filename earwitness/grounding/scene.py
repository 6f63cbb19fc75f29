"""One sentence with what it mentions and what came before it: where the patterns find the subject of a claim."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from earwitness.grounding import sentences, subjects
from earwitness.grounding.claims import Claim, Subject
from earwitness.grounding.sentences import Sentence
from earwitness.grounding.subjects import Mention

_ROUGH = re.compile(
    r"\b(?:about|around|roughly|approximately|nearly|almost|some|near|close to|~)\s*$|[~\u2248]\s*$", re.I
)
# What follows these is compared with, not spoken about.
_OBJECT_OF = re.compile(
    r"\b(?:than|compared to|compared with|as|from|above|below|before|after|of|under|behind|between|versus|"
    r"vs)\s+(?:in\s+)?$",
    re.I,
)


@dataclass
class Scene:
    """A sentence and its mentions; ``carried`` is what the chain last spoke about."""

    sentence: Sentence
    carried: Subject | None = None
    unit: str = "note"
    mentions: list[Mention] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mentions = subjects.mentions(self.text, self.unit)

    @property
    def text(self) -> str:
        """The sentence's text."""
        return self.sentence.text

    def before(self, position: int, units: tuple[str, ...] = ()) -> Subject | None:
        """Return the subject that a word at ``position`` speaks about: the nearest before it, else the carried one."""
        for mention in reversed(self.mentions):
            if mention.end > position or (units and mention.subject.unit not in units):
                continue
            if _OBJECT_OF.search(self.text[: mention.start]) and mention is not self.mentions[0]:
                continue
            return mention.subject
        if self.carried is not None and (not units or self.carried.unit in units):
            return self.carried
        return None

    def numbered(self, position: int) -> list[Subject]:
        """Return the subjects right before a place that share what is said: "the first and the third note are"."""
        found = self.before(position)
        if found is None:
            return []
        out, at = [found], None
        for mention in reversed([m for m in self.mentions if m.end <= position]):
            if at is None:
                at = mention.start if mention.subject == found else None
            elif re.fullmatch(r"\s*(?:,|and|, and|both)\s*", self.text[mention.end : at]) and mention.subject.index:
                out, at = [mention.subject, *out], mention.start
            else:
                break
        return out

    def after(self, position: int, within: int = 4) -> Subject | None:
        """Return the subject that begins at most ``within`` characters after a place."""
        for mention in self.mentions:
            if position <= mention.start <= position + within:
                return mention.subject
        return None

    def asserts(self, match: re.Match[str]) -> bool:
        """Return whether the words of a match are said to be so, or denied, and not merely supposed."""
        return not sentences.is_supposed(self.sentence, match.start(), match.end())

    def is_rough(self, position: int) -> bool:
        """Return whether "about" or the like stands right before a place."""
        return bool(_ROUGH.search(self.text[:position]))

    def claim(self, kind: str, match: re.Match[str], subject: Subject | None, value: Any, **more: Any) -> Claim:
        """Return a claim for the words of a match, at its place in the chain."""
        first = min(
            [match.start(), *(m.start for m in self.mentions if m.subject is subject and m.end <= match.start())]
        )
        other = more.get("other")
        last = max([match.end(), *(m.end for m in self.mentions if m.subject is other and other is not None)])
        start, end = self.sentence.start + first, self.sentence.start + last
        text = self.text[first:last].strip()
        negated = sentences.is_negated(self.sentence, match.start())
        return Claim(kind, text, start, end, subject or Subject(), value, is_negated=negated, **more)
