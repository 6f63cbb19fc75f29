// The page: what its controls do.

import { json, onKeyNeeded } from "./api.js";
import { Chain, SIGNS } from "./chain.js";
import { ask } from "./conversation.js";
import { Picture } from "./picture.js";
import { Player, RATE, Recorder, decode, wav } from "./sound.js";

const BUDGETS = [0, 16, 32, 64, 128, 256, 512, 1024, 2048, null]; // tokens; null is no limit
const ENDINGS = {
  truncated: "The reply reached its limit.",
  empty_thinking: "The model answered without reasoning.",
  no_answer: "The model reasoned but gave no answer; ask again in other words.",
  degenerate: "The model repeats itself; a think budget bounds its reasoning.",
  foreign: "The model wrote another system's request instead of an answer.",
  tool_call: "The model asks for a tool instead of answering.",
};

const at = (id) => document.getElementById(id);
const picture = new Picture(at("canvas"));
const recorder = new Recorder();
const player = new Player(moveTo, () => {
  at("head").hidden = true;
  at("play").textContent = "Play";
});
const chain = new Chain(at("chain"), choose);

let model = null;
let clip = null; // {name, bytes, samples, seconds, audioId}
let loading = 0; // counts what was asked for, so that only the last one is shown
let running = null; // the AbortController of the reply that is being written

// -- what went wrong, and what goes on ---------------------------------------------------------------------------------

function say(text) {
  at("status").textContent = text;
}

function complain(error) {
  at("problem").textContent = error.message;
  at("problem").hidden = false;
}

async function guarded(action) {
  at("problem").hidden = true;
  try {
    await action();
  } catch (error) {
    if (error.name !== "AbortError") complain(error);
  }
}

// -- the sound ---------------------------------------------------------------------------------------------------------

const clock = (seconds) => `${seconds.toFixed(2)} s`;

function moveTo(seconds) {
  at("head").hidden = false;
  at("head").style.left = `${(100 * seconds) / clip.seconds}%`;
  at("position").value = seconds;
  at("time").textContent = `${clock(seconds)} of ${clock(clip.seconds)}`;
}

function highlight(stretches, outcome) {
  at("stretches").replaceChildren(
    ...stretches.map(([start, end]) => {
      const part = document.createElement("div");
      part.className = outcome;
      part.style.left = `${(100 * start) / clip.seconds}%`;
      part.style.width = `${(100 * (end - start)) / clip.seconds}%`;
      part.dataset.start = start;
      part.dataset.end = end;
      return part;
    }),
  );
}

async function show(name, getBytes, id = ++loading) {
  const bytes = await getBytes();
  let samples;
  try {
    samples = await decode(bytes);
  } catch {
    throw new Error(`${name} cannot be read as sound by this browser; convert it to WAV, FLAC or MP3.`);
  }
  if (id !== loading) return;
  running?.abort();
  player.load(samples);
  clip = { name, bytes, samples, seconds: samples.length / RATE, audioId: null };
  picture.load(samples);
  highlight([], "");
  forget();
  at("canvas").setAttribute("aria-label", `Waveform and spectrogram of ${name}, ${clock(clip.seconds)} long`);
  at("clip-name").textContent = name;
  at("position").max = clip.seconds;
  for (const control of ["play", "position"]) at(control).disabled = false;
  moveTo(0);
  at("head").hidden = true;
  at("ask").disabled = model === null;
  say(`${name}, ${clock(clip.seconds)}`);
}

async function pick(chip) {
  const id = ++loading;
  for (const other of document.querySelectorAll(".chip")) other.setAttribute("aria-pressed", other === chip);
  await show(
    chip.textContent,
    async () => {
      const response = await fetch(`page/examples/${chip.dataset.file}.flac`);
      if (!response.ok) throw new Error("The example cannot be read; is the server still running?");
      return response.arrayBuffer();
    },
    id,
  );
  at("question").value = chip.dataset.question;
}

function own(name, getBytes) {
  for (const chip of document.querySelectorAll(".chip")) chip.setAttribute("aria-pressed", "false");
  return show(name, getBytes);
}

async function record() {
  if (recorder.isRecording) return recorder.stop();
  player.stop();
  at("record").disabled = true; // until the microphone answers
  try {
    const samples = await recorder.record((seconds, peak) => {
      if (at("level").hidden) say("Recording");
      at("record").disabled = at("level").hidden = false;
      at("record").classList.add("on");
      at("record-text").textContent = `Stop, ${Math.floor(seconds)} s`;
      at("level-bar").style.width = `${100 * Math.min(1, Math.sqrt(peak))}%`;
    });
    await own("Recording", async () => wav(samples));
  } finally {
    at("record").disabled = false;
    at("level").hidden = true;
    at("record").classList.remove("on");
    at("record-text").textContent = "Record";
  }
}

function play(stretches) {
  at("play").textContent = "Stop";
  return guarded(() => player.play(stretches));
}

// -- the claims --------------------------------------------------------------------------------------------------------

function choose(group) {
  highlight(group.stretches, group.outcome);
  play(group.stretches.length ? group.stretches : [[0, clip.seconds]]);
  const where = group.stretches.map(([start, end]) => `${start.toFixed(2)} to ${end.toFixed(2)} s`).join(" and ");
  const quote = document.createElement("p");
  quote.className = "quote";
  quote.textContent = `\u201c${group.text}\u201d`;
  const heard = document.createElement("p");
  heard.className = "note";
  heard.textContent = where ? `Heard at ${where}.` : "About the whole clip.";
  at("detail-body").replaceChildren(quote, ...group.claims.map(verdict), heard);
  at("detail").hidden = false;
}

function verdict(claim) {
  const line = document.createElement("p");
  line.className = `verdict ${claim.outcome}`;
  const outcome = document.createElement("strong");
  outcome.textContent = `${SIGNS[claim.outcome]} ${claim.outcome}`;
  line.append(outcome, ` ${claim.kind.replace("_", " ")}: ${claim.reason}`);
  return line;
}

function count() {
  for (const [outcome, number] of Object.entries(chain.tally)) {
    at("tally").querySelector(`.${outcome} b`).textContent = number;
  }
}

function forget() {
  chain.clear();
  count();
  for (const id of ["answer", "usage"]) at(id).textContent = "";
  at("detail").hidden = true;
  highlight([], "");
}

// -- the question ------------------------------------------------------------------------------------------------------

function budget() {
  return BUDGETS[at("budget").value];
}

function showBudget() {
  const tokens = budget();
  const text = tokens === null ? "no limit" : tokens === 0 ? "no reasoning" : `${tokens} tokens`;
  at("budget-text").textContent = text;
  at("budget").setAttribute("aria-valuetext", text);
}

async function submit() {
  running?.abort();
  const mine = (running = new AbortController());
  const began = performance.now();
  forget();
  setBusy(true);
  say("The model listens");
  const view = {
    isOver: () => running !== mine && running !== null,
    thinking: (text) => chain.append(text),
    answer: (text) => at("answer").append(text),
    claims: (position, claims) => {
      chain.mark(position, claims);
      count();
    },
    unchecked: (why) => complain(new Error(`The claims are not checked: ${why}`)),
    ended: (status, usage) => finish(status, usage, (performance.now() - began) / 1000),
  };
  try {
    await ask(model, clip, at("question").value.trim(), budget(), mine.signal, view);
  } finally {
    if (running === mine) {
      running = null;
      setBusy(false);
    }
  }
}

function finish(status, usage, seconds) {
  const ending = ENDINGS[status] ?? "";
  const { completion_tokens: all, completion_tokens_details: parts, prompt_tokens_details: given } = usage;
  const thought = parts.reasoning_tokens;
  const counted = `${thought} tokens of reasoning, ${all - thought} of answer, ${given.audio_tokens} of sound; ${seconds.toFixed(1)} s`;
  at("usage").textContent = `${ending} ${counted}`.trim();
  const { verified, refuted, uncheckable } = chain.tally;
  const claims = `Claims about the sound: ${verified} verified, ${refuted} refuted, ${uncheckable} uncheckable.`;
  say(`Answer: ${at("answer").textContent || "none"}. ${ending} ${claims}`);
}

function setBusy(isBusy) {
  at("chain").setAttribute("aria-busy", isBusy);
  at("stop").disabled = !isBusy;
  document.body.classList.toggle("busy", isBusy);
}

// -- the key -----------------------------------------------------------------------------------------------------------

function askForKey(wasRefused) {
  at("key-why").textContent = wasRefused
    ? "The server refused that key. It is kept in the memory of this page only."
    : "It is kept in the memory of this page only.";
  at("key").value = "";
  at("key-dialog").returnValue = "";
  at("key-dialog").showModal();
  return new Promise((resolve) => {
    at("key-dialog").addEventListener(
      "close",
      () => resolve(at("key-dialog").returnValue === "given" ? at("key").value : null),
      { once: true },
    );
  });
}

// -- everything together -----------------------------------------------------------------------------------------------

function connect() {
  for (const chip of document.querySelectorAll(".chip")) chip.addEventListener("click", () => guarded(() => pick(chip)));
  at("file").addEventListener("change", () => {
    const [file] = at("file").files;
    if (file) guarded(() => own(file.name, () => file.arrayBuffer()));
    at("file").value = ""; // so that the same file can be taken again
  });
  at("record").addEventListener("click", () => guarded(record));
  at("play").addEventListener("click", () => {
    if (player.isPlaying) return player.stop();
    const start = Number(at("position").value);
    play([[start < clip.seconds - 0.05 ? start : 0, clip.seconds]]);
  });
  at("position").addEventListener("input", () => {
    player.stop();
    moveTo(Number(at("position").value));
  });
  at("plot").addEventListener("click", (event) => {
    if (!clip) return;
    const box = at("plot").getBoundingClientRect();
    play([[(clip.seconds * (event.clientX - box.left)) / box.width, clip.seconds]]);
  });
  at("budget").addEventListener("input", showBudget);
  at("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!at("ask").disabled) guarded(submit);
  });
  at("question").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    at("form").requestSubmit();
  });
  at("stop").addEventListener("click", () => running?.abort());
  at("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    at("key-dialog").close("given");
  });
  at("key-cancel").addEventListener("click", () => at("key-dialog").close(""));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) guarded(() => own(file.name, () => file.arrayBuffer()));
  });
}

connect();
showBudget();
onKeyNeeded(askForKey);
guarded(() => pick(document.querySelector(".chip")));
guarded(async () => {
  const { data } = await json("v1/models");
  [model] = data;
  at("model").textContent = model.id;
  at("ask").disabled = clip === null;
});
