"""The full-size encoder (1280 wide, 32 layers) on a 5 s clip, against transformers' Qwen2-Audio encoder.

    python bench/encoder.py [--rounds 3] [--threads 2]

All paths use the same random weights in bfloat16 and run in turns in one process:

- ``ours``: the clip as it is.
- ``padded``: transformers' path, which pads every clip to 30 s and masks the rest.
- ``unpadded``: transformers' encoder with its position table cut, so that it takes the clip as it is.
- ``matmul``: the bare matrix products of ``ours``, with the model's own weights: what the arithmetic costs here.

Writes ``bench/results/encoder.json``.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import platform
import statistics
import subprocess
import sys
import time

import torch

RESULTS = pathlib.Path(__file__).parent / "results"
FRAMES = 502  # mel frames of 5 s at 100 Hz with the front end's padding


def build_paths(layers: int, random: bool = True):
    """Return name -> function of no argument; the three encoders share one set of weights."""
    from transformers import Qwen2AudioEncoderConfig
    from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder

    from earwitness.model import presets
    from earwitness.model.assemble import encoder_key
    from earwitness.model.encoder import AudioEncoder

    torch.manual_seed(0)
    config = presets.preset("r1")
    config.audio_encoder_config["n_audio_layer"] = layers
    with torch.device("meta"):
        ours = AudioEncoder(config)
    weights = {k: torch.full(v.shape, 0.02, dtype=torch.bfloat16) for k, v in ours.state_dict().items()}
    for name, weight in weights.items():
        if name.endswith(("_ln.weight", "norm.weight")):
            weight.fill_(1)
        elif random:
            weight.normal_(std=0.02)
    ours.load_state_dict(weights, assign=True)

    def theirs(context: int) -> Qwen2AudioEncoder:
        with torch.device("meta"):
            encoder = Qwen2AudioEncoder(Qwen2AudioEncoderConfig(max_source_positions=context, encoder_layers=layers))
        mapped = {k: weights[encoder_key(k).removeprefix("encoder.")] for k in encoder.state_dict()}
        mapped["embed_positions.weight"] = mapped["embed_positions.weight"][:context]
        encoder.load_state_dict(mapped, assign=True)
        return encoder.eval()

    hidden = (FRAMES + 1) // 2
    padded, unpadded = theirs(1500), theirs(hidden)
    mel = torch.randn(1, 128, FRAMES).bfloat16()
    window = torch.nn.functional.pad(mel, (0, 3000 - FRAMES))
    mask = torch.zeros(1, 1, 1500, 1500, dtype=torch.bfloat16)
    mask[..., hidden:] = -torch.inf
    length = torch.tensor([FRAMES])
    return {
        "ours": lambda: ours.forward_padded(mel, length)[0],
        "unpadded": lambda: unpadded(mel).last_hidden_state[0],
        "padded": lambda: padded(window, attention_mask=mask).last_hidden_state[0, : hidden // 2],
        "matmul": products(ours, hidden),
    }


def products(encoder, hidden: int):
    """Return a function that does the encoder's matrix products and nothing else."""
    state = encoder.conv1.out_channels
    wide = {n: torch.randn(hidden, n).bfloat16() for n in (state, 3 * state, 4 * state)}
    mel_windows = torch.randn(FRAMES, 3 * encoder.conv1.in_channels).bfloat16()
    heads = torch.randn(encoder.blocks[0].attn.heads, hidden, 64).bfloat16()
    pairs = [(mel_windows, encoder.conv1.weight.flatten(1)), (wide[3 * state], encoder.conv2.weight.flatten(1))]
    for block in encoder.blocks:
        linear = [block.attn.query, block.attn.key, block.attn.value, block.attn.out, block.mlp[0], block.mlp[2]]
        pairs += [(wide[m.in_features], m.weight) for m in linear]

    def run():
        for x, weight in pairs:
            x @ weight.T
        for _ in encoder.blocks:
            (heads @ heads.transpose(1, 2)) @ heads

    run.flops = sum(2 * x.shape[0] * w.numel() for x, w in pairs) + len(encoder.blocks) * 4 * heads.numel() * hidden
    return run


def peak_megabytes(name: str, layers: int) -> float:
    """Return the highest resident memory of a fresh process that builds all paths and runs one of them."""
    command = [sys.executable, __file__, "--peak", name, "--layers", str(layers)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@torch.inference_mode()
def measure(rounds: int, layers: int) -> dict:
    paths = build_paths(layers)
    ours, unpadded, padded = (paths[name]().float() for name in ("ours", "unpadded", "padded"))
    peaks = {name: peak_megabytes(name, layers) for name in paths}
    seconds: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(rounds):
        # Short paths run more often, interleaved, because a shared machine disturbs them more.
        for name in ("padded", *("ours", "unpadded", "matmul") * 4):
            start = time.perf_counter()
            paths[name]()
            seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "clip_seconds": 5,
        "layers": layers,
        "median_seconds": median,
        "fastest_seconds": {name: min(values) for name, values in seconds.items()},
        "speedup_over_padded": median["padded"] / median["ours"],
        "speedup_over_unpadded": median["unpadded"] / median["ours"],
        "share_of_matmul_rate": median["matmul"] / median["ours"],
        "matmul_tflops": paths["matmul"].flops / median["matmul"] / 1e12,
        "peak_megabytes": peaks,
        # bfloat16 rounds at 0.4 %; the values are of order 1
        "difference_to_unpadded": (ours - unpadded).abs().max().item(),
        "difference_to_padded": (ours - padded)[:-1].abs().max().item(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--layers", type=int, default=32, help="fewer for a quick look; nothing is written then")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.peak:
        with torch.inference_mode():
            build_paths(options.layers, random=False)[options.peak]()
        # Not ru_maxrss, which a child inherits from the process that started it.
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        print(next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM")))
        return 0
    if options.threads:
        torch.set_num_threads(options.threads)
    result = measure(options.rounds, options.layers)
    print(f"{'path':10} {'median s':>9} {'fastest s':>10} {'peak MB':>8}")
    for name, seconds in result["median_seconds"].items():
        peak = result["peak_megabytes"][name]
        print(f"{name:10} {seconds:9.3f} {result['fastest_seconds'][name]:10.3f} {peak:8.0f}")
    for name in ("speedup_over_padded", "speedup_over_unpadded", "share_of_matmul_rate", "matmul_tflops"):
        print(f"{name.replace('_', ' ')}: {result[name]:.2f}")
    print(f"largest difference to unpadded: {result['difference_to_unpadded']:.3f}")
    if options.layers == 32:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "encoder.json").write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
