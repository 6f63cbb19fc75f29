"""The scripts of ``bench/`` as modules, for rows that measure with them."""

from __future__ import annotations

import importlib.util
import pathlib
import sys
import types

BENCH = pathlib.Path(__file__).resolve().parents[1] / "bench"


def bench(name: str) -> types.ModuleType:
    """Return ``bench/NAME.py`` as a module."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
