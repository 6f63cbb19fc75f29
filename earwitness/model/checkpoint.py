"""Published checkpoint folders: find them, check every key before loading, write them whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from earwitness.model.config import EarwitnessConfig

if TYPE_CHECKING:
    import torch

INDEX = "model.safetensors.index.json"
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn"}
_DTYPES |= {"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8"}
_HUB_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_DOWNLOADED = ("*.json", "*.safetensors", "*.txt", "*.jinja")
_SKIPPED = ("token2wav/*",)  # the speech decoder is no part of this model
_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token", "revision")


def local_folder(name: str | os.PathLike, options: dict[str, Any]) -> str:
    """Return the folder of a checkpoint, downloading it when ``name`` is a hub name.

    Hub options (``token``, ``revision``, ``cache_dir``, ...) are taken out of ``options``. Raises ``OSError`` with
    one sentence that says what to do.
    """
    hub = {k: options.pop(k) for k in _HUB_OPTIONS if k in options}
    path = pathlib.Path(name).expanduser()
    if path.is_dir():
        return str(path)
    if path.exists():
        raise NotADirectoryError(f"{name} is a file; give the model folder that holds config.json")
    if not _HUB_NAME.fullmatch(str(name)):
        raise FileNotFoundError(f"model folder {name} does not exist; give a folder with config.json or a hub name")
    return _download(str(name), hub)


def _download(name: str, options: dict[str, Any]) -> str:
    from huggingface_hub import errors, snapshot_download

    where = f"https://huggingface.co/{name}"
    try:
        return snapshot_download(name, allow_patterns=list(_DOWNLOADED), ignore_patterns=list(_SKIPPED), **options)
    except errors.GatedRepoError as error:
        raise PermissionError(
            f"{name} is gated: accept its conditions at {where}, then run 'hf auth login' or set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"{name} is neither a folder here nor a model on the hub; check the name, or log in if it is private"
        ) from error
    except Exception as error:  # no network comes as a dozen classes of several libraries
        raise OSError(
            f"{name} could not be downloaded ({type(error).__name__}); check the network or give a local folder"
        ) from error


def read_config(folder: str | os.PathLike) -> EarwitnessConfig:
    """Return the config of a checkpoint folder; ``OSError`` or ``ValueError`` with one sentence if it is unusable."""
    return EarwitnessConfig.from_dict(read_json(pathlib.Path(folder) / "config.json"))


def check_weights(folder: str | os.PathLike, expected: dict[str, tuple[int, ...]]) -> None:
    """Raise ``ValueError`` listing every missing, unexpected and misshapen key; reads only the files' headers."""
    found = {key: shape for _, key, shape, _ in headers(pathlib.Path(folder))}
    problems = [f"{key} is missing" for key in sorted(expected.keys() - found.keys())]
    problems += [f"{key} is unexpected" for key in sorted(found.keys() - expected.keys())]
    for key in sorted(expected.keys() & found.keys()):
        if expected[key] != found[key]:
            problems.append(f"{key} has shape {found[key]} where the config gives {expected[key]}")
    if problems:
        raise ValueError(
            f"the weights in {folder} do not fit its config.json; download or convert them again: {'; '.join(problems)}"
        )


def tensors(folder: pathlib.Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors whose key is wanted, one at a time, from a folder's safetensors files."""
    for file, keys in files(folder).items():
        for key in filter(wanted, keys):
            yield key, read_tensor(folder / file, key)


def headers(folder: pathlib.Path) -> Iterator[tuple[str, str, tuple[int, ...], torch.dtype]]:
    """Yield (file, key, shape, dtype) of every tensor, from the files' headers alone."""
    import torch

    for file, keys in files(folder).items():
        with _opened(folder / file) as tensors:
            for key in keys:
                part = tensors.get_slice(key)
                dtype = getattr(torch, _DTYPES.get(part.get_dtype(), "uint8"))
                yield file, key, tuple(part.get_shape()), dtype


def files(folder: pathlib.Path) -> dict[str, list[str]]:
    """Return the weight files of a folder, each with the keys that are read from it, in the order of its bytes."""
    index = folder / INDEX
    named: dict[str, str] = {}
    if index.exists():
        named = read_json(index).get("weight_map") or {}
    found: dict[str, list[str]] = {}
    for file in sorted(set(named.values())) or ["model.safetensors"]:
        if not (folder / file).is_file():
            every = f"the weights ({INDEX} or model.safetensors) in {folder}"
            what = f"the weight file {folder / file}" if named else every
            raise FileNotFoundError(f"{what} cannot be found; download the checkpoint again")
        with _opened(folder / file) as tensors:
            found[file] = [key for key in tensors.offset_keys() if not named or named.get(key) == file]
    return found


def read_tensor(path: pathlib.Path, key: str) -> torch.Tensor:
    """Return one tensor of a file; the file is mapped only while the tensor lives."""
    with _opened(path) as tensors:
        return tensors.get_tensor(key)


class LazyTensor:
    """A tensor of a file that is read when it is indexed, which is all that transformers does with a state dict's."""

    def __init__(self, path: pathlib.Path, key: str, dtype: torch.dtype) -> None:
        self.path, self.key, self.dtype = path, key, dtype

    def __getitem__(self, index: Any) -> torch.Tensor:
        """Return the tensor, or a part of it."""
        return read_tensor(self.path, self.key)[index]

    def is_floating_point(self) -> bool:
        """Return whether its values are floats."""
        return self.dtype.is_floating_point


def lazy_tensors(folder: str | os.PathLike) -> dict[str, LazyTensor]:
    """Return a state dict of a folder that holds no tensor yet and maps no file for longer than one tensor lives.

    transformers by itself keeps every file of a checkpoint mapped until the last tensor is converted.
    """
    folder = pathlib.Path(folder)
    return {key: LazyTensor(folder / file, key, dtype) for file, key, _, dtype in headers(folder)}


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as tensors:
            yield tensors
    except (SafetensorError, OSError) as error:
        raise OSError(f"{path} is cut short or not a safetensors file; download it again") from error


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Return the object of a JSON file; ``OSError`` with one sentence if there is none."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} does not exist; give a model folder that holds it") from error
    except (OSError, ValueError) as error:
        raise OSError(f"{path} cannot be read as JSON; download it again") from error
    if not isinstance(fields, dict):
        raise OSError(f"{path} does not hold a JSON object; download it again")
    return fields


def write_json(path: pathlib.Path, fields: dict[str, Any]) -> None:
    """Write an object as a JSON file for people to read."""
    path.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def staged(folder: str | os.PathLike, num_bytes: int) -> Iterator[pathlib.Path]:
    """Give a staging folder; when the block ends well its files move to ``folder``, else nothing is left behind.

    The old index goes first and the new config last, so that a run killed between two moves leaves a folder that
    does not load rather than one with mixed weights. What a killed run left behind is removed by the next one.
    """
    folder = pathlib.Path(folder).expanduser()
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; give a folder to save the model in")
    fresh = not folder.exists()
    staging = folder / f"{_partial()}{os.getpid()}"
    try:
        _remove_abandoned(folder)
        staging.mkdir(parents=True)
        free = shutil.disk_usage(folder).free
        if free < num_bytes:
            raise OSError(f"{num_bytes / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB are free")
        yield staging
        _index_single_file(staging)
        _publish(staging, folder)
    except Exception as error:
        shutil.rmtree(folder if fresh else staging, ignore_errors=True)
        # A full disk reaches us as OSError or as the writer's own class.
        if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
            reason = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
            raise OSError(
                f"the model was not saved to {folder} ({reason}); free space or give another folder"
            ) from error
        raise


def _partial() -> str:
    """Return how the staging folders of this machine begin; a shared disk holds those of others too."""
    return f".partial-{platform.node()}-"


def _remove_abandoned(folder: pathlib.Path) -> None:
    """Remove the staging folders of processes of this machine that are gone."""
    for old in folder.glob(f"{_partial()}*"):
        try:
            os.kill(int(old.name.removeprefix(_partial())), 0)
        except ProcessLookupError:
            shutil.rmtree(old, ignore_errors=True)
        except (ValueError, OSError):
            pass  # not ours, or another user's process: it may still be writing


def _index_single_file(folder: pathlib.Path) -> None:
    """Give a checkpoint of one file the published layout's numbered name and index too."""
    single = folder / "model.safetensors"
    if not single.exists():
        return
    from safetensors import safe_open

    name = "model-00001-of-00001.safetensors"
    single.rename(folder / name)
    with safe_open(folder / name, framework="pt") as tensors:
        keys = sorted(tensors.keys())
    total = (folder / name).stat().st_size
    index = {"metadata": {"total_size": total}, "weight_map": {key: name for key in keys}}
    write_json(folder / INDEX, index)


def _publish(staging: pathlib.Path, folder: pathlib.Path) -> None:
    """Move the staged files into the folder and drop the weights of an earlier save."""
    for old in (folder / INDEX, *folder.glob("model*.safetensors")):
        old.unlink(missing_ok=True)
    last = {INDEX: 1, "config.json": 2}
    for file in sorted(staging.iterdir(), key=lambda f: (last.get(f.name, 0), f.name)):
        shutil.copymode(staging / "config.json", file)  # safetensors writes files that only their owner can read
        os.replace(file, folder / file.name)
    staging.rmdir()
