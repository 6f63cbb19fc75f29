"""Engines: one protocol for everything that turns requests into replies. ``load`` picks the right one."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from earwitness.engines.protocol import Capabilities, Engine, Event, OnEvent, Request, Sampling

__all__ = ["Capabilities", "Engine", "Event", "OnEvent", "Request", "Sampling", "load", "shipped_model"]

_TINY = pathlib.Path(__file__).parent.parent / "weights" / "tiny"


def shipped_model() -> pathlib.Path:
    """Return the folder of the small model that comes with the package; ``ValueError`` if it is not there."""
    if not (_TINY / "config.json").exists():
        raise ValueError(f"the small model is missing from {_TINY}; reinstall earwitness or give a model with --model")
    return _TINY


def load(
    model: str | os.PathLike | None = None,
    device: str | None = None,
    dtype: Any = None,
    timeout_seconds: float = 120.0,
    **options: Any,
) -> Engine:
    """Return the engine that fits a model.

    Args:
        model: None for the small model of the package; a folder or hub name for ``LocalEngine``; an ``http(s)://`` URL,
            optionally ``URL#model-name``, for ``EndpointEngine``.
        device: for local models, see ``load_local``.
        dtype: for local models, see ``load_local``.
        timeout_seconds: for endpoints, the longest silence.
        options: passed to the engine's loader.

    Raises:
        ValueError: a model that is not there or does not fit together.
        OSError: files that cannot be read.
    """
    name = str(model) if model is not None else ""
    if name.startswith(("http://", "https://")):
        from earwitness.engines.endpoint import EndpointEngine

        return EndpointEngine(name, timeout_seconds=timeout_seconds, **options)
    from earwitness.engines.local import load_local

    folder = shipped_model() if model is None else model
    if name.startswith((".", "/", "~")) and not pathlib.Path(name).expanduser().is_dir():
        raise ValueError(f"there is no model folder {name}; give a folder, a hub name such as owner/model, or a URL")
    folder = pathlib.Path(folder).expanduser() if name.startswith("~") else folder
    return load_local(folder, device=device, dtype=dtype, **options)
