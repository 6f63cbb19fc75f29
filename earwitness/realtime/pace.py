"""When is it thought, and when said? The modes of Mind-Paced Speaking (arXiv 2510.09592) and their segment lengths."""

from __future__ import annotations

from dataclasses import dataclass

MODES = ("speak-first", "think-first", "think-before-speak", "direct", "adaptive")


@dataclass(frozen=True)
class Pace:
    """How one engine's answers are paced."""

    mode: str = "speak-first"
    """``speak-first``: the answer begins without any thought, which catches up while it is heard. ``think-first``: one
    segment of thought comes before. ``think-before-speak``: all of it. ``direct``: none at all. ``adaptive``: direct
    where the first word is sure without thought, else think-first."""
    think_tokens: int = 80
    """A segment of thought; paper, sec. 3 (T_c)."""
    speak_tokens: int = 20
    """A segment of the answer: the text among the paper's 100 tokens of one text and four audio tokens each (T_r)."""
    lead_seconds: float = 1.0
    """The next segment is made when less sound than this is left to play, so that later thoughts can shape it; ours."""
    longest_chain: int = 2048
    """Tokens after which a chain is closed."""
    sure: float = 0.9
    """Probability of the first token from which ``adaptive`` needs no thought; ours."""
    bridge: str = "No, "
    """Said before an answer that corrects one given too early; ours."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode is {self.mode!r}; choose one of {', '.join(MODES)}")
        for name in ("think_tokens", "speak_tokens", "longest_chain"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if not 0 < self.lead_seconds <= 60:
            raise ValueError(f"lead_seconds is {self.lead_seconds}; it must be above 0 and at most 60")

    def needed(self, segments_said: int) -> int | None:
        """Return the tokens of thought that the next segment of the answer needs; None: the whole chain."""
        if self.mode == "think-before-speak":
            return None
        return (segments_said + (self.mode != "speak-first")) * self.think_tokens
