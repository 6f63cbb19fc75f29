"""Pages that show chains beside their sound: claims are marked where they stand, and nothing of a model is executed."""

import json
import re

import numpy as np

from earwitness import soundworld
from earwitness.acoustics import Measurements
from earwitness.grounding import Claim, Verdict, verify_chain
from earwitness.grounding.report import marked, player
from earwitness.stages import mgrd_report


def verdict(chain, text, outcome):
    start = chain.index(text)
    return Verdict(Claim("level", text, start, start + len(text)), outcome, 'it is "so" & so')


def test_claims_are_marked_and_the_rest_is_escaped():
    chain = "A <b>high</b> note, then a low one."
    html = str(marked(chain, [verdict(chain, "low one", "refuted")]))
    assert html == (
        "A &lt;b&gt;high&lt;/b&gt; note, then a "
        '<mark class="refuted ends" title="low one: refuted, it is &#34;so&#34; &amp; so">low one</mark>.'
    )
    assert str(marked("<script>", [])) == "&lt;script&gt;" and str(marked("", [])) == ""


def test_what_claims_share_has_the_worst_outcome():
    chain = "the second is higher than the first"
    verdicts = [verdict(chain, "second is higher", "verified"), verdict(chain, "higher than the first", "refuted")]
    html = str(marked(chain, verdicts))
    assert re.sub(r' title="[^"]*"', "", html) == (
        'the <mark class="verified">second is </mark><mark class="refuted ends">higher</mark>'
        '<mark class="refuted ends"> than the first</mark>'
    )
    assert re.sub(r"<[^>]*>", "", html) == chain


def test_sound_is_in_the_page():
    html = str(player(np.zeros(160, np.float32)))
    assert html.startswith('<audio controls preload="none" src="data:audio/wav;base64,UklGR')


def test_the_recipe_is_reported_with_its_chains(tmp_path):
    samples = [soundworld.sample("music", "validation", number) for number in range(12)]
    for name, grounded in (("cold", 0.25), ("round-2", 0.5), ("round-10", 0.75), ("dpo", 1.0)):
        folder = tmp_path / name / "metrics"
        folder.mkdir(parents=True)
        accuracy = {"music": {"right": 3, "of": 4}, "average": 0.75}
        chains = {"grounded": grounded, "surrogate": 0.0, "thinking_tokens": 30.0}
        numbers = {"accuracy": {"think": accuracy, "direct": {"average": None}}, "chains": chains}
        numbers["claims"] = {"precision": None, "coverage": 0.5}
        (folder / "metrics.json").write_text(json.dumps(numbers))
        told = {"thinking": f"By {name}: <i>so</i>. Note 1 is A3.", "answer": "yes", "correct": True}
        told |= {"surrogate": False, "reasons": ["it says little"]}
        (folder / "judged.jsonl").write_text("".join(json.dumps({"id": s.id, **told}) + "\n" for s in samples))
    chosen = tmp_path / "round-2" / "chains"
    chosen.mkdir()
    (chosen / "done.json").write_text(json.dumps({"seconds": 1, "result": {"sampled": 80, "not correct": 31}}))
    page = mgrd_report.write(tmp_path, samples).read_text()
    rows = re.findall(r"<tr><td>([\w-]+)</td><td>([\d.]+) %", page)
    assert rows == [("cold", "25.0"), ("round-2", "50.0"), ("round-10", "75.0"), ("dpo", "100.0")]
    assert "<td>music</td><td>75.0 / -</td>" in page and "<th>not correct</th>" in page and "<td>31</td>" in page
    assert page.count("<audio ") == 10 and page.count("By cold: ") == page.count("By dpo: ") == 10
    assert "By round-2" not in page and "<i>" not in page and "right; it says little" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    first = Measurements(soundworld.waveform(samples[0]))
    assert page.count("<mark ") >= 2 * len(verify_chain("By cold: <i>so</i>. Note 1 is A3.", first)) > 0
