"""``earwitness doctor``: what is installed, what fits here, and whether a checkpoint is what it should be."""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Callable
from typing import Any

import earwitness

SUMMARY = "report versions, devices, what fits, and check a published checkpoint"
EXAMPLES = """examples:
  earwitness doctor
  earwitness doctor --model Step-Audio-R1/ --json"""

_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "soundfile", "soxr", "av", "rich")
_EXTRA_LIBRARIES = ("praat-parselmouth", "librosa", "espeakng-loader", "matplotlib", "accelerate")
_DTYPES = {"float32": 4, "bfloat16": 2}
# Ids of the published tokenizer that are known for certain; the others are looked up and reported.
_PUBLISHED_IDS = {
    "<|endoftext|>": 151_643,
    "<tool_call>": 151_657,
    "</tool_call>": 151_658,
    "<|EOT|>": 151_665,
    "<audio_start>": 151_688,
    "<audio_end>": 151_689,
    "<audio_patch>": 151_690,
    "<tts_start>": 151_693,
    "<tts_end>": 151_694,
    "<audio_0>": 151_696,
}
_OTHER_NAMES = ("<|BOT|>", "<think>", "</think>", "<tts_pad>")
_ROUND_TRIP = "Two notes: C#4 at 440 Hz, then 3.5 s of rain.\n\u4f60\u597d <\u00e9> 12345"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--model", metavar="DIR", help="check this checkpoint folder; its weights are not loaded")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the report; returns 1 where a check of the checkpoint failed."""
    report: dict[str, Any] = {"earwitness": earwitness.__version__, "python": platform.python_version()}
    report |= {"system": f"{platform.system()} {platform.machine()}", "libraries": _versions()}
    report["devices"] = devices = _devices()
    report["fits"] = _fits(devices)
    if args.model:
        report["model"] = check_model(args.model)
    print(json.dumps(report, ensure_ascii=False) if args.json else _text(report))
    checks = report.get("model", {}).values()
    return 1 if any(str(check).startswith("FAILED") for check in checks) else 0


def _versions() -> dict[str, str]:
    found = {}
    for name in (*_LIBRARIES, *_EXTRA_LIBRARIES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing" if name in _LIBRARIES else "not installed (optional)"
    return found


def _devices() -> list[dict[str, Any]]:
    """Return the CPU and every GPU with total and free bytes."""
    import torch

    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        total = free = 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices = [{"device": "cpu", "name": f"{cores} cores", "total_bytes": total, "free_bytes": free}]
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(i)
            name = torch.cuda.get_device_name(i)
            devices.append({"device": f"cuda:{i}", "name": name, "total_bytes": total, "free_bytes": free})
    return devices


def _fits(devices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each size and dtype, the bytes of its weights and a cache of 16,384 tokens, and where they fit."""
    import torch

    from earwitness.model import AudioReasoner
    from earwitness.model.presets import PRESETS, preset

    rows: list[dict[str, Any]] = []
    gpus = [d for d in devices if d["device"] != "cpu"]
    for name in PRESETS:
        config = preset(name)
        with torch.device("meta"):
            parameters = sum(p.numel() for p in AudioReasoner(config).parameters())
        text = config.text_config
        heads = text.num_key_value_heads or text.num_attention_heads
        cached_values = 2 * text.num_hidden_layers * heads * text.hidden_size // text.num_attention_heads
        cached = min(16_384, text.max_position_embeddings)
        for dtype, size in _DTYPES.items():
            needed = (parameters + cached_values * cached) * size
            places = [d["device"] for d in devices if needed < d["free_bytes"]]
            if not any(p != "cpu" for p in places) and len(gpus) > 1 and needed < sum(g["free_bytes"] for g in gpus):
                places.append(f"{len(gpus)} GPUs together (--device auto)")
            rows.append({"model": name, "dtype": dtype, "parameters": parameters, "bytes": needed, "fits": places})
    return rows


def check_model(name: str) -> dict[str, Any]:
    """Return what is found in a checkpoint; a check that fails is a text that begins with FAILED."""
    from earwitness.model import checkpoint

    folder = pathlib.Path(checkpoint.local_folder(name, {}))
    out: dict[str, Any] = {}
    config = _guarded(out, "config", lambda: checkpoint.read_config(folder))
    if config is not None:
        out["config"] = _config_line(config)
        _guarded(out, "weights", lambda: _weights(folder, config))
    tokenizer = _guarded(out, "tokenizer", lambda: _tokenizer(folder))
    if tokenizer is not None:
        out["tokenizer"] = f"{len(tokenizer):,} ids, {type(tokenizer).__name__}"
        _guarded(out, "round_trip", lambda: _round_trip(tokenizer))
        _guarded(out, "ids", lambda: _ids(tokenizer, config))
        _guarded(out, "prompt", lambda: _prompt(tokenizer))
    return out


def _guarded(out: dict[str, Any], name: str, check: Callable[[], Any]) -> Any:
    """Run a check and keep its result, or why it failed; the other checks go on."""
    try:
        value = check()
    except Exception as error:  # a broken file may fail in any library, and the report must still be whole
        text = " ".join(str(error).split())
        out[name] = f"FAILED: {text if len(text) < 1_000 else text[:1_000] + ' ...'}"
        return None
    if isinstance(value, str):
        out[name] = value
    return value


def _config_line(config: Any) -> str:
    text, audio = config.text_config, config.audio
    return (
        f"{config.model_type}: encoder {audio.layers} x {audio.state}, decoder {text.num_hidden_layers} x "
        f"{text.hidden_size}, {text.num_attention_heads}/{text.num_key_value_heads} heads, vocabulary "
        f"{text.vocab_size:,}, context {text.max_position_embeddings:,}, rms_norm_eps {text.rms_norm_eps}"
    )


def _weights(folder: pathlib.Path, config: Any) -> str:
    import torch

    from earwitness.model import AudioReasoner, checkpoint

    with torch.device("meta"):
        expected = {key: tuple(value.shape) for key, value in AudioReasoner(config).state_dict().items()}
    checkpoint.check_weights(folder, expected)
    digest = hashlib.sha256(json.dumps(sorted(expected.items())).encode()).hexdigest()
    count = sum(torch.Size(shape).numel() for shape in expected.values())
    return f"{len(expected):,} keys and shapes fit the config ({digest[:12]}), {count:,} parameters"


def _tokenizer(folder: pathlib.Path) -> Any:
    from transformers import AutoTokenizer

    if not (folder / "tokenizer.json").exists() and not (folder / "vocab.json").exists():
        raise ValueError(f"{folder} has no tokenizer.json; copy the tokenizer files of the checkpoint into the folder")
    return AutoTokenizer.from_pretrained(folder)


def _round_trip(tokenizer: Any) -> str:
    ids = tokenizer.encode(_ROUND_TRIP, add_special_tokens=False)
    back = tokenizer.decode(ids, skip_special_tokens=False)
    if back != _ROUND_TRIP:
        raise ValueError(f"{_ROUND_TRIP!r} comes back as {back!r}; the tokenizer files do not belong together")
    return f"exact, {len(ids)} ids"


def _ids(tokenizer: Any, config: Any) -> str:
    """Return the ids of the control tokens; raises where a known one differs in a published vocabulary."""
    from earwitness.model.config import PUBLISHED_VOCAB

    vocab = tokenizer.get_vocab()
    if config is not None:
        from earwitness.engines.local import find_markers

        find_markers(tokenizer, config)
    if config is not None and config.vocab_size == PUBLISHED_VOCAB:
        wrong = [f"{n} is {vocab.get(n)} and not {i}" for n, i in _PUBLISHED_IDS.items() if vocab.get(n) != i]
        if wrong:
            raise ValueError(f"the tokenizer is not the published one: {', '.join(wrong)}")
    return ", ".join(f"{n} {vocab.get(n, 'absent')}" for n in (*_PUBLISHED_IDS, *_OTHER_NAMES))


def _prompt(tokenizer: Any) -> str:
    """Return the ids of one fixed prompt with five audio tokens, which two installations can compare."""
    from earwitness import prompt

    messages = [
        {"role": "system", "content": "Listen."},
        prompt.user_message("Which note is higher?", ["clip"]),
        {"role": "assistant", "content": "The second."},
        prompt.user_message("And the louder one?"),
    ]
    ids = prompt.encode(tokenizer, prompt.segments(messages, audio_counts=[5]))
    return " ".join(map(str, ids))


def _text(report: dict[str, Any]) -> str:
    """Return the report as a block to paste into an issue."""
    lines = [f"earwitness {report['earwitness']}, Python {report['python']}, {report['system']}"]
    lines.append("libraries: " + ", ".join(f"{name} {version}" for name, version in report["libraries"].items()))
    for d in report["devices"]:
        memory = f"{d['free_bytes'] / 1e9:.1f} of {d['total_bytes'] / 1e9:.1f} GB free"
        lines.append(f"device {d['device']}: {d['name']}, {memory}")
    for row in report["fits"]:
        where = f"fits {', '.join(row['fits'])}" if row["fits"] else "does not fit here"
        size = f"{row['parameters'] / 1e9:.3f} B parameters, {row['bytes'] / 1e9:.2f} GB with a full cache"
        lines.append(f"{row['model']} in {row['dtype']}: {size}: {where}")
    lines += [f"model {name}: {value}" for name, value in report.get("model", {}).items()]
    return "\n".join(["```", *lines, "```"])
