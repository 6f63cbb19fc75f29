"""The ways to ask each question of the speech suite; ``train`` and ``heldout`` templates share no string.

In these templates ``^`` stands for an opening and ``~`` for a place (``in the clip``), each in words of its own for
training and held-out questions; the rest is the grammar of ``grammar``.
"""

from __future__ import annotations

from earwitness.soundworld.grammar import Phrasings

_MARKS = {
    "train": {"^": "[|tell me, |listen: |please say, ]", "~": "[ in the clip| in this recording| here|]"},
    "heldout": {
        "^": "[by ear, |going by the audio, |after listening, |from the sound alone, ]",
        "~": "[ in this audio| in what you hear| in the sample| on the tape]",
    },
}


def _phrasings(train: tuple[str, ...], heldout: tuple[str, ...]) -> Phrasings:
    """Return the phrasings of one type with their marks replaced."""

    def filled(templates: tuple[str, ...], marks: dict[str, str]) -> tuple[str, ...]:
        return tuple(t.replace("^", marks["^"]).replace("~", marks["~"]) for t in templates)

    return Phrasings(filled(train, _MARKS["train"]), filled(heldout, _MARKS["heldout"]))


PHRASINGS = {
    "kth_word": _phrasings(
        (
            "^[what|which word] is the {kth} word~?",
            "which word [is spoken|is said|comes] {kth}~?",
        ),
        (
            "^what does one hear as the {kth} word?",
            "[name|give] the {kth} [spoken |uttered |]word~.",
            "[the {kth} word: what is it|what was the {kth} word|as {kth} word one hears what]~?",
        ),
    ),
    "kth_speaker": _phrasings(
        (
            "^who [says|speaks] the {kth} word~?",
            "which [speaker|voice] says word number {k}~?",
        ),
        (
            "^[whose voice is it on|who utters] the {kth} word?",
            "the {kth} word [is spoken by whom|belongs to whose voice|comes from which person]~?",
            "[by whom is|who pronounces] word {k} [pronounced |]~?",
        ),
    ),
    "kth_loudness": _phrasings(
        (
            "^how loud is the {kth} word~?",
            "[at what|with what] loudness is the {kth} word [said|spoken]~?",
        ),
        (
            "^what is the volume of [word {k}|the {kth} word]?",
            "[what level has word {k}|describe the volume of word {k}|how strong is the {kth} word]~?",
            "judge the {kth} word's [volume|level|strength]~.",
        ),
    ),
    "kth_pace": _phrasings(
        (
            "^at what pace is the {kth} word [said|spoken]~?",
            "how [quickly|fast] is the {kth} word [said|spoken]?",
        ),
        (
            "^what is the speed of [word {k}|the {kth} word]?",
            "[with what speed|at which tempo] is word {k} [uttered|pronounced]~?",
            "judge the tempo of the {kth} word~.",
            "is the {kth} word hurried or drawn out~?",
        ),
    ),
    "intonation": _phrasings(
        (
            "^[what does the intonation do at the end|how does the intonation end|"
            "which way does the voice go at the end]~?",
            "what is the [final|closing] intonation [of the sentence|of the voice|of the speaker]~?",
        ),
        (
            "^[in which direction does the pitch move as the sentence closes|"
            "how does the melody of the voice finish|what does the pitch do on the last word]?",
            "[describe the pitch movement on the last syllable|name the tune at the close of the sentence|"
            "say where the pitch heads at the finish|give the direction of the last pitch movement|"
            "identify the ending contour]~.",
        ),
    ),
    "sentence_pace": _phrasings(
        (
            "^[at what pace does the speaker talk|how fast is the sentence spoken|how quickly does the voice speak]~?",
            "what is the [speaking pace|pace of the speech|pace of the voice|talking speed|pace of the sentence]~?",
        ),
        (
            "^[is the talker hurrying or taking time|what is the tempo of the talking|how rapid is the delivery]?",
            "[judge the tempo of the speech|describe the speed of delivery|name the speaker's tempo|"
            "rate how rapidly the words come|give the tempo of the utterance]~.",
        ),
    ),
    "voice_style": _phrasings(
        (
            "^[how does the voice sound|what is the mood of the voice|which feeling does the voice have]~?",
            "leaving the words aside, [how does the speaker sound|what is the tone of voice|"
            "what mood does the voice show|what feeling is in the voice|how does the tone of voice seem]~?",
        ),
        (
            "^[what emotion does the tone carry|which mood is in the delivery|"
            "how does the talker come across by tone]?",
            "ignore the meaning: [name the emotion of the delivery|describe the tone|"
            "name the talker's mood by tone|judge the tone alone|say how it is delivered]~.",
        ),
    ),
    "background": _phrasings(
        (
            "^[what is in the background|what noise is in the background|which sound lies behind the speech]~?",
            "[what can be heard behind|which background goes with|what background sound is there behind|"
            "what noise is there behind|what sound is there under] the [voice|speech]~?",
        ),
        (
            "^[what accompanies the talking|which ambience surrounds the words|"
            "what else sounds apart from the talking]?",
            "[name the ambience|identify the noise under the words|describe what sounds during the gaps|"
            "name what fills the pauses|say which ambience there is]~.",
        ),
    ),
    "how_many_words": _phrasings(
        (
            "^how many words [are there|are spoken|are said|do you hear]~?",
            "what is the number of words~?",
        ),
        (
            "^[what is the word count|count the words|what do the words number]?",
            "[count every word spoken|give the total of the words|state how many single words occur|"
            "report the number of the utterances|find the word total]~.",
        ),
    ),
    "how_many_by": _phrasings(
        (
            "^how many words does the {speaker} [say|speak]~?",
            "how many [words|of the words] are by the {speaker}~?",
        ),
        (
            "^what is the number of words [from|uttered by|coming from] the {speaker}?",
            "[count what the {speaker} says|count the {speaker}'s words|"
            "give the total of the {speaker}'s words|state how often the {speaker} speaks|"
            "find how many utterances the {speaker} has]~.",
        ),
    ),
    "which_first": _phrasings(
        (
            "^which [comes|is said|is spoken] first, {x} or {y}?",
            "[do you hear {x} or {y} first|which word comes first, {x} or {y}|is {x} or {y} the earlier word|"
            "which is earlier, {x} or {y}|which one starts first, {x} or {y}|what comes first, {x} or {y}]~?",
        ),
        (
            "^[which precedes the other|which of the two leads|which turns up sooner], {x} or {y}?",
            "of {x} and {y}, [name the one that leads|say which is sooner|"
            "pick the one uttered before the other|give the one that opens|find the one that precedes]~.",
        ),
    ),
    "word_after": _phrasings(
        (
            "^[what|which word] [comes|is said|is spoken] right after {x}~?",
            "which word follows {x}~?",
        ),
        (
            "^[what succeeds {x}|which word is next once {x} is over|what is next to {x} on the later side]?",
            "[name the successor of {x}|give the word that succeeds {x}|"
            "find what is uttered next when {x} is done|say what {x} leads to|"
            "identify the neighbour that trails {x}]~.",
        ),
    ),
    "kth_category": _phrasings(
        (
            "^[what kind of thing is the {kth} word|which category is the {kth} word|"
            "what sort of word is the {kth} one]~?",
            "the {kth} word [is what kind of thing|names what kind of thing|belongs to which category|"
            "falls into which category]~?",
        ),
        (
            "^[under which heading goes the {kth} word|what class has the {kth} word|what group does word {k} fit]?",
            "[classify the {kth} word|sort the {kth} word into its group|name the group of word {k}|"
            "give the class of the {kth} word|assign word {k} to its class]~.",
        ),
    ),
    "words_sentiment": _phrasings(
        (
            "^[what do the words say, good or bad|what is the feeling of the words themselves|"
            "how do the words read without the voice]~?",
            "leaving the voice aside, [what do the words express|what is the sentiment of the words|"
            "how is the meaning of the words|what do the words mean to say|what feeling do the words have]~?",
        ),
        (
            "^[what attitude is in the text alone|which sentiment would the written sentence have|"
            "how would a reader rate the text]?",
            "ignore the tone: [rate the text|judge the text alone|name the sentiment of the sentence|"
            "describe the meaning alone|say what the text conveys]~.",
        ),
    ),
    "one_or_two": _phrasings(
        (
            "^how many [speakers|people|voices] [are there|do you hear]~?",
            "[what is the number of speakers|does anyone else join in, how many people speak]~?",
        ),
        (
            "^[is anybody else talking, how many persons are heard|how many talkers take part|"
            "what is the number of talkers]?",
            "[count the talkers|count those who talk|give the number of persons|"
            "state how many different talkers occur|find how many persons talk]~.",
        ),
    ),
    "who_asks": _phrasings(
        (
            "^who asks [a|the] question~?",
            "which [speaker|voice|person] asks [a|the] question~?",
        ),
        (
            "^[whose sentence is the question|who ends on a rise|which talker is asking]?",
            "[name the one who is asking|name the talker whose pitch goes up at the close|"
            "say who wants an answer|pick the talker with the questioning tune|identify the questioner]~.",
        ),
    ),
    "count_by": _phrasings(
        (
            "^how many {plural} does the {speaker} [say|name]~?",
            "how many {plural} are [said|spoken|named] by the {speaker}~?",
        ),
        (
            "^[what is the number of {plural} in the {speaker}'s words|"
            "how often does the {speaker} mention {plural}|how many of the {speaker}'s words are {plural}]?",
            "[count the {plural} that the {speaker} says|count the {speaker}'s {plural}|"
            "give the total of {plural} by the {speaker}|find how many {plural} come from the {speaker}|"
            "state the number of the {speaker}'s {plural}]~.",
        ),
    ),
    "count_loud": _phrasings(
        (
            "^how many {loudness} {plural} [are there|are said|do you hear]~?",
            "how many of the {plural} are {loudness}~?",
        ),
        (
            "^[what is the number of {loudness} {plural}|how often is one of the {plural} {loudness}|"
            "how many times are {plural} {loudness}]?",
            "[count the {loudness} {plural}|give the total of {loudness} {plural}|"
            "find how many {plural} come out {loudness}|state the number of {plural} that are {loudness}|"
            "report how many {plural} sound {loudness}]~.",
        ),
    ),
    "more_of": _phrasings(
        (
            "^are there more {x} or more {y}~?",
            "[do you hear more {x} or more {y}|which are more, {x} or {y}|are more {x} or more {y} said|"
            "what is said more, {x} or {y}|what is there more of, {x} or {y}]~?",
        ),
        (
            "^[which outnumber the other, {x} or {y}|who is in the majority, {x} or {y}|"
            "what is named oftener, {x} or {y}]?",
            "[compare the number of {x} with that of {y}|weigh the {x} against the {y}|"
            "say whether {x} or {y} are in the lead|count {x} against {y}|judge if {x} or {y} prevail]~.",
        ),
    ),
    "who_says_more": _phrasings(
        (
            "^who [says|names|speaks] more {plural}, the {x} or the {y}?",
            "[does the {x} or the {y} say more {plural}|which speaker says more {plural}, the {x} or the {y}|"
            "are more {plural} by the {x} or by the {y}|who has more {plural}, the {x} or the {y}|"
            "are more {plural} said by the {x} or the {y}]~?",
        ),
        (
            "^[who is ahead in {plural}, {x} or {y}|whose words hold more {plural}, {x}'s or {y}'s|"
            "who mentions {plural} oftener, {x} or {y}]?",
            "[compare {x} and {y} by the number of {plural}|weigh the {x}'s {plural} against the {y}'s|"
            "say whether {x} or {y} leads in {plural}|count the {plural} of {x} against those of {y}|"
            "judge if the {x} or the {y} has the lead in {plural}]~.",
        ),
    ),
    "kth_word_by": _phrasings(
        (
            "^[what|which] is the {kth} word [said|spoken] by the {speaker}~?",
            "which word does the {speaker} say {kth}~?",
        ),
        (
            "^[as {kth} word, what does the {speaker} utter|what is {kth} among the {speaker}'s words|"
            "which of the {speaker}'s words is the {kth}]?",
            "[name the {speaker}'s {kth} word|give the {kth} utterance by the {speaker}|"
            "find the {speaker}'s {kth} utterance|state the {kth} thing that the {speaker} says|"
            "take the {speaker}'s words only and give the {kth}]~.",
        ),
    ),
    "last_loudness": _phrasings(
        (
            "^how loud is the last {category}~?",
            "[at|with] what loudness is the [last|final] {category} [said|spoken]~?",
        ),
        (
            "^[what volume has the closing {category}|how strong does the final {category} come out|"
            "what is the level of the latest {category}]?",
            "[judge the volume of the closing {category}|describe the final {category}'s volume|"
            "take the {category} that comes latest and give its volume|"
            "name the level of the last-named {category}|rate how strong the latest {category} is]~.",
        ),
    ),
    "last_speaker": _phrasings(
        (
            "^who says the [last|final] {category}~?",
            "which [speaker|voice] says the [last|final] {category}~?",
        ),
        (
            "^[whose voice has the closing {category}|who utters the latest {category}|"
            "by whom is the last-named {category}]?",
            "[name the talker of the closing {category}|say whose the latest {category} is|"
            "take the {category} that comes latest and name its talker|"
            "identify who utters the closing {category}|find the voice behind the last-named {category}]~.",
        ),
    ),
    "between": _phrasings(
        (
            "^how many words [are|come|lie] between {x} and {y}~?",
            "how many words are [said|spoken] between {x} and {y}~?",
        ),
        (
            "^[how many utterances separate {x} from {y}|what is the number of words parting {x} from {y}|"
            "how many others stand amid {x} and {y}]?",
            "[count the words that separate {x} and {y}|count what is said from {x} to {y}, both left out|"
            "give the number of words enclosed by {x} and {y}|find how many others are enclosed by {x} and {y}|"
            "state how many utterances part {x} and {y}]~.",
        ),
    ),
    "kth_loud_category": _phrasings(
        (
            "^[what kind of thing|which category|what sort of thing] is the {kth} {loudness} word~?",
            "the {kth} {loudness} word [names what kind of thing|is in which category]~?",
        ),
        (
            "^[under which heading goes the {kth} {loudness} word|what class has the {kth} {loudness} word|"
            "what group does {loudness} word number {k} fit]?",
            "[classify the {kth} {loudness} word|sort the {kth} {loudness} word into its group|"
            "take the {loudness} words and give the class of the {kth}|"
            "name the group of the {kth} {loudness} word|among the {loudness} words, classify the {kth}]~.",
        ),
    ),
    "after_loud": _phrasings(
        (
            "^[what|which word] [comes|is said] right after the first {loudness} {category}~?",
            "which word follows the first {loudness} {category}~?",
        ),
        (
            "^[what succeeds the first {loudness} {category}|"
            "which word is next once the earliest {loudness} {category} is over|"
            "what trails the earliest {loudness} {category}]?",
            "[name the successor of the earliest {loudness} {category}|"
            "give the word that succeeds the first {loudness} {category}|"
            "find the first {loudness} {category} and name its successor|"
            "say what the earliest {loudness} {category} leads to|"
            "identify what is uttered next when the first {loudness} {category} is done]~.",
        ),
    ),
    "agree": _phrasings(
        (
            "^do the voice and the words [fit each other|go together|match]~?",
            "[does the voice fit the words|does the tone of voice go with what is said|"
            "do the words fit the voice|do tone and words say the same|"
            "does the way it is said match what is said]~?",
        ),
        (
            "^[is the delivery in line with the text|are text and tone at odds|"
            "does the emotion of the tone suit the text]?",
            "[compare the mood of the tone with the text|judge if the delivery suits the text|"
            "say whether text and tone are in line|weigh the tone against the meaning|"
            "decide if the mood and the meaning are at odds]~.",
        ),
    ),
}
