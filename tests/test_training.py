"""The small trainer: batches are functions of the step, and runs resume bit for bit."""

import json

import numpy as np
import pytest
import torch

from earwitness.data import dialogue
from earwitness.data.batches import LengthBatches
from earwitness.data.frames import FrameTargets
from earwitness.records import Sample
from earwitness.train import config as configs
from earwitness.train import loop


def test_every_item_once_an_epoch_and_the_same_again():
    lengths = np.random.default_rng(0).integers(10, 200, size=1000)
    batches = LengthBatches(lengths, 32, seed=3)
    seen = np.concatenate([batches.at(step)[1] for step in range(batches.per_epoch)])
    assert len(set(seen.tolist())) == len(seen) == 31 * 32
    assert np.array_equal(batches.at(40)[1], LengthBatches(lengths, 32, seed=3).at(40)[1])
    assert not np.array_equal(batches.at(0)[1], batches.at(31)[1])
    spread = np.mean([np.ptp(lengths[batches.at(s)[1]]) for s in range(31)])
    assert spread < 20  # items of a batch have similar lengths
    with pytest.raises(ValueError, match="cannot fill"):
        LengthBatches(lengths[:8], 32, seed=0)


def test_frame_targets_share_between_overlapping_values():
    targets = FrameTargets(["sound=bell", "sound=dog", "onset=sound"])
    marks = targets.encode([(0.0, 0.2, "sound=bell"), (0.1, 0.3, "sound=dog"), (0.0, 0.01, "onset=sound")])
    out = targets.targets([marks], 10)[0]
    sounds = out[:, targets.groups["sound"]]
    assert np.allclose(sounds.sum(1), 1) and np.allclose(out[:, targets.groups["onset"]].sum(1), 1)
    assert sounds[0].tolist() == [0, 1, 0]  # none, bell, dog
    assert sounds[3].tolist() == [0, 0.5, 0.5]
    assert sounds[6].tolist() == [0, 0, 1] and sounds[9].tolist() == [1, 0, 0]
    assert out[0, targets.column["onset=sound"]] == 1  # shorter than a frame, and still there


def _problem():
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Dropout(0.1), torch.nn.GELU(), torch.nn.Linear(32, 8))

    def loss_at(step):
        x = torch.randn(16, 8, generator=torch.Generator().manual_seed(step))
        return ((module(x) - x.flip(1)) ** 2).mean(), {"step_seen": float(step)}

    return module, loss_at


def test_a_resumed_run_is_the_same_run(tmp_path):
    config = loop.LoopConfig(steps=60, lr=3e-3, bf16=False, warmup_steps=5)
    whole, loss = _problem()
    assert loop.run(config, whole, loss, tmp_path / "whole") == 60
    parts, loss = _problem()
    assert loop.run(config, parts, loss, tmp_path / "parts", stop_at=25) == 25
    parts, loss = _problem()
    torch.manual_seed(99)  # whatever happened in between
    assert loop.run(config, parts, loss, tmp_path / "parts") == 60
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters()))
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 60 and rows[-1]["loss"] < 0.9 * rows[0]["loss"]


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    module, _ = _problem()
    bad = lambda step: (module(torch.full((1, 8), torch.nan)).mean(), {})  # noqa: E731
    with pytest.raises(FloatingPointError, match="lower loop.lr"):
        loop.run(loop.LoopConfig(steps=2), module, bad, tmp_path)


def test_learning_rate_warms_up_and_decays():
    config = loop.LoopConfig(steps=100, lr=1.0, warmup_steps=10, final_lr_ratio=0.1)
    rates = [loop.learning_rate(config, s) for s in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1, abs=0.01) and rates[10:] == sorted(rates[10:], reverse=True)


def test_muon_takes_inner_matrices_only():
    module = torch.nn.ModuleDict({"embed": torch.nn.Embedding(4, 8), "inner": torch.nn.Linear(8, 8)})
    adamw, muon = loop.make_optimisers(loop.LoopConfig(steps=1), module)
    assert [p.shape for g in muon.param_groups for p in g["params"]] == [torch.Size([8, 8])]
    assert sum(len(g["params"]) for g in adamw.param_groups) == 2


def test_config_errors_name_the_key(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("steps: 5\nwarmup: 3\n")
    with pytest.raises(ValueError, match="'warmup' .did you mean 'warmup_steps'"):
        configs.load(loop.LoopConfig, path)
    path.write_text("steps: 5\n")
    assert configs.load(loop.LoopConfig, path, ("lr=1e-4",)).lr == 1e-4
    with pytest.raises(ValueError, match="key=value"):
        configs.load(loop.LoopConfig, path, ("lr",))
    with pytest.raises(ValueError, match="does not exist"):
        configs.load(loop.LoopConfig, tmp_path / "none.yaml")


def test_a_run_folder_keeps_its_config(tmp_path):
    configs.record(loop.LoopConfig(steps=5), tmp_path)
    configs.record(loop.LoopConfig(steps=5), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["config"]["steps"] == 5
    with pytest.raises(ValueError, match="begun with another lr"):
        configs.record(loop.LoopConfig(steps=5, lr=0.1), tmp_path)


def test_every_shipped_config_is_read():
    from earwitness.stages import pretrain, sft

    assert configs.load(pretrain.PretrainConfig, "configs/tiny-pretrain.yaml").loop.steps > 0
    thinking = configs.load(sft.SftConfig, "configs/tiny-sft.yaml")
    control = configs.load(sft.SftConfig, "configs/tiny-direct.yaml")
    assert control.mixture.think == 0 and control.loop.steps == thinking.loop.steps


class _Words:
    """A stand-in tokenizer with one id a word."""

    def __init__(self):
        self.ids = {}

    def get_added_vocab(self):
        return {}

    def encode(self, text, add_special_tokens=False):
        words = text.replace("<", " <").replace(">", "> ").split()
        return [self.ids.setdefault(w, len(self.ids)) for w in words]


def test_loss_starts_with_the_reply():
    sample = Sample(id="a", audio=("x",), question="How many?", choices=("1", "2"), answer="2", reasoning="one two")
    tokenizer = _Words()
    with_chain = dialogue.sequence(tokenizer, sample, "think", [[3]], True)
    direct = dialogue.sequence(tokenizer, sample, "direct", [[3]], False)
    names = {v: k for k, v in tokenizer.ids.items()}
    text = lambda ids: " ".join(names[i] for i in ids)  # noqa: E731
    assert text(with_chain.ids[with_chain.reply_start :]).startswith("one two </think> 2")
    assert text(direct.ids[direct.reply_start :]).startswith("2 <|EOT|>")
    assert "Options:" in text(with_chain.ids) and "Options:" not in text(direct.ids)
    assert text(direct.ids).count("<audio_patch>") == 3
    with pytest.raises(ValueError, match="nothing to caption"):
        dialogue.sequence(tokenizer, sample, "caption", [[3]], True)


def test_dry_run_shows_the_run_and_writes_nothing(tmp_path, capsys):
    from earwitness.stages import sft

    assert sft.main("configs/tiny-sft.yaml", (f"run={tmp_path}/run", f"data.folder={tmp_path}/data"), dry_run=True) == 0
    shown = capsys.readouterr().err
    assert "frozen in the encoder" in shown and "<think>" in shown and "steps=" in shown
    assert not list(tmp_path.iterdir())
