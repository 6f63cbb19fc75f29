"""The losses against verl and TRL themselves, where they are installed, and the frozen vectors against both."""

import pathlib
import sys

import pytest

pytest.importorskip("verl.trainer.ppo.core_algos")
pytest.importorskip("trl")
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import loss_cases  # noqa: E402
import make_losses  # noqa: E402
import torch  # noqa: E402


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_errors_against_the_live_references(seed):
    inputs = make_losses.make_inputs(seed)
    reference = {k: torch.as_tensor(v).detach() for k, v in make_losses.reference(inputs).items()}
    errors = loss_cases.errors(inputs, reference)
    assert {k: e for k, e in errors.items() if e > 1e-6} == {}


def test_frozen_vectors_are_what_the_references_return():
    inputs, frozen = loss_cases.load()
    for key, value in make_losses.reference(inputs).items():
        torch.testing.assert_close(torch.as_tensor(value).detach().double(), frozen[key].double(), rtol=0, atol=1e-6)
