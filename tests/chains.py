"""Chains for the surrogate detector: short quotations of the report, and others written for the tests.

Quoted: Step-Audio-R1 Technical Report, arXiv 2511.15848, appendix A.1 (background scene) and A.2 (before and after).
"""

REPORT = {
    "A.1 scene": (
        "The user mentioned it's an audio clip, but since I can't listen to it, I have to rely on the context given. "
        "The content is about government size, which is a political or academic topic. "
        "Since I can't hear it, perhaps the answer is D. Traffic street.",
        True,
    ),
    "A.2 before": (
        "But wait, I can't actually hear any audio. Hmm, maybe the user provided a transcript instead? "
        'The user mentioned "scores," "wide prior," and "noise parameter." These terms sound technical.',
        True,
    ),
    "A.2 after": (
        "Hmm, the key terms here are \u201cprior\u201d and \u201cnoise parameter.\u201d Those "
        "sound like technical terms. "
        "The speaker\u2019s tone is calm and explanatory, like they\u2019re teaching or explaining "
        "a concept to someone. "
        "The pacing is steady, not too fast, which suggests they\u2019re used to breaking down complex ideas.",
        False,
    ),
}

# None of these was used in writing the detector.
SURROGATES = (
    "Okay, I don't have access to the audio, only the question. Dogs are common, so I will say a dog.",
    "The caption says that a man is talking in a kitchen. Kitchens have running water, so the answer is water.",
    "The lyrics mention tears and goodbye. These words suggest sadness, so the mood is sad.",
    "As a text-based model I am unable to listen to recordings. I will guess that the speaker is young.",
    "According to the transcript, she thanks everyone for coming. That phrase suggests a "
    "speech, so she is at a wedding.",
    "Without hearing the clip, I must use common sense. Usually alarms follow a crash, so the alarm is second.",
    "The file name contains rain, so it must be rain. The title also says storm.",
    "He talks about deadlines and meetings. The vocabulary points to an office worker. The "
    "topic is work, so the tone is serious.",
    "I cannot process audio, but people who say such words are usually angry.",
    'The words "so sorry" indicate regret. The phrase "it is over" implies an ending. So the voice is sad.',
)
GROUNDED = (
    "The pitch climbs from a low note to a high one, then drops. The last note is the softest.",
    "Her voice is low and slow, with long pauses, and it falls at the end. The words are "
    "cheerful, but the tone is flat.",
    "I hear a steady rumble under the speech, with horns now and then. The rumble fades, so the train is leaving.",
    "There are three knocks. The second knock is louder than the first. After them a bell rings.",
    "The tempo is about 120 beats per minute. The melody is in a minor key, and the strings swell towards the end.",
    "I hear 1 loud flute, 2 soft violin. Note 2 is soft. So the answer is soft.",
    "The man asks a question: his pitch rises at the end. The woman answers with a falling intonation.",
    "I cannot hear any drums in this piece; there is only a piano, and its notes decay quickly.",
    "The lyrics are about summer, but the slow tempo and the minor harmony make the song sound sad.",
    "The transcript alone would suggest joy, yet the voice is monotone and the pace is slow, so she sounds tired.",
)
