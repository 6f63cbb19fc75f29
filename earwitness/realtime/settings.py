"""What the operator of a realtime server decides: the key, who may connect, the limits, the voice and the pace."""

from __future__ import annotations

from dataclasses import dataclass, field

from earwitness.realtime.pace import Pace

VOICES = ("espeak", "flite")


@dataclass(frozen=True)
class Settings:
    """One server's rules."""

    name: str = "earwitness"
    """What clients call the model."""
    api_key: str | None = None
    """None lets everybody in who can connect."""
    allowed_origins: tuple[str, ...] = ()
    """Origins such as ``https://example.com`` whose pages may connect, beside the server's own."""
    instructions: str = ""
    """The system message of sessions that set none."""
    voice: str = "espeak"
    """``espeak`` or ``flite``."""
    pace: Pace = field(default_factory=Pace)
    max_sessions: int = 8
    """At a time."""
    max_client_sessions: int = 4
    """Of one address."""
    max_new_tokens: int = 1024
    """Of one answer, its chain included; a session may ask for less."""
    lead_seconds: float = 0.32
    """How far ahead of playing sound is sent."""
    idle_seconds: float = 600.0
    """A session ends when its client sent nothing for so long."""
    stall_seconds: float = 30.0
    """An answer fails when nothing of it was made for so long and nothing of it is left to play."""
    slow_seconds: float = 10.0
    """A session ends when its client has not taken an event for so long."""
    grace_seconds: float = 30.0
    """How long answers may go on after SIGTERM."""

    def __post_init__(self) -> None:
        for name in ("max_sessions", "max_client_sessions", "max_new_tokens", "lead_seconds", "idle_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("stall_seconds", "slow_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if not self.grace_seconds >= 0:
            raise ValueError(f"grace_seconds is {self.grace_seconds}; it must be 0 or more")
        if self.voice not in VOICES:
            raise ValueError(f"voice is {self.voice!r}; choose one of {', '.join(VOICES)}")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable() and self.api_key):
            raise ValueError("the API key is empty or has characters that a header cannot carry; use printable ASCII")
