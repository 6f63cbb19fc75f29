"""Streaming: ids -> text in whole characters, and text -> chain and answer while it is written. Needs no torch."""

from __future__ import annotations

from typing import Any

from earwitness.prompt import END_THINK, THINK


class Detokenizer:
    """Decodes ids one at a time; bytes of an unfinished character are held back."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._said = 0
        """Ids before this one have been returned as text."""
        self._context = 0
        """Decoding starts here: some tokenizers treat the first token of a string differently."""

    def feed(self, token: int) -> str:
        """Return the text that this token completes, perhaps none."""
        self._ids.append(token)
        before = self._decode(self._ids[self._context : self._said])
        now = self._decode(self._ids[self._context :])
        if now.endswith("\ufffd") and len(self._ids) - self._said < 8:  # a character has at most four bytes
            return ""
        self._context, self._said = self._said, len(self._ids)
        return now[len(before) :]

    def flush(self) -> str:
        """Return what is still held back."""
        before = self._decode(self._ids[self._context : self._said])
        now = self._decode(self._ids[self._context :])
        self._context = self._said = len(self._ids)
        return now[len(before) :]

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=False) if ids else ""


class ChainSplitter:
    """Splits a growing text at its think tags; ``prompt.parse`` has the last word on the finished one.

    As there, an opening tag counts only at the very beginning; unlike there, the first closing tag ends the chain,
    because a stream cannot wait for the last.
    """

    def __init__(self, think: bool | None):
        self._kind = "thinking" if think else "answer"
        self._held = ""
        self._is_start = self._is_fresh = True
        """Nothing was said yet, at all or of this part; so leading white space is dropped."""

    def feed(self, text: str) -> list[tuple[str, str]]:
        """Return (kind, text) pieces that are certain; a possible tag and trailing white space are held back."""
        self._held += text
        pieces: list[tuple[str, str]] = []
        if self._is_start and self._held.lstrip().startswith(THINK):
            self._kind, self._is_start = "thinking", False
            self._held = self._held.lstrip()[len(THINK) :]
        if END_THINK in self._held:
            chain, _, self._held = self._held.partition(END_THINK)
            pieces += self._say(chain.rstrip())
            self._kind, self._is_start, self._is_fresh = "answer", False, True
        keep = self._certain()
        certain, self._held = self._held[:keep], self._held[keep:]
        return pieces + self._say(certain)

    def flush(self) -> list[tuple[str, str]]:
        """Return what was held back when the text is over."""
        held, self._held = self._held.rstrip(), ""
        return self._say(held)

    def _certain(self) -> int:
        """Return how much of the held text cannot be part of a tag or of white space before one."""
        end = len(self._held)
        start = self._held.rfind("<")
        if start >= 0 and any(tag.startswith(self._held[start:]) for tag in (THINK, END_THINK)):
            end = start
        return len(self._held[:end].rstrip())

    def _say(self, text: str) -> list[tuple[str, str]]:
        if self._is_fresh:
            text = text.lstrip()
        if not text:
            return []
        self._is_start = self._is_fresh = False
        return [(self._kind, text)]
