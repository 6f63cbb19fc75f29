"""Can SoundWorld be answered without listening? Classifiers that see the text, or length and level, and no sound.

Each scores (question, choice) pairs and picks the best choice, so that it may use wording, the choice itself, its
position and its rank among the choices. Needs scikit-learn (the ``dev`` extra), imported late.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from earwitness.records import Sample


def chance(samples: Sequence[Sample]) -> float:
    """Return the accuracy of picking a choice at random."""
    return float(np.mean([1 / len(s.choices) for s in samples]))


def text_accuracy(train: Sequence[Sample], test: Sequence[Sample]) -> float:
    """Return the test accuracy of a logistic regression on words of question and choices, crossed."""
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.linear_model import LogisticRegression

    hasher = FeatureHasher(n_features=2**17, input_type="string")
    features = hasher.transform([_text_features(s, i) for s in train for i in range(len(s.choices))])
    labels = [choice == s.answer for s in train for choice in s.choices]
    model = LogisticRegression(C=0.3, max_iter=300).fit(features, labels)
    pairs = hasher.transform([_text_features(s, i) for s in test for i in range(len(s.choices))])
    return _accuracy(test, model.predict_proba(pairs)[:, 1])


def level_accuracy(
    train: Sequence[Sample], test: Sequence[Sample], train_sound: np.ndarray, test_sound: np.ndarray
) -> float:
    """Return the test accuracy of boosted trees on (seconds, RMS) and the choice; sounds are (items, 2) arrays."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    names = {task: i for i, task in enumerate(sorted({s.task for s in train}))}
    words = {choice: i for i, choice in enumerate(sorted({c for s in train for c in s.choices}))}

    def rows(samples: Sequence[Sample], sound: np.ndarray) -> np.ndarray:
        return np.array(
            [
                [*heard, names.get(s.task, -1), words.get(choice, -1), i, _rank(s, i)]
                for s, heard in zip(samples, sound)
                for i, choice in enumerate(s.choices)
            ]
        )

    labels = [choice == s.answer for s in train for choice in s.choices]
    model = HistGradientBoostingClassifier(max_iter=150, random_state=0).fit(rows(train, train_sound), labels)
    return _accuracy(test, model.predict_proba(rows(test, test_sound))[:, 1])


def _text_features(sample: Sample, index: int) -> list[str]:
    choice = sample.choices[index]
    words = sample.question.lower().replace("?", "").split()
    pairs = [f"{a} {b}" for a, b in zip(words, words[1:])]
    others = [f"with:{other}|{choice}" for other in sample.choices if other != choice]
    place = [f"at:{index}/{len(sample.choices)}", f"rank:{_rank(sample, index)}/{len(sample.choices)}"]
    return [f"is:{choice}", *place, *others, *(f"{w}|{choice}" for w in words + pairs), f"in:{choice.lower() in words}"]


def _rank(sample: Sample, index: int) -> int:
    return sorted(sample.choices).index(sample.choices[index])


def _accuracy(samples: Sequence[Sample], scores: np.ndarray) -> float:
    right, start = 0, 0
    for s in samples:
        stop = start + len(s.choices)
        right += s.choices[int(np.argmax(scores[start:stop]))] == s.answer
        start = stop
    return right / len(samples)
