"""An epoch of fine-tuning on 10 s clips behind a 24-layer, 1024-wide encoder, with its states cached and without.

    python bench/feature_cache.py [--clips 6] [--rounds 2] [--threads 2]

Random weights, the decoder of the ``tiny`` preset, float32, WAV files on disk. Both paths make the same updates of the
same module from the same batches, in turns, in one process:

- ``without``: reads the files and runs the frozen encoder on each batch.
- ``with``: reads the states from a cache that a first pass has filled; the file is hashed, not decoded.

``data`` is the part of an epoch that makes batches. The larger the decoder, the smaller the gain of a whole epoch: an
epoch costs what the decoder costs at least. Writes ``bench/results/feature_cache.json``.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import platform
import statistics
import sys
import tempfile
import time

import numpy as np
import torch

from earwitness import audio
from earwitness.data import dialogue
from earwitness.data.cache import FeatureCache
from earwitness.data.collate import collate
from earwitness.losses import sft_loss
from earwitness.model import AudioReasoner, presets
from earwitness.model.tokenizer import train_tokenizer
from earwitness.records import Sample
from earwitness.train.modules import Policy

RESULTS = pathlib.Path(__file__).parent / "results"
SECONDS, LAYERS, WIDTH, BATCH = 10, 24, 1024, 3
WORDS = "the first note is higher than a second bell and then one loud dog barks so it must be two"


def build(layers: int):
    """Return (tokenizer, model) with a large encoder before a small decoder."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer([WORDS] * 50, 400)
    fields = presets.preset("tiny", tokenizer).to_dict()
    fields["audio_encoder_config"].update(n_audio_state=WIDTH, n_audio_head=WIDTH // 64, n_audio_layer=layers)
    return tokenizer, AudioReasoner(type(presets.preset("tiny", tokenizer)).from_dict(fields))


def write_clips(folder: pathlib.Path, clips: int) -> list[Sample]:
    """Return samples whose clips are noise of 10 s."""
    rng = np.random.default_rng(0)
    samples = []
    for i in range(clips):
        path = folder / f"{i}.wav"
        audio.write_wav(path, (0.1 * rng.standard_normal(SECONDS * audio.SAMPLE_RATE)).astype(np.float32))
        samples.append(Sample(id=str(i), audio=(str(path),), question=WORDS, reasoning=WORDS, answer="two"))
    return samples


def encoded(model: AudioReasoner, samples: list[Sample]) -> list:
    """Return the states of a batch from its files."""
    chunks = [audio.split_chunks(audio.load_audio(s.audio[0])) for s in samples]
    with torch.no_grad():
        states = iter(model.encode_frames([chunk for found in chunks for chunk in found]))
    return [[[next(states) for _ in found]] for found in chunks]


def epoch(tokenizer, model: AudioReasoner, policy: Policy, optimiser, samples: list[Sample], states_of) -> dict:
    """Make one update a batch; return seconds, those of making batches, and the peak of resident memory."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
    data, start = 0.0, time.perf_counter()
    for at in range(0, len(samples), BATCH):
        begun = time.perf_counter()
        group = samples[at : at + BATCH]
        made = [dialogue.example(tokenizer, s, "think", h) for s, h in zip(group, states_of(group), strict=True)]
        batch = collate(made, model.config.pad_token_id, model.config.audio_patch_token_id)
        data += time.perf_counter() - begun
        (sft_loss(policy(batch).log_probs_BT, batch.learned).loss / batch.num_learned).backward()
        optimiser.step()
        optimiser.zero_grad()
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))
    return {"seconds": time.perf_counter() - start, "data_seconds": data, "peak_megabytes": peak}


def measure(clips: int, rounds: int, layers: int) -> dict:
    """Return the medians of both paths and their ratios."""
    tokenizer, model = build(layers)
    policy = Policy(model)
    optimiser = torch.optim.AdamW(policy.parameters(), lr=1e-4)
    with tempfile.TemporaryDirectory() as root:
        folder = pathlib.Path(root)
        samples = write_clips(folder, clips)
        cache = FeatureCache(folder / "cache", model)
        start = time.perf_counter()
        cache.fill(samples)
        fill = time.perf_counter() - start
        megabytes = sum(p.stat().st_size for p in (folder / "cache").rglob("*.npy")) / 1e6
        paths = {
            "without": lambda group: encoded(model, group),
            "with": lambda group: [cache.states(s) for s in group],
        }
        epoch(tokenizer, model, policy, optimiser, samples[:1], paths["with"])  # the optimiser makes its state
        runs: dict[str, list[dict]] = {name: [] for name in paths}
        for _ in range(rounds):
            for name, states_of in paths.items():
                runs[name].append(epoch(tokenizer, model, policy, optimiser, samples, states_of))
    median = {
        name: {key: statistics.median(run[key] for run in found) for key in found[0]} for name, found in runs.items()
    }
    return {
        "clips": clips,
        "clip_seconds": SECONDS,
        "layers": layers,
        "width": WIDTH,
        "rounds": rounds,
        **median,
        "speedup_of_an_epoch": median["without"]["seconds"] / median["with"]["seconds"],
        "speedup_of_data": median["without"]["data_seconds"] / median["with"]["data_seconds"],
        "fill_seconds": fill,
        "cache_megabytes_a_clip": megabytes / clips,
        "encoder_parameters": sum(p.numel() for p in model.encoder.parameters()),
        "trained_parameters": sum(p.numel() for p in policy.parameters()),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--layers", type=int, default=LAYERS, help="fewer for a quick look; nothing is written then")
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    result = measure(options.clips, options.rounds, options.layers)
    print(f"{'cache':8} {'epoch s':>8} {'data s':>8} {'peak MB':>8}")
    for name in ("without", "with"):
        found = result[name]
        print(f"{name:8} {found['seconds']:8.2f} {found['data_seconds']:8.3f} {found['peak_megabytes']:8.0f}")
    for name in ("speedup_of_an_epoch", "speedup_of_data", "cache_megabytes_a_clip"):
        print(f"{name.replace('_', ' ')}: {result[name]:.2f}")
    if options.layers == LAYERS:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "feature_cache.json").write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
