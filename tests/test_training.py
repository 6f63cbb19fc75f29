"""Training data and the loop in one process: batches are functions of the step, and runs resume bit for bit."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from earwitness.data import collate, dialogue
from earwitness.data.batches import LengthBatches
from earwitness.data.frames import FrameTargets
from earwitness.model.adaptor import audio_tokens
from earwitness.records import Sample
from earwitness.train import checkpoint, loop, metrics
from earwitness.train import config as configs
from earwitness.train.learner import Learner, OptimiserConfig, learning_rate, make_optimisers
from earwitness.train.world import World


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


def _problem(config=None):
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Dropout(0.1), torch.nn.GELU(), torch.nn.Linear(32, 8))
    config = config or OptimiserConfig(lr=3e-3, bf16=False, warmup_steps=5)
    learner = Learner(module, config, World(), steps=60)

    def step_at(step):
        x = torch.randn(16, 8, generator=torch.Generator().manual_seed(step))
        loss = ((module(x) - x.flip(1)) ** 2).mean()
        learner.backward(loss)
        return {"loss": loss.item(), "norm": learner.update(), "tokens": 16.0}

    return learner, step_at


def _run(folder, stop_at=None, **more):
    learner, step_at = _problem()
    reached = loop.run(loop.LoopConfig(steps=60), World(), {"a": learner}, step_at, folder, stop_at=stop_at, **more)
    return reached, learner


def test_a_resumed_run_is_the_same_run(tmp_path, capsys):
    reached, whole = _run(tmp_path / "whole")
    assert reached == 60
    assert _run(tmp_path / "parts", stop_at=25)[0] == 25
    torch.manual_seed(99)  # whatever happened in between
    reached, parts = _run(tmp_path / "parts")
    assert reached == 60
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters, parts.parameters))
    rows = metrics.read(tmp_path / "whole")
    assert rows[-1]["step"] == 60 and rows[-1]["loss"] < 0.9 * rows[0]["loss"]
    assert "tokens/s" in capsys.readouterr().err


def test_a_place_in_the_data_is_restored(tmp_path):
    class Place:
        at = 0

        def state(self):
            return {"at": self.at}

        def restore(self, state):
            self.at = state["at"]

    place = Place()
    place.at = 7
    _run(tmp_path, stop_at=3, position=place)
    again = Place()
    _run(tmp_path, stop_at=4, position=again)
    assert again.at == 7


def test_half_a_checkpoint_is_never_read(tmp_path):
    _run(tmp_path, stop_at=10)
    (tmp_path / "checkpoints" / "step-00000020.partial").mkdir()
    (tmp_path / "metrics.jsonl").open("a").write('{"step": 11, "lo')
    assert checkpoint.latest(tmp_path).name == "step-00000010"
    assert _run(tmp_path, stop_at=12)[0] == 12
    assert metrics.read(tmp_path)[-1]["step"] == 12


def test_only_the_newest_two_checkpoints_stay(tmp_path):
    for stop in (2, 4, 6):
        _run(tmp_path, stop_at=stop)
    assert [p.name for p in sorted((tmp_path / "checkpoints").iterdir())] == ["step-00000004", "step-00000006"]


def test_a_guard_that_fails_keeps_the_checkpoint_before(tmp_path):
    _run(tmp_path, stop_at=5)

    def changed():
        raise RuntimeError("the frozen encoder changed")

    with pytest.raises(RuntimeError, match="changed"):
        _run(tmp_path, stop_at=8, guard=changed)
    assert checkpoint.latest(tmp_path).name == "step-00000005"


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    _run(tmp_path, stop_at=5)
    other = Learner(torch.nn.Linear(3, 3), OptimiserConfig(), World(), 60)
    with pytest.raises(ValueError, match="does not fit this run"):
        checkpoint.load(tmp_path, {"a": other}, World())


def test_a_disk_that_is_full_costs_no_older_checkpoint(tmp_path, monkeypatch):
    _run(tmp_path, stop_at=5)

    def full(*args, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.dcp, "save", full)
    with pytest.raises(OSError, match="No space left.*free space.*step-00000005"):
        _run(tmp_path, stop_at=8)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000005"]


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    learner, _ = _problem()

    def bad(step):
        learner.backward(learner.module(torch.full((1, 8), torch.nan)).mean())
        return {"norm": learner.update()}

    with pytest.raises(FloatingPointError, match="step 0: the gradient is nan; lower the learning rate"):
        loop.run(loop.LoopConfig(steps=2), World(), {"a": learner}, bad, tmp_path)


def _too_large():
    return torch.empty(1 << 60)


def _no_primitive():
    raise RuntimeError("could not create a primitive")  # as oneDNN puts it


@pytest.mark.parametrize("ask", [_too_large, _no_primitive])
def test_no_memory_is_said_with_the_step(tmp_path, ask):
    learner, _ = _problem()

    def greedy(step):
        return {"x": float(ask().sum())}

    with pytest.raises(MemoryError, match="step 0: out of memory; lower max_tokens"):
        loop.run(loop.LoopConfig(steps=2), World(), {"a": learner}, greedy, tmp_path)


def test_learning_rate_warms_up_and_decays():
    config = OptimiserConfig(lr=1.0, warmup_steps=10, final_lr_ratio=0.1)
    rates = [learning_rate(config, s, 100) for s in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1, abs=0.01) and rates[10:] == sorted(rates[10:], reverse=True)
    constant = dataclasses.replace(config, schedule="constant")
    assert {learning_rate(constant, s, 100) for s in range(10, 100)} == {1.0}


def test_muon_takes_inner_matrices_only():
    module = torch.nn.ModuleDict({"embed": torch.nn.Embedding(4, 8), "inner": torch.nn.Linear(8, 8)})
    adamw, muon = make_optimisers(OptimiserConfig(), module)
    assert [p.shape for g in muon.param_groups for p in g["params"]] == [torch.Size([8, 8])]
    assert sum(len(g["params"]) for g in adamw.param_groups) == 2


def test_nothing_to_learn_is_an_error():
    with pytest.raises(ValueError, match="no parameter of the module needs a gradient"):
        Learner(torch.nn.Linear(2, 2).requires_grad_(False), OptimiserConfig(), World(), 1)


def test_config_errors_name_the_key(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("lr: 5\nwarmup: 3\n")
    with pytest.raises(ValueError, match="'warmup' .did you mean 'warmup_steps'"):
        configs.load(OptimiserConfig, path)
    path.write_text("lr: 5\n")
    assert configs.load(OptimiserConfig, path, ("lr=1e-4",)).lr == 1e-4
    with pytest.raises(ValueError, match="key=value"):
        configs.load(OptimiserConfig, path, ("lr",))
    with pytest.raises(ValueError, match="does not exist"):
        configs.load(OptimiserConfig, tmp_path / "none.yaml")


def test_a_run_folder_keeps_its_config(tmp_path):
    configs.record(loop.LoopConfig(steps=5), tmp_path)
    configs.record(loop.LoopConfig(steps=5), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["config"]["steps"] == 5
    with pytest.raises(ValueError, match="begun with another seed"):
        configs.record(loop.LoopConfig(steps=5, seed=1), tmp_path)


def test_a_run_may_change_what_helps_it_on_and_says_so(tmp_path, capsys):
    configs.record(OptimiserConfig(lr=0.1), tmp_path)
    configs.record(OptimiserConfig(lr=0.01), tmp_path)
    assert f"run {tmp_path} goes on with lr 0.01, before 0.1" in capsys.readouterr().err
    configs.record(OptimiserConfig(lr=0.01), tmp_path)
    assert capsys.readouterr().err == ""
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["config"]["lr"] == 0.01 and written["changes"] == [{"lr": [0.1, 0.01]}] and written["versions"]
    with pytest.raises(ValueError, match="begun with another muon;"):
        configs.record(OptimiserConfig(lr=0.02, muon=False), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == written


def test_every_shipped_config_is_read():
    from earwitness.stages import pretrain, sft

    assert configs.load(pretrain.PretrainConfig, "configs/tiny-pretrain.yaml").loop.steps > 0
    legs = [configs.load(sft.SftConfig, f"configs/tiny-sft{n}.yaml") for n in ("", "-2", "-3")]
    control = configs.load(sft.SftConfig, "configs/tiny-direct.yaml")
    assert control.mixture.think == 0 and control.loop.steps == sum(leg.loop.steps for leg in legs)


class _Words:
    """A stand-in tokenizer with one id a word."""

    def __init__(self):
        self.ids = {}

    def get_added_vocab(self):
        return {}

    def encode(self, text, add_special_tokens=False):
        words = text.replace("<", " <").replace(">", "> ").split()
        return [self.ids.setdefault(w, len(self.ids)) for w in words]


def _heard(n):
    return [[np.zeros((4 * n - 2, 8), dtype=np.float16)]]


def test_loss_starts_with_the_reply():
    sample = Sample(id="a", audio=("x",), question="How many?", choices=("1", "2"), answer="2", reasoning="one two")
    tokenizer = _Words()
    with_chain = dialogue.example(tokenizer, sample, "think", _heard(3))
    direct = dialogue.example(tokenizer, sample, "direct", _heard(3), with_choices=False)
    names = {v: k for k, v in tokenizer.ids.items()}
    text = lambda ids: " ".join(names[i] for i in ids)  # noqa: E731
    learned = lambda e: text(e.ids[e.learned])  # noqa: E731
    assert learned(with_chain) == "one two </think> 2 <|EOT|>"
    assert learned(direct) == "2 <|EOT|>"
    assert "Options:" in text(with_chain.ids) and "Options:" not in text(direct.ids)
    assert text(direct.ids).count("<audio_patch>") == audio_tokens(10)
    with pytest.raises(ValueError, match="nothing to caption"):
        dialogue.example(tokenizer, sample, "caption", _heard(3))


def test_the_last_turn_of_a_conversation_is_learned():
    turns = (
        {"role": "system", "content": "You are a pirate."},
        {"role": "human", "content": [{"type": "text", "text": "What was that?"}, {"type": "audio", "audio": "x"}]},
        {"role": "assistant", "content": "<think>a low voice</think>A bell."},
        {"role": "human", "content": "Are you sure?"},
        {"role": "assistant", "content": "<think>it rang twice</think>Aye."},
    )
    tokenizer = _Words()
    made = dialogue.example(tokenizer, Sample(id="a", messages=turns), "as_is", _heard(2))
    names = {v: k for k, v in tokenizer.ids.items()}
    text = " ".join(names[i] for i in made.ids)
    assert " ".join(names[i] for i in made.ids[made.learned]) == "it rang twice </think> Aye. <|EOT|>"
    assert "A bell." in text and "a low voice" not in text and "pirate" in text
    asked = dialogue.example(tokenizer, Sample(id="b", messages=turns[:4], answer="Aye."), "as_is", _heard(2))
    assert " ".join(names[i] for i in asked.ids[asked.learned]) == "Aye. <|EOT|>"


def test_preferences_share_their_prompt():
    tokenizer = _Words()
    sample = Sample(id="a", question="Can you hear?", chosen="<think>yes it rings</think>A bell.", rejected="No.")
    chosen, rejected = dialogue.preference(tokenizer, sample)
    names = {v: k for k, v in tokenizer.ids.items()}
    prompts = [e.ids[~e.learned].tolist() for e in (chosen, rejected)]
    assert prompts[0] == prompts[1]
    assert " ".join(names[i] for i in rejected.ids[rejected.learned]) == "</think> No. <|EOT|>"
    with pytest.raises(ValueError, match="lacks 'chosen' or 'rejected'"):
        dialogue.preference(tokenizer, Sample(id="b", question="x", chosen="y"))


def test_places_and_sound_must_agree():
    made = dialogue.example(_Words(), Sample(id="a7", audio=("x",), question="?", answer="b"), "direct", _heard(3))
    patch = 99
    with pytest.raises(ValueError, match="sample a7: 0 audio placeholders and"):
        collate.collate([made], 0, patch)


def test_dry_run_shows_the_run_and_writes_nothing(tmp_path, capsys):
    from earwitness.stages import sft

    assert sft.main("configs/tiny-sft.yaml", (f"run={tmp_path}/run", f"data.folder={tmp_path}/data"), dry_run=True) == 0
    shown = capsys.readouterr().err
    assert "frozen in the encoder" in shown and "<think>" in shown and "steps=" in shown
    assert not list(tmp_path.iterdir())


def test_a_run_is_drawn(tmp_path, capsys):
    from earwitness import cli

    _run(tmp_path, stop_at=30)
    assert cli.main(["train", "plot", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "metrics.png")
    assert (tmp_path / "metrics.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main(["train", "plot", str(tmp_path / "none")]) == 1
    assert "name the folder of a run" in capsys.readouterr().err
    assert cli.main(["train", "sft"]) == 1
    assert "sft needs a config" in capsys.readouterr().err
