"""What ``earwitness plan train`` says against FSDP2's own shards, optimiser states and what autograd saves."""

import contextlib
import json
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from torch.distributed._tools.mem_tracker import MemTracker
from torch.distributed.device_mesh import init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

from earwitness import cli
from earwitness.data.collate import Batch
from earwitness.losses import sft_loss
from earwitness.model import AudioReasoner, packed, plan_serve, presets
from earwitness.stages import start
from earwitness.train import plan_memory as memory
from earwitness.train.learner import Learner, OptimiserConfig, make_optimisers
from earwitness.train.modules import Critic, Policy
from earwitness.train.plan_memory import Split
from earwitness.train.sharding import shard
from earwitness.train.world import World


@contextlib.contextmanager
def world_of(size, rank, tensor_parallel=1):
    """A world of processes of which only this one exists; what it gathers is not filled in."""
    dist.init_process_group("fake", rank=rank, world_size=size, store=FakeStore())
    try:
        ranks = (size // tensor_parallel, tensor_parallel)
        yield World(rank, size, torch.device("cpu"), init_device_mesh("cpu", ranks, mesh_dim_names=("data", "tensor")))
    finally:
        dist.destroy_process_group()


def make(kind, preset, lora=0, device="meta"):
    with torch.device(device):
        model = start.freeze(AudioReasoner(presets.preset(preset)))
        if kind is Policy:
            start.adapt(model, start.StartConfig(lora_rank=lora))
        return kind(model)


def local_bytes(tensors):
    here = (t.to_local() if hasattr(t, "to_local") else t for t in tensors)
    return sum(t.numel() * t.element_size() for t in here)


def measured(module, muon):
    """Return local bytes (weights, gradients, optimiser states) of a sharded module after a step without values."""
    trained = [p for p in module.parameters() if p.requires_grad]
    for p in trained:
        p.grad = torch.zeros_like(p)
    optimisers = make_optimisers(OptimiserConfig(muon=muon), module)
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["fused"] = False  # the fused kernel has no meta device; its states are the same
        optimiser.step()
    states = (value for o in optimisers for state in o.state.values() for value in state.values())
    return (
        local_bytes(module.parameters()),
        local_bytes(p.grad for p in trained),
        local_bytes(value for value in states if torch.is_tensor(value)),
    )


@pytest.mark.parametrize(
    ("kind", "preset", "size", "tensor_parallel", "ranks", "lora", "muon"),
    [
        pytest.param(Policy, "r1", 64, 1, (0,), 0, False, id="r1 on 64"),
        pytest.param(Policy, "r1", 64, 8, (63,), 0, False, id="r1 on 64, 8 to a matrix"),
        pytest.param(Critic, "r1", 64, 1, (0,), 0, False, id="critic of r1 on 64"),
        pytest.param(Policy, "tiny", 7, 1, range(7), 0, False, id="sizes that 7 does not divide"),
        pytest.param(Critic, "tiny", 6, 2, range(6), 0, False, id="critic, two dimensions"),
        pytest.param(Policy, "tiny", 4, 1, (0, 3), 0, True, id="Muon"),
        pytest.param(Policy, "tiny", 3, 1, range(3), 4, False, id="adapters"),
    ],
)
def test_shards_are_those_of_fsdp2(kind, preset, size, tensor_parallel, ranks, lora, muon):
    parts, split = memory.parts_of(make(kind, preset, lora)), Split(size, tensor_parallel)
    planned = [memory.weights(parts, split), memory.gradients(parts, split)]
    planned.append(memory.optimiser_states(parts, split, muon))
    for rank in ranks:
        with world_of(size, rank, tensor_parallel) as world:
            module = make(kind, preset, lora)
            found = measured(shard(module, module.layers, world, bf16=True), muon)
        assert found == tuple(int(sizes[rank // tensor_parallel]) for sizes in planned), f"rank {rank}"


def batch_of(tokens):
    ids = torch.arange(tokens)[None] % 100 + 10
    return Batch(ids=ids, learned=torch.arange(tokens)[None] > 0, states=[])


@pytest.mark.filterwarnings("ignore")
def test_no_gradient_is_whole_between_passes():
    torch.manual_seed(0)
    with world_of(4, 1) as world:
        module = make(Policy, "tiny", device="cpu")
        parts, split = memory.parts_of(module), Split(4)
        learner = Learner(shard(module, module.layers, world, bf16=True), OptimiserConfig(), world, 1)
        for _ in range(2):
            learner.backward(sft_loss(module(batch_of(8)).log_probs_BT, batch_of(8).learned).loss)
            groups = [m._get_fsdp_state()._fsdp_param_group for m in (module, *module.layers)]
            assert not any(p.unsharded_accumulated_grad is not None for group in groups for p in group.fsdp_params)
        assert local_bytes(p.grad for p in learner.parameters) == memory.gradients(parts, split)[1]


def saved_bytes(run, given):
    """Return the bytes that autograd saves in ``run()``, each storage once, without those of ``given`` tensors."""
    known, found, alive = {t.untyped_storage().data_ptr() for t in given}, {}, []

    def keep(tensor):
        storage = tensor.untyped_storage()
        alive.append(tensor)  # else its address could be given to another
        if storage.data_ptr() not in known:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(found.values())


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_layer_keeps_what_autograd_saves(ranks):
    tokens, model = 96, AudioReasoner(presets.preset("tiny"))
    layer, text = model.model.layers[0], model.config.text_config
    dtype = torch.bfloat16 if ranks > 1 else torch.float32  # what FSDP2 gathers, or autocast alone
    positions = torch.arange(tokens)[None]
    hidden = torch.randn(1, tokens, text.hidden_size, dtype=dtype, requires_grad=True)
    angles = model.model.rotary_emb(hidden, positions)
    layer.to(dtype)

    def run():
        with torch.autocast("cpu", torch.bfloat16):
            layer(hidden, attention_mask=None, position_ids=positions, position_embeddings=angles)

    found = saved_bytes(run, [*layer.parameters(), *angles])
    if ranks == 1:  # autocast's copies of the matrices, which a plan counts as gathered
        found -= memory.gathered(memory.parts_of(layer), Split(1))
    assert found == tokens * memory.layer_activations(model.config, Split(ranks))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("checkpointing", [True, False])
def test_a_plan_is_an_upper_bound_of_a_measured_pass(checkpointing):
    module, config, batch = make(Policy, "tiny", device="cpu"), presets.preset("tiny"), batch_of(256)
    if checkpointing:
        module.decoder.gradient_checkpointing_enable({"use_reentrant": False})
        module.decoder.train()
    learner = Learner(module, OptimiserConfig(), World(), 1)
    tracker = MemTracker()
    tracker.track_external(module)
    with tracker:
        with learner.autocast():
            loss = sft_loss(module(batch).log_probs_BT, batch.learned).loss
        learner.backward(loss)
    found = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    parts, alone = memory.parts_of(module), Split(1)
    planned = memory.weights(parts, alone)[0] + memory.gradients(parts, alone)[0] + memory.gathered(parts, alone)
    planned += memory.activations(config, alone, 256, checkpointing, head=True)
    assert found <= planned <= 1.6 * found


def plan(capsys, *words):
    assert cli.main(["plan", "train", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_r1_on_64_cards(capsys):
    found = plan(capsys, "--preset", "r1", "--gpus", "64")
    (ranks,) = found["memory"]
    assert (ranks["first_rank"], ranks["last_rank"]) == (0, 63) and found["fits"]
    kinds = dict(ranks["bytes"])
    assert kinds.pop("total") == sum(kinds.values())  # nothing is sampled in this stage
    assert round(found["parameters"]["all"] / 1e9, 3) == 33.487
    # 6 products a value and token, 8 with recomputation, and attention: within a third of the bare count.
    bare = 8 * found["parameters"]["policy"] * 10_240 / (0.4 * 989e12)
    assert bare < found["seconds"]["update"] < 1.33 * bare


@pytest.mark.parametrize(
    "words", ["--preset r1 --gpus 8", "--preset mini --gpus 1 --set start.lora_rank=16 --card a100"]
)
def test_what_is_advised_fits(words, capsys):
    asked = [*words.split(), "--set", "compute.activation_checkpointing=false"]
    before = plan(capsys, *asked)
    assert not before["fits"] and before["spare_bytes"] < 0 and before["try"]
    after = plan(capsys, *asked, *" ".join(before["try"]).split())
    assert after["fits"] and after["spare_bytes"] >= 0


def test_a_plan_for_people_says_in_a_sentence_what_does_not_fit(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main(["plan", "train", "--stage", "rlvr", "--preset", "mini", "--gpus", "1"]) == 0
    out = capsys.readouterr().out
    for word in ("weights", "gradients", "optimiser", "activations", "KV cache", "rollout engine", "rank 0", "Assumed"):
        assert word in out
    (sentence,) = (line for line in out.splitlines() if line.startswith("A step does not fit in 80 GB by "))
    assert "; try more or larger cards" in sentence


def test_a_config_is_planned_as_it_is_trained(capsys, tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("run: x\nloop: {steps: 1}\nbatch: 8\nmax_tokens: 2048\noptimiser: {muon: false}\n")
    found = plan(capsys, "--config", str(path), "--gpus", "2", "--sequence", "512")
    assert found["passes"]["policy"] == {"number": 1, "tokens": 2048}
    assert (found["model"], found["optimiser"], found["activation_checkpointing"]) == ("tiny", "adamw", False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--gpus 6 --set compute.tensor_parallel=4", "tensor_parallel 4 does not divide 6 GPUs; choose one that does"),
        ("--gpus 48 --set compute.tensor_parallel=3", "8 key-value heads cannot be split over"),
        ("--sequence 70000 --set max_tokens=70000", "the model reads 65536 tokens and --sequence is 70000; shorten it"),
        ("--sequence 4096 --set max_tokens=1000", "4096 tokens do not fit in max_tokens 1000; raise it or"),
        ("--set optimiser.bf16=false", "the config has bf16: false; set it to true"),
        ("--set batsh=3", "unknown key 'batsh' (did you mean 'batch'?)"),
    ],
)
def test_impossible_plans_end_in_a_sentence(words, message, capsys):
    assert cli.main(["plan", "train", *words.split()]) == 1
    assert message in capsys.readouterr().err


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "earwitness", "plan", "-h"], capture_output=True, text=True)
    assert done.returncode == 0 and "earwitness plan train --preset r1 --gpus 64" in done.stdout


@pytest.mark.parametrize("name", plan_serve.SCHEMES)
def test_planned_weights_and_cache_are_what_an_engine_holds(name):
    from earwitness.engines.decoder import Decoder

    config, scheme = presets.preset("tiny"), plan_serve.SCHEMES[name]
    weights = plan_serve.shapes(config)
    model = AudioReasoner(config).to(torch.bfloat16)
    if scheme is not None:
        for key, layer in list(model.model.named_modules()):
            if packed.PACKED_KEYS.fullmatch(f"model.{key}.weight"):
                parent, _, last = key.rpartition(".")
                held = packed.PackedLinear(scheme, layer.in_features, layer.out_features, layer.bias is not None)
                held.bias = layer.bias
                held.weight_scale.data = held.weight_scale.to(torch.bfloat16 if name == "int4" else torch.float32)
                setattr(model.model.get_submodule(parent), last, held)
    assert plan_serve.weight_bytes(weights, scheme) == local_bytes(model.parameters())
    decoder = Decoder(model)
    load = plan_serve.Load(context=256, concurrency=3)
    assert plan_serve.cache_bytes(config, load) == 3 * 256 * decoder.cache_bytes_per_token


def serve(capsys, *words):
    assert cli.main(["plan", "serve", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_schemes_and_cards(capsys):
    found = serve(capsys, "--preset", "r1")
    sizes = {name: s["bytes"]["weights"] / 1e9 for name, s in found["schemes"].items()}
    assert 66.9 < sizes["16 bit"] < 67.1  # 33.487 B values
    assert sizes["16 bit"] > 1.8 * sizes["int8"] and sizes["16 bit"] > 2.9 * sizes["int4"]
    assert found["best"]["80 GB"] == "16 bit" and found["best"]["48 GB"] == "fp8" and found["best"]["16 GB"] is None
    mini = serve(capsys, "--preset", "mini", "--gpu-memory", "24")
    assert mini["best"] == {"24 GB": "16 bit"} and list(mini["cards"].values()) == [24e9]


def test_more_conversations_need_more_cache(capsys):
    one, eight = (serve(capsys, "--preset", "mini", "--concurrency", n) for n in ("1", "8"))
    for name, scheme in one["schemes"].items():
        assert 8 * scheme["bytes"]["KV cache"] == eight["schemes"][name]["bytes"]["KV cache"]
        for card in scheme["fits"]:  # what fits has room for its own conversation
            assert scheme["cache_tokens"][card] >= one["context"]
            assert scheme["bytes"]["total"] <= one["cards"][card]


def test_a_plan_to_serve_for_people(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main(["plan", "serve", "--preset", "r1", "--gpu-memory", "24"]) == 0
    out = capsys.readouterr().out
    for word in ("weights", "KV cache", "activations", "16 bit", "int4", "tokens on 24 GB"):
        assert word in out
    assert out.splitlines()[-1].startswith("24 GB: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--preset mini --context 20000", "the model reads 1 to 16384 tokens and --context is 20000; change it"),
        ("--concurrency 0", "--concurrency 0 serves nobody; give 1 or more"),
        ("--gpu-memory -1", "--gpu-memory -1 is no card; give its size in GB"),
    ],
)
def test_impossible_loads_end_in_a_sentence(words, message, capsys):
    assert cli.main(["plan", "serve", *words.split()]) == 1
    assert message in capsys.readouterr().err
