/** The page that trains a small network on points in the plane, beside the answer that is exactly right. */

import { pointsOf, SETS } from "./field.js";
import { contextOf, element, offer, shown } from "./paint.js";
import { Generator } from "./random.js";

const N = 1500;
const REACH = 2.8; // of the plane that is shown
const OWN = "your own";

const set = element("points-set", HTMLSelectElement);
const dial = element("points-dial", HTMLInputElement);
const button = element("points-go", HTMLButtonElement);
const status = element("points-status", HTMLElement);
const [data, learned, right, samples, losses] = ["data", "learned", "right", "samples", "loss"].map((name) =>
  element(`points-${name}`, HTMLCanvasElement),
);
const eps = new Generator(1).normals(2 * N);
const worker = new Worker("points_worker.js");
let points = pointsOf("spiral", N, 0);
/** @type {number[]} */
let curve = [];
let runs = false;
/** @type {{grid: Float32Array, learned: Float32Array, right: Float32Array, samples: Float32Array | null} | null} */
let last = null;

/** @param {string} name of the page's colours */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** A canvas made as sharp as the screen; its context in units of the plane. @param {HTMLCanvasElement} canvas */
function plane(canvas) {
  const side = Math.round(canvas.clientWidth * devicePixelRatio);
  [canvas.width, canvas.height] = [side, side];
  const context = contextOf(canvas);
  context.setTransform(side / (2 * REACH), 0, 0, -side / (2 * REACH), side / 2, side / 2);
  return context;
}

/** @param {HTMLCanvasElement} canvas @param {Float32Array} cloud @param {string} name */
function scatter(canvas, cloud, name) {
  const context = plane(canvas);
  context.fillStyle = colour(name);
  for (let i = 0; i < cloud.length; i += 2) context.fillRect(cloud[i] - 0.02, cloud[i + 1] - 0.02, 0.04, 0.04);
}

/** @param {HTMLCanvasElement} canvas @param {Float32Array} grid @param {Float32Array} arrows @param {string} name */
function field(canvas, grid, arrows, name) {
  const context = plane(canvas);
  [context.strokeStyle, context.fillStyle, context.lineWidth] = [colour(name), colour(name), 0.03];
  for (let i = 0; i < grid.length; i += 2) {
    const [x, y, u, v] = [grid[i], grid[i + 1], arrows[i], arrows[i + 1]];
    const length = Math.hypot(u, v) || 1;
    const scale = Math.min(0.16, 0.3 / length); // long ones all alike, so that they don't cross
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(x + scale * u, y + scale * v);
    context.stroke();
    context.fillRect(x - 0.035, y - 0.035, 0.07, 0.07); // where it begins
  }
}

function drawLoss() {
  const context = plane(losses);
  const { width } = losses;
  context.setTransform(1, 0, 0, 1, 0, 0);
  const [edge, top] = [0.1 * width, Math.max(1.2, ...curve)];
  const y = (/** @type {number} */ loss) => width - edge - (loss / top) * (width - 2 * edge);
  context.strokeStyle = colour("line");
  context.fillStyle = colour("faint");
  context.font = `${Math.round(width / 24)}px system-ui`;
  context.lineWidth = devicePixelRatio;
  for (const tick of [0, 0.5, 1]) {
    context.beginPath();
    context.moveTo(edge, y(tick));
    context.lineTo(width - edge / 2, y(tick));
    context.stroke();
    context.fillText(String(tick), edge / 6, y(tick) + width / 70);
  }
  context.strokeStyle = colour("accent");
  context.lineWidth = 2 * devicePixelRatio;
  context.beginPath();
  for (const [i, loss] of curve.entries()) context.lineTo(edge + (i / Math.max(curve.length - 1, 40)) * (width - 1.5 * edge), y(loss));
  context.stroke();
}

/** The data where the dial is. */
function drawData() {
  const angle = (Number(dial.value) * Math.PI) / 180;
  scatter(
    data,
    points.map((value, i) => Math.cos(angle) * value + Math.sin(angle) * eps[i % eps.length]),
    "accent",
  );
}

function drawAll() {
  drawData();
  drawLoss();
  if (!last) return;
  field(learned, last.grid, last.learned, "accent");
  field(right, last.grid, last.right, "warm");
  if (last.samples) scatter(samples, last.samples, "accent");
}

worker.onmessage = ({ data: report }) => {
  last = { ...report, samples: report.samples ?? last?.samples ?? null };
  if (report.loss) curve.push(report.loss);
  ({ runs } = report);
  button.textContent = runs ? "Pause" : curve.length ? "Go on" : "Train";
  const loss = curve.at(-1);
  status.textContent = loss ? `${report.step} steps, loss ${loss.toFixed(3)}` : "Not trained yet: its arrows say nothing.";
  document.body.dataset.step = String(report.step);
  drawAll();
};

/** Begin anew with other points. @param {Float32Array<ArrayBuffer>} given */
function begin(given) {
  [points, curve, last] = [given, [], null];
  worker.postMessage({ points, runs: false });
  drawAll();
}

offer(
  set,
  [...Object.keys(SETS), OWN].map((name) => [name, name]),
);
set.addEventListener("change", () => {
  const isOwn = set.value === OWN;
  element("points-hint", HTMLElement).hidden = !isOwn;
  data.style.touchAction = isOwn ? "none" : "auto";
  data.style.cursor = isOwn ? "crosshair" : "auto";
  if (isOwn) [dial.value] = ["0"];
  dial.dispatchEvent(new Event("input"));
  begin(isOwn ? new Float32Array(0) : pointsOf(set.value, N, 0));
});
shown(dial, (value) => `${value}°`);
dial.addEventListener("input", () => {
  worker.postMessage({ angle: (Math.max(1, Number(dial.value)) * Math.PI) / 180 }); // at 0 the right arrow isn't defined
  drawData();
});
button.addEventListener("click", () => {
  if (points.length < 20) status.textContent = "Draw some points first.";
  else worker.postMessage({ runs: !runs });
});
element("points-again", HTMLButtonElement).addEventListener("click", () =>
  begin(set.value === OWN ? new Float32Array(0) : pointsOf(set.value, N, 0)),
);

/** Points under a pen: a few at each place, a little apart. @param {number} x @param {number} y */
function pen(x, y) {
  const random = new Generator(points.length);
  const near = random.normals(16).map((value, i) => (i % 2 ? y : x) + 0.04 * value);
  points = Float32Array.from([...points, ...near]);
  drawData();
}
data.addEventListener("pointerdown", (event) => {
  if (set.value !== OWN) return;
  data.setPointerCapture(event.pointerId);
  draw(event);
});
data.addEventListener("pointermove", (event) => {
  if (set.value === OWN && event.buttons & 1) draw(event);
});
data.addEventListener("pointerup", () => {
  if (set.value === OWN) worker.postMessage({ points, runs: false });
});
data.addEventListener("keydown", (event) => {
  const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [0, 0];
  if (set.value !== OWN || !(x || y || event.key === " ")) return;
  event.preventDefault();
  const within = (/** @type {number} */ value) => Math.max(-2, Math.min(2, value));
  cursor = [within(cursor[0] + 0.15 * x), within(cursor[1] + 0.15 * y)];
  if (event.key === " ") {
    pen(...cursor);
    worker.postMessage({ points, runs: false });
  }
  drawData();
  const context = contextOf(data);
  context.strokeStyle = colour("warm");
  context.lineWidth = 0.03;
  context.strokeRect(cursor[0] - 0.08, cursor[1] - 0.08, 0.16, 0.16);
});
let cursor = /** @type {[number, number]} */ ([0, 0]);

/** @param {PointerEvent} event */
function draw(event) {
  const box = data.getBoundingClientRect();
  const place = (/** @type {number} */ share) => REACH * (2 * share - 1);
  pen(place((event.clientX - box.left) / box.width), -place((event.clientY - box.top) / box.height));
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
new ResizeObserver(drawAll).observe(data);
dial.dispatchEvent(new Event("input"));
begin(points);
