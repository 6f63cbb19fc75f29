"""``earwitness`` with rollouts from a process of its own, as from a server: what the row ``faults`` kills.

    python evidence/served.py train rlvr --config my.yaml

The process number of the server is written to the file that ``ROLLOUT_SERVER`` names.
"""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from earwitness import cli
from earwitness.engines.local import LocalEngine
from earwitness.engines.protocol import Engine, Request
from earwitness.stages import rlvr


class Served(Engine):
    """A ``LocalEngine`` at the other end of a pipe."""

    capabilities = LocalEngine.capabilities

    def __init__(self, *args: Any, **options: Any) -> None:
        """Start the server; takes what ``LocalEngine`` takes."""
        context = multiprocessing.get_context("fork")
        self._end, other = context.Pipe()
        server = context.Process(target=_serve, args=(other, args, options), daemon=True)
        server.start()
        other.close()
        self.markers = self._ask("markers")
        pathlib.Path(os.environ["ROLLOUT_SERVER"]).write_text(str(server.pid))

    def generate(self, requests: Iterable[Any], sampling: Any = None, on_event: Any = None) -> Iterator[Any]:
        """Yield the server's replies to encoded prompts."""
        sent = [{"prompt_ids": r.prompt_ids, "features": r.features, "seed": r.seed} for r in requests]
        yield from self._ask("generate", sent, sampling)

    def update_weights(self, tensors: Iterable[tuple[str, Any]], version: int) -> None:
        """Send the weights."""
        self._ask("update_weights", [(name, tensor.detach().clone()) for name, tensor in tensors], version)

    def adapt(self, states: Any) -> list[Any]:
        """Return what the server makes of encoder states."""
        return self._ask("adapt", states)

    def _ask(self, what: str, *given: Any) -> Any:
        try:
            self._end.send((what, given))
            return self._end.recv()
        except (EOFError, ConnectionError) as error:
            raise ConnectionError("the rollout server is gone; start it and then this run again") from error


def _serve(end: Any, args: Any, options: Any) -> None:
    engine = LocalEngine(*args, **options)
    while True:
        what, given = end.recv()
        if what == "generate":
            requests, sampling = given
            end.send(list(engine.generate([Request(**fields) for fields in requests], sampling)))
        else:
            done = getattr(engine, what)
            end.send(done(*given) if callable(done) else done)


if __name__ == "__main__":
    rlvr.LocalEngine = Served  # type: ignore[assignment,misc]
    sys.exit(cli.main())
