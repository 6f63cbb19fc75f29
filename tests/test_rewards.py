"""Verifiers as tables (model said, key, right, rule), and the rewards of eq. 6 and 7."""

import dataclasses
import time

import pytest

from earwitness import prompt, rewards
from earwitness.records import Reply, Sample
from earwitness.rewards import CodeLimits, Verdict, verify

NOTES = ("lower", "higher", "the same")


def choice(choices=NOTES, answer="higher", **more):
    return Sample(id="q", question="?", answer_type="choice", choices=choices, answer=answer, **more)


def number(answer, *acceptable, **extra):
    return Sample(id="q", question="?", answer_type="number", answer=answer, acceptable=acceptable, extra=extra)


def of_type(kind, answer, *acceptable):
    return Sample(id="q", question="?", answer_type=kind, answer=answer, acceptable=acceptable)


def check(sample, said, right, rule):
    verdict = verify(sample, said)
    assert (verdict.right, verdict.rule) == (right, rule), verdict


CHOICES = [
    ("higher", True, "text"),
    ("Higher.", True, "text"),
    ("**Higher**", True, "text"),
    ("same", False, "text"),
    ("The same.", False, "text"),
    ("B", True, "letter"),
    ("b", True, "letter"),
    ("(B)", True, "letter"),
    ("B) higher", True, "letter"),
    ("B. higher", True, "letter"),
    ("B higher", True, "letter"),
    ("**B.** The second rises.", True, "letter"),
    ("Option B", True, "letter"),
    ("B: because it rises", True, "letter"),
    ("B is correct", True, "letter"),
    ("C", False, "letter"),
    ("A. lower", False, "letter"),
    ("D", False, "unparsed"),  # there are three choices
    ("A dog barks", False, "unparsed"),  # an article, not a label
    ("B. lower", False, "ambiguous"),  # label and text disagree
    ("A, B", False, "ambiguous"),
    ("A or B", False, "unparsed"),
    ("A: lower, B: higher", False, "ambiguous"),
    ("B, then C", False, "ambiguous"),
    ("B. But A is also possible", False, "ambiguous"),
    ("B. A bright tone follows", True, "letter"),
    ("'B'", True, "letter"),
    ("- B", True, "letter"),
    ("Choice: B", True, "letter"),
    ("## Final answer\nB", True, "answer_is/letter"),
    ("A. lower\nB. higher", False, "ambiguous"),
    ("Higher. It is not lower at all.", True, "line"),
    ("The first is lower than the second.\n\nhigher", True, "line"),
    ("lower\nhigher", False, "ambiguous"),
    ("I hear that the second note is higher than the first", True, "contained"),
    ("The second note is lower", False, "contained"),
    ("It is not higher", False, "unparsed"),
    ("It isn\u2019t higher", False, "unparsed"),
    ("higher or lower", False, "unparsed"),
    ("I cannot tell", False, "unparsed"),
    ("", False, "unparsed"),
    ("<answer>B</answer>", True, "answer_tag/letter"),
    ("lower <answer>lower</answer> no: <answer> Higher </answer>", True, "answer_tag/text"),
    ("<answer>banana</answer> higher", False, "unparsed"),  # a tag decides
    ("so \\boxed{B}", True, "boxed/letter"),
    ("\\boxed{\\text{higher}}", True, "boxed/text"),
    ("\\boxed{higher", False, "unparsed"),
    ("The answer is B. The first is lower.", True, "answer_is/letter"),
    ("Answer: higher", True, "answer_is/text"),
    ("**Answer:** higher", True, "answer_is/text"),
    ("The answer is lower. Wait, the answer is higher.", True, "answer_is/text"),
    ("The answer is not higher", False, "unparsed"),
    ("the correct option is (C)", False, "answer_is/letter"),
    ("lower</think>higher", True, "text"),
    ("<think>surely B", False, "unparsed"),  # never closed: nothing is mined
]


@pytest.mark.parametrize("said, right, rule", CHOICES)
def test_choice(said, right, rule):
    check(choice(), said, right, rule)


@pytest.mark.parametrize(
    "choices, answer, said, right, rule",
    [
        (("high", "very high"), "very high", "It sounds very high to me", True, "contained"),
        (("high", "very high"), "high", "It sounds very high to me", False, "contained"),
        (("A minor", "C minor", "E major"), "C minor", "C minor", True, "text"),
        (("A minor", "C minor", "E major"), "C minor", "It is in C minor", True, "contained"),
        (("C", "C#", "D"), "C#", "C#", True, "text"),
        (("C", "C#", "D"), "C", "c#", False, "text"),
        (("C", "D"), "D", "I hear a D", False, "unparsed"),  # single letters are never searched for
        (("3", "0", "2", "1"), "0", "0", True, "text"),
        (("3", "0", "2", "1"), "3", "There are 3.5 of them", False, "unparsed"),
        (("Yes", "No"), "Yes", "Yes, there is no noise", False, "unparsed"),
        (("Yes", "No"), "Yes", "Yes. There is no noise", True, "line"),
        (("dog", "cat"), "B", "cat", True, "text"),  # the key may be the letter
        (("\u9ad8\u97f3", "\u4f4e\u97f3"), "\u9ad8\u97f3", "\u662f\u9ad8\u97f3\u3002", True, "contained"),
        (("-3", "3"), "3", "-3", False, "text"),
    ],
)
def test_choice_sets(choices, answer, said, right, rule):
    check(choice(choices, answer), said, right, rule)


def test_choice_properties():
    for index, name in enumerate(NOTES):
        sample, label = choice(answer=name), "ABC"[index]
        for said in (
            name,
            name.upper(),
            label,
            f"({label})",
            f"{label}. {name}",
            f"Answer: {name}",
            f"\\boxed{{{label}}}",
        ):
            assert verify(sample, said).right
            assert verify(sample, f"{NOTES[index - 1]} perhaps.\n</think>\n{said}").right
            for other in NOTES:
                assert verify(choice(answer=other), said).right == (other == name)


def test_choice_accepts_other_names_and_needs_a_key():
    assert verify(choice(acceptable=("rising",)), "Rising.").right
    with pytest.raises(ValueError, match="sample q: the answer 'up' is none of its choices"):
        verify(choice(answer="up"), "up")
    with pytest.raises(ValueError, match="sample q asks for a choice but lacks"):
        verify(choice(choices=()), "up")


@pytest.mark.parametrize(
    "said, key, right, rule",
    [
        ("12", "12", True, "number"),
        ("12.", "12", True, "number"),
        ("12.0", "12", True, "number"),
        ("twelve", "12", True, "number"),
        ("12 apples", "12", True, "only"),
        ("1,200", "1200", True, "number"),
        ("1,20", "120", False, "unparsed"),
        ("1,20", "1", False, "unparsed"),
        ("-3", "3", False, "number"),
        ("minus three", "-3", True, "number"),
        ("$5.00", "5", True, "number"),
        ("two thousand three hundred and forty-five", "2345", True, "number"),
        ("three quarters", "0.75", True, "number"),
        ("two and a half", "5/2", True, "number"),
        ("one and a half", "1.5", True, "number"),
        ("1 3/4", "1.75", True, "number"),
        ("\\frac{3}{4}", "0.75", True, "number"),
        ("1\u00bd", "1.5", True, "number"),
        ("1.5e3", "1500", True, "number"),
        ("50%", "50", True, "number"),
        ("50%", "0.5", True, "number"),
        ("0.5", "50%", True, "number"),
        ("5%", "50%", False, "number"),
        ("0.5%", "50%", False, "number"),
        ("120", "120 bpm", True, "number"),
        ("120 beats per minute", "120 bpm", True, "number"),
        ("120 Hz", "120 bpm", False, "number"),
        ("1500 ms", "1.5 s", True, "number"),
        ("1500", "1.5 s", False, "number"),
        ("2 minutes", "120 seconds", True, "number"),
        ("0.33", "1/3", True, "number"),
        ("0.3", "1/3", False, "number"),
        ("0.34", "1/3", False, "number"),
        ("3.14159", "3.14", True, "number"),
        ("3.2", "3", False, "number"),
        ("0.00", "0.001", False, "number"),
        ("none", "0", True, "number"),
        ("3 * 4 = 12", "12", True, "equals"),
        ("12. Since 3 times 4 is 12.", "12", True, "sentence"),
        ("So there are 12 in all", "12", True, "only"),
        ("There are 5; that one is odd", "5", True, "only"),
        ("It is not 5", "5", False, "unparsed"),
        ("3 or 4", "4", False, "ambiguous"),
        ("more than 12", "12", False, "unparsed"),
        ("The answer is at least 12", "12", False, "unparsed"),
        ("12 thousand", "12000", True, "number"),
        ("1.5 million dollars", "1500000", True, "number"),
        ("first 3, then 4", "4", False, "ambiguous"),
        ("the 2nd of them", "2", False, "unparsed"),
        ("at 3:45", "3", False, "unparsed"),
        ("The answer is 12 apples. Each of 3 has 4.", "12", True, "answer_is/sentence"),
        ("answer: 12", "12", True, "answer_is/number"),
        ("<answer>12 or 13</answer>", "12", False, "ambiguous"),
        ("\\boxed{1{,}000}", "1000", True, "boxed/number"),
        ("no idea", "12", False, "unparsed"),
        ("9" * 5000, "9", False, "unparsed"),
        ("1e999999999", "1", False, "unparsed"),
    ],
)
def test_number(said, key, right, rule):
    check(number(key), said, right, rule)


def test_number_tolerances():
    assert verify(number("120", tolerance=2), "121.5").right
    assert not verify(number("120", tolerance=2), "123").right
    assert verify(number("200", relative_tolerance=0.05), "209").right
    assert not verify(number("200", relative_tolerance=0.05), "211").right
    assert verify(number("200", "100"), "100").right
    with pytest.raises(ValueError, match="sample q: extra.tolerance is 'x'; give a number of at least 0"):
        verify(number("1", tolerance="x"), "1")
    with pytest.raises(ValueError, match="sample q: the answer '1 or 2' is not one number"):
        verify(number("1 or 2"), "1")


def test_every_small_number_in_words_and_digits():
    ones = "zero one two three four five six seven eight nine".split()
    tens = "twenty thirty forty fifty sixty seventy eighty ninety".split()
    for n in range(20, 1000, 7):
        words = [f"{ones[n // 100]} hundred"] if n >= 100 else []
        rest = n % 100
        if 10 <= rest < 20:
            continue
        rest_words = f"{tens[rest // 10 - 2]}-{ones[rest % 10]}" if rest >= 20 and rest % 10 else ""
        rest_words = rest_words or (tens[rest // 10 - 2] if rest >= 20 else ones[rest] if rest else "")
        said = " and ".join([*words, *([rest_words] if rest_words else [])])
        assert verify(number(str(n)), said).right, said
        assert not verify(number(str(n + 1)), said).right


@pytest.mark.parametrize(
    "said, key, right",
    [
        ("1/2", "2/4", True),
        ("0.1 + 0.2", "0.3", True),
        ("2x+1", "1+2*x", True),
        ("2(x+1)", "2x+2", True),
        ("(x+1)(x-1)", "x^2-1", True),
        ("x^2", "x^3", False),
        ("2\\sqrt{2}", "sqrt(8)", True),
        ("\\sqrt[3]{27}", "3", True),
        ("\\frac{\\frac12}{3}", "1/6", True),
        ("\\left(\\frac{1}{2}\\right)^{2}", "0.25", True),
        ("50%", "1/2", True),
        ("5!", "120", True),
        ("(1, 2)", "(1,2)", True),
        ("(2, 1)", "(1,2)", False),
        ("\\{2, 1\\}", "\\{1, 2\\}", True),
        ("y = 2x", "2x", True),
        ("x = 3", "3", True),
        ("xy", "y*x", True),
        ("3x", "3y", False),
        ("sin(pi/2)", "1", True),
        ("-2^2", "-4", True),
        ("1,234", "1234", True),
        ("$x^2$", "x*x", True),
        ("x > 3", "x>3", True),  # outside of the language: compared as text
        ("x > 4", "x>3", False),
        ("9^9^9^9", "1", False),
        ("201!", "1", False),
        ("1/0", "5", False),
        ("(" * 200 + "1" + ")" * 200, "1", False),
        ("__import__('os').getcwd()", "1", False),
        ("().__class__", "1", False),
        ("[x for x in (1,2)]", "1", False),
        ("1+" * 5000 + "1", "5001", False),
    ],
)
def test_expression(said, key, right):
    start = time.perf_counter()
    assert verify(of_type("expression", key), said).right is right
    assert verify(of_type("expression", key), f"The answer is ${said}$").right is right or "$" in said
    assert verify(of_type("expression", key), f"So \\boxed{{{said}}}.").right is right or said.count("(") > 100
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    "said, key, right, rule",
    [
        ("Yes", "yes", True, "leading"),
        ("yes.", "yes", True, "leading"),
        ("No", "yes", False, "leading"),
        ("True", "yes", True, "leading"),
        ("Yes, there is no noise", "yes", True, "leading"),
        ("No bell is heard", "no", True, "leading"),
        ("Yes or no", "yes", False, "ambiguous"),
        ("yes, no, perhaps", "yes", False, "ambiguous"),
        ("No, wait, yes", "no", False, "ambiguous"),
        ("No doubt about it: yes", "no", False, "ambiguous"),
        ("I would say yes", "yes", True, "contained"),
        ("It has to be no.", "no", True, "contained"),
        ("That is not true", "yes", False, "unparsed"),
        ("There is no bell", "no", False, "unparsed"),
        ("Perhaps", "no", False, "unparsed"),
        ("The answer is no", "no", True, "answer_is/leading"),
        ("\\boxed{Yes}", "no", False, "boxed/leading"),
        ("\u662f\u7684\uff0c\u6709", "yes", True, "leading"),
    ],
)
def test_yes_no(said, key, right, rule):
    check(of_type("yes_no", key), said, right, rule)


@pytest.mark.parametrize(
    "said, keys, right, rule",
    [
        ("The Trumpet!", ("trumpet",), True, "text"),
        ("trumpet", ("brass", "a trumpet"), True, "text"),
        ("trumpet or flute", ("trumpet",), False, "text"),
        ("A trumpet. It is bright.", ("trumpet",), True, "sentence"),
        ("Answer: trumpet", ("trumpet",), True, "answer_is/text"),
        ("C#", ("C",), False, "text"),
        ("-5", ("5",), False, "text"),
        ("3.5", ("35",), False, "text"),
        ("3,500", ("3500",), True, "text"),
        ("3:45", ("345",), False, "text"),
        ("don't", ("dont",), True, "text"),
        ("well-known", ("well known",), True, "text"),
        ("caf\u00e9", ("Caf\u00e9",), True, "text"),
        ("\u9ad8\u97f3\u3002", ("\u9ad8\u97f3",), True, "text"),
        ("the", ("The",), True, "text"),
        ("", ("x",), False, "unparsed"),
    ],
)
def test_text(said, keys, right, rule):
    check(of_type("text", *keys), said, right, rule)


def test_open_is_left_to_a_judge():
    check(of_type("open", None), "a warm, round tone", False, "open")
    with pytest.raises(ValueError, match="sample q has no answer"):
        verify(of_type("text", None), "x")


SQUARE = Sample(id="q", question="?", answer_type="code", tests=("assert f(2) == 4", "assert f(-3) == 9"))
ECHO = dataclasses.replace(SQUARE, tests=('{"input": "3\\n", "output": "9\\n"}',))
LIMITS = CodeLimits(wall_seconds=5, cpu_seconds=1, memory_bytes=2**28)


@pytest.mark.parametrize(
    "sample, said, right, rule",
    [
        (SQUARE, "Sure:\n```python\ndef f(x):\n    return x * x\n```\nDone.", True, "tests_passed"),
        (SQUARE, "def f(x): return x * x", True, "tests_passed"),
        (SQUARE, "```python\ndef f(x): return x * x\n```\n```\noutput\n```", True, "tests_passed"),
        (SQUARE, "def f(x): return 2 * x", False, "tests_failed"),
        (SQUARE, "def f(x) return", False, "no_code"),
        (SQUARE, "```js\nlet f = 1\n```", False, "no_code"),
        (SQUARE, "import sys; sys.exit(0)", False, "code_error"),
        (SQUARE, "import os; os._exit(0)", False, "code_error"),
        (SQUARE, "while True: pass", False, "code_error"),  # the limit on CPU time
        (SQUARE, "x = [0] * 10**9\ndef f(x): return x * x", False, "code_error"),
        (SQUARE, "open('x', 'w').write('y' * 10**7)\ndef f(x): return x * x", False, "code_error"),
        (SQUARE, "import numpy\ndef f(x): return x * x", False, "code_error"),
        (ECHO, "print(int(input()) ** 2)", True, "tests_passed"),
        (ECHO, "import sys\nprint('9  ')\nsys.exit()", True, "tests_passed"),
        (ECHO, "print(8)", False, "tests_failed"),
    ],
)
def test_code(sample, said, right, rule):
    verdict = verify(sample, said, LIMITS)
    assert (verdict.right, verdict.rule) == (right, rule)


def test_code_ends_with_its_children():
    start = time.perf_counter()
    stuck = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\ninput()"
    asleep = "import time\ntime.sleep(60)"
    limits = CodeLimits(wall_seconds=0.5)
    assert verify(ECHO, asleep, limits).rule == "timeout"
    assert verify(ECHO, stuck, limits).rule in ("timeout", "tests_failed", "code_error")
    assert time.perf_counter() - start < 5


def test_code_needs_tests_and_sane_limits():
    with pytest.raises(ValueError, match="sample q has answer_type 'code' but no tests"):
        verify(dataclasses.replace(SQUARE, tests=()), "x = 1")
    with pytest.raises(ValueError, match="CodeLimits.cpu_seconds is 0"):
        CodeLimits(cpu_seconds=0)


CHAIN = "the second note is clearly higher than one before"


def reward(text, **options):
    return rewards.audio_reward(prompt.parse(text), choice(), **options)


@pytest.mark.parametrize(
    "text, accuracy, form",
    [
        (f"{CHAIN}</think>higher<|EOT|>", 1, 1),
        (f"{CHAIN}</think>lower<|EOT|>", 0, 1),
        (f"<think>\n{CHAIN}\n</think>\n\nhigher<|EOT|>", 1, 1),
        ("\n</think>\nhigher<|EOT|>", 1, 0),  # no reasoning
        ("one two three four five six seven</think>higher<|EOT|>", 1, 0),  # seven words
        ("note " * 9 + "</think>higher<|EOT|>", 1, 0),  # repeated
        ("Note note NOTE a b c d e f</think>higher<|EOT|>", 1, 0),  # case does not make a word
        ("1 2 3 4 5 6 7 8 9 10</think>higher<|EOT|>", 1, 0),  # numbers are no words
        (f"{CHAIN}</think>lower</think>higher<|EOT|>", 1, 0),  # two closing tags
        (f"{CHAIN} higher<|EOT|>", 0, 0),  # never closed
        (f"{CHAIN}</think>\n<|EOT|>", 0, 0),  # no answer
        ("\u7b2c\u4e8c\u4e2a\u97f3\u6bd4\u7b2c\u4e00\u4e2a\u9ad8\u5f88\u591a</think>higher<|EOT|>", 1, 1),
    ],
)
def test_audio_reward(text, accuracy, form):
    got = reward(text)
    assert (got.accuracy, got.format) == (accuracy, form)
    assert got.total == pytest.approx(0.8 * accuracy + 0.2 * form)
    plain = rewards.text_reward(prompt.parse(text), choice())
    assert (plain.total, plain.accuracy, plain.format) == (accuracy, accuracy, form)
    assert reward(text, format_weight=0.0).total == pytest.approx(0.8 * accuracy)


@pytest.mark.parametrize("status", ["truncated", "degenerate", "foreign", "cancelled", "tool_call", "no_answer"])
def test_replies_that_did_not_end_earn_nothing(status):
    got = rewards.audio_reward(Reply(CHAIN, "higher", status=status), choice())
    assert (got.total, got.verdict.rule) == (0, status)
    assert rewards.text_reward(Reply(CHAIN, "higher", status=status), choice()).total == 0


def test_a_judge_decides_open_answers():
    sample = of_type("open", None)
    reply = Reply(CHAIN, "a bright trumpet")
    assert rewards.audio_reward(reply, sample).total == pytest.approx(0.2)
    assert rewards.audio_reward(reply, sample, verdict=Verdict(True, "judge")).total == pytest.approx(1)
    cut = dataclasses.replace(reply, status="truncated")
    assert rewards.audio_reward(cut, sample, verdict=Verdict(True, "judge")).total == 0


def test_verifiers_never_raise_on_what_a_model_says():
    samples = [choice(), number("3"), of_type("expression", "x+1"), of_type("yes_no", "yes"), of_type("text", "a")]
    odd = [
        "\x00",
        "\\boxed{" * 50,
        "<answer>",
        "$" * 99,
        "*" * 3000,
        "(((",
        "{,}",
        "1/0",
        "\ud800",
        "\\frac{}{}",
        "!!!",
        "%",
        "=" * 50,
        "- - -",
        "answer is " * 500,
        "\u00bd" * 40,
        "^",
        "x!" * 90,
        "one " * 2000,
        "1" * 30000,
        "\n" * 5000,
    ]
    for sample in samples:
        for said in odd:
            start = time.perf_counter()
            assert isinstance(verify(sample, said), Verdict)
            assert time.perf_counter() - start < 1, said[:20]
