"""What a recipe that starts from a preset begins with: the encoder of a finished model, and a tokenizer of its own."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator

import torch

import earwitness
from earwitness.data import cold_start
from earwitness.data.manifest import Manifest
from earwitness.model.reasoner import AudioReasoner
from earwitness.model.tokenizer import train_tokenizer
from earwitness.records import Sample

TINY = "tiny"
"""Names the small model of the package."""


def model_folder(name: str) -> str:
    """Return the folder of the package's model for ``tiny``, any other name as it is."""
    return str(pathlib.Path(earwitness.__file__).parent / "weights" / "tiny") if name == TINY else name


def take_encoder(source: str, path: pathlib.Path) -> None:
    """Write the encoder of a pre-training run (``encoder.pt``), or of a model in a published layout, and nothing else.

    Raises:
        ValueError: there is neither at ``source``.
    """
    given = pathlib.Path(model_folder(source)).expanduser()
    partial = path.with_suffix(".partial")
    if given.is_file():
        shutil.copyfile(given, partial)
    elif source and given.is_dir():
        model = AudioReasoner.from_pretrained(str(given), dtype=torch.float32)
        torch.save(model.encoder.state_dict(), partial)
    else:
        raise ValueError(f"start.encoder {source!r} is no encoder.pt and no model; give one, or {TINY!r}")
    os.replace(partial, path)


def learn_tokenizer(manifests: Iterable[pathlib.Path], vocab_size: int, folder: pathlib.Path) -> None:
    """Write ``folder``, a tokenizer learned from the texts of manifests."""
    partial = folder.with_name(f"{folder.name}.partial")
    train_tokenizer(cold_start.texts(samples(manifests)), vocab_size).save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def copy_folder(source: pathlib.Path, folder: pathlib.Path) -> None:
    """Copy a folder, all of it or nothing, unless it is there."""
    if folder.exists():
        return
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial)
    os.replace(partial, folder)


def count(paths: Iterable[str | pathlib.Path]) -> int:
    """Return how many samples manifests have, for a plan: lines, and none of a file that is not there."""
    total = 0
    for place in (pathlib.Path(path).expanduser() for path in paths if path):
        if place.is_file():
            with open(place, "rb") as file:
                total += sum(1 for line in file if line.strip())
    return total


def samples(paths: Iterable[str | pathlib.Path]) -> Iterator[Sample]:
    """Yield the samples of manifests, one after another; a step that found nothing left an empty one."""
    for place in (pathlib.Path(path).expanduser().resolve() for path in paths if path):
        if not place.is_file() or place.stat().st_size:
            manifest = Manifest(place)
            yield from (manifest[i] for i in range(len(manifest)))
