"""The page at /: its files, and what a person can do with it in a real browser, also with the keyboard alone."""

import base64
import re
import time

import numpy as np
import pytest
import soundfile
from browser import chromium, needs_chromium
from engine_fixture import tone
from serve_fixture import ask, endless, metric, serving, shipped_engine, wait_until
from shipped import needs_weights

from earwitness import audio
from earwitness.acoustics import Measurements
from earwitness.engines import Sampling
from earwitness.grounding import verify_chain
from earwitness.serve.web import FOLDER

EXAMPLES = FOLDER.parents[2] / "examples"
NOTES, QUESTION = "Two sung notes", "How many semitones apart are the two notes?"
pytestmark = needs_weights


@pytest.fixture(scope="module")
def engine():
    return shipped_engine()


@pytest.fixture(scope="module")
def port(engine):
    with serving(engine) as port:
        yield port


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    path = tmp_path_factory.mktemp("microphone") / "tone.wav"
    soundfile.write(path, 5 * tone(20.0, 880.0), 16_000)
    with chromium(f"--use-file-for-fake-audio-capture={path}") as driver:
        yield driver


# A browser on a busy machine may play a short stretch between two looks at it.
_NOTE_WHAT_IS_PLAYED = """(() => {
  const at = (id) => document.getElementById(id);
  window.played = [];
  new MutationObserver(() => played.push(Number(at("position").value)))
    .observe(at("head"), { attributes: true });
})()"""


class Page:
    """What a person does with the page that is open in a browser."""

    def __init__(self, driver, port):
        self.driver, self.origin = driver, f"http://127.0.0.1:{port}/"
        self.open()

    def open(self):
        self.driver.get(self.origin)
        self.js(_NOTE_WHAT_IS_PLAYED)

    def __getitem__(self, name):
        return self.driver.find_element("id", name)

    def js(self, code, *args):
        return self.driver.execute_script(f"return {code}", *args)

    def ready(self):
        wait_until(lambda: self["ask"].is_enabled())
        return self

    def pick(self, name):
        chip = next(c for c in self.driver.find_elements("class name", "chip") if c.text == name)
        chip.click()
        wait_until(lambda: self["clip-name"].text == name and self["question"].get_property("value"))

    def ask(self, budget=9):
        self.js(
            "[arguments[0].value = arguments[1], arguments[0].dispatchEvent(new Event('input'))]",
            self["budget"],
            budget,
        )
        self["ask"].click()
        self.answered()

    def answered(self):
        wait_until(lambda: self["usage"].text or self["problem"].is_displayed())
        assert not self["problem"].is_displayed(), self["problem"].text

    def marks(self):
        return self.driver.find_elements("css selector", "#chain mark")

    def stretches(self):
        parts = self.driver.find_elements("css selector", "#stretches div")
        return [(float(p.get_attribute("data-start")), float(p.get_attribute("data-end"))) for p in parts]

    def is_playing(self):
        return self["head"].is_displayed()

    def played_by(self, action):
        """Return the first and last moment that are played, when it is over."""
        self.js("window.played.splice(0)")
        action()
        wait_until(lambda: self.js("window.played.length") and not self.is_playing())
        moments = self.js("window.played")
        return min(moments), max(moments)


@pytest.fixture
def page(browser, port):
    browser.get_log("browser")
    yield Page(browser, port).ready()
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


# ---- the files -------------------------------------------------------------------------------------------------------


def test_the_page_and_its_files_are_served_with_their_policy(port):
    status, headers, text = ask(port, None, "/", "GET")
    assert status == 200 and headers["Content-Type"].startswith("text/html")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    named = set(re.findall(r'(?:src|href)="(page/[^"]+)"', text))
    named |= {
        f"page/{name}" for path in FOLDER.glob("*.js") for name in re.findall(r'from "\./([^"]+)"', path.read_text())
    }
    for name in named:
        status, headers, _ = ask(port, None, f"/{name}", "GET")
        assert status == 200 and headers["Content-Security-Policy"] == policy, name
        assert ask(port, None, f"/{name}", "GET", {"If-None-Match": headers["ETag"]})[0] == 304
    assert named == {
        f"page/{p.name}" for p in FOLDER.iterdir() if p.is_file() and p.name not in ("index.html", "recorder.js")
    }
    for path in ("/page/", "/page/none.js", "/page/../app.py", "/page/%2e%2e/app.py", "/page/examples"):
        assert ask(port, None, path, "GET")[0] == 404
    assert ask(port, {}, "/page/main.js")[0] == 405


def test_nothing_names_another_host():
    for path in FOLDER.iterdir():
        if path.is_file():
            text = path.read_text(encoding="ascii").replace('xmlns="http://www.w3.org/2000/svg"', "")
            assert not re.search(r"https?:|[\"'(]//|@import", text), path.name


def test_the_examples_are_those_of_the_repository():
    names = re.findall(r'data-file="(\w+)"', (FOLDER / "index.html").read_text())
    assert sorted(names) == sorted(p.stem for p in (FOLDER / "examples").glob("*.flac")) and len(names) == 3
    for name in names:
        shipped, rate = soundfile.read(FOLDER / "examples" / f"{name}.flac", dtype="int16")
        original, original_rate = soundfile.read(EXAMPLES / f"{name}.wav", dtype="int16")
        assert rate == original_rate and np.array_equal(shipped, original)


# ---- in the browser --------------------------------------------------------------------------------------------------


@needs_chromium
def test_an_example_is_asked_about_and_its_claims_are_heard(page, engine):
    page.pick(NOTES)
    assert page["question"].get_property("value") == QUESTION
    page.ask()
    wave = audio.load_audio(EXAMPLES / "two_sung_notes.wav")
    reply = engine.ask([wave], QUESTION, sampling=Sampling(max_new_tokens=1024))
    verdicts = verify_chain(reply.thinking, Measurements(wave))
    assert page["answer"].text == reply.answer
    assert (
        page.js("arguments[0].textContent.replace(/\\u202f[\\u2713\\u2717?]/g, '').trim()", page["chain"])
        == reply.thinking
    )
    outcomes = [v.outcome for v in verdicts]
    assert [mark.get_attribute("class") for mark in page.marks()] == outcomes and {"verified", "refuted"} <= set(
        outcomes
    )
    colours = {mark.value_of_css_property("background-color") for mark in page.marks()}
    signs = {mark.text[-1] for mark in page.marks()}
    assert len(colours) == len(signs) == len(set(outcomes))  # not by colour alone
    assert [li.text for li in page["tally"].find_elements("tag name", "li")] == [
        f"{sign} {outcomes.count(name)} {name}"
        for sign, name in (("\u2713", "verified"), ("\u2717", "refuted"), ("?", "uncheckable"))
    ]
    first, last = page.played_by(page.marks()[1].click)
    note = Measurements(wave).notes[1]
    assert page.stretches() == [pytest.approx((note.start, note.end), abs=0.002)]
    assert "measured C4" in page["detail-body"].text and "Heard at 0.7" in page["detail-body"].text
    assert note.start - 0.02 <= first < last == pytest.approx(note.end, abs=0.02)
    asked = page.js("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert asked and all(name.startswith(page.origin) for name in asked)


@needs_chromium
def test_places_agree_with_the_server_s_beside_letters_of_two_code_units(page):
    code = """
    const done = arguments[0];
    Promise.all([import("./page/chain.js"), fetch("page/examples/two_notes.flac").then((r) => r.blob())]).then(
      async ([{ Chain }, blob]) => {
        const audio = await new Promise((resolve) => {
          const reader = new FileReader();
          reader.onload = () => resolve(reader.result);
          reader.readAsDataURL(blob);
        });
        const text = "\\u{1F600}\\u{1F600} I hear 1 A3, 2 E4. So be it.";
        const headers = { "Content-Type": "application/json" };
        const body = JSON.stringify({ audio, chain: text });
        const found = await (await fetch("v1/claims", { method: "POST", headers, body })).json();
        const chain = new Chain(document.createElement("p"), (group) => {});
        chain.append(text);
        chain.mark(found.position, found.claims);
        done([chain.text === text, found.claims.map((c) => c.text), chain.tally.verified]);
      },
    );"""
    page.driver.set_script_timeout(60)
    assert page.driver.execute_async_script(code) == [True, ["1 A3", "2 E4"], 2]


@needs_chromium
def test_the_keyboard_is_enough(page):
    from selenium.webdriver import ActionChains, Keys

    def press(*keys):
        for key in keys:
            ActionChains(page.driver).send_keys(key).perform()

    def tab_to(holds):
        for _ in range(40):
            press(Keys.TAB)
            if page.js(f"(({holds})(document.activeElement))"):
                return
        pytest.fail(f"no tab stop where {holds}")

    tab_to("(e) => e.textContent === 'Knock, then bell'")
    press(Keys.ENTER)
    wait_until(lambda: page["clip-name"].text == "Knock, then bell")
    tab_to("(e) => e.id === 'position'")
    press(Keys.END)
    assert page["time"].text == "1.35 s of 1.35 s"
    tab_to("(e) => e.id === 'play'")
    assert page.played_by(lambda: press(" "))[1] == pytest.approx(1.35, abs=0.02)
    tab_to("(e) => e.id === 'question'")
    tab_to("(e) => e.id === 'budget'")
    press(Keys.HOME)
    assert page["budget-text"].text == "no reasoning"
    press(Keys.END, Keys.ARROW_LEFT)
    assert page["budget-text"].text == page["budget"].get_attribute("aria-valuetext") == "2048 tokens"
    tab_to("(e) => e.id === 'ask'")
    press(Keys.ENTER)
    page.answered()
    tab_to("(e) => e.matches('#chain mark')")
    assert (
        page.played_by(lambda: press(Keys.ENTER))
        and page.marks()[0].get_attribute("aria-pressed") == "true"
        and page["detail"].is_displayed()
    )
    assert page.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@needs_chromium
def test_a_screen_reader_finds_a_name_on_everything_and_hears_the_answer(page):
    page.ask()
    for element in page.driver.find_elements(
        "css selector", "button, input, textarea, canvas, mark, section, form, figure"
    ):
        if element.is_displayed() and element.aria_role != "generic":
            assert element.accessible_name, element.get_attribute("outerHTML")[:200]
    mark = page.marks()[0]
    assert mark.aria_role == "button" and mark.accessible_name == "1 A3: verified, measured A3 (220.0 Hz)"
    said = page["status"].get_property("textContent")
    assert said.startswith(f"Answer: {page['answer'].text}.") and "2 verified, 0 refuted" in said


_CONTRASTS = """(() => {
  const rgba = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => {
    const colour = rgba(getComputedStyle(e).backgroundColor);
    return colour[3] === 0 && e.parentElement ? ground(e.parentElement) : colour;
  };
  const out = {};
  for (const e of document.querySelectorAll("body *")) {
    const hasText = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!hasText || !e.checkVisibility() || e.matches(":disabled, .hidden, .skip, noscript")) continue;
    const [a, b] = [light(rgba(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    out[`${e.tagName} ${e.id} ${e.className} ${e.textContent.slice(0, 30)}`] = (a + 0.05) / (b + 0.05);
  }
  return out;
})()"""


@needs_chromium
def test_the_theme_changes_lasts_and_can_be_read(page):
    page.pick(NOTES)
    page.ask()
    page.marks()[-1].click()
    seen = {}
    for _ in range(2):
        seen[page.js("document.documentElement.dataset.theme")] = page.js(
            "getComputedStyle(document.body).backgroundColor"
        )
        assert page["theme"].get_attribute("aria-pressed") == str("dark" == list(seen)[-1]).lower()
        ratios = page.js(_CONTRASTS)
        assert len(ratios) > 20 and {name: ratio for name, ratio in ratios.items() if ratio < 4.5} == {}
        page["theme"].click()
        page["question"].click()  # so that nothing is hovered
    assert set(seen) == {"light", "dark"} and len(set(seen.values())) == 2
    page["theme"].click()
    chosen = page.js("document.documentElement.dataset.theme")
    page.open()
    assert page.ready().js("document.documentElement.dataset.theme") == chosen


@needs_chromium
def test_the_budget_bounds_the_reasoning(page, engine):
    page.pick(NOTES)
    page.ask(budget=0)
    wave = audio.load_audio(EXAMPLES / "two_sung_notes.wav")
    assert page["answer"].text == engine.ask([wave], QUESTION, think=False).answer
    assert page["chain"].text == "" and page["usage"].text.startswith("0 tokens of reasoning")
    page.ask(budget=1)
    assert 0 < int(page["usage"].text.split()[0]) <= 16


@needs_chromium
def test_a_file_is_uploaded_drawn_and_played(page, tmp_path):
    path = tmp_path / "my tone.ogg"
    soundfile.write(path, np.stack([tone(40.0, 660.0)] * 2, axis=1), 16_000)
    page["file"].send_keys(str(path))
    wait_until(lambda: page["clip-name"].text == "my tone.ogg")
    assert page["time"].text == "0.00 s of 40.00 s" and "my tone.ogg, 40.00 s" in page["canvas"].get_attribute(
        "aria-label"
    )
    picture = "new Uint32Array(arguments[0].getContext('2d').getImageData(60, 0, 200, arguments[0].height).data.buffer)"
    assert page.js(f"new Set({picture}).size", page["canvas"]) > 20

    def play_and_stop():
        page["play"].click()
        wait_until(page.is_playing)
        page["play"].click()

    first, last = page.played_by(play_and_stop)
    assert first < last < 39.0 and page["play"].text == "Play"
    path.write_bytes(b"no sound")
    page["file"].send_keys(str(path))
    wait_until(lambda: page["problem"].is_displayed())
    assert "my tone.ogg cannot be read" in page["problem"].text and page["clip-name"].text == "my tone.ogg"


@needs_chromium
def test_what_the_microphone_hears_is_what_is_sent(page):
    page.js("window.sent = [], window.plain = fetch, window.fetch = (...a) => (sent.push(a), plain(...a))")
    page["record"].click()
    wait_until(lambda: "1 s" in page["record-text"].text or page["problem"].is_displayed())
    page["record"].click()
    wait_until(lambda: page["clip-name"].text == "Recording")
    assert page["record-text"].text == "Record"
    page["question"].send_keys("How many sounds are there?")
    page.ask()
    body = page.js("JSON.parse(sent.find(([path]) => path.includes('chat'))[1].body)")
    data = base64.b64decode(body["messages"][0]["content"][1]["input_audio"]["data"])
    wave = audio.load_audio(data)
    spectrum = np.abs(np.fft.rfft(wave[4_000:12_000] * np.hanning(8_000)))
    assert 1.0 <= len(wave) / 16_000 < 20 and np.argmax(spectrum) * 2 == pytest.approx(880, abs=4)


@needs_chromium
def test_a_key_is_asked_for_and_kept_in_memory_and_refusals_are_shown(browser, engine):
    with serving(engine, api_key="s3cret", max_audio_seconds=1.0) as port:
        page = Page(browser, port)
        for key in ("wrong", "s3cret"):
            wait_until(lambda: page["key"].is_displayed())
            page["key"].send_keys(key + "\n")
            if key == "wrong":
                wait_until(lambda: "refused" in page["key-why"].text)
        wait_until(lambda: page["model"].text == "tiny")
        page.ready()["ask"].click()
        wait_until(lambda: page["problem"].is_displayed())
        assert "over its limit of audio" in page["problem"].text
        kept = page.js("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])")
        assert "s3cret" not in kept
        page.open()
        wait_until(lambda: page["key"].is_displayed())
        page["key-cancel"].click()
        wait_until(lambda: page["problem"].is_displayed())
        assert "only with its API key" in page["problem"].text


@needs_chromium
def test_stop_frees_the_place_and_keeps_what_was_said(browser, engine):
    with serving(endless(engine, 1)) as port:
        page = Page(browser, port).ready()
        page["ask"].click()
        wait_until(lambda: len(page["chain"].text) > 20)
        page["stop"].click()
        wait_until(lambda: metric(port, "earwitness_running") == 0)
        said = page["chain"].text
        time.sleep(0.2)
        assert said and page["chain"].text.startswith(said[:20]) and not page["stop"].is_enabled()
        assert not page["problem"].is_displayed()
