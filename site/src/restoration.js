/**
 * Retouching around its network, as ddpm_utils/restoration/: the photograph shrunk, the network's residual kept to wrinkles in company, and
 * that residual enlarged and added. Faces are not looked for here, which Python does.
 */

import { bold, company, finestStructure, inTheColoursOfShading } from "./company.js";
import { Generator } from "./random.js";
import { bicubicRows, lanczos, widen } from "./resize.js";
import { halfEven } from "./rounding.js";

const LARGEST = 30e6; // pixels that a browser is asked to hold, four times

/**
 * What Python fixes around its network, which the build tells the page.
 * @typedef {import("./company.js").Fixed & {kappa: number, eta: number, short_side: number, longest: number, multiple: number,
 *   residual_scale: number, gate: number[], faint: number}} Around
 */
/** A photograph's pixels (height, width, 4). @typedef {{rgba: Uint8ClampedArray, width: number, height: number}} Photograph */
/** What a network would change, at the size that it saw. @typedef {{residual: Float32Array, mask: Float32Array, width: number, height: number}} Change */
/** The network: (x_t, source, width, height) -> its four channels. @typedef {(x: Float32Array, source: Float32Array, width: number, height: number) => Promise<Float32Array>} Network */

/** The size of the network's input: the short side brought down, never up. @param {number} width @param {number} height @param {number} shortSide */
export function workingSize(width, height, shortSide) {
  const scale = Math.min(1, shortSide / Math.min(width, height));
  return { width: Math.max(1, halfEven(scale * width)), height: Math.max(1, halfEven(scale * height)) };
}

/**
 * Why a picture of this size can't be retouched here; "" if it can.
 * @param {number} width @param {number} height @param {Around} around
 */
export function refusal(width, height, around) {
  const [short, long] = [Math.min(width, height), Math.max(width, height)];
  if (short < 16) return `it has ${width} × ${height} pixels; at least 16 are needed on each side.`;
  if (width * height > LARGEST) {
    const megapixels = Math.round((width * height) / 1e6);
    return `it has ${megapixels} megapixels, a browser can hold about 30; shrink it, or use the command on your computer.`;
  }
  if (long > around.longest * short)
    return `a panorama longer than ${around.longest} times its height; use the command on your computer, which works in tiles.`;
  return "";
}

/**
 * What the network would change in a photograph: the mean of what it says of it and of its mirror image.
 * @param {Photograph} photograph
 * @param {Network} network
 * @param {Around} around
 * @returns {Promise<Change>}
 */
export async function predictChange({ rgba, width: fullWidth, height: fullHeight }, network, around) {
  const { width, height } = workingSize(fullWidth, fullHeight, around.short_side);
  const small = lanczos(rgba, fullWidth, fullHeight, width, height);
  const said = await predicted(small, width, height, network, around);
  const mirrored = await predicted(flipped(small, width, 3), width, height, network, around);
  const mean = (/** @type {Float32Array} */ a, /** @type {Float32Array} */ b) => {
    const back = flipped(b, width, 1);
    return a.map((value, i) => Math.fround(value + back[i]) / 2);
  };
  const change = { residual: mean(said.residual, mirrored.residual), mask: mean(said.mask, mirrored.mask) };
  return fitted(change, small, width, height, around);
}

/** Each row of pixels from right to left. @template {Float32Array | Uint8ClampedArray} T @param {T} values @param {number} width @param {number} channels @returns {T} */
function flipped(values, width, channels) {
  const out = /** @type {T} */ (values.slice());
  for (let i = 0; i < values.length / channels; i++) {
    const from = i - (i % width) + width - 1 - (i % width);
    for (let c = 0; c < channels; c++) out[channels * i + c] = values[channels * from + c];
  }
  return out;
}

/** The gated residual and the mask. @param {Uint8ClampedArray} small @param {number} width @param {number} height @param {Network} network @param {Around} around */
async function predicted(small, width, height, network, around) {
  const [wide, high] = [width, height].map((side) => Math.ceil(side / around.multiple) * around.multiple);
  const source = padded(small, width, height, wide, high);
  const noise = new Generator(0).normals(source.length);
  const x = source.map((value, i) => value + around.kappa * Math.sqrt(around.eta) * noise[i]);
  const output = await network(x, source, wide, high);
  return cropped(output, source, width, height, wide, high, around);
}

/** (height, width, 3) levels -> (3, high, wide) in [-1, 1], the border repeated. @param {Uint8ClampedArray} rgb @param {number} width @param {number} height @param {number} wide @param {number} high */
function padded(rgb, width, height, wide, high) {
  const out = new Float32Array(3 * wide * high);
  for (let c = 0; c < 3; c++) {
    for (let y = 0; y < high; y++) {
      const from = width * Math.min(y, height - 1);
      for (let x = 0; x < wide; x++) {
        out[(c * high + y) * wide + x] = (Math.fround(rgb[3 * (from + Math.min(x, width - 1)) + c] / 255) - 0.5) / 0.5;
      }
    }
  }
  return out;
}

/**
 * The gated residual and the mask of a network's output, without the padding.
 * @param {Float32Array} output (4, high, wide) @param {Float32Array} source (3, high, wide)
 * @param {number} width @param {number} height @param {number} wide @param {number} high @param {Around} around
 */
function cropped(output, source, width, height, wide, high, around) {
  const [n, plane] = [width * height, wide * high];
  const residual = new Float32Array(3 * n);
  const mask = new Float32Array(n);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [i, from] = [y * width + x, y * wide + x];
      mask[i] = 1 / (1 + Math.exp(-output[3 * plane + from]));
      for (let c = 0; c < 3; c++) {
        const at = c * plane + from;
        residual[c * n + i] =
          gate(mask[i], around) * (Math.max(-1, Math.min(1, source[at] + around.residual_scale * output[at])) - source[at]);
      }
    }
  }
  return { residual, mask };
}

/** How much of the residual a pixel gets. @param {number} probability @param {Around} around */
const gate = (probability, { gate: [low, high] }) => Math.max(0, Math.min(1, (probability - low) / (high - low)));

/**
 * The change kept to wrinkles in company, in the colours of shading, without what is too faint to be seen.
 * @param {{residual: Float32Array, mask: Float32Array}} change @param {Uint8ClampedArray} small (height, width, 3)
 * @param {number} width @param {number} height @param {Around} around
 * @returns {Change}
 */
function fitted(change, small, width, height, around) {
  const n = width * height;
  if (!change.residual.some((value) => value !== 0)) return { ...change, width, height };
  const allowed = company(change.mask, small, width, height, around);
  const counted = change.mask.map((probability, i) => gate(probability, around) * allowed[i]);
  const cloth = bold(small, counted, width, height, around).map((share) => 1 - share);
  const open = counted.map((value, i) => value * cloth[i]);
  const residual = inTheColoursOfShading(
    change.residual.map((value, i) => value * allowed[i % n] * cloth[i % n]),
    small,
    open,
    width,
    height,
    around,
  );
  const finest = finestStructure(small, open, width, height, around);
  for (let i = 0; i < 3 * n; i++) residual[i] -= finest[i] / 127.5;
  for (let i = 0; i < n; i++) {
    const largest = Math.max(Math.abs(residual[i]), Math.abs(residual[n + i]), Math.abs(residual[2 * n + i]));
    const seen = Math.max(0, Math.min(1, largest / around.faint - 1));
    for (let c = 0; c < 3; c++) residual[c * n + i] *= seen;
  }
  return { residual, mask: change.mask.map((probability, i) => probability * allowed[i]), width, height };
}

/**
 * The photograph with the residual enlarged and added: before + strength allowed residual, rounded and clipped.
 * @param {Photograph} photograph
 * @param {Change} change
 * @param {number} strength in [0, 1]
 * @param {{values: Uint8ClampedArray, width: number, height: number} | null} allowed where it may work, 255 wholly; of any size, null: everywhere
 * @returns {{rgba: Uint8ClampedArray, changed: number}} its pixels, and how many of them differ
 */
export function applyChange({ rgba, width, height }, change, strength, allowed) {
  const wide = widen(
    change.residual.map((value) => value * strength * 127.5),
    3 * change.height,
    change.width,
    width,
  );
  const { places, weights } = bicubicRows(change.height, height);
  const plane = change.height * width;
  const out = rgba.slice();
  let changed = 0;
  for (let y = 0; y < height; y++) {
    const rows = [0, 1, 2, 3].map((k) => width * places[4 * y + k]);
    const [a, b, c, d] = weights.subarray(4 * y, 4 * y + 4);
    const row = allowed && Math.min(allowed.height - 1, Math.floor((y * allowed.height) / height)) * allowed.width;
    for (let x = 0; x < width; x++) {
      const share = row === null || !allowed ? 1 : allowed.values[row + Math.floor((x * allowed.width) / width)] / 255;
      let differs = false;
      for (let channel = 0; share && channel < 3; channel++) {
        const at = channel * plane + x;
        const added = a * wide[at + rows[0]] + b * wide[at + rows[1]] + c * wide[at + rows[2]] + d * wide[at + rows[3]];
        const level = halfEven(share * added);
        if (!level) continue;
        const into = 4 * (y * width + x) + channel;
        out[into] = rgba[into] + level;
        differs ||= out[into] !== rgba[into];
      }
      if (differs) changed++;
    }
  }
  return { rgba: out, changed };
}
