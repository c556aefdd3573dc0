/** A shipped model that draws images, as a denoiser with guidance: ddpm_utils/generate.py. */

import { Generator, keyedGenerator } from "./random.js";
import { run, toX0 } from "./samplers.js";
import { alphaBar } from "./schedules.js";

/**
 * What the build says of a model. hint: channels of its hint, null without one. clip: whether its images lie in [-1, 1]. rounded: whether its
 * weights are. even: the pixels of a patch a side over which the noise is even, 1: none.
 * @typedef {import("./inference.js").About & {size: number, channels: number, classes: string[], prediction: string, schedule: string,
 *   timesteps: number, clip: boolean, hint: number | null, rounded: boolean, even: number}} AboutGenerator
 */

export class Model {
  /** @param {AboutGenerator} about @param {import("./inference.js").Engine} engine */
  constructor(about, engine) {
    this.about = about;
    this.engine = engine;
    this.ab = alphaBar(about.schedule, about.timesteps);
    this.values = about.channels * about.size ** 2; // of one image
  }

  /** The labels of n images: the one asked for, or each class in turn; null: no label. @param {number | null} label @param {number} n */
  labels(label, n) {
    const count = this.about.classes.length;
    return Array.from({ length: n }, (_, i) => label ?? (n >= count ? Math.floor((i * count) / n) : i));
  }

  /**
   * The denoiser for images with these labels, guided towards them: u + guidance (c - u), then clipped.
   * @param {number[] | null} labels null: without labels
   * @param {number} guidance 1: none
   * @param {Float32Array | null} hint (n, c, H, W)
   * @returns {import("./samplers.js").Denoiser}
   */
  denoiser(labels, guidance, hint = null) {
    const none = this.about.classes.length;
    return async (x, t) => {
      const n = x.length / this.values;
      const with_ = labels ?? new Array(n).fill(none);
      const without = new Array(n).fill(none);
      const asked = labels && guidance !== 1 ? (guidance === 0 ? without : [...with_, ...without]) : with_;
      const copies = asked.length / n;
      const outputs = await this.predict(repeated(x, copies), t, asked, hint && repeated(hint, copies));
      const [seen, plain] = [outputs.subarray(0, x.length), outputs.subarray(x.length)].map((part) =>
        part.length ? toX0(this.about.prediction, x, part, this.ab[t]) : part,
      );
      const mixed = copies === 2 ? seen.map((value, i) => plain[i] + guidance * (value - plain[i])) : seen;
      return this.about.clip ? mixed.map((value) => Math.max(-1, Math.min(1, value))) : mixed;
    };
  }

  /** The network's output. @param {Float32Array} x @param {number} t @param {number[]} labels @param {Float32Array | null} hint @returns {Promise<Float32Array>} */
  predict(x, t, labels, hint) {
    const { size, channels, name, classes } = this.about;
    const n = labels.length;
    /** @type {Record<string, {values: Float32Array | number[], shape: number[]}>} */
    const inputs = {
      sample: { values: x, shape: [n, channels, size, size] },
      timestep: { values: new Array(n).fill(t), shape: [n] },
    };
    if (classes.length) inputs.label = { values: labels, shape: [n] };
    if (hint) inputs.hint = { values: hint, shape: [n, hint.length / n / size ** 2, size, size] };
    return this.engine.ask("run", { name, inputs });
  }

  /**
   * The steps of a sampler from x_T, or from a noised image at timestep `from`.
   * @param {string} sampler @param {import("./samplers.js").Denoiser} denoiser @param {Float32Array} x @param {number} steps @param {number} seed
   * @param {number} [from]
   */
  steps(sampler, denoiser, x, steps, seed, from = this.ab.length - 1) {
    return run(sampler, denoiser, x, this.ab.slice(0, from + 1), steps, keyedGenerator(seed, "sampling", 0));
  }
}

/**
 * x_T of n images, as ddpm_utils/generate.py draws it: for a network of patches, evened over the images' patches.
 * @param {AboutGenerator} about @param {number} seed @param {number} n
 */
export function startNoise({ channels, size, even }, seed, n) {
  const noise = new Generator(seed).normals(n * channels * size ** 2);
  if (even === 1) return noise;
  for (let start = 0; start < noise.length; start += size ** 2) evenOverPatches(noise.subarray(start, start + size ** 2), size, even);
  return noise;
}

/** Shift the places of a patch to one mean over all patches. @param {Float32Array} plane @param {number} size @param {number} patch */
function evenOverPatches(plane, size, patch) {
  const place = (/** @type {number} */ i) => (Math.floor(i / size) % patch) * patch + (i % patch);
  const means = new Float64Array(patch ** 2);
  for (let i = 0; i < plane.length; i++) means[place(i)] += plane[i] / (size / patch) ** 2;
  const mean = means.reduce((sum, value) => sum + value) / means.length;
  for (let i = 0; i < plane.length; i++) plane[i] += mean - means[place(i)];
}

/** @param {Float32Array} values @param {number} times */
function repeated(values, times) {
  const out = new Float32Array(values.length * times);
  for (let k = 0; k < times; k++) out.set(values, k * values.length);
  return out;
}
