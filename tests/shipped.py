"""Whether the small model is in the package; until its first version is committed, what needs it is skipped."""

import pytest

from earwitness.engines import shipped_model


def _is_there() -> bool:
    try:
        return shipped_model().is_dir()
    except ValueError:
        return False


needs_weights = pytest.mark.skipif(not _is_there(), reason="the small model is not in this checkout yet")
