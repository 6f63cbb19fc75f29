"""Is a chain about the sound? Claims and their check, textual surrogates, coherence, judges."""

from earwitness.grounding.claims import Claim, Subject
from earwitness.grounding.extract import ClaimStream, extract
from earwitness.grounding.judge import Agreement, Case, Judge, Judgement, RuleJudge, agreement
from earwitness.grounding.llm_judge import LLMJudge
from earwitness.grounding.surrogate import SurrogateReport, denies_hearing, detect
from earwitness.grounding.verdict import Verdict
from earwitness.grounding.verify import ClaimChecker, tally, verify, verify_chain

__all__ = [
    "Agreement",
    "Case",
    "Claim",
    "ClaimChecker",
    "ClaimStream",
    "Judge",
    "Judgement",
    "LLMJudge",
    "RuleJudge",
    "Subject",
    "SurrogateReport",
    "Verdict",
    "agreement",
    "denies_hearing",
    "detect",
    "extract",
    "tally",
    "verify",
    "verify_chain",
]
