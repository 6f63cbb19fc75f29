"""``earwitness ask``: one question about clips, or many questions from a folder or a manifest."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earwitness.acoustics import Measurements
    from earwitness.commands.claim_marks import ClaimMarks
    from earwitness.engines import Engine, Event, Sampling
    from earwitness.records import Reply

SUMMARY = "ask a question about audio; the reasoning goes to stderr and the answer to stdout"
EXAMPLES = """examples:
  earwitness ask clip.wav "Which note is higher, the first or the second?"
  earwitness ask before.wav after.wav "Which recording has more noise?" --model stepfun-ai/Step-Audio-R1
  earwitness ask meeting.m4a --task transcribe --model http://localhost:8000/v1
  earwitness ask clip.wav "Which note is higher, the first or the second?" --verify
  earwitness ask night.flac "When is there an alarm?" --json
  earwitness ask recordings/ "Is somebody speaking?" --out answers.csv
  earwitness ask questions.jsonl --out answers.jsonl"""

TASKS = ("transcribe", "caption", "describe")
# Tasks whose answer is not reasoned about; the small model was trained on them without a chain.
_DIRECT_TASKS = ("transcribe", "caption")
SHIPPED_NOTE = (
    "the small model of the package answers: it knows synthetic notes, everyday sounds and short synthetic speech; "
    "for real speech, songs or knowledge give a large model with --model"
)
JSON_FIELDS = (
    "thinking",
    "answer",
    "status",
    "thinking_tokens",
    "answer_tokens",
    "audio_seconds",
    "audio_tokens",
    "seconds",
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.usage = 'earwitness ask CLIP... "QUESTION" [options]'
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="CLIP",
        help="audio files in the order in which they are heard, then the question; or a folder and the question; "
        "or a JSONL file of questions",
    )
    parser.add_argument("--task", choices=TASKS, help="a ready-made question instead of your own")
    parser.add_argument("--choices", metavar="A,B,...", help="the options of a multiple-choice question")
    parser.add_argument("--model", metavar="NAME|DIR|URL", help="default: the small model of the package")
    think = parser.add_mutually_exclusive_group()
    think.add_argument("--think-budget", type=int, metavar="N", help="close the reasoning after N tokens")
    think.add_argument("--no-think", action="store_true", help="answer without reasoning")
    parser.add_argument("--temperature", type=float, help="default: 0 for the small model, else the published 0.7")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default: 0)")
    parser.add_argument(
        "--max-tokens",
        type=int,
        metavar="N",
        help="most tokens of a reply (default: 1024 for the small model, else 10240)",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 or auto (default: the first GPU, else the CPU)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS", help="longest silence of a URL")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="mark what the reasoning says of the clip: \u2713 measured so, \u2717 not so, ? open",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the bare answer")
    parser.add_argument(
        "--window",
        type=float,
        metavar="SECONDS",
        help="listen in windows of at most so long (default: only past the context, a thirty-second of it each)",
    )
    parser.add_argument("--out", metavar="FILE", help="for many questions: .jsonl or .csv; answered ones are skipped")
    parser.add_argument("--limit", type=int, metavar="N", help="for many questions: only the first N")
    parser.add_argument("--dry-run", action="store_true", help="print the settings and the first prompt, then stop")


def run(args: argparse.Namespace) -> int:
    """Answer, and return 0 where there is an answer."""
    clips, question = _split(args)
    is_many = len(clips) == 1 and (pathlib.Path(clips[0]).is_dir() or clips[0].endswith(".jsonl"))
    if args.out and not is_many:
        args.parser.error("--out is for a folder or a JSONL file of questions; redirect stdout instead")
    if args.out and not args.out.endswith((".jsonl", ".csv")):
        args.parser.error(f"--out {args.out} must end in .jsonl or .csv")
    if args.verify and (is_many or len(clips) > 1):
        args.parser.error("--verify measures one clip; leave it out, or ask about one clip")
    if is_many:
        from earwitness.commands import ask_many

        return ask_many.run(args, pathlib.Path(clips[0]), question)
    return _ask_one(args, clips, question)


def _split(args: argparse.Namespace) -> tuple[list[str], str]:
    """Return (clips, question); leaves with a usage error where one of them is missing."""
    if args.task:
        from earwitness import prompt

        return args.inputs, prompt.TASKS[args.task]
    *clips, last = args.inputs
    if not clips and last.endswith(".jsonl"):
        return [last], ""
    if os.path.exists(last):
        what = "folder" if os.path.isdir(last) else "file"
        args.parser.error(
            f"{last} is a {what} and no question follows it; add one in quotes, or --task {'|'.join(TASKS)}"
        )
    if not clips:
        args.parser.error(f"no clip comes before the question {last!r}; give an audio file first")
    if len(clips) == 1 and clips[0].endswith(".jsonl"):
        args.parser.error(f"the questions come from {clips[0]}; leave out {last!r}")
    return clips, last


def sampling_of(args: argparse.Namespace) -> Sampling:
    """Return the sampling that the options ask for; ``ValueError`` where one is out of range."""
    from earwitness.engines import Sampling

    is_shipped = args.model is None
    return Sampling(
        temperature=args.temperature if args.temperature is not None else 0.0 if is_shipped else 0.7,
        max_new_tokens=args.max_tokens if args.max_tokens is not None else 1024 if is_shipped else 10_240,
        think_budget=args.think_budget,
        seed=args.seed,
    )


def thinks(args: argparse.Namespace) -> bool:
    """Return whether the model reasons before it answers."""
    return not args.no_think and (args.task not in _DIRECT_TASKS or args.think_budget is not None)


def choices_of(args: argparse.Namespace) -> list[str]:
    """Return the options of ``--choices``."""
    return [c.strip() for c in args.choices.split(",") if c.strip()] if args.choices else []


def load_engine(args: argparse.Namespace) -> Engine:
    """Return the engine of ``--model``; says on stderr what the small one is good for."""
    from earwitness import engines

    if args.model is None:
        print(f"earwitness: {SHIPPED_NOTE}", file=sys.stderr)
    is_local = args.model is None or not args.model.startswith(("http://", "https://"))
    if is_local and (args.model is None or not sys.stderr.isatty()):
        from transformers.utils import logging

        logging.disable_progress_bar()  # a large model on a terminal keeps its loading bar
    return engines.load(args.model, device=args.device, dtype=args.dtype, timeout_seconds=args.timeout)


def clip_of(name: str, base: pathlib.Path | None = None) -> Any:
    """Return the 16 kHz waveform of a path or a SoundWorld address; relative paths are tried beside ``base`` first."""
    if name.startswith("soundworld:"):
        from earwitness import soundworld

        return soundworld.waveform(name)
    from earwitness import audio

    return audio.load_audio(path_of(name, base))


def path_of(name: str, base: pathlib.Path | None = None) -> str | pathlib.Path:
    """Return where a clip lies: beside ``base`` if there is such a file, else as it is named."""
    beside = base / name if base is not None else None
    return beside if beside is not None and beside.exists() else name


def _ask_one(args: argparse.Namespace, names: list[str], question: str) -> int:
    from earwitness import prompt
    from earwitness.commands import ask_long

    sampling, think = sampling_of(args), thinks(args)
    text = prompt.question_text(question, choices_of(args))
    if args.dry_run:
        show_plan(args, sampling, think, [prompt.user_message(text, [clip_of(name) for name in names])])
        return 0
    recording = ask_long.opened(args, names)
    clips = [] if recording else [clip_of(name) for name in names]
    engine = load_engine(args)
    if recording is None or ask_long.is_whole(args, engine, recording.seconds, text, sampling):
        clips = clips or [clip_of(name) for name in names]
        recording = ask_long.beyond(args, engine, clips, text, sampling)
    found = _measured(clips[0]) if args.verify and recording is None else None
    stream = None if args.json else _Stream(found)
    reply: Reply
    if recording is not None:
        reply, notes = ask_long.answer(args, engine, recording, question, sampling, stream)
    else:
        reply, notes = engine.ask(clips, text, think=think, seed=args.seed, sampling=sampling, on_event=stream), None
    if args.json:
        record = {name: getattr(reply, name) for name in JSON_FIELDS}
        if found is not None:
            from earwitness.grounding import verify_chain

            record["claims"] = [v.to_json() for v in verify_chain(reply.thinking, found)]
        print(json.dumps(record if notes is None else {**record, "notes": notes}, ensure_ascii=False))
    elif stream is not None:
        stream.finish(reply)
    if reply.status != "complete":
        print(f"earwitness: {explain(reply)}", file=sys.stderr)
    return 0 if reply.answer or reply.tool_calls else 1


def _measured(wave: Any) -> Measurements:
    from earwitness.acoustics import Measurements

    return Measurements(wave)


def explain(reply: Reply) -> str:
    """Return one sentence about a reply that did not end as it should."""
    return {
        "truncated": "the reply reached its limit; raise --max-tokens, or bound the reasoning with --think-budget",
        "empty_thinking": "the model answered without reasoning",
        "no_answer": "the model reasoned but gave no answer; try another --seed or --no-think",
        "degenerate": "the model repeats itself; try --temperature 0.7, or bound the reasoning with --think-budget",
        "foreign": "the model wrote another system's request instead of an answer; try another --seed",
        "tool_call": "the model asks for a tool instead of answering",
        "cancelled": "the reply was cancelled",
    }[reply.status]


def show_plan(args: argparse.Namespace, sampling: Sampling, think: bool, messages: list[dict[str, Any]]) -> None:
    """Print what would be asked: settings, audio and the rendered prompt, without loading a model."""
    from earwitness import audio, prompt

    waves = prompt.clips(messages)
    counts = [[audio.audio_token_count(len(chunk)) for chunk in audio.split_chunks(wave)] for wave in waves]
    seconds = sum(len(wave) for wave in waves) / audio.SAMPLE_RATE
    print(f"model: {args.model or 'the small model of the package'}")
    print(f"sampling: {sampling}")
    print(f"audio: {len(waves)} clips, {seconds:.2f} s, {sum(map(sum, counts))} audio tokens")
    rendered = prompt.render(messages, think=think, audio_counts=counts)
    patch = re.escape(prompt.AUDIO_PATCH)
    shorter = re.sub(
        f"(?:{patch}){{2,}}", lambda m: f"{prompt.AUDIO_PATCH} x {len(m[0]) // len(prompt.AUDIO_PATCH)} ", rendered
    )
    print(f"prompt:\n{shorter}")


class _Stream:
    """Writes the chain to stderr, dimmed on a terminal, and the answer to stdout, while they arrive."""

    def __init__(self, found: Measurements | None = None) -> None:
        """With measurements of the clip, the claims of the chain are marked."""
        self._dim = sys.stderr.isatty() and "NO_COLOR" not in os.environ
        self._kind = ""
        self._answer = ""
        self._marks: ClaimMarks | None = None
        if found is not None:
            from earwitness.commands.claim_marks import ClaimMarks

            self._marks = ClaimMarks(found, _DIM, self._dim)

    def __call__(self, event: Event) -> None:
        if event.kind != self._kind:
            self._leave()
            self._kind = event.kind
            if self._kind == "thinking" and self._dim:
                sys.stderr.write(_DIM)
        out = sys.stderr if event.kind == "thinking" else sys.stdout
        if event.kind == "answer":
            self._answer += event.text
        # Control characters of a model must not drive the terminal.
        text = _CONTROL.sub("", event.text) if out.isatty() else event.text
        out.write(self._marks.feed(text) if self._marks and event.kind == "thinking" else text)
        out.flush()

    def finish(self, reply: Reply) -> None:
        """End the line; where the parsed answer differs from what was streamed, the parsed one is printed."""
        self._leave()
        if reply.answer and self._answer.strip() != reply.answer:
            print(reply.answer)
        if self._marks:
            print(self._marks.summary(), file=sys.stderr)

    def _leave(self) -> None:
        if self._kind == "thinking":
            sys.stderr.write((self._marks.flush() if self._marks else "") + (_PLAIN if self._dim else "") + "\n")
            sys.stderr.flush()
        elif self._kind == "answer":
            sys.stdout.write("\n")
            sys.stdout.flush()
        self._kind = ""
