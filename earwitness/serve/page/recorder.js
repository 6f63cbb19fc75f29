// Sends what the microphone gives to the page, in blocks that are long enough not to flood it.

const BLOCK = 2048;

class Recorder extends AudioWorkletProcessor {
  #block = new Float32Array(BLOCK);
  #filled = 0;

  process([[channel]]) {
    for (const x of channel ?? []) {
      this.#block[this.#filled++] = x;
      if (this.#filled === BLOCK) {
        this.port.postMessage(this.#block);
        this.#block = new Float32Array(BLOCK);
        this.#filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("recorder", Recorder);
