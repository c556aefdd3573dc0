/** Images and fields brought to another size: Pillow's Lanczos for 8 bits, value for value, and torch's bicubic interpolation. */

const BITS = 2 ** 22; // the fixed point of Pillow's weights

/** The weights of every output pixel along one axis, in fixed point. @param {number} from @param {number} to */
function lanczosRows(from, to) {
  const scale = from / to;
  const stretch = Math.max(1, scale);
  const sinc = (/** @type {number} */ x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));
  const window = (/** @type {number} */ x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - 3 * stretch + 0.5));
    const end = Math.min(from, Math.trunc(centre + 3 * stretch + 0.5));
    const weights = Array.from({ length: end - first }, (_, k) => window((first + k - centre + 0.5) / stretch));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: Float64Array.from(weights, (w) => Math.trunc((w / sum) * BITS + (w / sum < 0 ? -0.5 : 0.5))) };
  });
}

/** @param {number} sum in fixed point */
const level = (sum) => Math.max(0, Math.min(255, Math.floor(sum / BITS)));

/**
 * An image at another size by Pillow's Lanczos filter, first along the rows, then along the columns, as Pillow does wherever both sides shrink
 * alike.
 * @param {Uint8ClampedArray} rgba (h, w, 4), of which the first three channels count
 * @param {number} width @param {number} height @param {number} toWidth @param {number} toHeight
 * @returns {Uint8ClampedArray} (toHeight, toWidth, 3)
 */
export function lanczos(rgba, width, height, toWidth, toHeight) {
  const wide = new Uint8ClampedArray(height * toWidth * 3);
  const across = width === toWidth ? null : lanczosRows(width, toWidth);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < toWidth; x++) {
      const into = 3 * (y * toWidth + x);
      const { first, weights } = across ? across[x] : { first: x, weights: null };
      let from = 4 * (y * width + first);
      if (!weights) {
        for (let c = 0; c < 3; c++) wide[into + c] = rgba[from + c];
        continue;
      }
      let [red, green, blue] = [BITS / 2, BITS / 2, BITS / 2];
      for (let k = 0; k < weights.length; k++, from += 4) {
        const w = weights[k];
        red += rgba[from] * w;
        green += rgba[from + 1] * w;
        blue += rgba[from + 2] * w;
      }
      wide[into] = level(red);
      wide[into + 1] = level(green);
      wide[into + 2] = level(blue);
    }
  }
  if (height === toHeight) return wide;
  const row = 3 * toWidth;
  const out = new Uint8ClampedArray(toHeight * row);
  for (const [y, { first, weights }] of lanczosRows(height, toHeight).entries()) {
    const sums = new Float64Array(row).fill(BITS / 2);
    for (let k = 0; k < weights.length; k++) {
      const [w, from] = [weights[k], (first + k) * row];
      for (let x = 0; x < row; x++) sums[x] += wide[from + x] * w;
    }
    for (let x = 0; x < row; x++) out[y * row + x] = level(sums[x]);
  }
  return out;
}

/**
 * For every output place along an axis the four places it is made of, and their weights: torch's bicubic, a = -0.75, corners not aligned.
 * @param {number} from @param {number} to
 */
export function bicubicRows(from, to) {
  const A = -0.75;
  const near = (/** @type {number} */ x) => ((A + 2) * x - (A + 3)) * x * x + 1;
  const far = (/** @type {number} */ x) => ((A * x - 5 * A) * x + 8 * A) * x - 4 * A;
  const places = new Int32Array(4 * to);
  const weights = new Float32Array(4 * to);
  for (let i = 0; i < to; i++) {
    const at = ((i + 0.5) * from) / to - 0.5;
    const first = Math.floor(at);
    const t = at - first;
    places.set(
      [first - 1, first, first + 1, first + 2].map((place) => Math.max(0, Math.min(from - 1, place))),
      4 * i,
    );
    weights.set([far(t + 1), near(t), near(1 - t), far(2 - t)], 4 * i);
  }
  return { places, weights };
}

/**
 * Rows of a field with more columns, bicubic.
 * @param {Float32Array} field (rows, from)
 * @param {number} rows @param {number} from @param {number} to
 * @returns {Float32Array} (rows, to)
 */
export function widen(field, rows, from, to) {
  const { places, weights } = bicubicRows(from, to);
  const out = new Float32Array(rows * to);
  for (let r = 0; r < rows; r++) {
    for (let x = 0; x < to; x++) {
      let sum = 0;
      for (let k = 4 * x; k < 4 * x + 4; k++) sum += weights[k] * field[r * from + places[k]];
      out[r * to + x] = sum;
    }
  }
  return out;
}
