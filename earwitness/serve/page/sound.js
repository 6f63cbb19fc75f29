// Sound in the browser: decoding, WAV, recording and playing. Everything is mono at 16 kHz, as the model hears it.

export const RATE = 16000;
const MOST_RECORDED_SECONDS = 300;
const GAP_SECONDS = 0.25; // between two stretches that are played one after the other
const FADE_SECONDS = 0.004; // a stretch that begins in the middle of a wave would click

/** Return the samples of an audio file's bytes, an ArrayBuffer, which is left as it is. */
export async function decode(bytes) {
  const context = new OfflineAudioContext(1, 1, RATE);
  const buffer = await context.decodeAudioData(bytes.slice(0));
  return mixed(buffer);
}

/** Return 16-bit WAV bytes of samples. */
export function wav(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) => [...letters].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, RATE, true);
  view.setUint32(28, 2 * RATE, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((x, i) => view.setInt16(44 + 2 * i, Math.round(Math.max(-1, Math.min(1, x)) * 32767), true));
  return view.buffer;
}

/** Return the base64 of bytes. */
export function base64(bytes) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(new Blob([bytes]));
  });
}

function mixed(buffer) {
  const out = new Float32Array(buffer.length);
  for (let c = 0; c < buffer.numberOfChannels; c++) {
    const channel = buffer.getChannelData(c);
    for (let i = 0; i < out.length; i++) out[i] += channel[i] / buffer.numberOfChannels;
  }
  return out;
}

/** Plays stretches of one clip and says where it is. */
export class Player {
  #context = null;
  #samples = null;
  #sources = [];
  #plan = []; // {at, start, end}: from context time `at` the stretch is heard

  /** `onMove(seconds)` while it plays, `onEnd()` when it has stopped. */
  constructor(onMove, onEnd) {
    Object.assign(this, { onMove, onEnd });
  }

  get isPlaying() {
    return this.#plan.length > 0;
  }

  load(samples) {
    this.stop();
    this.#samples = samples;
  }

  /** Play [[start, end], ...] in seconds, one after the other. */
  async play(stretches) {
    this.stop();
    this.#context ??= new AudioContext();
    const context = this.#context;
    const buffer = context.createBuffer(1, this.#samples.length, RATE);
    buffer.copyToChannel(this.#samples, 0);
    const plan = (this.#plan = []);
    await context.resume();
    if (this.#plan !== plan) return; // something else was played meanwhile
    let at = context.currentTime + 0.03;
    for (const [start, end] of stretches) {
      this.#schedule(buffer, at, start, end);
      plan.push({ at, start, end });
      at += end - start + GAP_SECONDS;
    }
    this.#follow(plan);
  }

  stop() {
    if (!this.isPlaying) return;
    this.#plan = [];
    for (const source of this.#sources.splice(0)) source.stop();
    this.onEnd();
  }

  #schedule(buffer, at, start, end) {
    const context = this.#context;
    const source = new AudioBufferSourceNode(context, { buffer });
    const gain = new GainNode(context, { gain: 0 });
    const fade = Math.min(FADE_SECONDS, (end - start) / 3);
    gain.gain.setValueAtTime(0, at);
    gain.gain.linearRampToValueAtTime(1, at + fade);
    gain.gain.setValueAtTime(1, at + end - start - fade);
    gain.gain.linearRampToValueAtTime(0, at + end - start);
    source.connect(gain).connect(context.destination);
    source.start(at, start, end - start);
    this.#sources.push(source);
  }

  #follow(plan) {
    if (this.#plan !== plan) return;
    const now = this.#context.currentTime;
    const last = plan.at(-1);
    if (now >= last.at + last.end - last.start) {
      this.onMove(last.end);
      this.stop();
      return;
    }
    const current = plan.findLast((part) => part.at <= now) ?? plan[0];
    this.onMove(Math.min(current.start + Math.max(0, now - current.at), current.end));
    requestAnimationFrame(() => this.#follow(plan));
  }
}

/** Records the microphone without any of the browser's corrections, which would change what is measured. */
export class Recorder {
  #stop = null;

  get isRecording() {
    return this.#stop !== null;
  }

  /** Record until `stop`; `onLevel(seconds, peak)` meanwhile. Resolves to samples. */
  async record(onLevel) {
    if (!navigator.mediaDevices) {
      throw new Error("Recording needs a secure page: open it at localhost or through https, or upload a file.");
    }
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };
    const microphone = await navigator.mediaDevices.getUserMedia({ audio: plain });
    const context = new AudioContext();
    try {
      await context.audioWorklet.addModule("page/recorder.js");
      const node = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0, channelCount: 1 });
      const blocks = [];
      let length = 0;
      context.createMediaStreamSource(microphone).connect(node);
      await new Promise((resolve) => {
        this.#stop = resolve;
        node.port.onmessage = ({ data }) => {
          blocks.push(data);
          length += data.length;
          const seconds = length / context.sampleRate;
          onLevel(seconds, data.reduce((peak, x) => Math.max(peak, Math.abs(x)), 0));
          if (seconds >= MOST_RECORDED_SECONDS) resolve();
        };
      });
      return await resampled(blocks, length, context.sampleRate);
    } finally {
      this.#stop = null;
      microphone.getTracks().forEach((track) => track.stop());
      await context.close();
    }
  }

  stop() {
    this.#stop?.();
  }
}

async function resampled(blocks, length, rate) {
  if (!length) throw new Error("Nothing was recorded; is a microphone there?");
  const buffer = new AudioBuffer({ length, numberOfChannels: 1, sampleRate: rate });
  let at = 0;
  for (const block of blocks) {
    buffer.copyToChannel(block, 0, at);
    at += block.length;
  }
  const context = new OfflineAudioContext(1, Math.ceil((length * RATE) / rate), RATE);
  const source = new AudioBufferSourceNode(context, { buffer });
  source.connect(context.destination);
  source.start();
  return mixed(await context.startRendering());
}
