"""Run configurations: frozen dataclasses read from YAML with plain values; an unknown key is an error."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import pathlib
import platform
import sys
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

T = TypeVar("T")

MAY_CHANGE = ("lr", "max_tokens", "activation_checkpointing", "device", "checkpoint_seconds", "log_every")
"""Last parts of the keys that a run may change on its way."""


def from_mapping(cls: type[T], values: dict[str, Any], where: str = "config") -> T:
    """Build dataclass ``cls``, nested ones too; raises ``ValueError`` on unknown keys, with the nearest known one."""
    hints = get_type_hints(cls)
    out: dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(f"{where}: unknown key {key!r}{hint}")
        kind = hints[key]
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            out[key] = from_mapping(kind, value or {}, f"{where}.{key}")
        elif (
            get_origin(kind) is dict
            and isinstance(inner := get_args(kind)[1], type)
            and dataclasses.is_dataclass(inner)
        ):
            out[key] = {k: from_mapping(inner, v or {}, f"{where}.{key}.{k}") for k, v in (value or {}).items()}
        elif isinstance(value, list):
            out[key] = tuple(value)
        elif kind is float and isinstance(value, (int, str)):
            out[key] = float(value)
        else:
            out[key] = value
    try:
        return cls(**out)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error


def load(cls: type[T], path: str | pathlib.Path, overrides: tuple[str, ...] = ()) -> T:
    """Read a YAML file, apply ``a.b=c`` overrides, and build ``cls``."""
    try:
        values = yaml.safe_load(pathlib.Path(path).read_text()) or {}
    except FileNotFoundError as error:
        raise ValueError(f"config {path} does not exist; see configs/ for the shipped ones") from error
    except yaml.YAMLError as error:
        raise ValueError(f"config {path} is not valid YAML: {str(error).splitlines()[0]}") from error
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ValueError(f"override {override!r} needs the form key=value, such as loop.steps=100")
        *parents, leaf = key.split(".")
        node = values
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = yaml.safe_load(text)
    return from_mapping(cls, values, str(path))


def record(config: Any, folder: pathlib.Path) -> None:
    """Write the resolved config and the versions into a run folder, or check that it is this config's folder.

    A run that continues under another config would be neither run, so a change is refused, but for ``MAY_CHANGE``:
    what helps a run on that ran out of memory or diverged. Such a change is told and written down.

    Raises:
        ValueError: the folder belongs to another config.
    """
    import torch
    import transformers

    path = folder / "config.json"
    resolved = json.loads(json.dumps(dataclasses.asdict(config)))
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    versions["transformers"] = transformers.__version__
    found = json.loads(path.read_text()) if path.exists() else {"config": resolved, "versions": versions}
    before, now = _flat(found["config"]), _flat(resolved)
    changed = {k: (before.get(k), now.get(k)) for k in sorted({*before, *now}) if before.get(k) != now.get(k)}
    refused = [key for key in changed if key.rpartition(".")[2] not in MAY_CHANGE]
    if refused:
        names = ", ".join(refused)
        raise ValueError(f"run {folder} was begun with another {names}; restore it, or set run= to a new folder")
    if path.exists() and not changed:
        return
    for key, (old, new) in changed.items():
        print(f"run {folder} goes on with {key} {new}, before {old}", file=sys.stderr)
    changes = {"changes": [*found.get("changes", []), changed]} if changed else {}
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "config.partial"
    partial.write_text(json.dumps({**found, "config": resolved, **changes}, indent=2) + "\n")
    os.replace(partial, path)


def _flat(values: dict[str, Any], place: str = "") -> dict[str, Any]:
    """Return nested mappings as one, by keys such as ``loop.steps``."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        out |= _flat(value, f"{place}{key}.") if isinstance(value, dict) else {place + key: value}
    return out
