"""HTTP to an OpenAI-compatible server: where it is, what it may be sent, and its failures in one sentence each.

The standard library is enough: one request is one connection, and what takes time is the model behind it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_BUSY = (429, 503)
_TRIES = 3


class EndpointError(OSError):
    """A server that is down, slow, unwilling, or not what it should be; its text is one sentence."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are refused: they would carry the key to another machine."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class ChatServer:
    """One server: ``models`` and ``stream`` are all that is asked of it."""

    def __init__(self, url: str, api_key: str | None, timeout_seconds: float):
        """Remember where the server is; nothing is sent yet. Raises ``ValueError`` for what is no http(s) URL."""
        self.name, _, self.fragment = url.partition("#")
        try:
            parsed = urllib.parse.urlsplit(self.name)
            host = parsed.hostname
            parsed.port  # noqa: B018 - raises for what is no port
        except ValueError as error:
            raise ValueError(f"{url!r} is not a URL ({error}); give one such as http://localhost:8000/v1") from error
        if parsed.scheme not in ("http", "https") or not host:
            raise ValueError(f"{url!r} is not an http or https URL; give one such as http://localhost:8000/v1")
        base = self.name.rstrip("/").removesuffix("/chat/completions")
        self._base = base if parsed.path.strip("/") else f"{base}/v1"
        self._timeout = timeout_seconds
        key = api_key or os.environ.get("EARWITNESS_API_KEY") or os.environ.get("OPENAI_API_KEY")
        self.key_withheld = bool(key) and parsed.scheme == "http" and host not in _LOOPBACK
        self.headers = {"Content-Type": "application/json", "User-Agent": "earwitness"}
        if key and not self.key_withheld:
            self.headers["Authorization"] = f"Bearer {key}"
        # A proxy cannot reach this machine's own servers.
        proxies = [urllib.request.ProxyHandler({})] if host in _LOOPBACK else []
        self._opener = urllib.request.build_opener(_NoRedirect, *proxies)

    def models(self) -> list[dict[str, Any]]:
        """Return what ``/models`` lists."""
        with self._sentences(), self._open("/models", None) as response:
            listed = self._payload(response.read().decode("utf-8", "replace")).get("data")
        return [m for m in listed if isinstance(m, dict)] if isinstance(listed, list) else []

    def stream(self, body: dict[str, Any], cancelled: threading.Event) -> Iterator[dict[str, Any]]:
        """Yield the JSON payloads of a chat completion, streamed or whole; stops early when ``cancelled`` is set."""
        with self._sentences(), self._open("/chat/completions", body) as response:
            if "text/event-stream" not in response.headers.get("content-type", ""):
                yield self._payload(response.read().decode("utf-8", "replace"))
                return
            found = finished = False
            for line in response:
                if cancelled.is_set():
                    return
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip().decode("utf-8", "replace")
                if data == "[DONE]":
                    finished = True
                    break
                found = True
                payload = self._payload(data)
                finished = finished or any(c.get("finish_reason") for c in payload.get("choices") or ())
                yield payload
        if not found:
            raise EndpointError(f"{self.name} closed the stream without an answer; look into the server's log")
        if not finished:
            raise EndpointError(f"{self.name} broke off in mid-reply; try again or look into the server's log")

    def _open(self, path: str, body: dict[str, Any] | None) -> Any:
        """Return the response; waits and tries again where the server is busy."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data=data, headers=self.headers)
        for attempt in range(_TRIES):
            try:
                return self._opener.open(request, timeout=self._timeout)
            except urllib.error.HTTPError as error:
                with error:
                    text = error.read().decode("utf-8", "replace")
                if error.code not in _BUSY or attempt + 1 == _TRIES:
                    raise self._refusal(error.code, text) from None
                time.sleep(2.0**attempt)
        raise AssertionError("the last try returns or raises")

    def _payload(self, text: str) -> dict[str, Any]:
        try:
            payload = json.loads(text)
        except ValueError:
            payload = None
        if isinstance(payload, dict) and payload.get("error"):
            raise EndpointError(f"{self.name} reports: {_message(payload)}")
        if not isinstance(payload, dict) or not ("choices" in payload or "data" in payload or "usage" in payload):
            raise EndpointError(
                f"{self.name} answered {text.strip()[:60]!r}, which is no OpenAI completion; give the base URL of an "
                "OpenAI-compatible server, such as http://localhost:8000/v1"
            )
        return payload

    def _refusal(self, status: int, text: str) -> EndpointError:
        try:
            said = _message(json.loads(text))
        except ValueError:
            said = " ".join(text.split())[:120] or "no message"
        remedy = {
            401: "set EARWITNESS_API_KEY to a valid key",
            403: "set EARWITNESS_API_KEY to a key that may use this model",
            404: "check the URL and the model's name",
        }.get(status, "change the request, or look into the server's log")
        if self.key_withheld and status in (401, 403):
            remedy = "use https: a key is not sent over plain http to another machine"
        if 300 <= status < 400:
            remedy = "give the URL that it redirects to"
        return EndpointError(f"{self.name} answered HTTP {status} ({said}); {remedy}")

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turn the library's errors into ``EndpointError`` with one sentence."""
        try:
            yield
        except EndpointError:
            raise
        except TimeoutError as error:
            raise self._silent() from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise self._silent() from error
            raise EndpointError(
                f"{self.name} cannot be reached ({error.reason}); check the URL and that the server runs"
            ) from error
        except (http.client.HTTPException, ConnectionError) as error:
            what = str(error) or type(error).__name__
            raise EndpointError(
                f"{self.name} broke off in mid-reply ({what}); try again or look into its log"
            ) from error

    def _silent(self) -> EndpointError:
        return EndpointError(f"{self.name} was silent for {self._timeout:g} s; give it more time, or ask for less")


def _message(payload: Any) -> str:
    """Return the human part of an error payload in any of its usual places."""
    error = payload.get("error", payload) if isinstance(payload, dict) else payload
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or json.dumps(error)
    return " ".join(str(error).split())[:300]
