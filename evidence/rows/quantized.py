"""Quantised checkpoints: what they lose on the small model, and whether ``plan serve`` says what they take.

Also peak memory of converting and of loading. Run as a script it is the fresh process that is measured.
"""

from __future__ import annotations

import ctypes
import gc
import json
import math
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import torch

from earwitness import soundworld
from earwitness.data import dialogue
from earwitness.engines import shipped_model
from earwitness.engines.local import LocalEngine, load_local
from earwitness.engines.protocol import Request, Sampling
from earwitness.evaluate import control, listening
from earwitness.model import AudioReasoner, checkpoint, plan_serve, presets, quantize
from earwitness.model.config import EarwitnessConfig
from earwitness.model.packed import DEFAULT_GROUP, Scheme

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
SCHEMES = {"float32": None, "int8": Scheme("int8"), "int4": Scheme("int4", DEFAULT_GROUP), "fp8": Scheme("fp8")}
LOSSES = {"int8": 0.01, "int4": 0.03}
SUITES = ("music", "sound", "speech")
_GOLDEN_GROUP = 16  # the golden decoder is 48 wide
_CONTEXT, _ROWS = 256, 4


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Ask 1,000 items a suite (4 reduced) under every scheme; measure a process with a wide random model."""
    count = 4 if reduced else 1000
    figures: dict[str, Any] = {}
    replies: dict[str, list[dict[str, Any]]] = {}
    for name, scheme in SCHEMES.items():
        where = shipped_model() if scheme is None else _converted(shipped_model(), folder / name, scheme)
        engine = load_local(where, device="cpu")
        suites = {s: _asked(engine, s, count, folder / f"{name}-{s}-{count}.json") for s in SUITES}
        replies[name] = [row for rows in suites.values() for row in rows]
        figures[name] = {
            "bytes": sum(f.stat().st_size for f in where.glob("*.safetensors")),
            "perplexity": round(_perplexity(engine, 2 if reduced else 100), 4),
            "suites": {s: control.accuracy(rows) for s, rows in suites.items()},
            "against_float32": control.compare(replies[name], replies["float32"]),
            "golden_logits": _golden_error(folder / "golden", scheme),
        }
    lost = {name: -figures[name]["against_float32"]["difference"][0] for name in LOSSES}
    worse = {name: figures[name]["perplexity"] / figures["float32"]["perplexity"] for name in LOSSES}
    if reduced:  # a handful of items says nothing about a point
        holds = {f"{name}_perplexity": worse[name] <= 1 + 10 * LOSSES[name] for name in LOSSES}
    else:
        holds = {f"{name}_points": lost[name] <= LOSSES[name] for name in LOSSES}
    figures["memory"] = memory = _memory(folder, reduced)
    for name, measured in memory.items():
        # What a process takes beside the model, some 20 MB, weighs more on the reduced form's model.
        holds[f"{name}_as_planned"] = abs(measured["off_plan"]) <= (0.25 if reduced else 0.1)
        holds[f"{name}_loading"] = measured["loading_peak"] <= 1.2 * measured["largest_shard"] + measured["loaded"]
    return {"figures": figures, "holds": holds}


def _converted(source: pathlib.Path, target: pathlib.Path, scheme: Scheme) -> pathlib.Path:
    if not (target / "config.json").exists():
        quantize.quantize(source, target, scheme)
    return target


def _asked(engine: LocalEngine, suite: str, count: int, path: pathlib.Path) -> list[dict[str, Any]]:
    """Return which items of a suite are answered rightly; asked once, then read from ``path``."""
    if not path.exists():
        items = listening.items(suite, "test", count)
        answers = listening.ask(engine, items, "think", Sampling(max_new_tokens=320))
        rows = [{"id": i.sample.id, "right": listening.is_right(i.sample, r)} for i, r in zip(items, answers)]
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(rows))
        os.replace(partial, path)
    return json.loads(path.read_text())


@torch.no_grad()
def _perplexity(engine: LocalEngine, count: int) -> float:
    """Return the perplexity of the reference chains and answers of so many items of each suite."""
    total = tokens = 0.0
    for suite in SUITES:
        for index in range(count):
            sample = soundworld.sample(suite, "test", index)
            states = engine.model.encode_frames([torch.from_numpy(soundworld.waveform(sample))])
            made = dialogue.example(engine.tokenizer, sample, "as_is", [states])
            ids = torch.from_numpy(made.ids).long()
            log_probs = engine.model(ids[None], audio_states=states).logits[0, :-1].log_softmax(-1)
            learned = torch.from_numpy(made.learned)[1:]
            total -= float(log_probs.gather(1, ids[1:, None])[learned].sum())
            tokens += int(learned.sum())
    return math.exp(total / tokens)


@torch.no_grad()
def _golden_error(folder: pathlib.Path, scheme: Scheme | None) -> dict[str, float]:
    """Return the largest difference from the golden logits, and how far these spread."""
    if not (folder / checkpoint.INDEX).exists():
        script = [sys.executable, str(GOLDEN / "make_checkpoint.py"), str(folder)]
        subprocess.run([*script, "--config", "config_nested.json"], check=True, capture_output=True)
    if scheme is not None:
        scheme = Scheme("int4", _GOLDEN_GROUP) if scheme.name == "int4" else scheme
        folder = _converted(folder, folder.with_name(f"golden-{scheme.name}"), scheme)
    model = AudioReasoner.from_pretrained(folder, dtype=torch.float32, audio_rule="serving")
    worst = 0.0
    with np.load(GOLDEN / "cases.npz") as cases:
        for i in range(4):
            clip = torch.from_numpy(cases[f"clip{i}_pcm16"] / np.float32(32768))
            ids = torch.from_numpy(cases[f"serving_clip{i}_input_ids"])[None]
            named = torch.from_numpy(cases[f"serving_clip{i}_last_logits_top64_ids"])
            golden = torch.from_numpy(cases[f"serving_clip{i}_last_logits_top64"])
            logits = model(ids, audio=[clip], logits_to_keep=1).logits[0, -1]
            worst = max(worst, float((logits[named] - golden).abs().max()))
    return {"largest": round(worst, 5), "spread": round(float(logits.std()), 5)}


def _memory(folder: pathlib.Path, reduced: bool) -> dict[str, Any]:
    """Return measured and planned bytes of a wide random model in bfloat16 on the CPU, by scheme."""
    config = _wide(layers=6 if reduced else 32)
    source = folder / "wide"
    if not (source / "config.json").exists():
        torch.manual_seed(0)
        AudioReasoner(config).bfloat16().save_pretrained(source, max_shard_size="60MB")
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (source / name).write_bytes((shipped_model() / name).read_bytes())
    names = ("bfloat16", "int4") if reduced else ("bfloat16", "int8", "int4", "fp8")
    found = {}
    for name in names:  # each in a process of its own: what one model leaves behind would count for the next
        command = [sys.executable, __file__, str(source), str(folder), name]
        found[name] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout)
    weights, load = plan_serve.shapes(config), plan_serve.Load(_CONTEXT, _ROWS, prefill_tokens=1024)
    for name, sizes in found.items():
        sizes["planned"] = plan_serve.needs(config, weights, SCHEMES.get(name), load)["total"]
        sizes["off_plan"] = round(sizes["serving_peak"] / sizes["planned"] - 1, 4)
    return found


def _wide(layers: int) -> EarwitnessConfig:
    """Return the small model's config with a wide decoder, which outweighs the rest of a process."""
    fields = presets.preset("tiny").to_dict()
    fields["text_config"] |= {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": layers}
    fields["text_config"] |= {"num_attention_heads": 8, "num_key_value_heads": 4, "num_attention_groups": 4}
    fields["audio_encoder_config"]["llm_dim"] = 1024
    return EarwitnessConfig.from_dict(fields)


def _resident() -> int:
    """Return the memory of this process, mapped files included, and let its peak begin anew."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS:")


def _peak() -> int:
    """Return the most memory of this process since ``_resident``."""
    return _status("VmHWM:")


def _status(name: str) -> int:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def measure(source: pathlib.Path, folder: pathlib.Path, name: str) -> dict[str, int]:
    """Convert, load and answer in this process; return bytes above what the libraries take."""
    quantize.packed_tensors(torch.randn(64, 64), Scheme("int8"))
    _answer(load_local(shipped_model(), device="cpu"), 64, 1)
    scheme, sizes, where = SCHEMES.get(name), {}, source
    if scheme is not None:
        where = folder / f"wide-{name}"
        planned = quantize.plan(source, scheme).peak_bytes
        before = _resident()
        quantize.quantize(source, where, scheme)
        sizes = {"converting_peak": _peak() - before, "converting_planned": planned}
    before = _resident()
    engine = load_local(where, device="cpu", dtype="bfloat16")
    sizes["loading_peak"] = _peak() - before
    sizes["loaded"] = _resident() - before
    _answer(engine, _CONTEXT, _ROWS)
    sizes["serving_peak"] = _peak() - before
    sizes["largest_shard"] = max(f.stat().st_size for f in where.glob("*.safetensors"))
    return sizes


def _answer(engine: Any, context: int, rows: int) -> None:
    """Fill the cache of so many rows to the last token."""
    ids = torch.randint(100, 1000, (rows, context - 8)).tolist()
    sampling = Sampling(max_new_tokens=8, min_think=8)
    list(engine.generate([Request(prompt_ids=row, think=True) for row in ids], sampling))


if __name__ == "__main__":
    print(json.dumps(measure(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3])))
