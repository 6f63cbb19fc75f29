"""IFEval's and MMAU-Pro's instructions, one right and one wrong output for each."""

import json

import pytest

from earwitness.evaluate import tasks
from earwitness.evaluate.task import decide
from earwitness.evaluate.tasks import audio_instructions
from earwitness.evaluate.tasks.instructions import _RULES, loose, strict

CASES = [
    ("keywords:existence", {"keywords": ["Dog", "cat"]}, "a CAT and a dog", "a dog"),
    ("keywords:frequency", {"keyword": "dog", "frequency": 2, "relation": "at least"}, "dog dog", "dog"),
    ("keywords:frequency", {"keyword": "dog", "frequency": 2, "relation": "less than"}, "dog", "dog Dog"),
    ("keywords:forbidden_words", {"forbidden_words": ["dog"]}, "dogs", "a Dog."),
    ("keywords:letter_frequency", {"letter": "q", "let_frequency": 2, "let_relation": "at least"}, "Qq", "q"),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, "One. Two!", "One."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb", "a\n***\n***\nb"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, "one two", "one two three"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "hear"},
        "a\n\n'Hear, hear",
        "a\n\nhearing",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 1}, "[name]", "name"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "x\nP. S. y", "x\nPS y"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "x P.P.S y", "x P.S. y"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n- b", "* a\n** b"),
    ("detectable_format:constrained_response", {}, "My answer is maybe.", "maybe."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "*a*", "* *"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Part", "num_sections": 2},
        "Part 1 a Part 2",
        "Part 1",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<A title>> x", "<< >> x"),
    ("combination:two_responses", {}, "a\n******\nb", "a ****** a"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it"}, "say it now", "now say it"),
    ("startend:end_checker", {"end_phrase": "The end."}, 'So: "the end."', "The end"),
    ("startend:quotation", {}, '"x"', '"'),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}, "A DOG", "A dog"),
    ("change_case:english_capital", {}, "A DOG", "A Dog"),
    ("change_case:english_lowercase", {}, "a dog", "a Dog"),
    ("punctuation:no_comma", {}, "a b", "a, b"),
]


@pytest.mark.parametrize(("rule", "given", "right", "wrong"), CASES)
def test_a_right_and_a_wrong_output(rule, given, right, wrong):
    assert strict(right, [rule], [given | {"unused": None}]) == [True]
    assert strict(wrong, [rule], [given]) == [False] and strict("  ", [rule], [given]) == [False]


def test_every_rule_has_a_case():
    assert {rule for rule, *_ in CASES} == set(_RULES)


def test_loose_forgives_a_frame_and_stars():
    text = "Sure, here it is:\nno commas *here*\nHope, it helps"
    rules = ["punctuation:no_comma", "startend:end_checker"], [{}, {"end_phrase": "here"}]
    assert strict(text, *rules) == [False, False] and loose(text, *rules) == [True, True]


@pytest.mark.parametrize(
    ("rules", "settings", "words"),
    [
        (["language:response_language"], [{"language": "fr"}], "needs a language detector"),
        (["a:b"], [{}], "is none of IFEval's"),
        (["startend:end_checker"], [{}], "lacks its setting 'end_phrase'"),
        (["punctuation:no_comma"], [], "1 instructions have 0 settings"),
    ],
)
def test_what_cannot_be_decided_is_said(rules, settings, words):
    with pytest.raises(ValueError, match=words):
        strict("x", rules, settings)


# MMAU-Pro: name, settings, a right and a wrong output.
AUDIO = [
    ("Include Keywords", {"keywords": "Dog, cat"}, "cats and DOGS", "a dog"),
    ("Keyword Frequency", {"keyword": "dog", "N": 2}, "Dog. dog!", "dog dogs"),
    ("Forbidden Words", {"forbidden_words": "dog, cat"}, "a bird", "hotdogs"),
    ("Number Paragraphs", {"N": 2}, "a *** b ***", "a\n\nb"),
    ("Number Words (at least)", {"N": 3}, "one two three", "one-two three"),
    ("Number Words (at most)", {"N": 2}, "one two", "one two three"),
    ("Number Words (range)", {"N1": 2, "N2": 3}, "one two", "one"),
    ("Number Sentences (at least)", {"N": 2}, "One. Two", "One"),
    ("Number Sentences (at most)", {"N": 1}, "One 1.5 two.", "One. Two."),
    ("Number Sentences (range)", {"N1": 1, "N2": 2}, "One! Two?", "One. Two. Three."),
    ("Postscript", {"postscript_marker": "P.S."}, "I skip sand", "I skid."),
    ("Number Placeholder", {"N": 1}, "[name] [place]", "[]"),
    ("Number Bullets", {"N": 2}, "* a\n  * b", "* a\n- b"),
    ("Title", {}, "x <<A title>>", "<<>> x"),
    ("Minimum Number Highlighted Section", {"N": 1}, "*a* b", "a * b"),
    ("Multiple Sections", {"N": 2, "section_splitter": "##"}, "## a ## b", "## a"),
    ("Repeat Prompt", {}, " what barks? a dog", "A dog. What barks?"),
    ("Two Responses", {}, "a ****** b", "a ****** A"),
    ("All Uppercase", {}, "A DOG", "A Dog"),
    ("All Lowercase", {}, "a dog", "1"),
    ("All-capital Words (at least)", {"N": 1}, "a DOG", "a Dog"),
    ("All-capital Words (at most)", {"N": 1}, "a DOG", "A DOG"),
    ("All-capital Words (range)", {"N1": 1, "N2": 1}, "a DOG", "A DOG"),
    ("Start Checker", {"start_phrase": "I hear:"}, "i HEAR, a dog", "Well, I hear"),
    ("End Checker", {"end_phrase": "That is all."}, "A dog. That is all!", "That is all of it"),
    ("Quotation", {}, ' "a dog" ', '"a dog".'),
    ("No Commas", {}, "a dog", "a dog, a cat"),
]


@pytest.mark.parametrize(("name", "given", "right", "wrong"), AUDIO)
def test_mmau_pro_right_and_wrong(name, given, right, wrong):
    assert audio_instructions.followed(right, name, given, "What barks?") is True
    assert audio_instructions.followed(wrong, name, given, "What barks?") is False


def test_mmau_pro_has_27_rules_and_its_quirks():
    bounded = {f"{name} ({bound})" for name in audio_instructions._COUNTS for bound in ("at least", "at most", "range")}
    assert {name for name, *_ in AUDIO} == bounded | set(audio_instructions._RULES) and len(AUDIO) == 27
    assert audio_instructions.followed("", "No Commas", {}) and not audio_instructions.followed("x", "Rhyme", {})
    with pytest.raises(ValueError, match="'Number Words .at least.' has the settings"):
        audio_instructions.followed("x", "Number Words (at least)", {"N": "three"})


def test_mmau_pro_instructions_are_scored_from_a_file(tmp_path):
    item = {"id": "a", "question": "What barks?", "category": "instruction following", "choices": None, "answer": ""}
    item |= {"task_identifier": "Number Words (at most)", "kwargs": {"N": 2, "N1": None}}
    said = ["A dog", "It is a dog", "<think>so many words</think>A dog", "", None]
    rows = [item | {"model_output": text} for text in said] + [item | {"kwargs": '{"N": 1}', "model_output": "Dog"}]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = tasks.get("mmau_pro")
    decisions = decide(task, task.predictions(tmp_path / "said.jsonl")[1])
    # The script counts the words of the chain, follows an empty text and writes a missing one out.
    assert [d.official for d in decisions] == [True, False, False, True, True, True]
    assert [(d.robust, d.rule) for d in decisions][:4] == [
        (True, "instructions"),
        (False, "instructions"),
        (True, "instructions"),
        (False, "empty"),
    ]
