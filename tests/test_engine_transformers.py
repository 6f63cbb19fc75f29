"""The engine over transformers' own classes: tiny random checkpoints of two families, saved and loaded as any other."""

import argparse
import dataclasses

import numpy as np
import pytest
import torch
import transformers
from engine_fixture import build_tokenizer, tone

# The suite that every engine passes, collected here with the engine below.
from test_engines import (  # noqa: F401
    asks,
    test_a_stop_string_ends_the_reply,
    test_a_think_budget_closes_the_chain,
    test_ask,
    test_cancelled_requests_end_early,
    test_closing_the_iterator_stops_the_work,
    test_limits_are_kept_and_counted,
    test_no_thinking_means_no_chain,
    test_random_replies_follow_the_seed,
    test_replies_come_in_order_and_once_each,
    test_streamed_pieces_make_up_the_reply,
    test_what_an_engine_cannot_do_it_says,
)

from earwitness import prompt
from earwitness.commands import evaluate
from earwitness.engines import Request, Sampling
from earwitness.engines.transformers import TransformersEngine, load_transformers
from earwitness.evaluate.runner import Settings, run_task
from earwitness.evaluate.task import Dataset, Task
from earwitness.records import Sample

TEMPLATE = """{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content -%}
{%- if part.type == 'audio' %}AUDIO{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
OPEN{% endif %}"""
TEXT = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


def build_processor(kind, token, opens_chain):
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens(
        {"eos_token": "<|im_end|>", "pad_token": "<|pad|>", "additional_special_tokens": ["<|im_start|>", token]}
    )
    extractor = transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=2)
    template = TEMPLATE.replace("AUDIO", token).replace("OPEN", "<think>\n" if opens_chain else "")
    return kind(feature_extractor=extractor, tokenizer=tokenizer, chat_template=template, audio_token=token)


def build(model_kind, config_kind, audio_config, processor, folder):
    """Save a random model whose greedy text wanders, with its processor."""
    torch.manual_seed(0)
    tokenizer = processor.tokenizer
    text = {**TEXT, "vocab_size": len(tokenizer), "model_type": "qwen2"}
    config = config_kind(audio_config=audio_config, text_config=text, audio_token_id=processor.audio_token_id)
    model = model_kind(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 1 if "embed_tokens" in name else 1.2 / parameter[0].numel() ** 0.5)
        # Of the special tokens only those that end a chain or a reply are ever said.
        said = (tokenizer.eos_token, prompt.END_THINK)
        model.lm_head.weight[[i for token, i in tokenizer.get_added_vocab().items() if token not in said]] = 0
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, do_sample=True, temperature=0.3, repetition_penalty=1.9
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    processor = build_processor(transformers.Qwen2AudioProcessor, "<|AUDIO|>", opens_chain=True)
    audio = {"num_mel_bins": 16, "d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2}
    audio |= {"encoder_ffn_dim": 32, "max_source_positions": 100}
    kinds = (transformers.Qwen2AudioForConditionalGeneration, transformers.Qwen2AudioConfig)
    return build(*kinds, audio, processor, tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def flamingo(tmp_path_factory):
    processor = build_processor(transformers.AudioFlamingo3Processor, "<sound>", opens_chain=False)
    audio = {"num_mel_bins": 16, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    audio |= {"intermediate_size": 32, "max_source_positions": 100}
    kinds = (transformers.AudioFlamingo3ForConditionalGeneration, transformers.AudioFlamingo3Config)
    return build(*kinds, audio, processor, tmp_path_factory.mktemp("flamingo"))


@pytest.fixture(scope="module")
def engine(qwen):
    return load_transformers(qwen, device="cpu")


@pytest.fixture(scope="module")
def plain(flamingo):
    return load_transformers(flamingo, device="cpu", max_batch=4)


def heard(count, clips=1, **sampling):
    return [r for r in asks(3 * count, **sampling) if prompt.count_clips(r.messages) == clips][:count]


def reference(engine, request, tokens):
    """Return the ids that transformers alone gives a request, greedily."""
    messages = [{**m, "role": "user"} for m in request.messages]
    inputs = engine.processor.apply_chat_template(
        [messages],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        processor_kwargs={"return_tensors": "pt"},
    )
    config = transformers.GenerationConfig(
        do_sample=False, max_new_tokens=tokens, eos_token_id=sorted(engine._markers.stops), repetition_penalty=1.0
    )
    out = engine.model.generate(**inputs, generation_config=config)
    return out[0, inputs["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize("name", ["engine", "plain"])
def test_greedy_ids_are_those_of_transformers(name, request):
    engine = request.getfixturevalue(name)
    requests = heard(3, clips=0, max_new_tokens=10) + heard(5, clips=1, max_new_tokens=10)
    replies = list(engine.generate(requests))
    assert [list(r.token_ids) for r in replies] == [reference(engine, r, 10) for r in requests]
    assert len({r.token_ids for r in replies}) > 4
    assert [r.audio_tokens > 0 for r in replies] == [False] * 3 + [True] * 5
    assert replies[-1].audio_seconds == pytest.approx(len(prompt.clips(requests[-1].messages)[0]) / 16_000)


@pytest.mark.parametrize("name", ["engine", "plain"])
def test_the_sound_decides_the_reply(name, request):
    engine = request.getfixturevalue(name)
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    texts = {
        engine.ask(clip, "which note", sampling=Sampling(max_new_tokens=12)).token_ids for clip in (tone(1.0), noise)
    }
    assert len(texts) == 2


def test_a_request_is_the_same_alone_and_in_any_batch(plain):
    requests = [
        dataclasses.replace(r, seed=i, sampling=dataclasses.replace(r.sampling, **extra))
        for i, (r, extra) in enumerate(
            zip(
                heard(8, max_new_tokens=12),
                [{}, {"temperature": 0.8}, {"top_p": 0.7, "temperature": 1.0}, {"repetition_penalty": 1.5}] * 2,
            )
        )
    ]
    together = list(plain.generate(requests))
    alone = [next(iter(plain.generate([r]))) for r in reversed(requests)][::-1]
    assert [r.token_ids for r in together] == [r.token_ids for r in alone]


def test_a_minimum_and_stop_ids_and_log_probabilities(engine):
    for reply in engine.generate(asks(6, min_think=10, max_new_tokens=30, temperature=2.0)):
        assert reply.thinking_tokens >= 10
    (whole,) = engine.generate(asks(1, max_new_tokens=12, logprobs=True))
    assert len(whole.logprobs) == len(whole.token_ids) and max(whole.logprobs) <= 0
    stop = whole.token_ids[4]
    (cut,) = engine.generate(asks(1, max_new_tokens=12, stop_ids=(stop,)))
    assert cut.token_ids == whole.token_ids[: whole.token_ids.index(stop) + 1]


def test_what_users_write_closes_no_turn_and_places_no_sound(engine):
    asked = "which <|im_end|> note <|AUDIO|> is higher"
    (reply,) = engine.generate([Request([prompt.user_message(asked, [tone(0.5)])])], Sampling(max_new_tokens=3))
    assert reply.audio_tokens == engine.ask(tone(0.5), "which", sampling=Sampling(max_new_tokens=3)).audio_tokens > 0


def test_without_a_template_that_opens_a_chain_there_is_none(plain):
    (reply,) = plain.generate(heard(1, max_new_tokens=9))
    assert reply.thinking == "" and reply.answer and reply.thinking_tokens == 0 and reply.answer_tokens == 9
    assert list(plain.generate([dataclasses.replace(heard(1)[0], think=False)]))[0].thinking == ""
    for setting in ({"think_budget": 5}, {"min_think": 5}):
        with pytest.raises(ValueError, match="opens no chain, so a think budget cannot be kept"):
            list(plain.generate(heard(1, **setting)))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (Request(prompt_ids=[1, 2]), "takes messages, not prompt_ids"),
        (Request([prompt.user_message("which " * 600)]), r"\d+ more than .* can read with a context of 256"),
        (Request([prompt.user_message("which", [tone(0.3)] * 2)]), "cannot take a conversation with 2 clips"),
        (Request([{"role": "user", "content": [{"type": "audio", "audio": "no/such.wav"}]}]), "no/such.wav"),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_work(plain, monkeypatch, wrong, words):
    monkeypatch.setattr(plain.model, "generate", lambda **inputs: pytest.fail("generated"))
    with pytest.raises((ValueError, OSError), match=words) as error:
        list(plain.generate([heard(1)[0], wrong]))
    assert "\n" not in str(error.value)


def test_a_processor_without_a_template_gets_files(plain):
    bare = TransformersEngine.__new__(TransformersEngine)
    bare.processor = object()
    [part], seconds = bare._sound(tone(0.1))
    assert part["base64"].startswith("UklGR") and seconds == pytest.approx(0.1)
    assert set(plain._sound(tone(0.1))[0][0]) == {"type", "audio"}


def test_a_benchmark_runs_on_it(plain, tmp_path):
    class Notes(Task):
        id = "notes"

        def load(self, data):
            raise NotImplementedError

        def official(self, sample, output):
            return output == sample.answer

    samples = [
        Sample(f"{i}", (f"soundworld:music/test/{i}@1",), "which", choices=("a", "b"), answer="a", answer_type="choice")
        for i in range(5)
    ]
    settings = Settings(Sampling(max_new_tokens=5))
    summary = run_task(Notes(), Dataset(tuple(samples), "1", ""), plain, settings, tmp_path)
    assert summary["n"] == 5 and summary["counts"]["error"] == 0 and summary["cost"]["answer_tokens"] > 0


def test_the_command_finds_it_by_the_config(flamingo):
    args = argparse.Namespace(model=str(flamingo), device="cpu", dtype=None, timeout=1.0)
    assert isinstance(evaluate.load_engine(args), TransformersEngine)
    args.model = str(flamingo / "gone")
    with pytest.raises(ValueError, match="there is no model folder"):
        evaluate.load_engine(args)


def test_what_is_no_audio_text_model_is_said(tmp_path):
    transformers.Qwen2Config(**TEXT, vocab_size=10, architectures=["NoSuchModel"]).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="names the class NoSuchModel .* which transformers does not have"):
        load_transformers(tmp_path)
    transformers.Qwen2Config(**TEXT, vocab_size=10, architectures=["Qwen2ForCausalLM"]).save_pretrained(tmp_path)
    build_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a qwen2 model, which takes no audio"):
        load_transformers(tmp_path)
