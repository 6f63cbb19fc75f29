"""Reading a benchmark's published files: JSON, JSON lines, CSV and parquet as rows, clips as files, and their hash.

Clips that stand inside parquet are written once, under the hash of their bytes, and samples hold the path: five
thousand clips would not fit in memory.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from earwitness.evaluate.task import Dataset, Prediction, Problems
from earwitness.records import Sample

_SUFFIXES = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg"}
_BATCH_ROWS = 32
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Row:
    """One published item: its fields, where it stands, and where its clips may be."""

    fields: Mapping[str, Any]
    file: pathlib.Path
    number: int
    """From 1."""
    problems: Problems
    roots: tuple[pathlib.Path, ...] = ()
    """Folders that a relative path of a clip may start from; none where clips are not needed."""

    def text(self, name: str, default: str | None = None) -> str:
        """Return a field as text; a number is written out.

        Raises:
            ValueError: it is missing (or null) and there is no default, or it is no text.
        """
        value = self.fields.get(name)
        if value is None:
            value = default
        if isinstance(value, list) and len(value) == 1:  # MMAU has categories such as ["Reasoning"]
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            what = "is missing" if value is None else f"is a {type(value).__name__} and not a text"
            raise ValueError(f"{self.file}, item {self.number}: the field {name!r} {what}; is it a file of this task?")
        return str(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a field that is a list of texts; ``ValueError`` if it is none."""
        value = self.fields.get(name)
        if not isinstance(value, list) or not all(isinstance(each, (str, int, float)) for each in value):
            raise ValueError(f"{self.file}, item {self.number}: the field {name!r} is no list of texts; correct it")
        return tuple(str(each) for each in value)

    def name(self, *fields: str) -> str:
        """Return the id, from the first of ``fields`` that holds one; the item's number where none does."""
        found = (self.fields.get(each) for each in fields)
        return next((str(each) for each in found if each is not None and str(each)), str(self.number))

    def within(self, *folders: str) -> Row:
        """Return the row with clips also looked for in these folders of its roots."""
        roots = tuple(place for root in self.roots for place in (root, *(root / folder for folder in folders)))
        return dataclasses.replace(self, roots=roots)

    def clips(self, name: str, *fields: str) -> tuple[str, ...]:
        """Return the paths of the clips in the first of ``fields`` that holds any.

        A file that is not there is a problem of the item ``name``. Its path stays among the clips, so that asking
        the item fails instead of going on without its sound.
        """
        if not self.roots:
            return ()
        value = next((self.fields[each] for each in fields if self.fields.get(each)), None)
        return tuple(self._clip(name, each) for each in (value if isinstance(value, list) else [value]))

    def _clip(self, name: str, value: Any) -> str:
        found = clip(value, self.roots)
        if found is not None:
            return found
        where = value.get("path") if isinstance(value, dict) else value
        says = f"item {name}: the audio {where!r} is missing; put it under {self.roots[0]}"
        self.problems.add(
            "items whose audio is missing", says if where else f"item {name} names no audio; add the path of its clip"
        )
        return str(self.roots[0] / str(where or f"(no audio is named for item {name})"))


def dataset(
    data: pathlib.Path,
    names: Sequence[str],
    sample: Callable[[Row], Sample],
    versions: Mapping[str, str] | None = None,
    what: str = "data",
) -> Dataset:
    """Read a benchmark: the file ``data``, or the first of ``names`` in that folder, or all its parquet files.

    Args:
        data: a file or a folder.
        names: how the publishers call the data file.
        sample: makes a sample of a row.
        versions: sha256 -> release, where releases are known; any other hash is a problem.
        what: the name of the data, for errors.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no items, or none of this benchmark.
    """
    data_files = find(data, names, what)
    problems = Problems()
    roots = tuple(dict.fromkeys((data_files[0].parent, data if data.is_dir() else data.parent)))
    samples = [
        sample(Row(fields, file, number, problems, roots)) for file in data_files for number, fields in rows(file)
    ]
    if not samples:
        raise ValueError(f"{data_files[0]} holds no items; give the file that its publishers gave out")
    sha256 = digest(data_files)
    version = (versions or {}).get(sha256, "unknown")
    if versions and version == "unknown":
        known = ", ".join(f"{release} is {sha[:12]}" for sha, release in versions.items())
        problems.add(
            "versions", f"{data_files[0].name} is of no known release (sha256 {sha256[:12]}; {known}); do not compare"
        )
    check(samples, problems)
    return Dataset(tuple(samples), version, sha256, problems.sentences(), tuple(data_files))


def predictions(
    path: pathlib.Path,
    sample: Callable[[Row], Sample],
    keys: Sequence[str],
    thinking: str = "",
    absent: str | None = None,
) -> tuple[Dataset, list[Prediction]]:
    """Read predictions that stand beside their items.

    Args:
        path: a JSON list, JSON lines, CSV or parquet file.
        sample: makes a sample of a row; its clips are not looked for.
        keys: names of the field with the model's text. The first that any item has is read, and no other.
        thinking: name of the field with the model's chain, where there is one.
        absent: what the authors' script takes for the text of an item without the field, where it takes any.

    Raises:
        ValueError: no item has any of the fields, or one holds no text.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; give the file with the predictions")
    problems, given = Problems(), list(rows(path))
    if not given:
        raise ValueError(f"{path} holds no predictions; give the file that the model's texts were written to")
    key = next((each for each in keys if any(each in fields for _, fields in given)), None)
    if key is None:
        raise ValueError(f"{path}: no item has the field {' or '.join(map(repr, keys))} with the model's text; add it")
    found = []
    for number, fields in given:
        item = sample(Row(fields, path, number, problems))
        if key not in fields:
            problems.add("items without a prediction", f"item {item.id} has no field {key!r}; it has no prediction")
        chain = fields.get(thinking) or ""
        said = text(fields.get(key, absent), item.id, key)
        found.append(Prediction(item, said, chain if isinstance(chain, str) else ""))
    check([each.sample for each in found], problems)
    samples = tuple(each.sample for each in found)
    return Dataset(samples, "as given with the predictions", digest([path]), problems.sentences()), found


def export(data: Dataset, predictions: Sequence[Prediction], fields: tuple[str, str], to: pathlib.Path) -> None:
    """Write the first published items with the model's texts beside them, as their authors take them.

    Args:
        data: the benchmark.
        predictions: of its first items, in order.
        fields: names of the fields for the text and the chain, see ``Task.submission``.
        to: a JSON list if it ends so, else JSON lines. Sound that stands inside the items is left out.

    Raises:
        ValueError: the predictions are of other items.
    """
    key, thinking = fields
    published = (row for file in data.files for _, row in rows(file))
    items = []
    for row, sample, p in zip(published, data.samples, predictions):
        if sample.id != p.sample.id:
            raise ValueError(f"item {sample.id} has no prediction; finish the run first")
        kept = {name: value for name, value in row.items() if not (isinstance(value, dict) and "bytes" in value)}
        items.append(kept | {key: p.output or ""} | ({thinking: p.thinking} if thinking else {}))
    lines = [json.dumps(item, ensure_ascii=False) for item in items]
    text = "[\n" + ",\n".join(lines) + "\n]\n" if to.suffix == ".json" else "".join(f"{line}\n" for line in lines)
    to.write_text(text, encoding="utf-8", errors="backslashreplace")


def find(data: pathlib.Path, names: Sequence[str] = (), what: str = "data") -> list[pathlib.Path]:
    """Return ``data`` if it is a file, else the first of ``names`` in that folder, else all its parquet files.

    Raises:
        FileNotFoundError: there is none.
    """
    if data.is_file():
        return [data]
    for name in names:
        if (data / name).is_file():
            return [data / name]
    found = sorted(data.rglob("*.parquet"))
    if not found:
        wanted = " or ".join((*names, "*.parquet"))
        raise FileNotFoundError(f"{data} holds no {what}: {wanted} is missing; give the file or the folder it is in")
    return found


def digest(files: Sequence[pathlib.Path]) -> str:
    """Return the sha256 of a file; of several files, the sha256 of their digests in order."""
    hashes = [_sha256(file) for file in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _sha256(file: pathlib.Path) -> str:
    found = hashlib.sha256()
    with open(file, "rb") as stream:
        while block := stream.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def rows(file: pathlib.Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number from 1, object) of a JSON list, of JSON lines, of CSV, or of a parquet file.

    Raises:
        ValueError: what is read is no object, no JSON or no UTF-8; with the file and the line or item.
    """
    if file.suffix == ".parquet":
        yield from enumerate(_parquet(file), 1)
        return
    try:
        with open(file, encoding="utf-8-sig", newline="" if file.suffix == ".csv" else None) as stream:
            if file.suffix == ".csv":
                csv.field_size_limit(2**31 - 1)  # a chain may be long
                yield from enumerate(csv.DictReader(stream), 1)
            else:
                yield from _json(file, stream)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error


def _json(file: pathlib.Path, stream: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    start = stream.read(1)
    while start.isspace():
        start = stream.read(1)
    stream.seek(0)
    parsed = _json_list(file, stream.read()) if start == "[" else _json_lines(file, stream)
    for number, (place, row) in enumerate(parsed, 1):
        if not isinstance(row, dict):
            raise ValueError(f"{file}, {place}: not a JSON object; each item must be one")
        yield number, row


def _json_list(file: pathlib.Path, text: str) -> Iterator[tuple[str, Any]]:
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{file}, line {error.lineno}: no JSON ({error.msg}); repair the file") from error
    yield from ((f"item {number}", item) for number, item in enumerate(items, 1))


def _json_lines(file: pathlib.Path, stream: Any) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(stream, 1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{file}, line {number}: no JSON ({error.msg}); repair the file") from error


def _parquet(file: pathlib.Path) -> Iterator[dict[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=_BATCH_ROWS):
                yield from batch.to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{file}: not a parquet file; download it again") from error


def clip(value: Any, roots: Sequence[pathlib.Path], store: pathlib.Path | None = None) -> str | None:
    """Return the path of a clip: that of a file under one of ``roots``, or of bytes written to the store.

    Args:
        value: a path, bytes, or the struct of both that Hugging Face's parquet files hold.
        roots: folders that a relative path may start from, tried in order.
        store: where bytes are written; ``~/.cache/earwitness/clips`` by default.

    Returns:
        None where there is no such file.
    """
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return _stored(value, store or pathlib.Path("~/.cache/earwitness/clips").expanduser())
    if not isinstance(value, str) or not value:
        return None
    places = [pathlib.Path(root, value) for root in roots]
    return next((str(place) for place in places if place.is_file()), None)


def _stored(data: bytes, folder: pathlib.Path) -> str:
    suffix = _SUFFIXES.get(data[:4], ".mp3")
    path = folder / f"{hashlib.sha256(data).hexdigest()[:32]}{suffix}"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(data)
        os.replace(part, path)
    return str(path)


def check(samples: Sequence[Sample], problems: Problems) -> None:
    """Note ids that occur twice, and answers that are not among their choices."""
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            problems.add("ids that stand twice", f"the id {sample.id} stands twice; both items are scored")
        seen.add(sample.id)
        if sample.answer_type == "choice" and not sample.answer:
            problems.add("answers withheld", f"item {sample.id} has no answer; it is not scored")
        elif sample.choices and sample.answer not in sample.choices:
            problems.add(
                "answers that are no choice",
                f"item {sample.id}: the answer {sample.answer!r} is none of its choices; "
                "the authors' script scores it, the robust scorer does not",
            )


def text(value: Any, name: str, key: str) -> str | None:
    """Return a prediction as text; None for null. A number is written out; ``ValueError`` for anything else."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return str(value)
    raise ValueError(f"item {name}: {key} is a {type(value).__name__}; give the model's text")
