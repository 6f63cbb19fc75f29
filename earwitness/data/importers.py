"""Other people's data -> ``Sample`` manifests: Hugging Face parquet with audio bytes, and folders of audio files.

Rows are read as a stream. A manifest appears whole or not at all; clips from parquet are written under the hash of
their bytes, so a second run, or two at once, write the same files. Every error names the file and the row.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import difflib
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from earwitness import audio
from earwitness.records import Sample

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".aiff", ".webm", ".mp4")
_LISTS = ("choices", "acceptable", "tags", "tests")
_BATCH_ROWS = 64
_MAGIC = ((b"RIFF", ".wav"), (b"fLaC", ".flac"), (b"OggS", ".ogg"), (b"ID3", ".mp3"), (b"\xff\xfb", ".mp3"))
_FIELDS = {field.name for field in dataclasses.fields(Sample)}


def import_parquet(
    files: Sequence[str | os.PathLike[str]],
    manifest: str | os.PathLike[str],
    columns: Mapping[str, str],
    audio_folder: str | os.PathLike[str] | None = None,
    fixed: Mapping[str, Any] | None = None,
    answer_is_index: bool = False,
) -> int:
    """Write a manifest of the rows of parquet files, and their clips as files; return the number of samples.

    Args:
        files: parquet files, read in this order. Needs pyarrow (``pip install 'earwitness[eval]'``).
        manifest: the JSON-lines file to write.
        columns: Sample field -> column, such as ``{"audio": "audio", "question": "q", "choices": "options"}``; a field
            ``extra.NAME`` goes into ``extra``. An audio column holds bytes, paths, Hugging Face's struct of both, or
            a list of these. A list may also be a JSON list in a string. Without ``id``, ids are file name and row.
        audio_folder: where clips are written, and named as given here in the manifest; by default
            ``MANIFEST-audio`` beside it.
        fixed: Sample fields that are the same in every row, such as ``{"answer_type": "choice"}``.
        answer_is_index: the answer column counts the choices from 0.

    Raises:
        ValueError: an unknown field or column, or a row that makes no sample or holds no audio; with file and row.
        OSError: something cannot be read or written.
        ImportError: pyarrow is not installed.
    """
    target = pathlib.Path(manifest)
    folder = pathlib.Path(audio_folder) if audio_folder is not None else target.with_name(f"{target.stem}-audio")
    _check_fields((*columns, *(fixed or {})))
    folder.mkdir(parents=True, exist_ok=True)

    def samples() -> Iterator[tuple[str, dict[str, Any]]]:
        for file in files:
            for number, row in enumerate(_parquet_rows(pathlib.Path(file), columns), 1):
                place = f"{file}, row {number}"
                with _named(place):
                    fields = _fields(row, columns, fixed or {})
                    fields.setdefault("id", f"{pathlib.Path(file).stem}-{number}")
                    if answer_is_index:
                        fields["answer"] = _indexed(fields)
                    if "audio" in fields:
                        clips = _clips(fields["audio"], pathlib.Path(file).parent)
                        fields["audio"] = [clip if isinstance(clip, str) else _store(clip, folder) for clip in clips]
                yield place, fields

    return _write(target, samples())


def import_folder(
    folder: str | os.PathLike[str],
    manifest: str | os.PathLike[str],
    questions: str | os.PathLike[str] | None = None,
    question: str = "",
    fixed: Mapping[str, Any] | None = None,
) -> int:
    """Write a manifest of a folder of audio files; return the number of samples.

    Args:
        folder: read with its subfolders; files with one of ``AUDIO_SUFFIXES``, by name. The manifest names them as
            ``folder`` does: absolute if it is.
        manifest: the JSON-lines file to write.
        questions: a ``.csv`` or ``.jsonl`` of Sample fields and ``file``, a path in ``folder``; one sample a row,
            several rows a file or none. In CSV, lists are separated by ``|``, empty cells are absent fields, and other
            columns go into ``extra``. Without it there is one sample a file.
        question: asked where a row has none.
        fixed: Sample fields that are the same in every sample.

    Raises:
        ValueError: no audio, no question, an unknown field, a file that is missing or no audio; with file and row.
        OSError: something cannot be read or written.
    """
    root = pathlib.Path(folder)
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder; name the folder that holds the audio files")
    _check_fields(tuple(fixed or {}))
    rows = _question_rows(pathlib.Path(questions)) if questions is not None else _folder_rows(root)

    def samples() -> Iterator[tuple[str, dict[str, Any]]]:
        for number, (place, row) in enumerate(rows, 1):
            with _named(place):
                name = row.pop("file", None)
                if not isinstance(name, str) or not name:
                    raise ValueError("field 'file' is missing; give a path in the folder")
                path = root / name
                if not path.is_file():
                    raise ValueError(f"{path} does not exist; correct 'file' or add the audio")
                audio.duration_seconds(path)  # refuses what is no audio, from its header alone
                fields = {"id": f"{name}-{number}" if questions is not None else name, **(fixed or {}), **row}
                if question:
                    fields.setdefault("question", question)
                fields["audio"] = [str(path)]
            yield place, fields

    return _write(pathlib.Path(manifest), samples())


def _check_fields(names: Iterable[str]) -> None:
    for name in names:
        if name not in _FIELDS and not (name.startswith("extra.") and len(name) > len("extra.")):
            near = difflib.get_close_matches(name, _FIELDS, n=1)
            raise ValueError(f"{name!r} is no field of a sample" + (f" (did you mean {near[0]!r}?)" if near else ""))


@contextlib.contextmanager
def _named(place: str) -> Iterator[None]:
    """Put the place before the message of what goes wrong inside."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise ValueError(f"{place}: {error}") from error
    except OSError as error:
        raise OSError(f"{place}: {error}") from error


def _parquet_rows(file: pathlib.Path, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ImportError("reading parquet needs pyarrow; pip install 'earwitness[eval]'") from None
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; name a parquet file")
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            known = table.schema_arrow.names
            for field, column in columns.items():
                if column not in known:
                    raise ValueError(f"{file}: there is no column {column!r} for {field}; it has {', '.join(known)}")
            for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=sorted(set(columns.values()))):
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(f"{file} cannot be read as parquet ({str(error).splitlines()[0]}); fetch it again") from None


def _fields(row: Mapping[str, Any], columns: Mapping[str, str], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Sample fields of a row; empty columns are absent fields."""
    fields: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in [*fixed.items(), *((field, row[column]) for field, column in columns.items())]:
        if value is None:
            continue
        if name.startswith("extra."):
            extra[name.removeprefix("extra.")] = value
        elif name in _LISTS:
            fields[name] = _list(name, value)
        elif name in ("answer", "id", "transcript", "question") and not isinstance(value, str):
            fields[name] = str(value)
        else:
            fields[name] = value
    if extra:
        fields["extra"] = {**fields.get("extra", {}), **extra}
    return fields


def _list(name: str, value: Any) -> list[str]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name} is no list; give a column of lists, or of JSON lists")
    return [str(entry) for entry in value]


def _indexed(fields: Mapping[str, Any]) -> str:
    choices, answer = fields.get("choices", ()), str(fields.get("answer"))
    if not answer.isdecimal() or int(answer) >= len(choices):
        raise ValueError(f"answer {answer!r} is not the index of one of {len(choices)} choices")
    return choices[int(answer)]


def _clips(value: Any, folder: pathlib.Path) -> list[bytes | str]:
    """Return the bytes, or the path, of each clip of an audio column."""
    clips: list[bytes | str] = []
    for clip in value if isinstance(value, list) else [value]:
        data, path = (clip.get("bytes"), clip.get("path")) if isinstance(clip, Mapping) else (clip, None)
        if isinstance(data, str):
            data, path = None, data
        if isinstance(data, bytes) and data:
            clips.append(data)
        elif isinstance(path, str) and (folder / path).is_file():
            clips.append(str(folder / path))
        else:
            raise ValueError(f"the audio has no bytes, and its path {path!r} is no file beside the table")
    return clips


def _store(data: bytes, folder: pathlib.Path) -> str:
    """Write a clip under the hash of its bytes, unless it is there; return its path."""
    audio.duration_seconds(data)  # refuses what is no audio
    suffix = next((suffix for magic, suffix in _MAGIC if data.startswith(magic)), ".audio")
    path = folder / f"{hashlib.sha256(data).hexdigest()[:32]}{suffix}"
    if not path.exists():
        with _replacing(path) as out:
            out.write(data)
    return str(path)


def _folder_rows(root: pathlib.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
    if not names:
        raise ValueError(f"{root} holds no audio files ({' '.join(AUDIO_SUFFIXES)}); name another folder")
    for name in names:
        yield str(root / name), {"file": name}


def _question_rows(path: pathlib.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, fields with ``file``) of a CSV or JSON-lines file."""
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise ValueError(f"{path} is neither .csv nor .jsonl; convert the questions to one of them")
    with open(path, encoding="utf-8-sig", newline="") as lines:
        if path.suffix.lower() == ".jsonl":
            for number, line in enumerate(lines, 1):
                if line.strip():
                    place = f"{path}, line {number}"
                    with _named(place):
                        fields = json.loads(line)
                        if not isinstance(fields, dict):
                            raise ValueError("the line is not a JSON object")
                    yield place, fields
            return
        reader = csv.DictReader(lines, strict=True)
        try:
            for row in reader:
                place = f"{path}, line {reader.line_num}"
                with _named(place):
                    if None in row or None in row.values():
                        raise ValueError(
                            f"the row does not have the {len(reader.fieldnames or ())} cells of the header"
                        )
                    fields = _cells(row)
                yield place, fields
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from error


def _cells(row: Mapping[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, cell in row.items():
        if not cell:
            continue
        if name in _LISTS:
            fields[name] = [part.strip() for part in cell.split("|")]
        elif name in _FIELDS or name == "file":
            fields[name] = cell
        else:
            fields.setdefault("extra", {})[name.removeprefix("extra.")] = cell
    return fields


def _write(manifest: pathlib.Path, samples: Iterable[tuple[str, dict[str, Any]]]) -> int:
    """Check the samples and write them, whole or not at all; return their number."""
    seen: dict[str, str] = {}
    with _replacing(manifest) as out:
        for place, fields in samples:
            with _named(place):
                sample = Sample.from_json(fields)
                if sample.id in seen:
                    raise ValueError(f"id {sample.id!r} was used before ({seen[sample.id]}); ids must differ")
                line = json.dumps(sample.to_json(), ensure_ascii=False)
            seen[sample.id] = place
            out.write(line.encode("utf-8") + b"\n")
        if not seen:
            raise ValueError(f"there are no rows for {manifest}; name files that hold some")
    return len(seen)


@contextlib.contextmanager
def _replacing(path: pathlib.Path) -> Iterator[Any]:
    """Open a file that takes the place of ``path`` when it is complete."""
    try:
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}; choose a folder that exists and has room") from None
    try:
        with open(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.chmod(part, 0o644)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
