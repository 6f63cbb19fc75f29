"""``earwitness plan``: what training or serving needs before it is begun. Needs no card and allocates nothing."""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING, Any

from earwitness.commands import plan_serve

if TYPE_CHECKING:
    from earwitness.train.plan import Card, Job, Model

SUMMARY = "memory and time of a training run, or which scheme serves a model on which card"
EXAMPLES = """examples:
  earwitness plan train --preset r1 --gpus 64
  earwitness plan train --preset r1 --gpus 64 --stage rlvr --set compute.tensor_parallel=8 --card h200
  earwitness plan train --config configs/tiny-sft.yaml --gpus 2 --sequence 1024 --json
  earwitness plan serve --preset mini --gpu-memory 24"""
STAGES = ("sft", "dpo", "rlvr")
_LONGEST = 10_240  # tokens of prompt and reply; paper, section 4.3
# What no configuration can go without, and what a large model needs.
_DEFAULTS = ("run=plan", "loop.steps=1", "compute.activation_checkpointing=true")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    kinds = parser.add_subparsers(dest="what", metavar="{train,serve}", required=True)
    _add_train(_kind(kinds, "train", "memory of every rank and time of a step", EXAMPLES))
    plan_serve.add_arguments(_kind(kinds, "serve", "which scheme fits which card", plan_serve.EXAMPLES))


def _kind(kinds: Any, name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    parser = kinds.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # Also after the word, as with other commands; suppressed, so that it does not undo the one before it.
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show warnings and tracebacks")
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", choices=("r1", "mini", "tiny"), help="default: the config's model, else r1")
    parser.add_argument("--stage", default="sft", choices=STAGES, help="default: sft")
    parser.add_argument(
        "--config", metavar="FILE", help="YAML file of the run (default: the stage's values, activations checkpointed)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value, repeatable")
    parser.add_argument("--gpus", type=int, default=8, help="ranks, one a card (default: 8)")
    parser.add_argument("--card", default="h100", choices=("a100", "h100", "h200"), help="80, 80, 141 GB (h100)")
    parser.add_argument("--sequence", type=int, metavar="TOKENS", help="of every row (default: 10,240 or what fits)")
    parser.add_argument(
        "--rollouts",
        default="local",
        choices=("local", "elsewhere"),
        help="rlvr: engine on the cards, or left out",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, sizes in bytes")


def run(args: argparse.Namespace) -> int:
    """Print the plan; a run that does not fit is an answer too, so the exit code is 0."""
    if args.what == "serve":
        return plan_serve.run(args)
    from earwitness.train.plan import CARDS

    config = _config(args)
    model = _model(args.stage, config.start)
    job = _job(args, config, model.config.text_config.max_position_embeddings)
    model.check(job)
    found = report(model, job, args.card, CARDS[args.card])
    found = {"model": config.start.model or config.start.preset, "stage": args.stage, **found}
    if args.json:
        print(json.dumps(found))
    else:
        _print(found)
    return 0


def _config(args: argparse.Namespace) -> Any:
    """Return the stage's configuration; without a file that of ``--preset`` with the stage's defaults."""
    from earwitness.stages.dpo import DpoConfig
    from earwitness.stages.rlvr import RlvrConfig
    from earwitness.stages.sft import SftConfig
    from earwitness.train import config as configs

    given = [] if args.config else [*_DEFAULTS, "start.preset=r1", *(["manifest=plan"] if args.stage == "dpo" else [])]
    if args.preset:
        given += [f"start.preset={args.preset}", "start.model=''"]
    cls: type[Any] = {"sft": SftConfig, "dpo": DpoConfig, "rlvr": RlvrConfig}[args.stage]
    config = configs.load(cls, args.config or os.devnull, (*given, *args.set))
    optimisers = (config.actor, config.critic) if args.stage == "rlvr" else (config.optimiser,)
    if not all(optimiser.bf16 for optimiser in optimisers):
        raise ValueError("a plan counts passes in bfloat16 and the config has bf16: false; set it to true")
    return config


def _model(stage: str, given: Any) -> Model:
    """Return the shapes of what a stage trains, from modules on the meta device, frozen and adapted as it does."""
    import torch

    from earwitness.model import AudioReasoner, checkpoint, presets
    from earwitness.stages import start
    from earwitness.train.modules import Critic, Policy
    from earwitness.train.plan import Model
    from earwitness.train.plan_memory import parts_of

    if given.model:
        config = checkpoint.read_config(os.path.expanduser(given.model))
    else:
        config = presets.preset(given.preset, vocab_size=given.vocab_size)
    if given.lora_rank < 0:
        raise ValueError(f"start.lora_rank {given.lora_rank} is no rank; give a positive number, or 0 for none")
    with torch.device("meta"):
        model = start.freeze(AudioReasoner(config))
        whole, modules = parts_of(model), {}
        if stage == "rlvr":
            modules["critic"] = parts_of(Critic(model))
        start.adapt(model, given)
        modules["actor" if stage == "rlvr" else "policy"] = parts_of(Policy(model))
    return Model(config, modules, whole)


def _job(args: argparse.Namespace, config: Any, context: int) -> Job:
    """Return the run to plan."""
    from earwitness.train.plan import Job
    from earwitness.train.plan_memory import Split

    shape: dict[str, int]
    if args.stage == "rlvr":
        update, rollout = config.update, config.rollout
        shape = {"batch": rollout.prompts, "samples": rollout.samples, "max_tokens": update.max_tokens}
        shape |= {"actor_updates": update.actor_updates, "critic_updates": update.critic_updates}
    else:
        shape = {"batch": config.batch, "max_tokens": config.max_tokens}
    fits = min(_LONGEST, context, shape["max_tokens"] // (2 if args.stage == "dpo" else 1))
    return Job(
        stage=args.stage,
        split=Split(args.gpus, config.compute.tensor_parallel),
        sequence=fits if args.sequence is None else args.sequence,
        activation_checkpointing=config.compute.activation_checkpointing,
        muon=(config.actor if args.stage == "rlvr" else config.optimiser).muon and not config.start.lora_rank,
        local_rollouts=args.rollouts == "local",
        **shape,
    )


def report(model: Model, job: Job, name: str, card: Card) -> dict[str, Any]:
    """Return the plan as plain values: sizes in bytes, times in seconds."""
    from earwitness.train import plan, plan_memory, plan_time

    kinds = plan.rank_memory(model, job, card)
    spare = int(card.memory_bytes) - int(kinds["total"].max())
    outside = plan.outside_steps(model, job)
    seconds = plan_time.step_seconds(model, job, card)
    tokens = plan_time.tokens_a_step(job)
    return {
        "parameters": {
            "all": plan_memory.total(model.whole),
            **{key: plan_memory.total(p for p in parts if p.trained) for key, parts in model.modules.items()},
        },
        "gpus": job.split.gpus,
        "tensor_parallel": job.split.tensor_parallel,
        "sequence": job.sequence,
        "passes": {key: dict(zip(("number", "tokens"), job.passes(job.updates(key)))) for key in model.modules},
        "batch": job.batch,
        "activation_checkpointing": job.activation_checkpointing,
        "optimiser": "muon" if job.muon else "adamw",
        "memory": _groups(kinds, job.split.tensor_parallel),
        "card": name,
        "card_bytes": int(card.memory_bytes),
        "spare_bytes": spare,
        "fits": spare >= 0,
        "try": [] if spare >= 0 else plan.advice(model, job, card),
        "outside_steps": outside,
        "seconds": {key: round(value, 3) for key, value in seconds.items()},
        "tokens_per_second": round(tokens / sum(seconds.values()), 1),
        "assumptions": plan_time.assumptions(job, name, card),
    }


def _groups(kinds: dict[str, Any], tensor_parallel: int) -> list[dict[str, Any]]:
    """Return the sizes of neighbouring ranks that need the same, once for each group, first and last rank named."""
    groups: list[dict[str, Any]] = []
    for data_rank in range(len(kinds["total"])):
        sizes = {kind: int(values[data_rank]) for kind, values in kinds.items()}
        last = (data_rank + 1) * tensor_parallel - 1
        if groups and groups[-1]["bytes"] == sizes:
            groups[-1]["last_rank"] = last
        else:
            groups.append({"first_rank": last + 1 - tensor_parallel, "last_rank": last, "bytes": sizes})
    return groups


def _print(plan: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(_heading(plan))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("GB on a card")
    columns = _columns(plan["memory"])
    for ranks, _ in columns:
        table.add_column(ranks, justify="right")
    for row, kind in enumerate(plan["memory"][0]["bytes"]):
        if kind == "total":
            table.add_section()
        table.add_row("most at one time" if kind == "total" else kind, *(cells[row] for _, cells in columns))
    console.print(table)
    console.print(verdict(plan), style="green" if plan["fits"] else "red")
    for line in _outside(plan):
        console.print(line, style="yellow")
    parts = ", ".join(f"{name} {_duration(value)}" for name, value in plan["seconds"].items())
    whole = _duration(sum(plan["seconds"].values()))
    console.print(f"\nA step takes about {whole} ({parts}), {plan['tokens_per_second']:,.0f} tokens/s. Assumed:")
    for line in plan["assumptions"]:
        console.print(f"- {line}", style="dim")


def _columns(groups: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return (ranks, cells) of every column; ranks whose sizes look the same share one."""
    columns: list[tuple[int, int, list[str]]] = []
    for group in groups:
        cells = [f"{size / 1e9:.3f}" if size else "-" for size in group["bytes"].values()]
        first = columns.pop()[0] if columns and columns[-1][2] == cells else group["first_rank"]
        columns.append((first, group["last_rank"], cells))
    return [(f"rank {first}" if first == last else f"ranks {first} to {last}", cells) for first, last, cells in columns]


def _heading(plan: dict[str, Any]) -> str:
    counts = plan["parameters"]
    trained = " and ".join(_count(n) + f" in the {name}" for name, n in counts.items() if name != "all")
    passes = ", ".join(
        f"{p['number']} {'pass' if p['number'] == 1 else 'passes'} of {p['tokens']:,} tokens ({name})"
        for name, p in plan["passes"].items()
    )
    kept = "on" if plan["activation_checkpointing"] else "off"
    ranks = f"{plan['gpus']} rank{'s' if plan['gpus'] > 1 else ''}"
    return (
        f"{plan['stage']} of {plan['model']}: {_count(counts['all'])} parameters, trained {trained}\n"
        f"{ranks}, tensor_parallel {plan['tensor_parallel']}, activation_checkpointing {kept}, "
        f"{plan['optimiser']}\nAn update of a rank: {passes}"
    )


def _count(values: int) -> str:
    return f"{values / 1e9:.3f} B" if values >= 1e9 else f"{values / 1e6:.1f} M"


def verdict(plan: dict[str, Any]) -> str:
    """Return the sentence that says whether the steps fit the card, and what to try where they do not."""
    size, spare = f"{plan['card_bytes'] / 1e9:.0f} GB", plan["spare_bytes"] / 1e9
    if spare >= 0:
        return f"A step fits in {size} with {spare:.1f} GB to spare."
    remedy = " ".join(plan["try"]) or "more or larger cards (--gpus, --card) or --set start.lora_rank=16"
    return f"A step does not fit in {size} by {-spare:.1f} GB; try {remedy}."


def _outside(plan: dict[str, Any]) -> list[str]:
    """Return what does not fit before the first step and after the last one, and what a node's host memory holds."""
    said = {
        "start": "At the start a card takes its part and a whole float32 layer",
        "export": "At the end the first rank's card takes one whole float32 weight after another",
    }
    sizes = dict(plan["outside_steps"])
    host = f"The processes of a node load their models into {sizes.pop('host') / 1e9:,.1f} GB of host memory."
    return [host] + [
        f"{said[moment]}: {size / 1e9:.1f} GB, more than {plan['card_bytes'] / 1e9:.0f} GB; take a larger --card."
        for moment, size in sizes.items()
        if size > plan["card_bytes"]
    ]


def _duration(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 100 else f"{seconds / 60:.0f} min"
