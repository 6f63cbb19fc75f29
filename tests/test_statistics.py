import math

import numpy as np
import pytest

from earwitness.evaluate.statistics import mcnemar, paired, wilson


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
