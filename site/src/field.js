/**
 * Diffusion of points in the plane, as chapter 00 has it: a dial from 0 (data) to 90 degrees (noise), x = cos a x0 + sin a eps, a network that
 * guesses the arrow v = cos a eps - sin a x0, trained here by hand-written gradients and Adam; and the arrow that is right for given points.
 */

import { Generator } from "./random.js";

export const WIDTH = 64;
const FEATURES = 10; // x, y, sine and cosine of 1, 2, 4 and 8 times the angle
const LAYERS = 3;
const BATCH = 128;
const RATE = 3e-3;
const [BETA1, BETA2] = [0.9, 0.99];

/** @typedef {{weights: Float32Array, bias: Float32Array, inputs: number, outputs: number}} Layer */

/** Data sets by name: the place of a point, of two uniform numbers and two normal ones. @type {Record<string, (u: number, w: number, e: number[]) => [number, number]>} */
export const SETS = {
  spiral: (u, _, e) => {
    const turn = Math.PI * (0.7 + 2.6 * Math.sqrt(u));
    return [(Math.cos(turn) * turn) / 5.5 + 0.02 * e[0], (Math.sin(turn) * turn) / 5.5 + 0.02 * e[1]];
  },
  "two moons": (u, w, e) => {
    const [angle, side] = [Math.PI * u, w < 0.5 ? 1 : -1];
    return [side * (Math.cos(angle) - 0.5) * 1.1 + 0.06 * e[0], side * (Math.sin(angle) - 0.25) * 1.1 + 0.06 * e[1]];
  },
  "eight clouds": (u, _, e) => {
    const angle = (Math.floor(8 * u) * Math.PI) / 4;
    return [1.6 * Math.cos(angle) + 0.1 * e[0], 1.6 * Math.sin(angle) + 0.1 * e[1]];
  },
  chessboard: (u, w) => {
    const [column, row] = [Math.floor(4 * u), Math.floor(2 * w)];
    return [4 * u - 2, 2 * w + row - 2 + (column % 2)];
  },
};

/** n points (n, 2) of a named set. @param {string} name @param {number} n @param {number} seed */
export function pointsOf(name, n, seed) {
  const random = new Generator(seed);
  const eps = random.normals(2 * n);
  const out = new Float32Array(2 * n);
  for (let i = 0; i < n; i++) out.set(SETS[name](random.uniform(), random.uniform(), [eps[2 * i], eps[2 * i + 1]]), 2 * i);
  return out;
}

/**
 * The average arrow at each of x (n, 2), if the data are these points: w_i ~ exp(-|x - cos a p_i|^2 / 2 sin^2 a), v = (cos a x - sum w_i p_i) / sin a.
 * @param {Float32Array} x @param {number} angle @param {Float32Array} points
 */
export function bestArrow(x, angle, points) {
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const out = new Float32Array(x.length);
  const apart = new Float64Array(points.length / 2);
  for (let i = 0; i < x.length; i += 2) {
    let least = Infinity;
    for (let k = 0; k < apart.length; k++) {
      apart[k] = (x[i] - cos * points[2 * k]) ** 2 + (x[i + 1] - cos * points[2 * k + 1]) ** 2;
      least = Math.min(least, apart[k]);
    }
    let [total, sumX, sumY] = [0, 0, 0];
    for (let k = 0; k < apart.length; k++) {
      const weight = Math.exp((least - apart[k]) / (2 * sin * sin));
      total += weight;
      sumX += weight * points[2 * k];
      sumY += weight * points[2 * k + 1];
    }
    out[i] = (cos * x[i] - sumX / total) / sin;
    out[i + 1] = (cos * x[i + 1] - sumY / total) / sin;
  }
  return out;
}

/**
 * From noise x (n, 2) along arrows to new points, in even turns of the dial; the last from a to 0.
 * @param {(x: Float32Array, angles: Float32Array) => Float32Array} arrows @param {Float32Array} x @param {number} steps
 */
export function walk(arrows, x, steps) {
  for (let k = 0; k < steps; k++) {
    const [a, b] = [((Math.PI / 2) * (steps - k)) / steps, ((Math.PI / 2) * (steps - k - 1)) / steps];
    const v = arrows(x, new Float32Array(x.length / 2).fill(a));
    const [kept, turned] = [Math.cos(a - b), Math.sin(a - b)];
    x = x.map((value, i) => kept * value - turned * v[i]);
  }
  return x;
}

/** The network: x (n, 2) and angles (n,) to arrows (n, 2); residual layers with SiLU. */
export class Guesser {
  /** @param {number} seed */
  constructor(seed) {
    this.random = new Generator(seed);
    const sizes = [[FEATURES, WIDTH], ...new Array(LAYERS).fill([WIDTH, WIDTH]), [WIDTH, 2]];
    this.layers = sizes.map(([inputs, outputs]) => this.layer(inputs, outputs));
    this.moments = this.layers.map(({ weights, bias }) =>
      [weights, bias].map((values) => [new Float32Array(values.length), new Float32Array(values.length)]),
    );
    this.step = 0;
  }

  /** @param {number} inputs @param {number} outputs @returns {Layer} */
  layer(inputs, outputs) {
    const spread = 1 / Math.sqrt(inputs);
    return {
      weights: this.random.normals(inputs * outputs).map((value) => spread * value),
      bias: new Float32Array(outputs),
      inputs,
      outputs,
    };
  }

  /** The arrows, and for training what every layer was given. @param {Float32Array} x @param {Float32Array} angles */
  forward(x, angles) {
    const n = angles.length;
    const features = new Float32Array(n * FEATURES);
    for (let i = 0; i < n; i++) {
      const waves = [1, 2, 4, 8].flatMap((k) => [Math.sin(k * angles[i]), Math.cos(k * angles[i])]);
      features.set([x[2 * i], x[2 * i + 1], ...waves], i * FEATURES);
    }
    const given = [features];
    const before = []; // what SiLU was applied to
    let h = linear(this.layers[0], features, n);
    for (const layer of this.layers.slice(1, -1)) {
      given.push(h);
      const z = linear(layer, h, n);
      before.push(z);
      h = h.map((value, i) => value + z[i] / (1 + Math.exp(-z[i])));
    }
    given.push(h);
    return { out: linear(this.layers[this.layers.length - 1], h, n), given, before };
  }

  /** @param {Float32Array} x @param {Float32Array} angles */
  arrows(x, angles) {
    return this.forward(x, angles).out;
  }

  /** One step of Adam on a batch of points with fresh noise and angles; returns its loss. @param {Float32Array} points (n, 2) */
  train(points) {
    const n = BATCH;
    const eps = this.random.normals(2 * n);
    const [x, target, angles] = [new Float32Array(2 * n), new Float32Array(2 * n), new Float32Array(n)];
    for (let i = 0; i < n; i++) {
      const from = 2 * Math.floor((this.random.uniform() * points.length) / 2);
      angles[i] = (Math.PI / 2) * this.random.uniform();
      const [cos, sin] = [Math.cos(angles[i]), Math.sin(angles[i])];
      for (const k of [0, 1]) {
        x[2 * i + k] = cos * points[from + k] + sin * eps[2 * i + k];
        target[2 * i + k] = cos * eps[2 * i + k] - sin * points[from + k];
      }
    }
    const { loss, gradients } = this.gradients(x, angles, target);
    this.update(gradients);
    return loss;
  }

  /**
   * The mean squared error and its gradients by the weights and biases of every layer.
   * @param {Float32Array} x @param {Float32Array} angles @param {Float32Array} target
   */
  gradients(x, angles, target) {
    const n = angles.length;
    const { out, given, before } = this.forward(x, angles);
    let loss = 0;
    let flowing = out.map((value, i) => {
      loss += (value - target[i]) ** 2 / out.length;
      return (2 * (value - target[i])) / out.length;
    });
    /** @type {[Float32Array, Float32Array][]} */
    const gradients = new Array(this.layers.length);
    for (let l = this.layers.length - 1; l >= 0; l--) {
      const isResidual = l > 0 && l < this.layers.length - 1;
      const arriving = isResidual
        ? flowing.map((value, i) => {
            const z = before[l - 1][i];
            const share = 1 / (1 + Math.exp(-z));
            return value * share * (1 + z * (1 - share)); // the derivative of SiLU
          })
        : flowing;
      const { ofWeights, ofBias, ofInput } = backwards(this.layers[l], given[l], arriving, n);
      gradients[l] = [ofWeights, ofBias];
      flowing = isResidual ? flowing.map((value, i) => value + ofInput[i]) : ofInput;
    }
    return { loss, gradients };
  }

  /** @param {[Float32Array, Float32Array][]} gradients */
  update(gradients) {
    this.step++;
    const scale = (RATE * Math.sqrt(1 - BETA2 ** this.step)) / (1 - BETA1 ** this.step) / Math.sqrt(1 + this.step / 1000); // ever smaller steps
    for (const [l, layer] of this.layers.entries()) {
      for (const [k, values] of [layer.weights, layer.bias].entries()) {
        const [mean, square] = this.moments[l][k];
        const gradient = gradients[l][k];
        for (let i = 0; i < values.length; i++) {
          mean[i] += (1 - BETA1) * (gradient[i] - mean[i]);
          square[i] += (1 - BETA2) * (gradient[i] ** 2 - square[i]);
          values[i] -= (scale * mean[i]) / (Math.sqrt(square[i]) + 1e-8);
        }
      }
    }
  }
}

/** @param {Layer} layer @param {Float32Array} x (n, inputs) @param {number} n @returns {Float32Array<ArrayBuffer>} (n, outputs) */
function linear({ weights, bias, inputs, outputs }, x, n) {
  const out = new Float32Array(n * outputs);
  for (let i = 0; i < n; i++) {
    out.set(bias, i * outputs);
    for (let k = 0; k < inputs; k++) {
      const [value, row, into] = [x[i * inputs + k], k * outputs, i * outputs];
      for (let j = 0; j < outputs; j++) out[into + j] += value * weights[row + j];
    }
  }
  return out;
}

/** Gradients through `linear`. @param {Layer} layer @param {Float32Array} x @param {Float32Array} arriving (n, outputs) @param {number} n */
function backwards({ weights, inputs, outputs }, x, arriving, n) {
  const [ofWeights, ofBias, ofInput] = [inputs * outputs, outputs, n * inputs].map((length) => new Float32Array(length));
  for (let i = 0; i < n; i++) {
    const from = i * outputs;
    for (let j = 0; j < outputs; j++) ofBias[j] += arriving[from + j];
    for (let k = 0; k < inputs; k++) {
      const [value, row] = [x[i * inputs + k], k * outputs];
      let sum = 0;
      for (let j = 0; j < outputs; j++) {
        const g = arriving[from + j];
        ofWeights[row + j] += value * g;
        sum += weights[row + j] * g;
      }
      ofInput[i * inputs + k] = sum;
    }
  }
  return { ofWeights, ofBias, ofInput };
}
