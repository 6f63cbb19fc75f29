"""Multiple choice, and yes or no."""

from __future__ import annotations

import re
from collections.abc import Sequence

from earwitness.records import Sample
from earwitness.rewards.extraction import Place, first_sentence, negated, plain, search, trimmed
from earwitness.rewards.verdict import Verdict

# "B", "(B)", "b)", "Option B.", "B: ..."; a bare capital before a word is an article as often as it is a label.
_LETTER = re.compile(
    r"\A(?:(?:option|choice|letter|answer)[\s:]+)?"
    r"(?:\((?P<round>[A-Za-z])\)|\[(?P<square>[A-Za-z])\]|(?P<marked>[A-Za-z])(?:[).:,]+(?=\s|\Z)|\Z|\s*\n)"
    r"|(?P<bare>[A-Z])(?=\s+(?:is|because|since|as)\b))\s*",
    re.IGNORECASE,
)
# A second label beside the first: "or C", ", C", "(C)", "C:".
_ANOTHER_LETTER = re.compile(
    r"(?:\A\s*|[(\[,/&]\s*|\b(?i:and|or|then|but|also|maybe|perhaps|possibly)\s+)([A-Z])(?=[)\].:,]*(?:\s*\Z|\s*\n|\s+(?:and|or|is)\b))"
    r"|(?<!\w)([A-Z])[)\]:]"
)
_LINE_LETTER = re.compile(r"^\s*[(\[]?([A-Z])[)\].:]", re.MULTILINE)
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")

_YES = ("yes", "yeah", "yep", "true", "correct", "\u662f", "\u662f\u7684", "\u5bf9", "\u6b63\u786e")
_NO = ("no", "nope", "false", "incorrect", "\u5426", "\u4e0d\u662f", "\u4e0d\u5bf9", "\u9519\u8bef")


def verify_choice(sample: Sample, answer: str) -> Verdict:
    """Whether the answer picks the right one of ``sample.choices``.

    What counts, in each place of ``extraction.places``, first match wins:

    * ``text``: the place is a choice, or one of ``sample.acceptable``, but for case, outer punctuation and a leading
      article;
    * ``letter``: it begins with a label A, B, ... of a choice: alone, in brackets, followed by ``) . : ,``, a capital
      before "is", "because", "since", "as", or before the text of its choice;
    * ``line``: its first sentence, or lines of it, are exactly one choice;
    * ``contained``: one choice alone occurs in it as whole words, and outside of it no word negates. A choice inside
      a longer one that was found does not count. Not used where a choice is a single letter.

    ``ambiguous``: two labels, two choices as lines, or a label whose text is that of another choice. A reply that
    names no choice is ``unparsed``. Both are wrong. The key is the text of a choice, or its letter.

    Raises:
        ValueError: the sample has no choices, or its answer is none of them.
    """
    names = _names(sample.choices)
    key = _key(sample, names)
    named = list(enumerate(names)) + [(key, trimmed(text)) for text in sample.acceptable]

    def read(place: Place) -> tuple[str, str] | None:
        how, index = _pick(place.text, named, len(names))
        return (how, "" if index is None else sample.choices[index]) if how else None

    rule, said = search(answer, read)
    return Verdict(bool(said) and names[sample.choices.index(said)] == names[key], rule, said)


def _names(choices: Sequence[str]) -> list[str]:
    """Return the choices as they are compared; less is stripped where stripping would make two of them one."""
    names = [trimmed(choice) for choice in choices]
    if len(set(names)) < len({plain(choice) for choice in choices}) or not all(names):
        return [plain(choice) for choice in choices]
    return names


def _key(sample: Sample, names: list[str]) -> int:
    if not names or sample.answer is None:
        raise ValueError(f"sample {sample.id} asks for a choice but lacks choices or an answer; add them")
    for form in (plain(sample.answer), trimmed(sample.answer)):
        if form in names:
            return names.index(form)
    letter = sample.answer.strip().strip("().").upper()
    if len(letter) == 1 and 0 <= ord(letter) - ord("A") < len(names):
        return ord(letter) - ord("A")
    raise ValueError(f"sample {sample.id}: the answer {sample.answer!r} is none of its choices; correct one of them")


def _pick(text: str, named: list[tuple[int, str]], count: int) -> tuple[str, int | None]:
    """Return (rule, index of the choice); ``("", None)`` where nothing is named."""
    for form in (plain(text), trimmed(text)):
        for index, name in named:
            if form == name:
                return "text", index
    by_letter = _letter(text, named, count)
    if by_letter[0]:
        return by_letter
    lines = [first_sentence(text), *text.split("\n")]
    on_lines = {index for line in lines for index, name in named if name in (plain(line), trimmed(line))}
    if on_lines:
        return ("line", on_lines.pop()) if len(on_lines) == 1 else ("ambiguous", None)
    contained = _contained(plain(text), named)
    return ("contained", contained) if contained is not None else ("", None)


def _letter(text: str, named: list[tuple[int, str]], count: int) -> tuple[str, int | None]:
    text = text.lstrip("\"'*- \t").rstrip("\"'")
    match = _LETTER.match(text)
    if match:
        letter, rest = next(group for group in match.groups() if group), text[match.end() :]
        if match["bare"] and not letter.isupper():
            return "", None
    elif (bare := re.match(r"\A([A-Z])\s+(\S.*)", text)) and (ord(bare[1]) - ord("A"), trimmed(bare[2])) in named:
        letter, rest = bare[1], bare[2]
    else:
        return "", None
    index = ord(letter.upper()) - ord("A")
    if index >= count:
        return "", None
    labels = {label for label in _LINE_LETTER.findall(rest) if ord(label) - ord("A") < count}
    also = {a or b for a, b in _ANOTHER_LETTER.findall(rest.split("\n")[0])}
    beside = {label for label in also if ord(label) - ord("A") < count}
    stated = {other for other, name in named if name in (plain(first_sentence(rest)), trimmed(first_sentence(rest)))}
    if labels - {letter.upper()} or (index not in stated if stated else beside - {letter.upper()}):
        return "ambiguous", None
    return "letter", index


def _contained(text: str, named: list[tuple[int, str]]) -> int | None:
    if any(len(name) == 1 and name.isalpha() and not _CJK.match(name) for _, name in named):
        return None
    taken: list[tuple[int, int]] = []
    found: set[int] = set()
    for index, name in sorted(named, key=lambda pair: -len(pair[1])):
        left = "" if _CJK.match(name) else r"(?<![\w.\-])" if name[0].isdigit() else r"(?<!\w)"
        right = "" if _CJK.match(name[-1]) else r"(?![\w#%]|[.,]\d)"
        for match in re.finditer(left + re.escape(name) + right, text):
            if not any(start <= match.start() and match.end() <= end for start, end in taken):
                taken.append(match.span())
                found.add(index)
    rest = text
    for start, end in taken:
        rest = rest[:start] + " " * (end - start) + rest[end:]
    return found.pop() if len(found) == 1 and not negated(rest) else None


def verify_yes_no(sample: Sample, answer: str) -> Verdict:
    """Whether the answer says yes, or no, as the key does; the key is a word of either list.

    Yes: yes, yeah, yep, true, correct. No: no, nope, false, incorrect. Chinese shi, shi de, dui, zhengque; fou, bu
    shi, bu dui, cuowu. What counts, in each place of ``extraction.places``:

    * ``leading``: the place begins with a word of one list. If no comma, stop or line break follows it, no word of
      the other list may stand in the place; and the next word is never of the other list ("yes, no, perhaps");
    * ``contained``: words of one list alone, and none that negates; "no" only before a mark or the end, since in
      "there is no bell" it answers nothing.

    Raises:
        ValueError: the key is in neither list.
    """
    key = _polarity(trimmed(sample.answer or ""))
    if key is None:
        raise ValueError(f"sample {sample.id}: the answer {sample.answer!r} is neither yes nor no; correct it")
    rule, said = search(answer, _yes_or_no)
    return Verdict(said == ("yes" if key else "no"), rule, said)


def _polarity(word: str) -> bool | None:
    return True if word in _YES else False if word in _NO else None


def _yes_or_no(place: Place) -> tuple[str, str] | None:
    text = plain(place.text).lstrip("\"'(*")
    words = re.findall(r"[^\W_]+(?:'[^\W_]+)?", text)
    if not words:
        return None
    lead = _polarity(words[0])
    polarities = {p for p in map(_polarity, words) if p is not None}
    if lead is not None:
        delimited = (
            len(words) == 1 or not text[len(words[0])].isspace() or "\n" in place.text.strip()[: len(words[0]) + 1]
        )
        follows = _polarity(words[1]) if len(words) > 1 else None
        turned = not lead and bool({"yes", "yeah", "yep"} & set(words))  # "no, wait, yes"
        if (not delimited and len(polarities) > 1) or follows not in (None, lead) or turned:
            return "ambiguous", ""
        return "leading", "yes" if lead else "no"
    marked = {True for word in words if word in _YES} | {False for word in words if word in _NO and word != "no"}
    if re.search(r"\bno(?=\s*(?:[.,;:!]|\Z))", text):
        marked.add(False)
    rest = re.sub(r"\b(?:no|incorrect)\b", " ", text)
    if len(marked) != 1 or negated(rest) or ("no" in words and True in marked):
        return None
    return "contained", "yes" if marked.pop() else "no"
