import math

import numpy as np
import pytest

from earwitness.evaluate.statistics import (
    clustered,
    detectable_difference,
    longest_baseline,
    mcnemar,
    paired,
    position_baseline,
    shuffled,
    t_quantile,
    wilson,
)
from earwitness.records import Sample


def test_wilson_matches_published_value():
    # Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662.
    interval = wilson(81, 263)
    assert math.isclose(interval.low, 0.2553, abs_tol=5e-5)
    assert math.isclose(interval.high, 0.3662, abs_tol=5e-5)


def test_wilson_stays_inside_the_unit_interval():
    assert wilson(0, 10).low == 0.0 and wilson(0, 10).high > 0.2
    assert math.isclose(wilson(10, 10).high, 1.0)
    with pytest.raises(ValueError, match="11 of 10"):
        wilson(11, 10)


def test_mcnemar_is_the_sign_test():
    assert mcnemar(0, 0) == 1.0
    assert math.isclose(mcnemar(10, 0), 2 / 2**10)
    assert math.isclose(mcnemar(3, 7), 2 * (1 + 10 + 45 + 120) / 1024)
    assert 0 < mcnemar(900, 400) < 1e-30


def test_paired_counts_and_interval():
    first, second = [True] * 80 + [False] * 20, [True] * 60 + [False] * 40
    result = paired(first, second)
    assert (result.only_first, result.only_second) == (20, 0)
    assert math.isclose(result.difference.value, 0.2)
    assert 0.1 < result.difference.low < 0.2 < result.difference.high < 0.3
    assert result.p < 1e-5
    with pytest.raises(ValueError, match="equal"):
        paired(np.ones(3), np.ones(4))


def test_student_t_matches_the_tables():
    for freedom, value in ((1, 12.7062), (2, 4.3027), (3, 3.1824), (5, 2.5706), (10, 2.2281), (30, 2.0423)):
        assert math.isclose(t_quantile(freedom), value, rel_tol=3e-3)
    with pytest.raises(ValueError, match="at least 1"):
        t_quantile(0)


def test_one_item_a_cluster_is_the_usual_interval():
    scores = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0]
    interval = clustered(scores, range(8))
    half = t_quantile(7) * np.std(scores, ddof=1) / math.sqrt(8)
    assert interval.value == 0.75 and math.isclose(interval.high - 0.75, half)


def test_repeats_of_an_item_say_nothing_new():
    scores, items = [1.0, 0.0, 1.0, 1.0, 0.0], [0, 1, 2, 3, 4]
    once, often = clustered(scores, items), clustered(scores * 4, items * 4)
    assert all(math.isclose(a, b) for a, b in zip(once, often))
    alone = clustered([1.0, 0.0], ["a", "a"])
    assert (alone.low, alone.high) == (0.0, 1.0)
    with pytest.raises(ValueError, match="2 scores in 1 clusters"):
        clustered([1.0, 0.0], ["a"])


def test_a_clustered_interval_covers():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(300):
        means = rng.normal(0.5, 0.2, 30)
        scores = np.repeat(means, 5) + rng.normal(0, 0.05, 150)
        interval = clustered(scores, np.repeat(np.arange(30), 5).tolist())
        hits += interval.low <= 0.5 <= interval.high
    assert 0.91 <= hits / 300 <= 0.98


def test_paired_draws_whole_clusters():
    first, second = [1.0] * 40 + [0.0] * 40, [0.0] * 80
    clusters = [i // 20 for i in range(80)]
    alone, together = paired(first, second), paired(first, second, clusters=clusters)
    assert together.difference.high - together.difference.low > 2 * (alone.difference.high - alone.difference.low)
    with pytest.raises(ValueError, match="80 items have 3 clusters"):
        paired(first, second, clusters=[1, 2, 3])


@pytest.mark.parametrize(("discordant", "points"), [(0.05, 1.98), (0.10, 2.80), (0.15, 3.43), (0.20, 3.96)])
def test_detectable_difference_of_a_thousand_items(discordant, points):
    assert math.isclose(100 * detectable_difference(1000, discordant), points, abs_tol=0.02)


def test_too_few_items_detect_nothing():
    assert detectable_difference(3, 0.01) == math.inf
    with pytest.raises(ValueError, match="give at least 1"):
        detectable_difference(0, 0.1)


def test_blind_baselines():
    assert position_baseline([2, 3, 3, 3], [0, 0, 2, 1]) == [0.5, 0.25, 0.25]
    assert longest_baseline([[1, 3], [2, 2], [5, 1]], [1, 0, 1]) == 0.5  # right, a tie of two, wrong
    with pytest.raises(ValueError, match="give one an item"):
        position_baseline([2], [])


def test_shuffling_depends_on_seed_and_id_alone():
    samples = [Sample(str(i), choices=("a", "b", "c"), answer="a", answer_type="choice") for i in range(60)]
    orders = [shuffled(sample, 5).choices for sample in samples]
    assert len(set(orders)) == 6 and orders == [shuffled(sample, 5).choices for sample in samples]
    assert orders != [shuffled(sample, 6).choices for sample in samples]
    single = Sample("1", choices=("a",), answer="a", answer_type="choice")
    assert shuffled(single, 5) is single
