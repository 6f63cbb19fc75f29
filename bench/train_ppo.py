"""An iteration of PPO against one of TRL's GRPO: the same text model, questions, samples a prompt and reply length.

    python bench/train_ppo.py --reference PYTHON   # PYTHON has trl; without it this interpreter
    python bench/train_ppo.py --rounds 1 --iterations 1 --prompts 4   # a quick look; nothing is written

Both sides start from one model (the decoder of the ``tiny`` preset, 4,096 ids) that was trained on 3,600 chains of
SoundWorld's ``text_tasks``, so that replies end, and at different lengths, as those of a model in use do. Both answer
the same questions with 16 sampled replies each and score them with the same verifier. An iteration is everything from
questions to new weights:

- ``ours``: weights into the local engine, rollouts, rewards, values and log-probabilities, one update of the actor and
  twelve of a critic as large (the defaults of the ``rlvr`` stage), a row for each reply or for each prompt.
- ``trl``: ``GRPOTrainer`` without a reference model, without gradient checkpointing and with one update on fresh data,
  which spares it the old log-probabilities; it has no critic. It samples with ``generate``, in passes of several sizes:
  its continuous batching is made for GPUs and took 20 times as long here, and 12 GB (measured once, 32 replies of 24
  tokens).

Each variant runs in both precisions, has a process of its own, and the sides take turns for several rounds; the first
iteration of a process is not counted. The ratio is that of the medians of the fastest variant of each side. Writes
``bench/results/train_ppo.json``.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import itertools
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

RESULTS = pathlib.Path(__file__).parent / "results" / "train_ppo.json"
ROOT = pathlib.Path(__file__).parents[1]
SAMPLES, VOCABULARY, PROMPTS, TOKENS, ITERATIONS, RATE = 16, 4096, 16, 192, 2, 1e-6
TRAINED, CHAINS = 150, 24  # updates before the comparison, and chains of each; then nearly all replies end
OURS: dict[str, dict[str, Any]] = {
    f"ours, a row a {'prompt' if share else 'reply'}, {'bfloat16' if bf16 else 'float32'}": {
        "share_prompts": share,
        "max_tokens": 2048 if share else 8192,  # of a pass: about a prompt with its replies, or many padded rows
        "bf16": bf16,
    }
    for share in (False, True)
    for bf16 in (False, True)
}
TRL: dict[str, dict[str, Any]] = {
    f"trl, passes of {size}, {'bfloat16' if bf16 else 'float32'}": {"per_device_train_batch_size": size, "bf16": bf16}
    for size in (16, 32)
    for bf16 in (False, True)
}


def questions(count: int, start: int = 0) -> list[Any]:
    """Return text questions from number ``start`` on; none asks for code, which another process would run."""
    from earwitness import soundworld

    drawn = (soundworld.sample("text_tasks", "train", number) for number in itertools.count(start))
    return list(itertools.islice((sample for sample in drawn if sample.answer_type != "code"), count))


def write(folder: pathlib.Path, updates: int) -> None:
    """Train the model on chains and write it in both layouts."""
    import torch
    from transformers import Qwen2ForCausalLM

    from earwitness.data import dialogue
    from earwitness.data.collate import collate
    from earwitness.losses import sft_loss
    from earwitness.model import AudioReasoner
    from earwitness.model.presets import preset
    from earwitness.model.tokenizer import train_tokenizer
    from earwitness.stages.start import EMBEDDING_STD, freeze
    from earwitness.train.learner import Learner, OptimiserConfig
    from earwitness.train.modules import Policy
    from earwitness.train.world import World

    taught = questions(2000, start=100_000)
    tokenizer = train_tokenizer([f"{s.question} {s.reasoning}" for s in taught], VOCABULARY)
    torch.manual_seed(0)
    model = AudioReasoner(preset("tiny", tokenizer))
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=EMBEDDING_STD)
    learner = Learner(Policy(freeze(model)), OptimiserConfig(lr=2e-3, warmup_steps=20), World(), updates)
    for step in range(updates):
        learner.set_rate(step)
        drawn = [taught[(CHAINS * step + i) % len(taught)] for i in range(CHAINS)]
        batch = collate([dialogue.example(tokenizer, s, "think") for s in drawn], 0, model.config.audio_patch_token_id)
        with learner.autocast():
            scores = learner.module(batch)
        learner.backward(sft_loss(scores.log_probs_BT, batch.learned).loss / batch.num_learned)
        learner.update()
    plain = Qwen2ForCausalLM(model.model.config)
    plain.load_state_dict({n: v for n, v in model.state_dict().items() if n.startswith(("model.", "lm_head."))})
    plain.generation_config.eos_token_id = list(model.config.eos_token_ids)
    plain.generation_config.pad_token_id = model.config.pad_token_id
    for saved, name in ((model, "model"), (plain, "plain")):
        saved.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def run_ours(folder: pathlib.Path, options: dict[str, Any], work: argparse.Namespace) -> list[dict[str, float]]:
    """Return the numbers of iterations of our PPO."""
    from earwitness.data import dialogue
    from earwitness.engines.local import LocalEngine
    from earwitness.engines.protocol import Sampling
    from earwitness.rewards import text_reward
    from earwitness.stages.ppo import Trainer, UpdateConfig
    from earwitness.stages.rlvr import RlvrConfig
    from earwitness.stages.start import StartConfig, named_weights, published
    from earwitness.train.learner import Learner
    from earwitness.train.modules import Critic, Policy
    from earwitness.train.rollouts import Prompt, collect
    from earwitness.train.world import World

    tokenizer, model = published(StartConfig(model=str(folder / "model")))
    asked = questions(work.prompts * work.iterations)
    prompts = [Prompt(n, sample, dialogue.question(tokenizer, sample), []) for n, sample in enumerate(asked)]
    engine = LocalEngine(copy.deepcopy(model), tokenizer, repeatable=True)
    config, world = RlvrConfig(run="", loop=None, start=None), World()  # type: ignore[arg-type]
    policy = Policy(model, engine.markers.suppressed)
    settings = ((Critic(model), config.critic), (policy, config.actor))
    critic, actor = (
        Learner(module, dataclasses.replace(given, bf16=options["bf16"], warmup_steps=0), world, work.iterations)
        for module, given in settings
    )
    ids = (model.config.pad_token_id, model.config.audio_patch_token_id)
    update = UpdateConfig(share_prompts=options["share_prompts"], max_tokens=options["max_tokens"])
    trainer = Trainer(actor, critic, update, world, ids)
    sampling = Sampling(temperature=1.0, max_new_tokens=work.tokens, logprobs=True)
    found = []
    for step in range(work.iterations):
        begun = time.perf_counter()
        engine.update_weights(named_weights(policy), step)
        mine = prompts[step * work.prompts : (step + 1) * work.prompts]
        rollouts = collect(engine, mine, SAMPLES, sampling, 0, text_reward)
        sampled = time.perf_counter()
        trainer.update(rollouts, step)
        replies = [list(r.reply.token_ids) for r in rollouts]
        reward = statistics.mean(r.reward.total for r in rollouts)
        found.append(_numbers(time.perf_counter() - begun, sampled - begun, replies, reward, work))
    return found


def run_trl(folder: pathlib.Path, options: dict[str, Any], work: argparse.Namespace) -> list[dict[str, float]]:
    """Return the numbers of iterations of TRL's GRPO."""
    import datasets
    import torch
    from transformers import AutoTokenizer, Qwen2ForCausalLM, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from earwitness.data import dialogue
    from earwitness.prompt import parse
    from earwitness.rewards import text_reward

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder / "plain")
    asked = questions(work.prompts * work.iterations)
    prompts = [dialogue.question(tokenizer, sample) for sample in asked]
    found: list[dict[str, float]] = []
    sampled: list[float] = []
    replies: list[list[int]] = []
    rewards: list[float] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            self.begun = time.perf_counter()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            seconds = time.perf_counter() - self.begun
            found.append(_numbers(seconds, sampled[-1], replies, statistics.mean(rewards), work))
            self.begun = time.perf_counter()

    class Asked(GRPOTrainer):
        def _tokenize_prompts(self, texts: list) -> tuple[list[list[int]], None, dict]:
            return [prompts[int(text)] for text in texts], None, {}

        def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            out = super()._generate_single_turn(*args, **kwargs)
            sampled.append(time.perf_counter() - begun)
            return out

    def reward(prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        replies[:], stops = completion_ids, set(trainer.eos_token_ids)
        texts = [str(tokenizer.decode([i for i in ids if i not in stops])) for ids in completion_ids]
        parsed = [parse(text, True, finished=ids[-1] in stops) for text, ids in zip(texts, completion_ids)]
        rewards[:] = [text_reward(reply, asked[int(n)]).total for reply, n in zip(parsed, prompts)]
        return rewards

    size = min(options["per_device_train_batch_size"], work.prompts * SAMPLES)
    config = GRPOConfig(
        str(folder / "trl"), use_cpu=True, gradient_checkpointing=False, report_to="none", save_strategy="no",
        disable_tqdm=True, logging_steps=1000, max_steps=work.iterations, shuffle_dataset=False,
        num_generations=SAMPLES, max_completion_length=work.tokens, temperature=1.0, beta=0.0, num_iterations=1,
        gradient_accumulation_steps=work.prompts * SAMPLES // size, learning_rate=RATE,
        lr_scheduler_type="constant", **{**options, "per_device_train_batch_size": size},
    )  # fmt: skip
    trainer = Asked(
        Qwen2ForCausalLM.from_pretrained(folder / "plain", dtype=torch.float32), reward, config,
        datasets.Dataset.from_dict({"prompt": [str(n) for n in range(len(asked))]}), processing_class=tokenizer,
        callbacks=[Clock()],
    )  # fmt: skip
    trainer.train()
    return found


def _numbers(
    seconds: float, sampling: float, replies: list[list[int]], reward: float, work: argparse.Namespace
) -> dict[str, float]:
    """Return what one iteration is described by."""
    if len(replies) != work.prompts * SAMPLES:
        raise RuntimeError(f"{len(replies)} replies to {work.prompts} prompts; there must be {SAMPLES} to each")
    return {
        "seconds_per_sample": seconds / len(replies),
        "sampling_seconds": sampling,
        "learning_seconds": seconds - sampling,
        "reply_tokens": statistics.mean(map(len, replies)),
        "truncated": statistics.mean(len(ids) >= work.tokens for ids in replies),
        "reward": reward,
    }


def work_on(name: str, options: argparse.Namespace) -> None:
    """Do one run in this process and print what it gave as the last line; the first iteration does not count."""
    import torch

    torch.set_num_threads(options.threads)
    options.iterations += 1
    run = run_ours if name in OURS else run_trl
    iterations = run(options.folder, (OURS | TRL)[name], options)[1:]
    found = {key: statistics.mean(row[key] for row in iterations) for key in iterations[0]}
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    found["peak_megabytes"] = next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))
    print(json.dumps(found))


def spawn(name: str, folder: pathlib.Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return what a run gave, or the last line of its error."""
    words = [sys.executable if name in OURS else options.reference, __file__, "--work", name, "--folder", folder]
    for key in ("prompts", "tokens", "iterations", "threads"):
        words += [f"--{key}", getattr(options, key)]
    env = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([str(w) for w in words], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def summarise(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return medians of every variant and the ratio of the fastest of each side."""
    report: dict[str, Any] = {}
    for name, found in runs.items():
        failed = [run["failed"] for run in found if "failed" in run]
        report[name] = {"failed": failed[0]} if failed else {}
        if not failed:
            report[name] = {key: statistics.median(run[key] for run in found) for key in found[0]}
            report[name]["seconds_per_sample_of_each_round"] = [run["seconds_per_sample"] for run in found]
    took = {name: row["seconds_per_sample"] for name, row in report.items() if "failed" not in row}
    best = [min((n for n in side if n in took), key=lambda n: took[n], default=None) for side in (OURS, TRL)]
    ratio = took[best[1]] / took[best[0]] if best[0] and best[1] else None
    return {"ratio": ratio, "best_of_ours": best[0], "best_of_trl": best[1], "runs": report}


def show(report: dict[str, Any]) -> None:
    """Print a line for each variant and the ratio."""
    heads = {"seconds_per_sample": "s/sample", "sampling_seconds": "sampling", "learning_seconds": "learning"}
    heads |= {"reply_tokens": "tokens", "truncated": "cut", "reward": "reward", "peak_megabytes": "peak MB"}
    print(f"{'variant':38}" + "".join(f"{head:>9}" for head in heads.values()))
    for name, row in report["runs"].items():
        print(f"{name:38}" + (row.get("failed") or "".join(f"{row[key]:9.4g}" for key in heads)))
    if report["ratio"]:
        print(f"{report['best_of_trl']} / {report['best_of_ours']}: {report['ratio']:.2f}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", default=sys.executable, help="interpreter that has trl")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=ITERATIONS, help="of a run, beside its first")
    parser.add_argument("--prompts", type=int, default=PROMPTS, help="of an iteration")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="most tokens of a reply")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", choices=(*OURS, *TRL), default=(*OURS, *TRL), help="for a quick look")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.work:
        work_on(options.work, options)
        return 0
    if subprocess.run([options.reference, "-c", "import trl"], capture_output=True, check=False).returncode:
        print(f"{options.reference} has no trl: nothing is measured; give an interpreter that has it as --reference")
        return 0
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in options.only}
    with tempfile.TemporaryDirectory() as root:
        write(pathlib.Path(root), TRAINED)
        for number in range(options.rounds):
            for name, found in runs.items():
                found.append(spawn(name, pathlib.Path(root), options))
                print(f"{number + 1} {name:38}", json.dumps(found[-1]), file=sys.stderr, flush=True)
    keys = ("prompts", "tokens", "iterations", "rounds", "threads")
    given = {key: getattr(options, key) for key in keys}
    report = {**summarise(runs), "samples": SAMPLES, **given, "machine": platform.processor() or platform.machine()}
    show(report)
    is_whole = (options.prompts, options.tokens, len(runs)) == (PROMPTS, TOKENS, len(OURS) + len(TRL))
    if is_whole and options.iterations == ITERATIONS:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
