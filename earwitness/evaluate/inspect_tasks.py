"""The same tasks inside inspect_ai (extra ``inspect``): ``inspect eval earwitness/mmau --model M -T data=DIR``.

inspect_ai finds this module through its entry point ``inspect_ai`` and reads the tasks that are registered here, one
for each of ``tasks.IDS``. Items, prompts and both scorers are those of ``earwitness eval``; what the authors' script
leaves out is unscored there, which leaves it out of the mean. ``-T prompt=authors`` asks as the authors do, and
``-T judge=true`` lets the model of the role ``grader`` decide what rules cannot.
"""

from __future__ import annotations

import base64
import dataclasses
import importlib.util
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from earwitness.evaluate import tasks
from earwitness.evaluate.runner import distinct, load_clip
from earwitness.evaluate.task import Decision, Prediction, Score, Task, decide
from earwitness.prompt import Message
from earwitness.records import Sample

_STATUS = {"max_tokens": "truncated", "model_length": "truncated", "tool_calls": "tool_call"}
"""How inspect_ai says that a reply ended -> ``Prediction.status``; any other end is ``complete``."""


def inspect_task(name: str, data: str = ".", prompt: str = "report", judge: bool = False) -> Any:
    """Return a task of ours as inspect_ai's ``Task``.

    Args:
        name: one of ``tasks.IDS``.
        data: the published files, as for ``earwitness eval --data``.
        prompt: one of ``Task.prompts``.
        judge: ask inspect_ai's model role ``grader`` where the benchmark has a judge.

    Raises:
        ValueError: no such task or prompt, or data that cannot be read.
    """
    from inspect_ai import Task as InspectTask
    from inspect_ai.dataset import MemoryDataset
    from inspect_ai.dataset import Sample as InspectSample

    task = tasks.get(name)
    found = task.load(pathlib.Path(data))
    samples = {sample.id: sample for sample in distinct(found.samples)}
    rows = [
        InspectSample(id=i, input=task.text(s, prompt) or "(spoken)", target=s.answer or "") for i, s in samples.items()
    ]
    about = {"benchmark_version": found.version, "sha256": found.sha256, "problems": list(found.problems)}
    return InspectTask(
        dataset=MemoryDataset(rows, name=name),
        solver=_solver(task, samples, prompt),
        scorer=[_scorer(task, samples, which, judge) for which in ("official", "robust")],
        metadata=about,
    )


def register() -> None:
    """Register every task under its id; inspect_ai adds the name of the package."""
    from inspect_ai import task as registered

    for name in tasks.IDS:
        registered(name=name)(_maker(name))


def _maker(name: str) -> Callable[..., Any]:
    def make(data: str = ".", prompt: str = "report", judge: bool = False) -> Any:
        return inspect_task(name, data, prompt, judge)

    make.__name__ = name
    return make


def _solver(task: Task, samples: dict[str, Sample], prompt: str) -> Any:
    """Return a solver that puts the clips into the conversation when an item is asked, so that none waits in memory."""
    from inspect_ai.solver import solver

    @solver(name=f"{task.id}_question")
    def question() -> Any:
        async def solve(state: Any, generate: Any) -> Any:
            state.messages = chat(task.messages(samples[str(state.sample_id)], prompt))
            return await generate(state)

        return solve

    return question()


def _scorer(task: Task, samples: dict[str, Sample], which: str, judge: bool) -> Any:
    from inspect_ai.scorer import Score as InspectScore
    from inspect_ai.scorer import mean, scorer, stderr

    @scorer(metrics=[mean(), stderr()], name=which)
    def decided() -> Any:
        async def score(state: Any, target: Any) -> Any:
            said = _prediction(samples[str(state.sample_id)], state.output)
            if judge:
                said = await _judged(task, said)
            (decision,) = decide(task, [said])
            about = {"rule": decision.rule, "status": said.status}
            value = _value(decision, which)
            if value is None:
                return InspectScore.unscored(answer=decision.said, explanation=decision.rule, metadata=about)
            return InspectScore(value=value, answer=decision.said, explanation=decision.rule, metadata=about)

        return score

    return decided()


def _value(decision: Decision, which: str) -> float | None:
    value: Score = getattr(decision, which)
    return None if value is None else float(value)


def _prediction(sample: Sample, output: Any) -> Prediction:
    """Return a reply as the scorers take it; a chain that the server sent apart is not part of the text."""
    status = "error" if output.error else _STATUS.get(str(output.stop_reason), "complete")
    chain = ""
    if output.choices and not isinstance(output.message.content, str):
        chain = "".join(part.reasoning for part in output.message.content if part.type == "reasoning")
    return Prediction(sample, output.completion, chain, status)


async def _judged(task: Task, said: Prediction) -> Prediction:
    from inspect_ai.model import get_model

    calls = task.judge_messages(said)
    grader = get_model(role="grader", required=True) if calls else None
    replies = [(await grader.generate(chat(messages))).completion for messages in calls] if grader else []
    return dataclasses.replace(said, judged=tuple(replies))


def chat(messages: Sequence[Message]) -> list[Any]:
    """Return a conversation in inspect_ai's classes, every clip as a 16 kHz WAV inside a data URL."""
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    roles: dict[str, Any] = {"human": ChatMessageUser, "user": ChatMessageUser}
    roles |= {"system": ChatMessageSystem, "assistant": ChatMessageAssistant}
    return [roles[message["role"]](content=_content(message["content"])) for message in messages]


def _content(content: Any) -> Any:
    from inspect_ai.model import ContentAudio, ContentText

    if isinstance(content, str):
        return content
    parts: list[Any] = []
    for part in content:
        if part["type"] == "audio":
            parts.append(ContentAudio(audio=_data_url(part["audio"]), format="wav"))
        elif part["text"]:
            parts.append(ContentText(text=part["text"]))
    return parts


def _data_url(clip: Any) -> str:
    from earwitness import audio

    return "data:audio/wav;base64," + base64.b64encode(audio.encode_wav(load_clip(clip))).decode("ascii")


# inspect_ai only imports the module that its entry point names. Without inspect_ai nothing is done.
if importlib.util.find_spec("inspect_ai") is not None:
    register()
