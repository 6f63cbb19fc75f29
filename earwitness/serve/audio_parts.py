"""The clips of a request -> waveforms, by the operator's rules: what is not allowed is neither opened nor fetched.

Runs in a worker thread. ``data:`` URLs and ``input_audio`` need no rule; ``file:`` URLs must lie, with every link
resolved, in an allowed folder; http(s) URLs are ``remote``'s.
"""

from __future__ import annotations

import os
import pathlib
import stat
import urllib.parse
import urllib.request
from typing import Any

from earwitness import audio, prompt
from earwitness.serve import remote
from earwitness.serve.errors import ApiError, wrong
from earwitness.serve.settings import Settings
from earwitness.serve.turns import Clip


def load_clips(messages: list[prompt.Message], settings: Settings, timeout_seconds: float) -> float:
    """Put the waveform in place of every ``Clip`` and return their seconds; ``ApiError`` at the first that fails."""
    contents = [message["content"] for message in messages if isinstance(message["content"], list)]
    parts = [part for content in contents for part in content if isinstance(part.get("audio"), Clip)]
    if len(parts) > settings.max_clips:
        raise ApiError(
            413, f"messages: they hold {len(parts)} clips and at most {settings.max_clips} are read", "messages"
        )
    total = 0.0
    for part in parts:
        clip: Clip = part["audio"]
        data = read_clip(clip, settings, timeout_seconds)
        part["audio"], seconds = _decode(data, clip.param, settings.max_audio_seconds - total)
        total += seconds
    return total


def read_clip(clip: Clip, settings: Settings, timeout_seconds: float) -> bytes:
    """Return the bytes of a clip, from wherever it may come."""
    scheme = clip.url[:16].partition(":")[0].lower() if clip.is_url else "data"
    if scheme == "data":
        return _inline(clip)
    if scheme == "file":
        return _file(clip, settings)
    if scheme in ("http", "https"):
        return remote.fetch(clip, settings, timeout_seconds)
    raise wrong(clip.param, "only data:, http:, https: and file: URLs are known; send the audio in a data: URL")


def _inline(clip: Clip) -> bytes:
    url = clip.url
    if clip.is_url:
        head, comma, data = url.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise wrong(clip.param, "a data: URL must read data:audio/wav;base64,...")
        url = data
    try:
        found = prompt.clips([{"content": [{"type": "input_audio", "input_audio": {"data": url}}]}])
    except ValueError:
        raise wrong(clip.param, "its data is not valid base64; encode the bytes of an audio file") from None
    return found[0]


def _file(clip: Clip, settings: Settings) -> bytes:
    refused = wrong(
        clip.param,
        "file: audio is read only from folders that the operator names with --allow-audio-folder",
        "audio_url_not_allowed",
    )
    try:
        parts = urllib.parse.urlsplit(clip.url)
        path = pathlib.Path(urllib.request.url2pathname(parts.path))
        if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not path.is_absolute():
            raise refused
        # Links and .. are resolved before the folders are compared, so that nothing outside can be named.
        path = pathlib.Path(os.path.realpath(path))
        if not any(path.is_relative_to(os.path.realpath(folder)) for folder in settings.allowed_folders):
            raise refused
    except (ValueError, OSError):
        raise refused from None
    try:
        return _read_regular(path, settings.max_body_bytes, clip.param)
    except OSError:
        raise wrong(clip.param, "there is no such audio file that can be read; check the path") from None


def _read_regular(path: pathlib.Path, most: int, param: str) -> bytes:
    """Return the bytes of a regular file; no link is followed any more and no pipe is waited for."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError("not a regular file")
        if found.st_size > most:
            raise ApiError(413, f"{param}: the file has {found.st_size} bytes and at most {most} are read", param)
        return file.read(most)


def _decode(data: bytes, param: str, seconds_left: float) -> tuple[Any, float]:
    """Return (waveform, seconds); a header that already says too much is believed before anything is decoded."""
    try:
        _check_seconds(audio.duration_seconds(data), param, seconds_left)
        wave = audio.load_audio(data, max_seconds=max(seconds_left, 0.0) + 1.0)
    except (ValueError, OSError) as error:
        raise wrong(param, str(error), "invalid_audio") from None
    seconds = len(wave) / audio.SAMPLE_RATE
    _check_seconds(seconds, param, seconds_left)
    return wave, seconds


def _check_seconds(seconds: float, param: str, left: float) -> None:
    if seconds > left + 0.1:  # compressed formats may state a little more than they hold
        over = seconds - left
        message = f"{param}: this clip brings the request {over:.1f} s over its limit of audio; send shorter clips"
        raise ApiError(413, message, param, "audio_too_long")
