/** A scribble that a ControlNet follows: cars along the reader's lines. */

import { Model } from "./generator.js";
import { Pad } from "./pad.js";
import { element, offer, painted, paintImages } from "./paint.js";
import { Generator } from "./random.js";

const N = 4;
const STEPS = 20;
/** A car from the side: body, roof, wheels. @type {[number, number][][]} */
const EXAMPLE = [
  [
    [0.08, 0.66],
    [0.08, 0.52],
    [0.28, 0.48],
    [0.38, 0.34],
    [0.66, 0.34],
    [0.76, 0.49],
    [0.92, 0.54],
    [0.92, 0.66],
    [0.08, 0.66],
  ],
  ring(0.27, 0.68),
  ring(0.74, 0.68),
];

/** A wheel. @param {number} x @param {number} y @returns {[number, number][]} */
function ring(x, y) {
  return Array.from({ length: 13 }, (_, k) => [x + 0.08 * Math.cos((k * Math.PI) / 6), y + 0.08 * Math.sin((k * Math.PI) / 6)]);
}

/** @param {import("./inference.js").Engine} engine @param {import("./generator.js").AboutGenerator} about a model with a hint */
export function scribbling(engine, about) {
  const model = new Model(about, engine);
  const label = element("scribble-label", HTMLSelectElement);
  const status = element("scribble-status", HTMLElement);
  const button = element("scribble-go", HTMLButtonElement);
  const result = element("scribble-result", HTMLCanvasElement);
  const pad = new Pad(element("scribble-pad", HTMLCanvasElement), about.size, 0.4, () => {});
  offer(label, [...about.classes.map((name, i) => /** @type {[string, string]} */ ([String(i), name]))]);
  label.value = String(Math.max(0, about.classes.indexOf("sedan")));
  element("scribble-clear", HTMLButtonElement).addEventListener("click", () => pad.put([]));
  element("scribble-example", HTMLButtonElement).addEventListener("click", () => pad.put(EXAMPLE));
  button.addEventListener("click", draw);
  pad.put(EXAMPLE);

  async function draw() {
    button.setAttribute("aria-busy", "true");
    try {
      status.textContent = `Loading the model ${about.name} (${about.megabytes} MB) …`;
      await engine.open(about);
      const seed = Number(element("scribble-seed", HTMLInputElement).value);
      const hint = new Float32Array(N * pad.ink.length);
      for (let i = 0; i < N; i++) hint.set(pad.ink, i * pad.ink.length);
      const denoiser = model.denoiser(new Array(N).fill(Number(label.value)), 1, hint);
      const started = performance.now();
      let taken = 0;
      for await (const step of model.steps("ddim", denoiser, new Generator(seed).normals(N * model.values), STEPS, seed)) {
        paintImages(result, step.x, about.channels, about.size, 2);
        status.textContent = `Step ${++taken} of ${STEPS}`;
        await painted();
      }
      status.textContent = `Four cars along your lines, ${((performance.now() - started) / 1000).toFixed(1)} s.`;
    } catch (error) {
      status.textContent = `That didn't work: ${error instanceof Error ? error.message : error}.`;
    } finally {
      button.removeAttribute("aria-busy");
    }
  }
}
