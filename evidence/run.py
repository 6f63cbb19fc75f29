"""Measure the claims: each row of ``evidence/rows`` runs and writes its figures to ``docs/evidence/ROW.json``.

    make evidence               all rows, in full
    make evidence ROW=parity    one row
    python evidence/run.py parity --reduced     a small form, as in the tests; writes nothing

A row is a file with ``run(reduced, folder) -> {"figures": {...}, "holds": {name: bool}}``. ``folder`` keeps what an
interrupted row has measured; it belongs to one state of the package, so old answers never enter a new figure. A row
about training says ``TRAINS = True``: then the training code and ``configs`` are part of that state.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import importlib.util
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
import types
from collections.abc import Sequence
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
HERE = ROOT / "evidence"
ROWS = HERE / "rows"
RESULTS = ROOT / "docs" / "evidence"
# What answers no question and measures nothing; a change here keeps what an interrupted row has.
_NOT_MEASURED = ("commands", "cli.py")
_TRAINING = ("stages", "train", "losses", "data")


def row_names() -> list[str]:
    """Return the names of all rows."""
    return sorted(path.stem for path in ROWS.glob("*.py") if not path.stem.startswith("_"))


def load_row(name: str) -> types.ModuleType:
    """Return a row's module; ``ValueError`` if there is none of that name."""
    if name not in row_names():
        raise ValueError(f"there is no evidence row {name!r}; there are {', '.join(row_names())}")
    spec = importlib.util.spec_from_file_location(f"evidence_{name}", ROWS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))  # rows share ``training_runs``
    spec.loader.exec_module(module)
    return module


def measure(name: str, reduced: bool = False, fresh: bool = False) -> dict[str, Any]:
    """Run a row and return its record; in full it is also written to ``docs/evidence``."""
    row = load_row(name)
    folder = _resume_folder(name, reduced, getattr(row, "TRAINS", False))
    if fresh and folder.exists():
        folder.rename(folder.with_name(f"{folder.name}.{int(time.time())}"))
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.time()
    result = row.run(reduced, folder)
    holds = {key: bool(value) for key, value in result.get("holds", {}).items()}
    record = {
        "row": name,
        "holds": holds,
        "figures": result["figures"],
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--", ".", ":!docs")),
        "command": f"make evidence ROW={name}",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "seconds": round(time.time() - begun, 1),
        "machine": _machine(),
    }
    if not reduced:
        _write(RESULTS / f"{name}.json", record)
    return record


def main(argv: Sequence[str] | None = None) -> int:
    """Run rows; returns 1 where something that must hold does not."""
    parser = argparse.ArgumentParser(description="Measure the claims and write docs/evidence/ROW.json.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(row_names())} (default: all)")
    parser.add_argument("--reduced", action="store_true", help="the small form of the tests; writes nothing")
    parser.add_argument("--fresh", action="store_true", help="do not continue an interrupted measurement")
    args = parser.parse_args(argv)
    unknown = [name for name in args.rows if name not in row_names()]
    if unknown:
        parser.error(f"there is no row {unknown[0]!r}; there are {', '.join(row_names())}")
    failed = []
    for name in args.rows or row_names():
        print(f"{name}: running", file=sys.stderr, flush=True)
        record = measure(name, args.reduced, args.fresh)
        print(json.dumps({"figures": record["figures"], "holds": record["holds"]}, indent=2))
        failed += [f"{name}.{key}" for key, value in record["holds"].items() if not value]
        print(f"{name}: {record['seconds']} s", file=sys.stderr, flush=True)
    if failed:
        print(f"does not hold: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _resume_folder(name: str, reduced: bool, trains: bool) -> pathlib.Path:
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    form = "reduced" if reduced else "full"
    return cache / "earwitness" / "evidence" / f"{name}-{form}-{_state(ROWS / f'{name}.py', trains)}"


def _state(row: pathlib.Path, trains: bool) -> str:
    """Return a hash of the row, of the package, weights included, and of configs, as far as they decide a figure."""
    left_out = _NOT_MEASURED if trains else (*_NOT_MEASURED, *_TRAINING)
    package = ROOT / "earwitness"
    digest = hashlib.sha256(row.read_bytes())
    for path in sorted(package.rglob("*")):
        inside = path.relative_to(package)
        if path.is_file() and inside.parts[0] not in left_out and "__pycache__" not in inside.parts:
            digest.update(f"{inside.as_posix()}\n".encode() + path.read_bytes())
    for path in sorted((ROOT / "configs").rglob("*.yaml")) if trains else ():
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def _machine() -> dict[str, Any]:
    import torch
    import transformers

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, Any] = {"cores": cores, "architecture": platform.machine(), "python": platform.python_version()}
    found |= {"torch": torch.__version__, "transformers": transformers.__version__}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name(0)
    return found


def _write(path: pathlib.Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)


if __name__ == "__main__":
    sys.exit(main())
