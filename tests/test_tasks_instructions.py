"""IFEval's instructions, one right and one wrong output for each."""

import pytest

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
