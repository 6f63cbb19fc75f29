"""The distributed loop through its command: ranks agree, checkpoints move between world sizes, kills cost nothing."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import engine_fixture
import numpy as np
import pytest
import torch
import training_fixture as fixture
from safetensors.torch import load_file

from earwitness.data.collate import collate, collate_fans
from earwitness.data.dialogue import Example
from earwitness.model import AudioReasoner
from earwitness.model.adaptor import audio_tokens
from earwitness.stages.start import freeze
from earwitness.train.modules import Policy


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = fixture.write(tmp_path_factory.mktemp("training"))
    done = fixture.run(folder)
    assert done.returncode == 0, done.stderr
    return folder


def weights(folder):
    return load_file(next(folder.glob("model/*.safetensors")))


def same(a, b):
    return all(torch.equal(x, b[name]) for name, x in a.items())


def test_the_run_learns_and_writes_a_model_that_loads(place):
    rows = fixture.rows(place)
    assert [r["step"] for r in rows] == list(range(1, 7)) and rows[-1]["loss"] < rows[0]["loss"]
    assert rows[0]["tokens"] > rows[0]["learned"] > 0
    trained, before = weights(place / "run"), weights(place)
    changed = {name for name in before if not torch.equal(before[name].bfloat16(), trained[name])}
    assert not [name for name in changed if name.startswith("encoder.")]
    assert any(name.startswith("adapter.") for name in changed) and "lm_head.weight" in changed
    AudioReasoner.from_pretrained(place / "run" / "model")


def test_two_ranks_are_one(place):
    done = fixture.run(place, f"run={place}/two", ranks=2)
    assert done.returncode == 0, done.stderr
    for one, two in zip(fixture.rows(place), fixture.rows(place, "two"), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-5)
        assert two["tokens"] == one["tokens"]


def test_packed_rows_are_padded_rows(place):
    done = fixture.run(place, f"run={place}/packed", "pack=true", "max_tokens=160")
    assert done.returncode == 0, done.stderr
    for padded, packed in zip(fixture.rows(place), fixture.rows(place, "packed"), strict=True):
        assert packed["loss"] == pytest.approx(padded["loss"], rel=1e-5)
        assert packed["grad_norm"] == pytest.approx(padded["grad_norm"], rel=1e-5)


def test_a_sample_that_cannot_be_used_is_named_or_left_out(place):
    lines = (place / "data.jsonl").read_text().splitlines()
    lines[0] = json.dumps({"id": "gone", "question": "what?", "answer": "a", "audio": ["gone.wav"]})
    (place / "holes.jsonl").write_text("\n".join(lines) + "\n")
    words = (f"run={place}/holes", f"manifests.mine.path={place}/holes.jsonl")
    failed = fixture.run(place, *words)
    assert failed.returncode == 1 and "sample gone" in failed.stderr and "Traceback" not in failed.stderr
    done = fixture.run(place, *words, f"run={place}/skipped", "skip_unusable=true")
    assert done.returncode == 0 and done.stderr.count("left out: sample gone") == 1, done.stderr


def test_a_checkpoint_moves_between_world_sizes(place):
    for name, first, second in (("grow", 1, 3), ("shrink", 2, 1)):
        folder = f"run={place}/{name}"
        assert fixture.run(place, folder, "--minutes=0.0001", ranks=first).returncode == 0
        done = fixture.run(place, folder, ranks=second)
        assert done.returncode == 0, done.stderr
        for one, moved in zip(fixture.rows(place), fixture.rows(place, name), strict=True):
            assert moved["loss"] == pytest.approx(one["loss"], rel=1e-5)


def test_a_killed_run_ends_like_the_whole_one(place):
    words = fixture.command(place, f"run={place}/killed", "loop.checkpoint_seconds=0")
    process = subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not list(place.glob("killed/checkpoints/step-*[0-9]")) and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(random.random() * 0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = fixture.run(place, f"run={place}/killed", "loop.checkpoint_seconds=0")
    assert done.returncode == 0, done.stderr
    assert same(weights(place / "killed"), weights(place / "run"))


def test_low_rank_adapters_alone_learn_and_are_merged(place):
    done = fixture.run(place, f"run={place}/lora", "start.lora_rank=4", "optimiser.lr=0.02")
    assert done.returncode == 0, done.stderr
    trained, before = weights(place / "lora"), weights(place)
    changed = {name for name in before if not torch.equal(before[name].bfloat16(), trained[name])}
    assert changed and all("_proj.weight" in name for name in changed)
    for name in changed:
        difference = trained[name].float() - before[name].float()
        values = torch.linalg.svdvals(difference)
        assert values[5:].max() < 0.2 * values[0]  # rank 4, and the rounding to bfloat16
    assert fixture.rows(place, "lora")[-1]["loss"] < fixture.rows(place, "lora")[0]["loss"]


def test_preferences_are_learned_by_one_rank_as_by_two(place):
    fixture.write_pairs(place)
    one = fixture.run(place, stage="dpo")
    two = fixture.run(place, f"run={place}/dpo2", "loop.steps=5", stage="dpo", ranks=2)
    assert one.returncode == 0 and two.returncode == 0, one.stderr + two.stderr
    rows = fixture.rows(place, "dpo")
    for a, b in zip(rows[:5], fixture.rows(place, "dpo2"), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-5) and b["margin"] == pytest.approx(a["margin"], abs=1e-4)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-4)
    assert rows[0]["loss"] == pytest.approx(0.6931, abs=1e-3)  # policy and reference agree at first: log 2
    before, after = [float(line.split()[-1][:-1]) for line in one.stderr.splitlines() if "validation" in line]
    assert before < 90 and after >= 95


def test_ppo_on_one_rank_is_ppo_on_two(place):
    fixture.write_questions(place)
    done = fixture.run(place, stage="rlvr")
    assert done.returncode == 0, done.stderr
    two = fixture.run(place, f"run={place}/rlvr2", stage="rlvr", ranks=2)
    assert two.returncode == 0, two.stderr
    rows = fixture.rows(place, "rlvr")
    for a, b in zip(rows, fixture.rows(place, "rlvr2"), strict=True):
        for name in ("reward", "reply_tokens", "critic_loss", "actor_grad_norm", "critic_grad_norm", "actor_entropy"):
            assert b[name] == pytest.approx(a[name], rel=1e-4, abs=1e-6), name
    assert all(r["actor_clip_fraction"] == 0 and r["actor_kl"] == 0 for r in rows)  # one update on fresh data
    assert all(r["mismatch_logp_diff_max"] < 1e-3 for r in rows)
    assert all(abs(r["actor_loss"]) < 1e-5 and r["actor_grad_norm"] > 1e-3 for r in rows)
    written = [json.loads(line) for line in (place / "rlvr" / "rollouts.jsonl").read_text().splitlines()]
    assert len(written) == 4 * 5 and {"thinking", "reward", "format", "status"} <= set(written[0])


def test_a_prompt_computed_once_is_a_prompt_computed_for_every_reply(place):
    fixture.write_questions(place)
    words = ("update.critic_updates=1", "loop.steps=2", "update.max_tokens=400")
    for name, share, ranks in (("apart", "false", 1), ("shared", "true", 1), ("shared2", "true", 2)):
        given = (f"run={place}/{name}", f"update.share_prompts={share}")
        done = fixture.run(place, *given, *words, stage="rlvr", ranks=ranks)
        assert done.returncode == 0, done.stderr
    for a, *others in zip(*(fixture.rows(place, name) for name in ("apart", "shared", "shared2")), strict=True):
        for b in others:
            for name in ("critic_loss", "actor_grad_norm", "critic_grad_norm", "actor_entropy", "explained_variance"):
                assert b[name] == pytest.approx(a[name], rel=1e-4, abs=1e-6), name
            assert b["mismatch_logp_diff_max"] < 1e-3 and b["actor_clip_fraction"] == 0


def _gradients(policy, batch):
    """Return the log-probabilities of a batch, and the gradients of a sum in which each has another weight."""
    policy.zero_grad()
    said = policy(batch).log_probs_BT[batch.learned]
    (said * torch.arange(1, len(said) + 1)).sum().backward()
    return said.detach(), {name: p.grad.clone() for name, p in policy.named_parameters()}


@pytest.mark.parametrize("activations", ["kept", "computed again"])
def test_replies_to_one_prompt_have_the_gradients_of_rows_of_their_own(activations):
    tokenizer = engine_fixture.build_tokenizer()
    policy = Policy(freeze(engine_fixture.build_model(tokenizer).double()))
    if activations == "computed again":
        policy.decoder.gradient_checkpointing_enable({"use_reentrant": False})
    draw, width = np.random.default_rng(0), policy.adapter.conv.in_channels
    fans = []
    for prompt, heard, replies in ((9, 12, (5, 1, 8)), (4, 0, (3, 2)), (1, 0, (2,))):
        states = (draw.standard_normal((heard, width)),) if heard else ()
        placed = [policy.patch_id] * (audio_tokens(heard) if heard else 0)
        start = [*placed, *draw.integers(20, 90, prompt)]
        rows = [np.array([*start, *draw.integers(20, 90, count)], dtype=np.int32) for count in replies]
        fans.append([Example("x", ids, np.arange(len(ids)) >= len(start), states) for ids in rows])
    apart = _gradients(policy.train(), collate([e for fan in fans for e in fan], 0, policy.patch_id))
    shared = _gradients(policy, collate_fans(fans, 0, policy.patch_id))
    assert (apart[0] - shared[0]).abs().max() < 1e-5 and len(apart[0]) == 21
    for name, gradient in apart[1].items():
        assert (gradient - shared[1][name]).abs().max() < 1e-6 * max(1.0, float(gradient.abs().max())), name
    assert apart[1]["adapter.conv.weight"].abs().max() > 0


_STUCK = """
import sys, time, torch.distributed as dist
from earwitness.train import heartbeat
dist.init_process_group("gloo")
heartbeat.start(period=0.2, silence=2.0)
if dist.get_rank() == 1:
    heartbeat._stopped.set()  # the process lives on and beats no more, as one that is stopped or hangs
    time.sleep(60)
dist.barrier()
"""


def test_a_rank_that_hangs_ends_the_run(tmp_path):
    (tmp_path / "stuck.py").write_text(_STUCK)
    begun = time.monotonic()
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*launch, str(tmp_path / "stuck.py")], capture_output=True, text=True, timeout=100)
    assert done.returncode != 0 and time.monotonic() - begun < 50
    assert "rank 1 has been silent for 2 s and is taken to be dead; start the same command again" in done.stderr
