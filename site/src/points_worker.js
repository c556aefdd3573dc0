/** Trains the network of field.js and tells how far it is; the page may change the points, the dial and whether it runs. */

import { bestArrow, Guesser, walk } from "./field.js";
import { Generator } from "./random.js";

const EVERY = 250; // milliseconds between two reports, at least
const LEAST = 20; // and steps, so that a slow device trains rather than reports
const SAMPLES = 600;
const WALK = 30;
const GRID = 15;
const REACH = 2.6;
const MOST_STEPS = 20_000;

const grid = Float32Array.from({ length: 2 * GRID * GRID }, (_, i) => {
  const [place, axis] = [Math.floor(i / 2), i % 2];
  const along = axis ? Math.floor(place / GRID) : place % GRID;
  return REACH * ((2 * along) / (GRID - 1) - 1);
});
const noise = new Generator(2).normals(2 * SAMPLES);
let points = new Float32Array(0);
let guesser = new Guesser(0);
let angle = Math.PI / 4;
let runs = false;
let reports = 0;
let right = /** @type {Float32Array | null} */ (null); // of these points and this angle

self.onmessage = ({ data }) => {
  if (data.points || data.angle !== undefined) right = null;
  if (data.points) [points, guesser, reports] = [data.points, new Guesser(0), 0];
  if (data.angle !== undefined) angle = data.angle;
  if (data.runs !== undefined && data.runs !== runs) {
    runs = data.runs;
    if (runs) work();
  }
  if (!runs) report(0);
};

/** Train for a moment, report, and give way to messages. */
function work() {
  if (!runs) return;
  const end = performance.now() + EVERY;
  let [sum, count] = [0, 0];
  while (count < LEAST || performance.now() < end) {
    sum += guesser.train(points);
    count++;
  }
  if (guesser.step >= MOST_STEPS) runs = false;
  report(sum / count);
  if (runs) setTimeout(work);
}

/** @param {number} loss of the last moment, 0 if nothing was trained */
function report(loss) {
  if (!points.length) return;
  const angles = new Float32Array(GRID * GRID).fill(angle);
  const learned = guesser.arrows(grid, angles);
  const samples = reports++ % 3 === 0 ? walk((x, a) => guesser.arrows(x, a), noise, WALK) : null;
  right ??= bestArrow(grid, angle, points);
  postMessage({ step: guesser.step, loss, runs, grid, learned, right, samples });
}
