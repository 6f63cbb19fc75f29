"""Packed decoders: what is written, how it loads, what it computes, and what goes wrong."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from model_fixtures import prompt, small_model, write_golden
from safetensors.torch import load_file

from earwitness import cli
from earwitness.engines.decoder import Decoder
from earwitness.model import AudioReasoner, EarwitnessConfig, checkpoint, packed, quantize
from earwitness.model.packed import PACKED_KEYS, PackedLinear, PackedWeight, Scheme

pytest.importorskip("compressed_tensors")

SCHEMES = [Scheme("int8"), Scheme("int4", 16), Scheme("int4"), Scheme("fp8")]
NAMED = {"ids": lambda s: f"{s.name}-{s.group_size}"}
# Largest rounding step of a scheme, as a share of the largest value of a group.
STEP = {"int8": 1 / 127.5, "int4": 1 / 7.5, "fp8": 1 / 8}


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "model"
    small_model().save_pretrained(folder, max_shard_size="40KB")
    (folder / "tokenizer.json").write_text('{"kept": 1}')
    return folder


def weight(rows=24, columns=48):
    torch.manual_seed(1)
    return torch.randn(rows, columns) * torch.logspace(-3, 1, rows)[:, None]


def all_tensors(folder):
    return {key: value for file in folder.glob("*.safetensors") for key, value in load_file(file).items()}


@pytest.mark.parametrize("scheme", SCHEMES, **NAMED)
def test_values_are_those_of_the_library(scheme):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig

    original = weight()
    stored = quantize.packed_tensors(original, scheme)
    told = QuantizationConfig.model_validate(quantize.quantization_config(scheme)).config_groups["group_0"]
    library = BaseCompressor.get_value_from_registry(scheme.format).decompress(stored, told)["weight"]
    ours = PackedWeight(scheme, *(stored[name] for name in scheme.stored)).unpacked(0, 24, torch.float32)
    torch.testing.assert_close(ours, library.float(), rtol=1e-6, atol=0)
    largest = original.unflatten(1, (-1, scheme.group_size or 48)).abs().amax(-1, keepdim=True)
    off = (ours - original).abs().unflatten(1, (-1, scheme.group_size or 48))
    assert (off <= largest * STEP[scheme.name] / 2 * 1.01).all()
    assert {name: (tuple(t.shape), t.dtype) for name, t in stored.items()} == scheme.tensors((24, 48), torch.float32)
    assert sum(t.nbytes for t in stored.values()) == scheme.num_bytes((24, 48), torch.float32)


@pytest.mark.parametrize("scheme", SCHEMES, **NAMED)
def test_a_large_weight_is_rounded_in_pieces(scheme, monkeypatch):
    whole = quantize.packed_tensors(weight(), scheme)
    monkeypatch.setattr(quantize, "_PIECE_VALUES", 5 * 48)
    for name, value in quantize.packed_tensors(weight(), scheme).items():
        assert torch.equal(value.view(torch.uint8), whole[name].view(torch.uint8)), name


@pytest.mark.parametrize("scheme", SCHEMES, **NAMED)
def test_a_layer_multiplies_with_its_unpacked_weight(scheme, monkeypatch):
    layer = PackedLinear(scheme, 48, 24, bias=True)
    layer.load_state_dict({**quantize.packed_tensors(weight(), scheme), "bias": torch.randn(24)})
    dense = PackedWeight(scheme, *(getattr(layer, name) for name in scheme.stored)).unpacked(0, 24, torch.float32)
    x = torch.randn(2, 5, 48)
    seen = x
    if scheme.name != "int4":  # every token by its own largest value, as vLLM does
        step = x.abs().amax(-1, keepdim=True) / (127 if scheme.name == "int8" else 448)
        seen = (x / step).round() * step if scheme.name == "int8" else (x / step).to(torch.float8_e4m3fn).float() * step
    expected = F.linear(seen, dense, layer.bias)
    torch.testing.assert_close(layer(x), expected)
    monkeypatch.setattr(packed, "_PIECE_VALUES", {"cpu": 5 * 48})
    monkeypatch.setattr(packed, "_ROUNDED_AT_ONCE", 3 * 48)
    torch.testing.assert_close(layer(x), expected)
    assert layer.bfloat16()(x.bfloat16()).dtype == torch.bfloat16


def test_only_linear_takes_a_packed_weight():
    stored = quantize.packed_tensors(weight(), Scheme("int8"))
    held = PackedWeight(Scheme("int8"), stored["weight"], stored["weight_scale"])
    assert F.linear(torch.ones(1, 48), held).shape == (1, 24)
    with pytest.raises(TypeError):
        torch.matmul(torch.ones(1, 48), held)


@pytest.mark.parametrize("scheme", SCHEMES, **NAMED)
@torch.no_grad()
def test_a_converted_checkpoint_loads_and_answers(saved, tmp_path, scheme):
    done = quantize.quantize(saved, tmp_path / "out", scheme)
    before, after = all_tensors(saved), all_tensors(tmp_path / "out")
    assert done.bytes_before == sum(t.nbytes for t in before.values())
    assert done.bytes_after == sum(t.nbytes for t in after.values())
    assert done.values_packed == sum(t.numel() for key, t in before.items() if PACKED_KEYS.fullmatch(key))
    left = [key for key in before if not PACKED_KEYS.fullmatch(key)]
    assert len(before) - len(left) == 2 * 7 and all(torch.equal(after[key], before[key]) for key in left)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) == len(list(saved.glob("*.safetensors"))) > 1
    assert (tmp_path / "out" / "tokenizer.json").read_text() == '{"kept": 1}'

    model = AudioReasoner.from_pretrained(tmp_path / "out")
    dense = small_model()
    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, PackedLinear)]
    assert len(layers) == 2 * 7
    for name, layer in layers:
        held = PackedWeight(scheme, *(getattr(layer, part) for part in scheme.stored))
        dense.get_submodule(name).weight.copy_(held.unpacked(0, held.rows, torch.float32))
        if scheme.name != "int4":
            dense.get_submodule(name).register_forward_pre_hook(lambda m, x: packed._rounded(x[0], scheme))
    clip, ids = torch.randn(128, 102), prompt([13])
    torch.testing.assert_close(model(ids, audio=[clip]).logits, dense(ids, audio=[clip]).logits, atol=2e-4, rtol=1e-4)
    out = model.generate(ids, audio=[clip], max_new_tokens=3, do_sample=False)
    assert out.tolist() == dense.generate(ids, audio=[clip], max_new_tokens=3, do_sample=False).tolist()


@pytest.mark.parametrize("scheme", SCHEMES, **NAMED)
@torch.no_grad()
def test_the_local_engine_runs_it(saved, tmp_path, scheme):
    quantize.quantize(saved, tmp_path / "out", scheme)
    model = AudioReasoner.from_pretrained(tmp_path / "out")
    ids = list(range(10, 20))
    expected = model(torch.tensor([ids])).logits[0, -2:]
    decoder = Decoder(model)
    first = decoder.prefill([decoder.embed(ids[:-1], patch_id=5, features=[])], 0)
    torch.testing.assert_close(first[0], expected[0], atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(decoder.step(ids[-1:], [len(ids) - 1])[0], expected[1], atol=2e-4, rtol=1e-4)
    # The engine's joined weights are the module's own: no second copy.
    layer = model.model.layers[0].self_attn
    name = scheme.stored[0]
    together = [getattr(p, name).untyped_storage().data_ptr() for p in (layer.q_proj, layer.k_proj, layer.v_proj)]
    assert len(set(together)) == 1
    decoder.refresh()
    assert decoder._layers[0].qkv.values.untyped_storage().data_ptr() == together[0]


@pytest.mark.parametrize("shape", ["nested", "flat"])
@torch.no_grad()
def test_both_published_shapes(tmp_path, shape):
    source = write_golden(tmp_path / "golden", shape)
    quantize.quantize(source, tmp_path / "out", Scheme("int8"))
    model = AudioReasoner.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert model.config.model_type == json.loads((source / "config.json").read_text())["model_type"]
    whole = AudioReasoner.from_pretrained(source, dtype=torch.float32)
    ids = torch.arange(1, 40)[None]
    ours, theirs = model(ids).logits.log_softmax(-1), whole(ids).logits.log_softmax(-1)
    assert 0 < (ours - theirs).abs().mean() < 0.1 * theirs.std()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_loading_keeps_the_packed_types(saved, tmp_path, dtype):
    for scheme in SCHEMES:
        quantize.quantize(saved, tmp_path / "out", scheme)
        model = AudioReasoner.from_pretrained(tmp_path / "out", dtype=dtype)
        layer = model.model.layers[0].mlp.down_proj
        assert (
            getattr(layer, scheme.stored[0]).dtype
            == all_tensors(tmp_path / "out")[f"model.layers.0.mlp.down_proj.{scheme.stored[0]}"].dtype
        )
        assert model.lm_head.weight.dtype == dtype and torch.isfinite(model(prompt([])).logits).all()


def test_a_packed_model_is_saved_and_read_again(saved, tmp_path):
    quantize.quantize(saved, tmp_path / "out", Scheme("int4", 16))
    model = AudioReasoner.from_pretrained(tmp_path / "out")
    model.save_pretrained(tmp_path / "again", max_shard_size="40KB")
    again = AudioReasoner.from_pretrained(tmp_path / "again")
    for (name, a), (_, b) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    kept = [json.loads((tmp_path / f / "config.json").read_text())["quantization_config"] for f in ("out", "again")]
    assert kept[0] == kept[1]


def test_weights_that_do_not_fit_the_scheme_are_named(saved, tmp_path):
    quantize.quantize(saved, tmp_path / "out", Scheme("int8"))
    file = tmp_path / "out" / "config.json"
    fields = json.loads(file.read_text())
    fields["quantization_config"] = quantize.quantization_config(Scheme("fp8"))
    del fields["quantization_config"]
    file.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match="q_proj.weight_scale is unexpected"):
        AudioReasoner.from_pretrained(tmp_path / "out")


@pytest.mark.parametrize(
    "change",
    [
        lambda q: q.update(quant_method="awq"),
        lambda q: q.update(format="marlin-24"),
        lambda q: q["config_groups"]["group_0"]["weights"].update(num_bits=6),
        lambda q: q["config_groups"]["group_0"]["weights"].update(symmetric=False),
        lambda q: q["config_groups"]["group_0"]["weights"].update(strategy="block"),
        lambda q: q["config_groups"]["group_0"].update(input_activations=None),
        lambda q: q["config_groups"].update(group_1={}),
        lambda q: q.update(config_groups={}),
    ],
)
def test_a_foreign_layout_is_refused(change):
    fields = quantize.quantization_config(Scheme("int8"))
    assert packed.scheme_of(fields) == Scheme("int8")
    change(fields)
    with pytest.raises(ValueError, match="quantise the original checkpoint with earwitness quantize"):
        packed.scheme_of(fields)


@pytest.mark.parametrize("scheme", SCHEMES, **NAMED)
def test_a_config_names_its_scheme(scheme):
    assert packed.scheme_of(quantize.quantization_config(scheme)) == scheme
    assert packed.scheme_of(None) is None


def test_a_damaged_or_wrong_source_is_one_sentence(saved, tmp_path, capsys):
    def refused(*words):
        assert cli.main(["quantize", *map(str, words)]) == 1
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert not (tmp_path / "out").exists() and said.startswith("earwitness: ")
        return said

    out = tmp_path / "out"
    assert "give another one to write" in refused(saved, saved, "--scheme", "int8")
    assert "not a multiple of the group size 40; give another" in refused(
        saved, out, "--scheme", "int4", "--group-size", 40
    )
    assert "give a multiple of 8, with int4 only" in refused(saved, out, "--scheme", "int8", "--group-size", 16)
    assert "does not exist" in refused(tmp_path / "nothing", out, "--scheme", "int8")
    quantize.quantize(saved, tmp_path / "packed", Scheme("int8"))
    assert "is quantised already" in refused(tmp_path / "packed", out, "--scheme", "int8")
    shard = sorted(saved.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    assert "is cut short" in refused(saved, out, "--scheme", "int8")


def test_a_dry_run_says_what_is_written_and_writes_nothing(saved, tmp_path, capsys):
    words = ["quantize", str(saved), str(tmp_path / "out"), "--scheme", "int4", "--group-size", "16"]
    assert cli.main([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert cli.main(words) == 0
    assert said.strip() in capsys.readouterr().out
    assert (tmp_path / "out" / "config.json").exists()


def test_a_failure_leaves_nothing_and_a_killed_run_is_cleaned_up(saved, tmp_path, monkeypatch):
    out = tmp_path / "out"
    seen = []

    def fail(num_bytes, key):
        seen.append(key)
        if len(seen) > 10:
            raise ValueError("stop here")

    with pytest.raises(ValueError, match="stop here"):
        quantize.quantize(saved, out, Scheme("int8"), fail)
    assert not out.exists()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here = f".partial-{platform.node()}-"
    kept = {f"{here}{os.getppid()}", f"{here}mine", f".partial-elsewhere-{gone.pid}"}
    for name in (f"{here}{gone.pid}", *kept):
        (out / name).mkdir(parents=True)
    quantize.quantize(saved, out, Scheme("int8"))
    assert {p.name for p in out.glob(".partial*")} == kept
    AudioReasoner.from_pretrained(out)


def test_progress_counts_every_byte(saved, tmp_path):
    told = []
    done = quantize.quantize(saved, tmp_path / "out", Scheme("int8"), lambda count, key: told.append(count))
    assert sum(told) == done.bytes_before


def test_one_file_without_an_index(tmp_path):
    folder = tmp_path / "single"
    small_model().save_pretrained(folder)
    (folder / checkpoint.INDEX).unlink()
    next(folder.glob("*.safetensors")).rename(folder / "model.safetensors")
    quantize.quantize(folder, tmp_path / "out", Scheme("int8"))
    AudioReasoner.from_pretrained(tmp_path / "out")


def test_a_config_for_vllm(saved, tmp_path):
    """vLLM reads the key from the config object or from the file, and ignores what lies outside the decoder."""
    quantize.quantize(saved, tmp_path / "out", Scheme("int4", 16))
    config = EarwitnessConfig.from_pretrained(tmp_path / "out")
    from compressed_tensors.utils import match_name

    ignored = config.compression_config["ignore"]
    for name, is_left in (
        ("lm_head", True),
        ("language_model.lm_head", True),
        ("encoder.blocks.0.mlp.0", True),
        ("adapter.linear1", True),
        ("language_model.model.layers.0.self_attn.qkv_proj", False),
        ("model.layers.0.mlp.down_proj", False),
    ):
        assert any(match_name(name, pattern) for pattern in ignored) == is_left, name
