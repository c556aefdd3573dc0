/** Noise schedules in float64, as ddpm_utils/schedules.py: of each, alpha_bar at t = 0 .. T - 1, from which all else follows. */

export const SCHEDULES = /** @type {const} */ (["linear", "cosine", "sigmoid", "flow"]);
const MAX_BETA = 0.999;

/**
 * alpha_bar of the schedule that is called so, ending in noise at any T.
 * @param {string} name one of SCHEDULES
 * @param {number} T
 * @returns {Float64Array} (T,)
 */
export function alphaBar(name, T = 1000) {
  if (name === "linear") return product(Array.from({ length: T }, (_, t) => (0.1 + ((20 - 0.1) * t) / (T - 1)) / T));
  const curve = CURVES[name];
  if (!curve) throw new RangeError(`schedule must be one of ${SCHEDULES.join(", ")}, got ${name}`);
  return product(Array.from({ length: T }, (_, t) => Math.min(MAX_BETA, 1 - curve((t + 1) / T) / curve(t / T))));
}

/** alpha_bar over u = t / T. @type {Record<string, (u: number) => number>} */
const CURVES = {
  cosine: (u) => Math.cos((((u + 0.008) / (1 + 0.008)) * Math.PI) / 2) ** 2,
  sigmoid: (u) => (logistic(3 - 6 * u) - logistic(-3)) / (logistic(3) - logistic(-3)),
  flow: (s) => (1 - s) ** 2 / ((1 - s) ** 2 + s ** 2),
};

/** @param {number} x */
const logistic = (x) => 1 / (1 + Math.exp(-x));

/** alpha_bar_t = (1 - beta_0) .. (1 - beta_t). @param {number[]} betas */
function product(betas) {
  const out = new Float64Array(betas.length);
  betas.reduce((kept, beta, t) => {
    out[t] = kept * (1 - beta);
    return out[t];
  }, 1);
  return out;
}

/** SNR_t = alpha_bar_t / (1 - alpha_bar_t). @param {Float64Array} ab */
export function snr(ab) {
  return ab.map((value) => value / (1 - value));
}

/**
 * x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps.
 * @param {Float32Array} x0
 * @param {Float32Array} eps
 * @param {number} ab alpha_bar at t
 */
export function noised(x0, eps, ab) {
  return x0.map((value, i) => Math.sqrt(ab) * value + Math.sqrt(1 - ab) * eps[i]);
}
