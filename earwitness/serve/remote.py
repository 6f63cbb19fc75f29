"""http(s) audio, from hosts that the operator named and from nowhere else.

Every hop of a redirect is checked anew. A name is looked up once, every address that it has must be a public one, and
the connection goes to the very address that was checked, so that a name cannot change in between. An address that the
operator wrote out, such as 127.0.0.1:9000, may be private. No proxy is used and nothing of the client's is sent on.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
import urllib.parse

from earwitness.serve.errors import ApiError, wrong
from earwitness.serve.settings import Settings
from earwitness.serve.turns import Clip

_HOPS = 4
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
_STEP = 1 << 16


def fetch(clip: Clip, settings: Settings, timeout_seconds: float) -> bytes:
    """Return the bytes behind an http(s) URL; ``ApiError`` where it is not allowed, unreachable or too large."""
    deadline = time.monotonic() + timeout_seconds
    url = clip.url
    for _ in range(_HOPS):
        scheme, host, port, path = _allowed(url, clip.param, settings)
        try:
            location, data = _get(scheme, host, port, path, clip.param, settings.max_body_bytes, deadline)
        except (OSError, http.client.HTTPException, ValueError):
            message = f"nothing could be fetched from {host}; check the URL or send the audio in the request"
            raise wrong(clip.param, message, "audio_url_unreachable") from None
        if location is None:
            return data
        url = urllib.parse.urljoin(url, location)
    raise wrong(clip.param, f"it redirects more than {_HOPS - 1} times; give the last URL", "audio_url_unreachable")


def _allowed(url: str, param: str, settings: Settings) -> tuple[str, str, int, str]:
    """Return (scheme, host, port, path and query) of a URL that may be fetched."""
    refused = wrong(
        param, "audio is fetched only from hosts that the operator names with --allow-audio-host",
        "audio_url_not_allowed",
    )  # fmt: skip
    if not url.isascii() or any(c.isspace() or not c.isprintable() or c == "\\" for c in url):
        raise refused
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise refused from None
    if parts.scheme not in _PORTS or not host or "@" in parts.netloc:
        raise refused
    named = f"[{host}]" if ":" in host else host
    usual = _PORTS[parts.scheme]
    names = {f"{named}:{port or usual}"} | ({named} if port in (None, usual) else set())
    if not names & {allowed.lower() for allowed in settings.allowed_hosts}:
        raise refused
    return parts.scheme, host, port or usual, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _address(host: str, port: int, param: str) -> str:
    """Return the address to connect to."""
    try:
        return str(ipaddress.ip_address(host))  # the operator wrote this very address
    except ValueError:
        pass
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not found or not all(ipaddress.ip_address(address.partition("%")[0]).is_global for address in found):
        message = f"{host} has an address that is not public; the operator may allow that address itself"
        raise wrong(param, message, "audio_url_not_allowed")
    return found[0]


def _get(
    scheme: str, host: str, port: int, path: str, param: str, most: int, deadline: float
) -> tuple[str | None, bytes]:
    """Return (where it redirects to or None, the bytes)."""
    left = max(0.1, deadline - time.monotonic())
    connection = http.client.HTTPConnection(host, port, timeout=left)
    try:
        connection.sock = socket.create_connection((_address(host, port, param), port), timeout=left)
        if scheme == "https":
            connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=host)
        connection.request("GET", path, headers={"User-Agent": "earwitness", "Accept": "audio/*, */*"})
        response = connection.getresponse()
        if response.status in _REDIRECTS and (location := response.getheader("Location")):
            return location, b""
        if response.status != 200:
            raise wrong(param, f"{host} answered HTTP {response.status}; check the URL", "audio_url_unreachable")
        data = bytearray()
        while piece := response.read1(_STEP):
            data += piece
            if len(data) > most:
                raise ApiError(413, f"{param}: it has more than {most} bytes, which is the limit", param)
            if time.monotonic() > deadline:
                raise TimeoutError
        return None, bytes(data)
    finally:
        connection.close()
