"""What the operator decides: the key, the limits, and where audio may come from."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """One server's rules. Every field is a flag of ``earwitness serve``."""

    name: str = "earwitness"
    """What ``/v1/models`` calls the model, and what requests must call it."""
    api_key: str | None = None
    """None lets everybody in who can connect."""
    max_body_bytes: int = 32 << 20
    """Of a request, its base64 audio included; also of one clip that is fetched."""
    max_audio_seconds: float = 1800.0
    """Of all clips of a request together."""
    max_clips: int = 32
    """Of a request."""
    max_choices: int = 8
    """The largest ``n``."""
    max_queue: int = 64
    """Replies that may wait beyond those that run; past it a request is answered 429."""
    timeout_seconds: float = 600.0
    """From a request's first byte to the last one of its reply."""
    grace_seconds: float = 30.0
    """How long accepted requests may go on after SIGTERM."""
    allowed_hosts: tuple[str, ...] = ()
    """``host`` or ``host:port`` that http(s) audio may come from."""
    allowed_folders: tuple[pathlib.Path, ...] = ()
    """Folders that ``file:`` audio may come from."""

    def __post_init__(self) -> None:
        for name in ("max_body_bytes", "max_audio_seconds", "max_clips", "max_choices", "timeout_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("max_queue", "grace_seconds"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable() and self.api_key):
            raise ValueError("the API key is empty or has characters that a header cannot carry; use printable ASCII")
        for folder in self.allowed_folders:
            if not folder.is_dir():
                raise ValueError(f"there is no folder {folder} to read audio from; give one that exists")
