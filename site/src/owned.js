/** A digit of the reader's own: noised by the slider, seen through by the network, and denoised from there (SDEdit). */

import { Model } from "./generator.js";
import { Pad } from "./pad.js";
import { element, newest, offer, painted, paintImages, shown } from "./paint.js";
import { Generator } from "./random.js";
import { halfEven } from "./rounding.js";
import { noised } from "./schedules.js";

const STEPS = 50; // of a whole run; a share of the noise takes as large a share of them
const SEED = 1;
/** A seven. @type {[number, number][][]} */
const EXAMPLE = [
  [
    [0.28, 0.26],
    [0.7, 0.24],
    [0.6, 0.45],
    [0.46, 0.8],
  ],
];

/**
 * @param {import("./inference.js").Engine} engine
 * @param {import("./generator.js").AboutGenerator} about a model of grey images
 * @returns {{pad: Pad, eps: Float32Array, whenChanged: (work: () => void) => void}} the pad, the noise, and who wants to know
 */
export function owned(engine, about) {
  const model = new Model(about, engine);
  const eps = new Generator(SEED).normals(model.values);
  const noise = element("own-noise", HTMLInputElement);
  const label = element("own-label", HTMLSelectElement);
  const status = element("own-status", HTMLElement);
  const button = element("own-go", HTMLButtonElement);
  const [noisy, seen, result] = ["own-xt", "own-x0", "own-result"].map((id) => element(id, HTMLCanvasElement));
  /** @type {(() => void)[]} */
  const listeners = [];
  const pad = new Pad(element("own-pad", HTMLCanvasElement), about.size, 1.1, () => {
    show();
    for (const listener of listeners) listener();
  });
  offer(label, [["", "don't say"], ...about.classes.map((name, i) => [String(i), name])]);
  shown(noise, (value) => `${Math.round(100 * value)} %`);
  noise.addEventListener("input", show);
  label.addEventListener("change", show);
  element("own-clear", HTMLButtonElement).addEventListener("click", () => pad.put([]));
  element("own-example", HTMLButtonElement).addEventListener("click", () => pad.put(EXAMPLE));
  button.addEventListener("click", denoise);

  /** The timestep of this share of noise, and the drawing there. */
  function start() {
    const t = Math.max(1, halfEven(Number(noise.value) * about.timesteps) - 1);
    const x0 = pad.ink.map((ink) => 2 * ink - 1);
    return { t, x: noised(x0, eps, model.ab[t]) };
  }

  const denoiser = () => model.denoiser(label.value === "" ? null : [Number(label.value)], 1);
  const see = newest(async () => {
    const { t, x } = start();
    const x0 = await denoiser()(x, t);
    paintImages(seen, x0, 1, about.size, 1);
  });

  /** The noisy drawing at once; what the network sees in it, once it is there. */
  function show() {
    const { t, x } = start();
    paintImages(noisy, x, 1, about.size, 1);
    element("own-t", HTMLElement).textContent = `timestep ${t}`;
    if (engine.opened.has(about.name)) see().catch(report);
  }

  async function denoise() {
    button.setAttribute("aria-busy", "true");
    try {
      status.textContent = `Loading the model ${about.name} (${about.megabytes} MB) …`;
      await engine.open(about);
      show();
      const { t, x } = start();
      const steps = Math.min(Math.max(1, halfEven(Number(noise.value) * STEPS)), t + 1);
      let taken = 0;
      for await (const step of model.steps("ddim", denoiser(), x, steps, SEED, t)) {
        paintImages(result, step.x, 1, about.size, 1);
        status.textContent = `Step ${++taken} of ${steps}`;
        await painted();
      }
      status.textContent = `Denoised from timestep ${t} in ${steps} ${steps === 1 ? "step" : "steps"}.`;
    } catch (error) {
      report(error);
    } finally {
      button.removeAttribute("aria-busy");
    }
  }

  /** @param {unknown} error */
  function report(error) {
    status.textContent = `That didn't work: ${error instanceof Error ? error.message : error}.`;
  }

  pad.put(EXAMPLE);
  return { pad, eps, whenChanged: (work) => listeners.push(work) };
}
