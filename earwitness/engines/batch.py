"""Continuous batching: rows join when a place is free, go one token at a time, and leave when they are done."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Generator, Iterator
from typing import Any

import torch

from earwitness.engines.decoder import Decoder
from earwitness.engines.protocol import Event, OnEvent
from earwitness.engines.rows import Markers, Row
from earwitness.engines.sampling import Chooser, uniforms
from earwitness.records import Reply


class Batch:
    """The rows that run and those that wait. The running row ``i`` is in the decoder's slot ``i``."""

    def __init__(
        self,
        decoder: Decoder,
        encode_audio: Any,
        tokenizer: Any,
        markers: Markers,
        max_rows: int,
        cache_tokens: int,
        prefill_tokens: int,
        on_event: OnEvent | None = None,
    ):
        """Hold the parts; ``cache_tokens`` bounds rows times length, ``prefill_tokens`` the size of one prefill."""
        self._decoder, self._encode_audio = decoder, encode_audio
        self._tokenizer, self._markers = tokenizer, markers
        self._max_rows, self._cache_tokens, self._prefill_tokens = max_rows, cache_tokens, prefill_tokens
        self._on_event = on_event
        self._handful = max(1, max_rows // 8)
        self._active: list[Row] = []
        self._chooser: Chooser | None = None
        self._seen: torch.Tensor | None = None
        self._device = decoder.device
        self.stopped = threading.Event()
        """Set from outside to end ``run`` between two steps."""

    def run(self, rows: Iterator[Row | None]) -> Generator[tuple[int, Reply], None, None]:
        """Yield (index, reply) in the order in which rows finish, reading new rows as places become free.

        A None among the rows says that none is there at the moment; those that run go on.
        """
        waiting: list[Row] = []
        exhausted = False
        while not self.stopped.is_set():
            free = self._max_rows - len(self._active)
            # A handful at a time fills a prefill and leaves other workers their share.
            if not exhausted and not waiting and (free >= self._handful or not self._active):
                read = _read(rows, min(free, self._handful))
                waiting += read or ()
                exhausted = read is None
            for row in [r for r in waiting if r.request.cancelled.is_set()]:
                waiting.remove(row)
                yield row.index, row.reply(self._tokenizer, self._markers)
            admitted = self._take(waiting)
            if admitted:
                yield from self._start(admitted)
            elif self._active:
                yield from self._step()
            elif exhausted and not waiting:
                return

    @property
    def is_idle(self) -> bool:
        """Whether no row runs."""
        return not self._active

    def _take(self, waiting: list[Row]) -> list[Row]:
        """Remove and return the rows that the cache has room for; at least one if none is running."""
        longest = max((self._room(r) for r in self._active), default=0)
        taken: list[Row] = []
        for row in waiting[: self._max_rows - len(self._active)]:
            longest = max(longest, self._room(row))
            if longest * (len(self._active) + len(taken) + 1) > self._cache_tokens and (self._active or taken):
                break
            taken.append(row)
        del waiting[: len(taken)]
        return taken

    @staticmethod
    def _room(row: Row) -> int:
        return len(row.prompt_ids) + row.max_new_tokens

    # -- prompts -------------------------------------------------------------------------------------------------------

    def _start(self, rows: list[Row]) -> Iterator[tuple[int, Reply]]:
        """Encode the audio of these rows, run their prompts, choose their first tokens."""
        waves = [wave for row in rows for wave in row.waves]
        features = iter(self._encode_audio(waves) if waves else [])
        for row in rows:
            row.features += itertools.islice(features, len(row.waves))
            row.waves = []
        rows = sorted(rows, key=lambda r: len(r.prompt_ids))
        logits = []
        for group in self._groups(rows):
            logits.append(self._prefill(group))
            self._active += group
        self._chooser = None
        first = len(self._active) - len(rows)
        yield from self._advance(torch.cat(logits), first)

    def _groups(self, rows: list[Row]) -> Iterator[list[Row]]:
        """Split rows, sorted by length, into prefills of bounded size."""
        group: list[Row] = []
        for row in rows:
            if group and (len(group) + 1) * len(row.prompt_ids) > self._prefill_tokens:
                yield group
                group = []
            group.append(row)
        if group:
            yield group

    def _prefill(self, group: list[Row]) -> torch.Tensor:
        """Run the prompts of a group into the next slots; equal prompts are run once and copied."""
        keys = [(tuple(r.prompt_ids), tuple(map(id, r.features))) for r in group]
        first_of = {key: i for i, key in reversed(list(enumerate(keys)))}
        unique = sorted(first_of.values())
        slot = len(self._active)
        prompts = [self._decoder.embed(group[i].prompt_ids, self._markers.patch, group[i].features) for i in unique]
        self._decoder.reserve(slot + len(group), max(len(p) for p in prompts))
        logits = self._decoder.prefill(prompts, slot)
        if len(unique) < len(group):
            others = [i for i in range(len(group)) if first_of[keys[i]] != i]
            for place, i in enumerate(others, slot + len(unique)):
                self._decoder.copy(slot + unique.index(first_of[keys[i]]), place, len(group[i].prompt_ids))
            order = unique + others
            logits = logits[[unique.index(first_of[keys[i]]) for i in order]]
            group[:] = [group[i] for i in order]
        return logits

    # -- tokens --------------------------------------------------------------------------------------------------------

    def _step(self) -> Iterator[tuple[int, Reply]]:
        rows = self._active
        logits = self._decoder.step([r.ids[-1] for r in rows], [r.cached for r in rows])
        yield from self._advance(logits, 0)

    @torch.inference_mode()
    def _choose(self, logits: torch.Tensor, rows: list[Row], first: int) -> tuple[list[int], list[float] | None]:
        """Return the next id of each row and, where asked for, its log-probability."""
        for i, row in enumerate(rows):
            if row.must_think():
                logits[i, self._forbidden(row)] = -torch.inf
        chooser = self._chooser if first == 0 else None
        if chooser is None:
            chooser = Chooser.build([r.sampling for r in rows], logits.device)
            self._chooser = chooser if first == 0 else None
        uniform = None if chooser.all_greedy else uniforms([r.seed for r in rows], [len(r.ids) for r in rows])
        seen = self._seen_rows(rows, first, logits.shape[-1]) if chooser.penalty is not None else None
        tokens = chooser.choose(logits, uniform, seen)
        forced = [(i, r.forced[0]) for i, r in enumerate(rows) if r.forced]
        if forced:
            tokens[[i for i, _ in forced]] = torch.tensor([t for _, t in forced], device=tokens.device)
        if self._seen is not None:
            self._seen[range(first, first + len(rows)), tokens] = True
        logprobs = chooser.logprobs(logits, tokens)
        return tokens.tolist(), None if logprobs is None else logprobs.tolist()

    def _forbidden(self, row: Row) -> list[int]:
        """Return the ids that would end the chain or the reply."""
        tag = self._markers.end_think
        ends = [*self._markers.stops, *row.sampling.stop_ids]
        if len(tag) == 1 or row.ids[-len(tag) + 1 :] == list(tag[:-1]):
            ends.append(tag[-1])
        return ends

    def _advance(self, logits: torch.Tensor, first: int) -> Iterator[tuple[int, Reply]]:
        """Give every row from slot ``first`` on its next token; yield the replies of those that are done."""
        rows = self._active[first:]
        tokens, logprobs = self._choose(logits, rows, first)
        done = []
        for i, row in enumerate(rows):
            logprob = logprobs[i] if logprobs is not None and row.sampling.logprobs else None
            piece = row.accept(tokens[i], logprob, self._markers, self._tokenizer)
            if self._on_event is not None and row.splitter is not None:
                self._tell(row, piece)
            if row.finished is not None or row.request.cancelled.is_set():
                done.append(first + i)
        replies = [(self._active[i].index, self._active[i].reply(self._tokenizer, self._markers)) for i in done]
        for slot in reversed(done):
            self._leave(slot)
        yield from replies

    @torch.inference_mode()
    def _leave(self, slot: int) -> None:
        """Free a slot by moving the last row into it."""
        last = len(self._active) - 1
        if slot != last:
            self._decoder.copy(last, slot, self._active[last].cached)
            if self._seen is not None:
                self._seen[slot] = self._seen[last]
            self._active[slot] = self._active[last]
        self._active.pop()
        self._chooser = None

    def _tell(self, row: Row, piece: str) -> None:
        assert row.splitter is not None and row.detokenizer is not None and self._on_event is not None
        if row.finished is not None and not row.sampling.stop:
            piece += row.detokenizer.flush()
        said = row.splitter.feed(piece) if piece else []
        if row.finished is not None:
            said += row.splitter.flush()
        for kind, text in said:
            self._on_event(Event(row.index, kind, text))

    @torch.inference_mode()
    def _seen_rows(self, rows: list[Row], first: int, vocab: int) -> torch.Tensor:
        """Return (B, V): which ids each row has in its prompt or reply; filled when a row starts."""
        if self._seen is None:
            self._seen = torch.zeros(self._max_rows, vocab, dtype=torch.bool, device=self._device)
            for i, row in enumerate(self._active):
                self._seen[i, row.prompt_ids + row.ids] = True
        elif not rows[0].ids:
            for i, row in enumerate(rows, first):
                self._seen[i] = False
                self._seen[i, row.prompt_ids] = True
        return self._seen[first : first + len(rows)]


def _read(rows: Iterator[Row | None], most: int) -> list[Row] | None:
    """Return the rows up to the first None, perhaps none of them; None where there will be no more."""
    read: list[Row] = []
    for row in itertools.islice(rows, most):
        if row is None:
            return read
        read.append(row)
    return read or None
