"""``earwitness plan serve``: which scheme fits which card. Needs no card and allocates nothing."""

from __future__ import annotations

import argparse
import json
from typing import Any

EXAMPLES = """examples:
  earwitness plan serve --preset r1
  earwitness plan serve --preset mini --gpu-memory 24 --context 8192 --concurrency 16"""
_CONTEXT = 16_384


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--preset", choices=("r1", "mini", "tiny"), default="r1", help="default: r1")
    parser.add_argument("--gpu-memory", type=float, metavar="GB", help="of the card (default: a list of sizes)")
    parser.add_argument(
        "--context", type=int, metavar="TOKENS", help="of a conversation (default: 16,384 or what fits)"
    )
    parser.add_argument("--concurrency", type=int, default=1, help="conversations at a time (default: 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object, sizes in bytes")


def run(args: argparse.Namespace) -> int:
    """Print the plan; a model that does not fit is an answer too, so the exit code is 0."""
    from earwitness.model import plan_serve, presets

    config = presets.preset(args.preset)
    context = min(_CONTEXT, config.text_config.max_position_embeddings) if args.context is None else args.context
    load = plan_serve.Load(context, args.concurrency)
    load.check(config)
    if args.gpu_memory is not None and args.gpu_memory <= 0:
        raise ValueError(f"--gpu-memory {args.gpu_memory:g} is no card; give its size in GB, such as 24")
    found = report(args.preset, config, load, args.gpu_memory)
    if args.json:
        print(json.dumps(found))
    else:
        _print(found)
    return 0


def report(name: str, config: Any, load: Any, gpu_memory: float | None) -> dict[str, Any]:
    """Return the plan as plain values, sizes in bytes."""
    from earwitness.model import plan_serve

    cards = plan_serve.CARDS if gpu_memory is None else {f"{gpu_memory:g} GB": gpu_memory * 1e9}
    weights = plan_serve.shapes(config)
    schemes = {}
    for scheme_name, scheme in plan_serve.SCHEMES.items():
        sizes = plan_serve.needs(config, weights, scheme, load)
        room = {card: plan_serve.cache_tokens(config, sizes, size) for card, size in cards.items()}
        fits = [card for card, size in cards.items() if sizes["total"] <= size]
        schemes[scheme_name] = {"bytes": sizes, "fits": fits, "cache_tokens": room}
    best = {card: next((n for n, s in schemes.items() if card in s["fits"]), None) for card in cards}
    return {
        "model": name,
        "context": load.context,
        "concurrency": load.concurrency,
        "cards": {card: int(size) for card, size in cards.items()},
        "schemes": schemes,
        "best": best,
    }


def _print(plan: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    people = f"{plan['concurrency']} conversation{'s' if plan['concurrency'] > 1 else ''}"
    console.print(f"serving {plan['model']}: {people} of {plan['context']:,} tokens, cache in 16 bit")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("GB")
    for name in plan["schemes"]:
        table.add_column(name, justify="right")
    for kind in ("weights", "KV cache", "activations", "total"):
        if kind == "total":
            table.add_section()
        table.add_row(kind, *(f"{s['bytes'][kind] / 1e9:.2f}" for s in plan["schemes"].values()))
    table.add_section()
    for card in plan["cards"]:
        cells = (s["cache_tokens"][card] if card in s["fits"] else 0 for s in plan["schemes"].values())
        table.add_row(f"tokens on {card}", *(f"{tokens:,}" if tokens else "-" for tokens in cells))
    console.print(table)
    console.print("'tokens' is what the cache of all conversations together has room for; '-' does not fit.")
    for card, best in plan["best"].items():
        console.print(verdict(plan, card, best), style="green" if best else "red")


def verdict(plan: dict[str, Any], card: str, best: str | None) -> str:
    """Return the sentence that names the most exact scheme that fits a card, or what is missing."""
    if best is None:
        smallest = min(s["bytes"]["total"] for s in plan["schemes"].values())
        short = (smallest - plan["cards"][card]) / 1e9
        return f"{card}: nothing fits, by {short:.1f} GB; shorten --context, or use several cards with vLLM."
    if best == "16 bit":
        return f"{card}: 16 bit (as published)"
    older = ", or int8 on cards older than Ada" if best == "fp8" else ""
    return f"{card}: {best} (earwitness quantize DIR OUT --scheme {best}{older})"
