"""Tokens per second of the local engine against transformers, on the same weights, prompts and type, in one run.

256 mixed SoundWorld questions are answered greedily with the model's own stops:

* ``transformers generate``: padded batches of several sizes, the best one counts;
* ``transformers generate_batch``: its continuous batching;
* ours, and both at batch 1.

All three start from the same prompts with the audio already encoded. ``generate_batch`` takes ids only, so the audio
embeddings are put into extra rows of the embedding table, whose ids stand in the prompt; the other two get the same.
Writes ``bench/results/generate.json``.

    python bench/generate.py
    python bench/generate.py --requests 16 --repeats 1     # a quick look
"""

from __future__ import annotations

import argparse
import json
import pathlib
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

RESULTS = pathlib.Path(__file__).parent / "results" / "generate.json"
SUITES = ("music", "sound", "speech")
MAX_NEW_TOKENS = 256


@dataclass
class Case:
    """One request: prompt ids with placeholders, the same with ids of extra embedding rows, and its audio."""

    ids: list[int]
    extended: list[int]
    features: torch.Tensor


def load_engine(dtype: torch.dtype, suites: Sequence[str]) -> tuple[Any, bool]:
    """Return (engine, whether its weights are trained): the shipped model, else random weights of its shape."""
    from earwitness import soundworld
    from earwitness.engines import load, shipped_model
    from earwitness.engines.local import LocalEngine
    from earwitness.model import AudioReasoner
    from earwitness.model.presets import preset
    from earwitness.model.tokenizer import train_tokenizer

    try:
        return load(shipped_model(), device="cpu", dtype=dtype), True
    except ValueError:
        samples = [soundworld.sample(suites[0], "train", i) for i in range(300)]
        tokenizer = train_tokenizer([f"{s.question} {s.reasoning}" for s in samples], 2048)
        torch.manual_seed(0)
        return LocalEngine(AudioReasoner(preset("tiny", tokenizer)).to(dtype), tokenizer), False


def build_cases(engine: Any, count: int, suites: Sequence[str]) -> list[Case]:
    """Return mixed SoundWorld questions with their audio encoded."""
    from earwitness import prompt, soundworld

    cases: list[Case] = []
    extra = engine.model.config.vocab_size
    for i in range(count):
        sample = soundworld.sample(suites[i % len(suites)], "test", i // len(suites))
        with torch.no_grad():
            (features,) = engine.model.encode_audio([soundworld.waveform(sample)])
        asked = prompt.segments(prompt.sample_messages(sample), audio_counts=[len(features)])
        ids = prompt.encode(engine.tokenizer, asked)
        rows = iter(range(extra, extra + len(features)))
        extended = [next(rows) if token == engine.markers.patch else token for token in ids]
        extra += len(features)
        cases.append(Case(ids, extended, features))
    return cases


def build_reference(engine: Any, cases: Sequence[Case]) -> Any:
    """Return transformers' own model over the same weights, its embedding table extended by the audio."""
    from transformers import Qwen2ForCausalLM

    source = engine.model
    with torch.device("meta"):
        reference = Qwen2ForCausalLM(source.model.config)
    reference.model, reference.lm_head = source.model, source.lm_head
    table = torch.cat([source.model.embed_tokens.weight.detach(), *(c.features.to(source.dtype) for c in cases)])
    reference.set_input_embeddings(torch.nn.Embedding.from_pretrained(table))
    return reference.eval()


def run_ours(engine: Any, cases: Sequence[Case], limits: Sequence[int]) -> list[list[int]]:
    """Return the tokens that our engine gives each case."""
    from earwitness.engines import Request, Sampling

    requests = [
        Request(prompt_ids=c.ids, features=[c.features], sampling=Sampling(max_new_tokens=n))
        for c, n in zip(cases, limits)
    ]
    return [list(reply.token_ids) for reply in engine.generate(requests)]


def run_generate(
    model: Any, cases: Sequence[Case], limits: Sequence[int], stops: list[int], size: int
) -> list[list[int]]:
    """Return the tokens of transformers' ``generate`` in left-padded batches, shortest prompts first."""
    order = sorted(range(len(cases)), key=lambda i: len(cases[i].ids))
    out: list[list[int]] = [[] for _ in cases]
    for start in range(0, len(order), size):
        group = order[start : start + size]
        width = max(len(cases[i].ids) for i in group)
        ids = torch.zeros(len(group), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, i in enumerate(group):
            ids[row, width - len(cases[i].ids) :] = torch.tensor(cases[i].extended)
            mask[row, width - len(cases[i].ids) :] = 1
        tokens = model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=max(limits[i] for i in group),
            do_sample=False,
            eos_token_id=stops,
            pad_token_id=stops[0],
        )
        for row, i in enumerate(group):
            out[i] = cut(tokens[row, width:].tolist(), stops, limits[i])
    return out


def run_generate_batch(model: Any, cases: Sequence[Case], limits: Sequence[int], stops: list[int]) -> list[list[int]]:
    """Return the tokens of transformers' continuous batching."""
    from transformers import GenerationConfig

    config = GenerationConfig(
        max_new_tokens=max(limits), do_sample=False, eos_token_id=stops, pad_token_id=stops[0], use_cache=True
    )
    outputs = model.generate_batch([c.extended for c in cases], generation_config=config, progress_bar=False)
    # Results are keyed by request ids that count up in the order of the inputs.
    ordered = sorted(outputs.values(), key=lambda output: int(output.request_id.rsplit("_", 1)[-1]))
    return [cut(list(output.generated_tokens), stops, limit) for output, limit in zip(ordered, limits)]


def cut(tokens: list[int], stops: list[int], limit: int) -> list[int]:
    """Return the tokens up to and with the first stop, and at most ``limit``."""
    ends = [i + 1 for i, token in enumerate(tokens) if token in stops]
    return tokens[: min([limit, *ends[:1]])]


def measure(name: str, run: Callable[[], list[list[int]]], repeats: int, results: dict[str, Any]) -> None:
    """Run, keep the best of several times, and print one line; a run that fails is recorded as such."""
    try:
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            tokens = run()
            times.append(time.perf_counter() - start)
    except Exception as error:
        results[name] = {"failed": f"{type(error).__name__}: {error}"}
        print(f"{name:32} failed: {type(error).__name__}: {str(error)[:100]}", flush=True)
        return
    total = sum(len(t) for t in tokens)
    results[name] = {"tokens": total, "seconds": min(times), "tokens_per_second": total / min(times), "text": tokens}
    print(f"{name:32} {total:6d} tokens {min(times):8.2f} s {total / min(times):8.0f} tokens/s", flush=True)


def summarise(results: dict[str, Any], meta: dict[str, Any]) -> dict[str, Any]:
    """Return the report: rates, ratios, and the share of texts that agree with ours."""
    ours = results["ours"].pop("text")
    agree = {}
    for name, result in results.items():
        text = result.pop("text", None)
        if text is not None and not name.endswith("batch 1"):
            agree[name] = sum(a == b for a, b in zip(ours, text)) / len(ours)

    def best(single: bool) -> float:
        rates = [
            r.get("tokens_per_second", 0.0)
            for name, r in results.items()
            if name.startswith("transformers") and name.endswith("batch 1") == single
        ]
        return max(rates, default=0.0)

    ratios = {
        "batched": results["ours"]["tokens_per_second"] / best(False),
        "batch 1": results["ours, batch 1"]["tokens_per_second"] / best(True),
    }
    return {**meta, "ratios": ratios, "same text as ours": agree, "runs": results}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--single", type=int, default=16, help="requests of the batch-1 comparison")
    parser.add_argument("--repeats", type=int, default=3, help="the best time of each counts")
    parser.add_argument("--threads", type=int, default=0, help="0 leaves it to torch")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128, 256], help="batches of generate to try")
    parser.add_argument("--suites", nargs="+", choices=SUITES, default=SUITES)
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS)
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    import transformers

    transformers.logging.set_verbosity_error()
    engine, trained = load_engine(getattr(torch, args.dtype), args.suites)
    cases = build_cases(engine, args.requests, args.suites)
    # Random weights never stop, so their replies get lengths like those of a trained model.
    limits = [MAX_NEW_TOKENS if trained else 20 + (37 * i) % 61 for i in range(len(cases))]
    stops = sorted(engine.markers.stops)
    reference = build_reference(engine, cases)
    results: dict[str, Any] = {}
    print(f"{len(cases)} requests, {sum(len(c.ids) for c in cases) / len(cases):.0f} prompt tokens each", flush=True)
    run_ours(engine, cases[:8], limits)
    run_generate(reference, cases[:8], limits, stops, 8)
    measure("ours", lambda: run_ours(engine, cases, limits), args.repeats, results)
    for size in sorted({min(size, len(cases)) for size in args.sizes}):
        name = f"transformers generate, batch {size}"
        measure(name, lambda size=size: run_generate(reference, cases, limits, stops, size), args.repeats, results)
    measure(
        "transformers generate_batch",
        lambda: run_generate_batch(reference, cases, limits, stops),
        args.repeats,
        results,
    )
    few, short = cases[: args.single], limits[: args.single]
    measure("ours, batch 1", lambda: [run_ours(engine, [c], [n])[0] for c, n in zip(few, short)], args.repeats, results)
    measure(
        "transformers generate, batch 1", lambda: run_generate(reference, few, short, stops, 1), args.repeats, results
    )
    meta = {
        "model": "the shipped tiny model" if trained else "random weights of the tiny preset",
        "requests": len(cases),
        "dtype": args.dtype,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "machine": platform.machine(),
    }
    report = summarise(results, meta)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(report, indent=1) + "\n")
    batched, single = report["ratios"]["batched"], report["ratios"]["batch 1"]
    print(f"ours / best of transformers: {batched:.2f} batched, {single:.2f} at batch 1")


if __name__ == "__main__":
    main()
