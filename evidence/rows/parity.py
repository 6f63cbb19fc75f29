"""Contract row 1: the published arithmetic, and replies that do not depend on what runs beside them."""

from __future__ import annotations

import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import torch

import earwitness as ew
from earwitness import audio, prompt, soundworld
from earwitness.engines.local import LocalEngine
from earwitness.engines.protocol import Request, Sampling
from earwitness.model import AudioReasoner

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden"
RULES = {"reference": "", "serving": "serving_"}


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Compare with every golden array, then ask 1,000 requests (64 reduced) alone and in batches of 64."""
    figures: dict[str, Any] = {"token_counts_wrong": _token_counts()}
    holds = {"token_counts": figures["token_counts_wrong"] == 0}
    with np.load(GOLDEN / "cases.npz") as file:
        cases = dict(file)
    for shape in ("nested", "flat"):
        checkpoint = folder / shape
        if not (checkpoint / "model.safetensors.index.json").exists():
            script = [sys.executable, str(GOLDEN / "make_checkpoint.py"), str(checkpoint)]
            subprocess.run([*script, "--config", f"config_{shape}.json"], check=True, capture_output=True)
        for rule in RULES:
            errors = _golden_errors(checkpoint, rule, cases)
            figures[f"{shape}_{rule}"] = errors
            holds[f"{shape}_{rule}_features"] = max(errors["log_mel"], errors["encoder"], errors["adaptor"]) <= 1e-4
            holds[f"{shape}_{rule}_logits"] = errors["logits"] <= 2e-3 and errors["other_ids"] == 0
            holds[f"{shape}_{rule}_greedy"] = errors["other_greedy"] == 0
    figures["batching"] = batching = _alone_and_batched(64 if reduced else 1000)
    holds["same_text"] = batching["same"] >= 0.995 and all(d["margin"] < 1e-4 for d in batching["divergences"])
    return {"figures": figures, "holds": holds}


def _token_counts() -> int:
    with np.load(GOLDEN / "audio_token_counts.npz") as table:
        rows = zip(table["samples"], table["reference_rule"], table["serving_rule"])
        return sum(
            audio.audio_token_count(int(n), rule) != int(count)
            for n, *counts in rows
            for rule, count in zip(("reference", "serving"), counts)
        )


@torch.no_grad()
def _golden_errors(checkpoint: pathlib.Path, rule: Any, cases: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the largest differences from the golden arrays of one rule."""
    model = AudioReasoner.from_pretrained(checkpoint, dtype=torch.float32, audio_rule=rule)
    clips = [torch.from_numpy(cases[f"clip{i}_pcm16"] / np.float32(32768)) for i in range(4)]
    worst = {"log_mel": 0.0, "encoder": 0.0, "adaptor": 0.0, "logits": 0.0, "other_ids": 0, "other_greedy": 0}

    def note(name: str, ours: Any, golden: np.ndarray) -> None:
        worst[name] = max(worst[name], float(np.abs(np.asarray(ours) - golden).max()))

    states, features = model.encode_frames(clips), model.encode_audio(clips)
    prompts = [(f"{RULES[rule]}clip{i}", [clip]) for i, clip in enumerate(clips)]
    for i, clip in enumerate(clips):
        note("log_mel", audio.log_mel(clip), cases[f"clip{i}_log_mel"])
        if rule == "reference":
            note("encoder", states[i], cases[f"clip{i}_encoder"])
        note("adaptor", features[i], cases[f"{RULES[rule]}clip{i}_adapter"])
    for name, heard in [*prompts, *([("batch", clips)] if rule == "reference" else [])]:
        ids = torch.from_numpy(cases[f"{name}_input_ids"])[None]
        top = model(ids, audio=heard).logits[0, -1].topk(64)
        worst["other_ids"] += int((top.indices.numpy() != cases[f"{name}_last_logits_top64_ids"]).sum())
        note("logits", top.values, cases[f"{name}_last_logits_top64"])
        if f"{name}_greedy_ids" in cases:
            out = model.generate(ids, audio=heard, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
            worst["other_greedy"] += int((out.numpy() != cases[f"{name}_greedy_ids"]).sum())
    return worst


def _alone_and_batched(count: int) -> dict[str, Any]:
    """Answer SoundWorld questions in float32 one at a time and 64 at a time, and list where the ids part."""
    engine = ew.load(dtype="float32")
    assert isinstance(engine, LocalEngine)
    requests = []
    for i in range(count):
        sample = soundworld.sample(soundworld.SUITES[i % 3], "test", 5000 + i)
        text = prompt.question_text(sample.question, sample.choices)
        requests.append(Request([prompt.user_message(text, [soundworld.waveform(sample)])], think=i % 4 != 0))
    sampling = Sampling(max_new_tokens=320)
    alone = [next(iter(engine.generate([r], sampling))) for r in requests]
    together = []
    for start in range(0, count, 64):
        together += list(engine.generate(requests[start : start + 64], sampling))
    divergences = [
        {"request": i, **_parting(engine, requests[i], a.token_ids, b.token_ids)}
        for i, (a, b) in enumerate(zip(alone, together))
        if a.token_ids != b.token_ids
    ]
    return {"n": count, "same": 1 - len(divergences) / count, "divergences": divergences}


@torch.no_grad()
def _parting(engine: LocalEngine, request: Request, a: tuple[int, ...], b: tuple[int, ...]) -> dict[str, Any]:
    """Return where two id sequences part and the margin between the two most likely ids there."""
    at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    wave = torch.as_tensor(request.messages[0]["content"][-1]["audio"])
    counts = [[audio.audio_token_count(len(wave))]]
    asked = prompt.segments(request.messages, think=request.think, audio_counts=counts)
    ids = torch.tensor([[*prompt.encode(engine.tokenizer, asked), *a[:at]]])
    top = engine.model(ids, audio=[wave]).logits[0, -1].topk(2).values
    return {"position": at, "margin": float(top[0] - top[1])}
