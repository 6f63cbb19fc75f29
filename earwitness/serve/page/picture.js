// The waveform and the spectrogram of a clip on a canvas.

import { RATE } from "./sound.js";

export const GUTTER = 44; // CSS pixels left of the plot, for the frequencies; style.css has the same
const WINDOW = 512; // 32 ms
const RANGE_DB = 75;
const MOST_COLUMNS = 1600;
const FREQUENCIES = [250, 500, 1000, 2000, 4000, 8000];
// From silence to loud.
const HEAT = {
  light: ["#ffffff", "#d6ebe6", "#7fbfb5", "#1f7f86", "#0e4a63", "#0b1f38"],
  dark: ["#12161c", "#14303d", "#14606a", "#3fa58c", "#b5dd9b", "#fff8cf"],
};

const hertz = (mel) => 700 * (Math.exp(mel / 1127) - 1);
const mel = (hz) => 1127 * Math.log(1 + hz / 700);

export class Picture {
  #canvas;
  #samples = new Float32Array(0);
  #columns = null; // levels in dB, WINDOW / 2 + 1 a column, for the width they were made for

  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.draw()).observe(canvas);
    document.documentElement.addEventListener("themechange", () => this.draw());
  }

  load(samples) {
    this.#samples = samples;
    this.#columns = null;
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const scale = devicePixelRatio;
    if (!width || !height) return;
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    const context = this.#canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(this.#canvas);
    const plot = { left: GUTTER, width: width - GUTTER, wave: height * 0.34, top: height * 0.38, bottom: height - 20 };
    const dark = document.documentElement.dataset.theme === "dark";
    if (!this.#samples.length) return;
    context.fillStyle = style.color;
    this.#wave(context, plot, scale);
    this.#spectrogram(context, plot, scale, HEAT[dark ? "dark" : "light"]);
    context.fillStyle = context.strokeStyle = style.borderTopColor;
    context.font = `12px ${style.fontFamily}`;
    this.#frequencies(context, plot);
    this.#times(context, plot, height);
  }

  #wave(context, plot, scale) {
    const columns = Math.floor(plot.width * scale);
    const step = this.#samples.length / columns;
    const loudest = Math.max(0.02, peak(this.#samples, 0, this.#samples.length));
    for (let c = 0; c < columns; c++) {
      const high = peak(this.#samples, Math.floor(c * step), Math.max(Math.floor((c + 1) * step), Math.floor(c * step) + 1));
      const tall = Math.max(1 / scale, (plot.wave - 4) * (high / loudest));
      context.fillRect(plot.left + c / scale, (plot.wave - tall) / 2, 1 / scale, tall);
    }
  }

  #spectrogram(context, plot, scale, heat) {
    const width = Math.min(MOST_COLUMNS, Math.floor(plot.width * scale));
    const height = Math.floor((plot.bottom - plot.top) * scale);
    if (this.#columns?.width !== width) this.#columns = { width, levels: levels(this.#samples, width) };
    const values = this.#columns.levels;
    const loudest = values.reduce((a, b) => Math.max(a, b), -200);
    const colours = palette(heat);
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const bins = WINDOW / 2 + 1;
    for (let row = 0; row < height; row++) {
      const place = (hertz(mel(RATE / 2) * (1 - row / (height - 1))) / (RATE / 2)) * (bins - 1);
      const bin = Math.min(Math.floor(place), bins - 2);
      for (let c = 0; c < width; c++) {
        const at = c * bins + bin;
        const level = values[at] + (values[at + 1] - values[at]) * (place - bin);
        pixels[row * width + c] = colours[Math.max(0, Math.round(255 * (1 + (level - loudest) / RANGE_DB)))];
      }
    }
    const drawn = new OffscreenCanvas(width, height);
    drawn.getContext("2d").putImageData(image, 0, 0);
    context.drawImage(drawn, plot.left, plot.top, plot.width, plot.bottom - plot.top);
  }

  #frequencies(context, plot) {
    context.textAlign = "right";
    context.textBaseline = "middle";
    let lowest = Infinity;
    for (const hz of FREQUENCIES) {
      const y = plot.bottom - (mel(hz) / mel(RATE / 2)) * (plot.bottom - plot.top);
      if (lowest - y < 13) continue; // it would touch the label below
      lowest = y;
      context.fillText(hz < 1000 ? `${hz}` : `${hz / 1000}k`, plot.left - 8, Math.max(y, plot.top + 6));
      context.fillRect(plot.left - 5, y, 5, 1);
    }
  }

  #times(context, plot, height) {
    const seconds = this.#samples.length / RATE;
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600].find((s) => (s / seconds) * plot.width >= 56) ?? 1800;
    context.textBaseline = "alphabetic";
    for (let i = 0; i * step <= seconds; i++) {
      const x = plot.left + ((i * step) / seconds) * plot.width;
      context.textAlign = i === 0 ? "left" : x > plot.left + plot.width - 24 ? "right" : "center";
      context.fillText(`${+(i * step).toFixed(1)}${i === 0 ? " s" : ""}`, x, height - 4);
      context.fillRect(Math.min(x, plot.left + plot.width - 1), plot.bottom, 1, 4);
    }
  }
}

function peak(samples, start, end) {
  let high = 0;
  for (let i = start; i < end && i < samples.length; i++) high = Math.max(high, Math.abs(samples[i]));
  return high;
}

/** Return the spectrum in dB at `width` moments that are evenly spread over the samples. */
function levels(samples, width) {
  const bins = WINDOW / 2 + 1;
  const out = new Float32Array(width * bins);
  const hann = Float32Array.from({ length: WINDOW }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / WINDOW));
  const real = new Float32Array(WINDOW);
  const imaginary = new Float32Array(WINDOW);
  for (let c = 0; c < width; c++) {
    const start = Math.round(((c + 0.5) * samples.length) / width - WINDOW / 2);
    for (let i = 0; i < WINDOW; i++) real[i] = hann[i] * (samples[start + i] ?? 0);
    imaginary.fill(0);
    transform(real, imaginary);
    for (let k = 0; k < bins; k++) out[c * bins + k] = 10 * Math.log10(real[k] ** 2 + imaginary[k] ** 2 + 1e-10);
  }
  return out;
}

/** The fast Fourier transform, in place; the length is a power of two. */
function transform(real, imaginary) {
  const n = real.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
  }
  for (let size = 2; size <= n; size *= 2) {
    for (let k = 0; k < size / 2; k++) {
      const cos = Math.cos((-2 * Math.PI * k) / size);
      const sin = Math.sin((-2 * Math.PI * k) / size);
      for (let a = k; a < n; a += size) {
        const b = a + size / 2;
        const x = real[b] * cos - imaginary[b] * sin;
        const y = real[b] * sin + imaginary[b] * cos;
        real[b] = real[a] - x;
        imaginary[b] = imaginary[a] - y;
        real[a] += x;
        imaginary[a] += y;
      }
    }
  }
}

/** Return 256 colours between stops, as the 32-bit pixels of a little-endian ImageData. */
function palette(stops) {
  const parts = stops.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  return Uint32Array.from({ length: 256 }, (_, i) => {
    const place = (i / 255) * (parts.length - 1);
    const low = Math.min(Math.floor(place), parts.length - 2);
    const [r, g, b] = [0, 1, 2].map((c) => Math.round(parts[low][c] + (parts[low + 1][c] - parts[low][c]) * (place - low)));
    return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  });
}
