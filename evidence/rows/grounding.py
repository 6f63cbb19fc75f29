"""Contract row: the claim verifier, the measurements and the surrogate detector, on what they were not tuned on.

The sentences, clips and chains are those of the tests; ``tests/planted.py`` says how its halves were kept apart.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

from earwitness.grounding import detect

ROOT = pathlib.Path(__file__).resolve().parents[2]
LEAST = 0.95


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Score the planted claims, the recordings with known settings, and the chains for the surrogate detector."""
    del folder
    sys.path.insert(0, str(ROOT / "tests"))
    import chains
    import planted
    import recordings

    scores = planted.score("heldout", rounds=2 if reduced else 10)
    checks = recordings.measure()
    more = [] if reduced else recordings.installed()
    printed = {name: detect(chain).is_surrogate for name, (chain, _) in chains.REPORT.items()}
    found = sum(detect(chain).is_surrogate for chain in chains.SURROGATES)
    wrongly = sum(detect(chain).is_surrogate for chain in chains.GROUNDED)
    figures: dict[str, Any] = {
        "planted_claims": scores,
        "recordings": len({c.recording for c in checks}),
        "settings_checked": len(checks),
        "settings_missed": [
            f"{c.recording}: {c.what} {c.measured} instead of {c.expected}" for c in checks if not c.holds
        ],
        "tolerances": {
            "pitch_semitones": recordings.SEMITONES,
            "onset_seconds": recordings.SECONDS,
            "syllables_share": recordings.SYLLABLES,
            "voice_pitch_share": recordings.HZ,
            "level_db": recordings.DB,
        },
        "flite_and_fluidsynth": {"settings_checked": len(more), "missed": sum(not c.holds for c in more)},
        "surrogates": {
            "printed_in_the_report": printed,
            "flagged": f"{found} of {len(chains.SURROGATES)}",
            "wrongly_flagged": f"{wrongly} of {len(chains.GROUNDED)}",
        },
    }
    least = LEAST - 0.06 if reduced else LEAST  # a fifth of the claims; the full run has the bound of the contract
    holds = {name: scores[name] >= least for name in scores if name.endswith(("precision", "recall"))}
    holds |= {
        "enough_claims": reduced or min(scores["true"], scores["false"]) >= 200,
        "recordings": figures["recordings"] >= 20 and all(c.holds for c in checks),
        "installed_synthesisers": all(c.holds for c in more),
        "report_chains": all(printed[name] == wanted for name, (_, wanted) in chains.REPORT.items()),
    }
    return {"figures": figures, "holds": holds}
