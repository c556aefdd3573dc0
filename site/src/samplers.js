/**
 * From noise to an image, as ddpm_utils/sampling.py. A denoiser is a function (x_t, t) -> x0_hat; a sampler an asynchronous generator that
 * yields every step: the timestep that it left, the image after it, and the clean image that the denoiser saw before it.
 */

/** @typedef {(x: Float32Array, t: number) => Promise<Float32Array>} Denoiser */
/** @typedef {{t: number, x: Float32Array, x0: Float32Array}} Step */
/** @typedef {import("./random.js").Generator} Generator */

export const SAMPLERS = { ddim: "DDIM", ddpm: "DDPM", dpm: "DPM-Solver++", heun: "Heun" };
const SIGMA_MAX = 80;

/**
 * (t, alpha_bar there, alpha_bar where the step leads) from noisy to clean, evenly spaced from the last timestep on; 1 behind the last.
 * @param {Float64Array} ab
 * @param {number} steps
 */
export function moves(ab, steps) {
  const T = ab.length;
  if (!Number.isInteger(steps) || steps < 1 || steps > T) throw new RangeError(`steps must be a whole number from 1 to ${T}`);
  const visited = Array.from({ length: steps }, (_, i) => T - 1 - Math.floor((i * T) / steps));
  return visited.map((t, i) => ({ t, now: ab[t], next: i + 1 < steps ? ab[visited[i + 1]] : 1, after: visited[i + 1] }));
}

/**
 * The sampler of this name.
 * @param {string} name one of SAMPLERS
 * @param {Denoiser} denoiser
 * @param {Float32Array} noise x_T
 * @param {Float64Array} ab alpha_bar
 * @param {number} steps
 * @param {Generator} random for the noise that DDPM adds
 */
export function run(name, denoiser, noise, ab, steps, random) {
  if (name === "ddpm") return ddpm(denoiser, noise, ab, steps, random);
  if (name === "dpm") return dpmSolver(denoiser, noise, ab, steps);
  if (name === "heun") return heun(denoiser, noise, ab, steps);
  return ddim(denoiser, noise, ab, steps);
}

/**
 * DDIM, deterministic (Song et al., eq. 12).
 * @param {Denoiser} denoiser @param {Float32Array} x @param {Float64Array} ab @param {number} steps @returns {AsyncGenerator<Step>}
 */
export async function* ddim(denoiser, x, ab, steps) {
  for (const { t, now, next } of moves(ab, steps)) {
    const x0 = await denoiser(x, t);
    const scale = Math.sqrt(1 - next) / Math.sqrt(1 - now);
    x = x.map((value, i) => Math.sqrt(next) * x0[i] + scale * (value - Math.sqrt(now) * x0[i]));
    yield { t, x, x0 };
  }
}

/**
 * Ancestral sampling: a draw from the posterior given x_t and x0_hat (Ho et al., eq. 7), without noise in the last step.
 * @param {Denoiser} denoiser @param {Float32Array} x @param {Float64Array} ab @param {number} steps @param {Generator} random
 * @returns {AsyncGenerator<Step>}
 */
export async function* ddpm(denoiser, x, ab, steps, random) {
  for (const { t, now, next } of moves(ab, steps)) {
    const x0 = await denoiser(x, t);
    const beta = 1 - now / next;
    const [ofX0, ofX] = [(Math.sqrt(next) * beta) / (1 - now), (Math.sqrt(1 - beta) * (1 - next)) / (1 - now)];
    const deviation = Math.sqrt((beta * (1 - next)) / (1 - now));
    const eps = next < 1 ? random.normals(x.length) : new Float32Array(x.length);
    x = x.map((value, i) => ofX0 * x0[i] + ofX * value + deviation * eps[i]);
    yield { t, x, x0 };
  }
}

/**
 * DPM-Solver++ of order 2, multistep (Lu et al., algorithm 2).
 * @param {Denoiser} denoiser @param {Float32Array} x @param {Float64Array} ab @param {number} steps @returns {AsyncGenerator<Step>}
 */
export async function* dpmSolver(denoiser, x, ab, steps) {
  const lambda = (/** @type {number} */ a) => Math.log(a / (1 - a)) / 2;
  let before = /** @type {Float32Array | null} */ (null);
  let hBefore = 0;
  for (const { t, now, next } of moves(ab, steps)) {
    const x0 = await denoiser(x, t);
    const h = lambda(next) - lambda(now);
    const ahead = before && next < 1 ? h / hBefore / 2 : 0;
    const old = before ?? x0;
    const shrink = Math.sqrt(((1 - next) * now) / ((1 - now) * next));
    const [ofX, ofX0] = [Math.sqrt((1 - next) / (1 - now)), Math.sqrt(next) * (1 - shrink)];
    x = x.map((value, i) => ofX * value + ofX0 * (x0[i] + ahead * (x0[i] - old[i])));
    [before, hBefore] = [x0, h];
    yield { t, x, x0 };
  }
}

/**
 * Heun's method for the probability flow (Karras et al., algorithm 1): two calls of the denoiser a step, one in the last.
 * @param {Denoiser} denoiser @param {Float32Array} x @param {Float64Array} ab @param {number} steps @returns {AsyncGenerator<Step>}
 */
export async function* heun(denoiser, x, ab, steps) {
  for (const { t, now, next, after } of moves(ab, steps)) {
    const x0 = await denoiser(x, t);
    const eps = x.map((value, i) => (value - Math.sqrt(now) * x0[i]) / Math.sqrt(1 - now));
    const euler = eps.map((value, i) => Math.sqrt(next) * x0[i] + Math.sqrt(1 - next) * value);
    x = euler;
    if (after !== undefined && 1 - now <= SIGMA_MAX ** 2 * now) {
      const then = await denoiser(euler, after);
      const stride = Math.sqrt(1 - next) - Math.sqrt((next * (1 - now)) / now);
      x = euler.map((value, i) => value + (stride * ((value - Math.sqrt(next) * then[i]) / Math.sqrt(1 - next) - eps[i])) / 2);
    }
    yield { t, x, x0 };
  }
}

/**
 * x0_hat of a network's output, as ddpm_utils/diffusion.py's `to_x0`.
 * @param {string} prediction "eps", "x0", "v" or "flow"
 * @param {Float32Array} x x_t
 * @param {Float32Array} output
 * @param {number} ab alpha_bar at t
 */
export function toX0(prediction, x, output, ab) {
  const [signal, noise] = [Math.sqrt(ab), Math.sqrt(1 - ab)];
  if (prediction === "x0") return output;
  if (prediction === "eps") return x.map((value, i) => (value - noise * output[i]) / signal);
  if (prediction === "flow") return x.map((value, i) => (value - noise * output[i]) / (signal + noise));
  return x.map((value, i) => signal * value - noise * output[i]);
}
