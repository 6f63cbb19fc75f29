"""A mind that is a script: words for tokens, a chain, and an answer that depends on how much of the chain it has."""

import re
from concurrent.futures import Executor, Future

import numpy as np

from earwitness.engines.protocol import Sampling
from earwitness.engines.rows import Markers
from earwitness.realtime.answer import Answer, Prefills
from earwitness.realtime.desk import picked
from earwitness.realtime.pace import Pace
from earwitness.realtime.response import Finish, Speech, Thought
from earwitness.realtime.speaker import Speaker

EOT = "<|EOT|>"


class Words:
    """A tokenizer of words with the white space before them."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def encode(self, text: str) -> list[int]:
        found = re.findall(r"\n|</?think>|<\|EOT\|>|[^\S\n]*[^\s<]+|.", text)
        self.words += [word for word in dict.fromkeys(found) if word not in self.words]
        return [self.words.index(word) for word in found]

    def decode(self, ids, skip_special_tokens=False) -> str:
        return "".join(self.words[i] for i in ids)


class Session:
    def __init__(self, ids) -> None:
        self.ids, self.features = list(ids), []


class ScriptedMinds:
    """``answer`` maps the words of the chain so far, and whether it is closed by the model, to the whole answer."""

    def __init__(self, chain: str, answer) -> None:
        self.tokenizer = Words()
        encode = self.tokenizer.encode
        self.chain, self.answer = encode(chain), answer
        self.end, self.eot, close = encode("</think>")[0], encode(EOT)[0], encode("\n</think>\n")
        self.markers = Markers(-1, frozenset([self.eot]), (self.end,), tuple(close), ())
        self.hushed = (self.end,)
        self.live: set[Session] = set()
        self.contexts: list[str] = []
        """What stood before each segment of an answer."""

    def open(self, text: str) -> Session:
        session = Session(self.tokenizer.encode(text))
        self.live.add(session)
        return session

    def fork(self, session: Session) -> Session:
        assert session in self.live
        other = Session(session.ids)
        self.live.add(other)
        return other

    def feed(self, session: Session, ids) -> None:
        assert session in self.live
        session.ids += ids
        if self.end in ids:
            self.contexts.append(self.tokenizer.decode(session.ids))

    def write(self, session: Session, ids, features) -> None:
        session.ids = list(ids)

    def release(self, session: Session) -> None:
        self.live.discard(session)

    def choose(self, sessions, samplings, draws, forbidden):
        tokens = [self._next(session) for session in sessions]
        assert not any(token in ids for token, ids in zip(tokens, forbidden))
        return tokens, [1.0 for _ in tokens]

    def push(self, sessions, tokens) -> None:
        for session, token in zip(sessions, tokens):
            assert session in self.live
            session.ids.append(token)

    def _next(self, session: Session) -> int:
        text = self.tokenizer.decode(session.ids)
        thought, closed, said = text.partition("<think>\n")[2].partition("</think>\n")
        words = self.tokenizer.encode(thought.strip("\n"))
        if not closed:
            return self.chain[len(words)] if len(words) < len(self.chain) else self.end
        whole = self.tokenizer.encode(self.answer(len(words)))
        place = len(self.tokenizer.encode(said))
        return whole[place] if place < len(whole) else self.eot


class Now(Executor):
    """Runs what is submitted at once."""

    def submit(self, what, /, *given, **named):
        future = Future()
        future.set_result(what(*given, **named))
        return future


class Tones:
    """A voice of one second a word."""

    rate = 100

    def say(self, clause: str) -> np.ndarray:
        return np.ones(self.rate * len(clause.split()), np.float32)


class Stage:
    """One answer on its own clock: ``step`` makes one token of every row, ``play`` lets time pass."""

    def __init__(self, minds: ScriptedMinds, released=True, max_new_tokens=200, voice=None, **pace) -> None:
        self.pieces, self.made, self.played = [], 0.0, 0.0
        self.minds = minds
        self.speaker = Speaker(voice or Tones(), Now(), self.offer, lambda: self.made - self.played, released)
        encode = minds.tokenizer.encode
        prefills = Prefills(encode("\n"), encode("\n\n</think>\n"))
        sampling = Sampling(max_new_tokens=max_new_tokens)
        base = minds.open("X<think>")
        self.answer = Answer(minds, base, prefills, self.speaker, Pace(**pace), sampling)

    def offer(self, piece) -> None:
        self.pieces.append(piece)
        if isinstance(piece, Speech):
            self.made += len(piece.wave) / piece.rate

    def step(self, times: int = 1) -> int:
        """Return how many steps had something to do."""
        for done in range(times):
            rows = picked(self.answer.rows(), 4)
            if not rows:
                return done
            tokens, _ = self.minds.choose([r.session for r in rows], None, None, [r.forbidden for r in rows])
            kept = [(row, token) for row, token in zip(rows, tokens) if row.accept(token)]
            self.minds.push([row.session for row, _ in kept], [token for _, token in kept])
        return times

    def play(self, seconds: float) -> None:
        self.played = min(self.made, self.played + seconds)

    def finish(self) -> None:
        """Let everything be thought, said and played."""
        for _ in range(500):
            self.step(20)
            self.play(1.0)
            if self.answer.over:
                return
        raise AssertionError("the answer did not end")

    @property
    def said(self) -> str:
        return "".join(piece.text for piece in self.pieces if isinstance(piece, Speech))

    @property
    def thought(self) -> str:
        return "".join(piece.text for piece in self.pieces if isinstance(piece, Thought))

    @property
    def finishes(self) -> list[Finish]:
        return [piece for piece in self.pieces if isinstance(piece, Finish)]
