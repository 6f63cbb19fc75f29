// One question: the stream of its reply, and beside it the verdicts on what the reply has said so far.

import { ApiError, json, stream } from "./api.js";
import { base64 } from "./sound.js";

const MOST_TRIES = 5;

/** Return the body of a question about a clip. A budget of null is no limit, 0 is no reasoning. */
async function bodyOf(model, clip, question, budget) {
  const sound = { type: "input_audio", input_audio: { data: await base64(clip.bytes), format: "wav" } };
  const content = [{ type: "text", text: question }, sound];
  return {
    model: model.id,
    messages: [{ role: "user", content }],
    // A quarter of the context leaves room for the sound; the longest published budget is the most.
    max_tokens: Math.min(10240, Math.floor(model.max_model_len / 4)),
    ...(budget === 0 ? { think: false } : budget === null ? {} : { think_budget: budget }),
  };
}

/** Ask, and tell `view` what comes: thinking, answer, claims, unchecked, ended. */
export async function ask(model, clip, question, budget, signal, view) {
  const checks = new Checks(clip, view);
  const body = await bodyOf(model, clip, question, budget);
  let status = "complete";
  let usage = null;
  try {
    for await (const chunk of stream(body, signal)) {
      usage = chunk.usage ?? usage;
      for (const choice of chunk.choices) {
        status = choice.status ?? status;
        const { reasoning_content: thinking, content } = choice.delta;
        if (thinking) {
          view.thinking(thinking);
          checks.feed(thinking);
        }
        if (content) view.answer(content);
      }
    }
  } finally {
    await checks.finish();
  }
  view.ended(status, usage);
}

/** Sends the chain to be checked whenever a sentence may have ended, one request at a time. */
class Checks {
  #clip;
  #view;
  #chain = "";
  #isDue = false;
  #isOff = false;
  #running = null;

  constructor(clip, view) {
    this.#clip = clip;
    this.#view = view;
  }

  feed(text) {
    this.#chain += text;
    if (/[.!?\n]/.test(text)) this.#isDue = true;
    if (this.#isDue && !this.#running) this.#running = this.#run().finally(() => (this.#running = null));
  }

  /** Check the whole chain, when nothing follows any more. */
  async finish() {
    await this.#running;
    if (this.#chain && !this.#isOff) await this.#check(true);
  }

  async #run() {
    while (this.#isDue && !this.#isOff) {
      this.#isDue = false;
      await this.#check(false);
    }
  }

  async #check(complete) {
    for (let tries = 0; ; tries++) {
      const sound = this.#clip.audioId
        ? { audio_id: this.#clip.audioId }
        : { audio: await base64(this.#clip.bytes) };
      try {
        const found = await json("v1/claims", { ...sound, chain: this.#chain, complete });
        this.#clip.audioId = found.audio_id;
        if (!this.#view.isOver()) this.#view.claims(found.position, found.claims);
        return;
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        if (error.code === "not_kept") {
          this.#clip.audioId = null;
        } else if (error.status === 429 && tries < MOST_TRIES) {
          await new Promise((resolve) => setTimeout(resolve, 1000 * error.retryAfterSeconds));
        } else {
          this.#isOff = true;
          this.#view.unchecked(error.message);
          return;
        }
      }
    }
  }
}
