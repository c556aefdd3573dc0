/**
 * What one photograph tells about its own wrinkles, as ddpm_utils/restoration/company.py: they come in company, many on cloth of one colour,
 * and take the colours of the shading around them; what is bolder than cloth is left alone, and where a fold goes, the finest structure goes
 * in part.
 */

import { halfEven } from "./rounding.js";

/**
 * What Python's company.py and full_resolution.py fix, which the build tells the page.
 * @typedef {{near: number, like: number[], least: number, most: number, ramp: number, band: number[], around: number, even: number,
 *   finest: number, taken: number, boldest: number, nearby: number, luminance: number[]}} Fixed
 */

/**
 * How much each pixel's wrinkles have others of their kind, in [0, 1]: the mean of the mask over a bilateral grid of place and colour.
 * @param {Float32Array} mask (height, width) in [0, 1]
 * @param {Uint8ClampedArray} rgb (height, width, 3)
 * @param {number} width @param {number} height
 * @param {Fixed} fixed
 * @returns {Float32Array} (height, width)
 */
export function company(mask, rgb, width, height, fixed) {
  const n = width * height;
  const points = [0, 1, 2, 3, 4].map(() => new Float64Array(n)); // row, column, L, a, b in cells of the grid
  for (let i = 0; i < n; i++) {
    points[0][i] = Math.floor(i / width) / fixed.near;
    points[1][i] = (i % width) / fixed.near;
    const lab = toLab(rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]);
    for (let k = 0; k < 3; k++) points[2 + k][i] = lab[k] / fixed.like[k];
  }
  const shape = points.map((axis) => {
    let [low, high] = [Infinity, -Infinity];
    for (const value of axis) [low, high] = [Math.min(low, value), Math.max(high, value)];
    low = Math.floor(low);
    for (let i = 0; i < n; i++) axis[i] -= low;
    return Math.ceil(high - low) + 1;
  });
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  const size = shape[0] * strides[0];
  const totals = [new Float64Array(size), new Float64Array(size)]; // of the mask, of pixels
  for (let i = 0; i < n; i++) {
    let place = 0;
    for (let axis = 0; axis < 5; axis++) place += strides[axis] * halfEven(points[axis][i]);
    totals[0][place] += mask[i];
    totals[1][place] += 1;
  }
  const [sums, counts] = totals.map((grid) => blurredGrid(Float32Array.from(grid), shape, strides));
  const mean = new Float32Array(n);
  const point = new Float64Array(5);
  for (let i = 0; i < n; i++) {
    for (let axis = 0; axis < 5; axis++) point[axis] = points[axis][i];
    const [sum, count] = between([sums, counts], point, shape, strides);
    mean[i] = Math.fround(sum) / Math.max(Math.fround(count), 1e-6);
  }
  const least = Math.max(fixed.least, fixed.most * quantile(mean, 0.99));
  return mean.map((value) => Math.max(0, Math.min(1, (value / least - 1) / fixed.ramp)));
}

/** sRGB levels in CIELAB, D65. @param {number} red @param {number} green @param {number} blue */
function toLab(red, green, blue) {
  const [r, g, b] = [LINEAR[red], LINEAR[green], LINEAR[blue]];
  const x = cubeRoot((0.412453 * r + 0.35758 * g + 0.180423 * b) / 0.95047);
  const y = cubeRoot(0.212671 * r + 0.71516 * g + 0.072169 * b);
  const z = cubeRoot((0.019334 * r + 0.119193 * g + 0.950227 * b) / 1.08883);
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

/** @param {number} value */
const cubeRoot = (value) => (value > 0.008856 ? Math.cbrt(value) : 7.787 * value + 16 / 116);
const LINEAR = Float64Array.from({ length: 256 }, (_, i) => (i / 255 > 0.04045 ? ((i / 255 + 0.055) / 1.055) ** 2.4 : i / 255 / 12.92));

/** A Gaussian of one cell along every axis of the grid, zeros around it. @param {Float32Array} grid @param {number[]} shape @param {number[]} strides */
function blurredGrid(grid, shape, strides) {
  const kernel = gaussianKernel(1, 2);
  for (let axis = 0; axis < shape.length; axis++) {
    const [length, stride] = [shape[axis], strides[axis]];
    const out = new Float32Array(grid.length);
    for (let i = 0; i < grid.length; i++) {
      const place = Math.floor(i / stride) % length;
      let sum = 0;
      for (let k = -2; k <= 2; k++) if (place + k >= 0 && place + k < length) sum += kernel[k + 2] * grid[i + k * stride];
      out[i] = sum;
    }
    grid = out;
  }
  return grid;
}

/** The weights of a Gaussian cut off at `truncate` standard deviations, as scipy's. @param {number} sigma @param {number} truncate */
function gaussianKernel(sigma, truncate) {
  const radius = Math.trunc(truncate * sigma + 0.5);
  const weights = Array.from({ length: 2 * radius + 1 }, (_, k) => Math.exp((-0.5 * (k - radius) ** 2) / sigma ** 2));
  const sum = weights.reduce((a, b) => a + b, 0);
  return Float64Array.from(weights, (w) => w / sum);
}

/**
 * Values of grids between their cells, linear along every axis.
 * @param {Float32Array[]} grids @param {Float64Array} point @param {number[]} shape @param {number[]} strides
 */
function between(grids, point, shape, strides) {
  const out = grids.map(() => 0);
  for (let corner = 0; corner < 1 << point.length; corner++) {
    let [weight, place] = [1, 0];
    for (let axis = 0; axis < point.length && weight; axis++) {
      const first = Math.floor(point[axis]);
      const t = point[axis] - first;
      const upper = (corner >> axis) & 1;
      weight *= upper ? t : 1 - t;
      place += strides[axis] * Math.min(first + upper, shape[axis] - 1);
    }
    if (weight) for (let k = 0; k < grids.length; k++) out[k] += weight * grids[k][place];
  }
  return out;
}

/** The share-quantile of values, linear between neighbours. @param {Float32Array} values @param {number} share */
function quantile(values, share) {
  const sorted = values.slice().sort();
  const at = share * (sorted.length - 1);
  const first = Math.floor(at);
  return sorted[first] + (at - first) * (sorted[Math.min(first + 1, sorted.length - 1)] - sorted[first]);
}

/**
 * The luminance of a residual, each channel as large as it follows light in the photograph around: k_c = sum(gate band_c band_Y) /
 * sum(gate band_Y^2) in a Gaussian, the result k_c residual_Y.
 * @param {Float32Array} residual (3, height, width), in [-1, 1]'s unit
 * @param {Uint8ClampedArray} rgb (height, width, 3)
 * @param {Float32Array} gate (height, width)
 * @param {number} width @param {number} height
 * @param {Fixed} fixed
 * @returns {Float32Array} (3, height, width)
 */
export function inTheColoursOfShading(residual, rgb, gate, width, height, fixed) {
  const n = width * height;
  const [red, green, blue] = fixed.luminance;
  const blurred = (/** @type {Float32Array} */ field, /** @type {number} */ sigma) => gaussian(field, width, height, sigma);
  const band = (/** @type {Float32Array} */ field) => {
    const coarse = blurred(field, fixed.band[1]);
    return blurred(field, fixed.band[0]).map((value, i) => value - coarse[i]);
  };
  const weights = gate.map((value) => value + 1e-4);
  const even = (fixed.even * weights.reduce((a, b) => a + b, 0)) / n;
  const light = band(Float32Array.from({ length: n }, (_, i) => red * rgb[3 * i] + green * rgb[3 * i + 1] + blue * rgb[3 * i + 2]));
  const power = blurred(
    light.map((value, i) => weights[i] * value ** 2),
    fixed.around,
  );
  const luminance = light.map((_, i) => red * residual[i] + green * residual[n + i] + blue * residual[2 * n + i]);
  const out = new Float32Array(3 * n);
  for (let channel = 0; channel < 3; channel++) {
    const own = band(Float32Array.from({ length: n }, (_, i) => rgb[3 * i + channel]));
    const joint = blurred(
      own.map((value, i) => weights[i] * light[i] * value),
      fixed.around,
    );
    for (let i = 0; i < n; i++) {
      out[channel * n + i] = Math.max(0, Math.min(4, (joint[i] + even) / (power[i] + even))) * luminance[i];
    }
  }
  return out;
}

/**
 * Where the finest structure is bolder than cloth's, in [0, 1]: clip(s / boldest - 1, 0, 1), s its standard deviation around each pixel.
 * @param {Uint8ClampedArray} rgb (height, width, 3)
 * @param {Float32Array} gate (height, width)
 * @param {number} width @param {number} height
 * @param {Fixed} fixed
 * @returns {Float32Array} (height, width)
 */
export function bold(rgb, gate, width, height, fixed) {
  const power = luminance(finer(rgb, gate, width, height, fixed), fixed).map((value) => value * value);
  const over = gaussian(power, width, height, fixed.nearby).map((value) => Math.max(0, Math.min(1, Math.sqrt(value) / fixed.boldest - 1)));
  return gaussian(over, width, height, fixed.nearby);
}

/**
 * What goes of the finest structure where the gate is open, in levels; lines that stand out stay.
 * @param {Uint8ClampedArray} rgb (height, width, 3)
 * @param {Float32Array} gate (height, width)
 * @param {number} width @param {number} height
 * @param {Fixed} fixed
 * @returns {Float32Array} (3, height, width)
 */
export function finestStructure(rgb, gate, width, height, fixed) {
  const n = width * height;
  if (!gate.some((value) => value > 0.5)) return new Float32Array(3 * n);
  const structure = finer(rgb, gate, width, height, fixed);
  const standOut = lines(luminance(structure, fixed), gate, width, height);
  return structure.map((value, i) => fixed.taken * gate[i % n] * (1 - standOut[i % n]) * value);
}

/** image - blur(gate image) / blur(gate), (3, height, width). @param {Uint8ClampedArray} rgb @param {Float32Array} gate @param {number} width @param {number} height @param {Fixed} fixed */
function finer(rgb, gate, width, height, fixed) {
  const n = width * height;
  const out = new Float32Array(3 * n);
  const around = gaussian(gate, width, height, fixed.finest);
  for (let c = 0; c < 3; c++) {
    const shown = gaussian(
      gate.map((value, i) => value * rgb[3 * i + c]),
      width,
      height,
      fixed.finest,
    );
    for (let i = 0; i < n; i++) out[c * n + i] = rgb[3 * i + c] - shown[i] / Math.max(around[i], 1e-3);
  }
  return out;
}

/** Of a field (3, height, width). @param {Float32Array} field @param {Fixed} fixed */
function luminance(field, { luminance: [red, green, blue] }) {
  const n = field.length / 3;
  return Float32Array.from({ length: n }, (_, i) => red * field[i] + green * field[n + i] + blue * field[2 * n + i]);
}

/** Where fine texture is much stronger than it mostly is where the gate is open, as Python's folds.lines. @param {Float32Array} texture @param {Float32Array} gate @param {number} width @param {number} height */
function lines(texture, gate, width, height) {
  const power = texture.map((value) => value * value);
  const strength = gaussian(power, width, height, 1.5).map(Math.sqrt);
  const open = strength.filter((_, i) => gate[i] > 0.5);
  const usual = quantile(open, 0.5);
  const over = strength.map((value) => Math.max(0, Math.min(1, (value / (usual + 1e-4) - 1.6) / 1.6)));
  return gaussian(over, width, height, 1);
}

/** A field under a Gaussian, mirrored at its borders, as scipy's gaussian_filter. @param {Float32Array} field @param {number} width @param {number} height @param {number} sigma */
export function gaussian(field, width, height, sigma) {
  const kernel = gaussianKernel(sigma, 4);
  const radius = (kernel.length - 1) / 2;
  const mirrored = (/** @type {number} */ place, /** @type {number} */ length) => {
    const folded = ((place % (2 * length)) + 2 * length) % (2 * length);
    return folded < length ? folded : 2 * length - 1 - folded;
  };
  const down = new Float32Array(field.length);
  const sums = new Float64Array(width);
  for (let y = 0; y < height; y++) {
    sums.fill(0);
    for (let k = -radius; k <= radius; k++) {
      const [weight, from] = [kernel[k + radius], width * mirrored(y + k, height)];
      for (let x = 0; x < width; x++) sums[x] += weight * field[from + x];
    }
    down.set(sums, y * width);
  }
  const out = new Float32Array(field.length);
  const line = new Float64Array(width + 2 * radius);
  for (let y = 0; y < height; y++) {
    for (let x = -radius; x < width + radius; x++) line[x + radius] = down[y * width + mirrored(x, width)];
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let k = 0; k < kernel.length; k++) sum += kernel[k] * line[x + k];
      out[y * width + x] = sum;
    }
  }
  return out;
}
