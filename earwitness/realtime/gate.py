"""Who may open a session: the key, the page that asks, the model's name, and how many there are already."""

from __future__ import annotations

import contextlib
import hmac
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from earwitness.realtime.settings import Settings

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_KEY_SUBPROTOCOL = "openai-insecure-api-key."
"""Browsers cannot set headers of a WebSocket; OpenAI's clients put the key here."""


class Denied(Exception):
    """A handshake that is refused: an HTTP status and one sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code

    def payload(self) -> dict[str, Any]:
        """Return the JSON body, in OpenAI's shape."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": str(self), "type": kind, "param": None, "code": self.code}}


class Gate:
    """The rules of one server and the sessions that are there; used on the event loop only."""

    def __init__(self, settings: Settings, host: str) -> None:
        self.settings, self.host = settings, host
        self.sessions: Counter[str] = Counter()
        """Open sessions of each address."""
        self.draining = False

    def check(self, headers: Mapping[str, str], subprotocols: Sequence[str], model: str | None) -> None:
        """Raise ``Denied`` where a handshake must not be accepted."""
        self._check_origin(headers.get("origin"), headers.get("host", ""))
        self._check_key(headers.get("authorization", ""), subprotocols)
        if model is not None and model != self.settings.name:
            message = f"there is no model {model[:80]!r} here; ask for {self.settings.name}"
            raise Denied(404, "model_not_found", message)

    def _check_origin(self, origin: str | None, host: str) -> None:
        """Browsers name the page that connects; programs do not. A page may only come from here or from a listed place.

        The host must be one of this server's names: else a page whose own name was bent to this address would pass.
        """
        if origin is None or origin in self.settings.allowed_origins:
            return
        page, here = urlsplit(origin), urlsplit(f"//{host}")
        ours = here.hostname in (*_LOOPBACK, self.host)
        if page.scheme in ("http", "https") and page.netloc.lower() == host.lower() and ours:
            return
        raise Denied(403, "origin_not_allowed", f"pages of {origin[:80]} may not connect; start with --allow-origin")

    def _check_key(self, authorization: str, subprotocols: Sequence[str]) -> None:
        if self.settings.api_key is None:
            return
        word, _, given = authorization.partition(" ")
        keys = [given.strip()] if word.lower() == "bearer" else []
        keys += [p.removeprefix(_KEY_SUBPROTOCOL) for p in subprotocols if p.startswith(_KEY_SUBPROTOCOL)]
        wanted = self.settings.api_key.encode()
        if not any(hmac.compare_digest(key.encode(errors="replace"), wanted) for key in keys):
            raise Denied(401, "invalid_api_key", "the API key is missing or wrong; send Authorization: Bearer KEY")

    @contextlib.contextmanager
    def place(self, client: str) -> Iterator[None]:
        """Hold a session's place; ``Denied`` where there is none."""
        if self.draining:
            raise Denied(503, "server_shutting_down", "the server is shutting down; connect again soon")
        total, own = self.sessions.total(), self.sessions[client]
        if total >= self.settings.max_sessions:
            raise Denied(429, "session_limit_reached", f"all {total} sessions of this server are taken; try again soon")
        if own >= self.settings.max_client_sessions:
            raise Denied(429, "session_limit_reached", f"your address has {own} sessions open; close one of them")
        self.sessions[client] += 1
        try:
            yield
        finally:
            self.sessions[client] -= 1
            if not self.sessions[client]:
                del self.sessions[client]


def chosen_subprotocol(offered: Sequence[str]) -> str | None:
    """Return the subprotocol to answer with; a browser ends a connection that names none of those it offered."""
    return next((p for p in ("realtime", "openai-beta.realtime-v1") if p in offered), None)
