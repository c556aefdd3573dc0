/** Images drawn from noise by a shipped model: x_t beside the clean image that the network sees in it, at every step. */

import { Model, startNoise } from "./generator.js";
import { contextOf, element, offer, painted, paintImages, shown } from "./paint.js";
import { SAMPLERS } from "./samplers.js";

const COLUMNS = 5;
const LARGEST_SEED = 2 ** 32 - 1;

/** @param {import("./inference.js").Engine} engine @param {import("./generator.js").AboutGenerator[]} models */
export function drawing(engine, models) {
  const choice = element("draw-model", HTMLSelectElement);
  const label = element("draw-label", HTMLSelectElement);
  const seed = element("draw-seed", HTMLInputElement);
  const sampler = element("draw-sampler", HTMLSelectElement);
  const steps = element("draw-steps", HTMLInputElement);
  const guidance = element("draw-guidance", HTMLInputElement);
  const button = element("draw-go", HTMLButtonElement);
  const status = element("draw-status", HTMLElement);
  const moment = element("draw-moment", HTMLInputElement);
  const [left, right] = [element("draw-xt", HTMLCanvasElement), element("draw-x0", HTMLCanvasElement)];
  /** @type {import("./samplers.js").Step[]} */
  let film = [];
  let filmed = models[0];
  let run = 0; // number of the newest run: an older one stops

  offer(
    choice,
    models.map(({ name, size, megabytes }) => [name, `${name}: ${size} × ${size} pixels, ${megabytes} MB`]),
  );
  offer(sampler, Object.entries(SAMPLERS));
  const about = () => /** @type {import("./generator.js").AboutGenerator} */ (models.find(({ name }) => name === choice.value));
  const offerLabels = () => {
    const { classes } = about();
    label.disabled = !classes.length;
    offer(label, [["", classes.length ? "each in turn" : "this model has none"], ...classes.map((name, i) => [String(i), name])]);
  };
  choice.addEventListener("change", () => {
    offerLabels();
    forget();
    told();
  });
  offerLabels();
  shown(steps);
  shown(guidance, (value) => (value === 1 ? "1 (none)" : String(value)));
  for (const input of [label, seed, sampler, steps, guidance]) input.addEventListener("input", told);
  moment.addEventListener("input", show);
  element("draw-dice", HTMLButtonElement).addEventListener("click", () => {
    seed.value = String(Math.floor(Math.random() * 10_000));
    told();
    draw();
  });
  button.addEventListener("click", draw);
  told();

  /** Take away what another model has drawn, or is drawing. */
  function forget() {
    run++;
    film = [];
    contextOf(right).clearRect(0, 0, right.width, right.height);
    [moment.disabled, moment.max] = [true, "1"];
    button.removeAttribute("aria-busy");
    [status.textContent, element("draw-at", HTMLElement).textContent] = ["", "draw first"];
  }

  /** How many images: one of each class, or ten. */
  function count() {
    return label.value === "" ? Math.max(about().classes.length, 1) : 10;
  }

  /** The command that draws the same, and before anything is drawn the noise that it would begin with. */
  function told() {
    const { channels, size } = about();
    const value = seeded();
    if (!film.length && value !== null) {
      paintImages(left, startNoise(about(), value, count()), channels, size, Math.min(COLUMNS, count()));
    }
    const which = label.value === "" ? "" : ` --label ${label.value}`;
    const how = `--sampler ${sampler.value} --steps ${steps.value} --guidance ${guidance.value} --seed ${Number(seed.value)}`;
    element("draw-rounded", HTMLElement).hidden = !about().rounded;
    element("draw-command", HTMLElement).textContent =
      `python -m ddpm_utils sample ${choice.value} --n ${count()}${which} ${how} --device cpu --out ${choice.value}.png`;
  }

  /** The seed, or null for what is none. */
  function seeded() {
    const value = Number(seed.value);
    return seed.value !== "" && Number.isInteger(value) && value >= 0 && value <= LARGEST_SEED ? value : null;
  }

  async function draw() {
    const mine = ++run;
    const value = seeded();
    if (value === null) {
      status.textContent = `The seed must be a whole number from 0 to ${LARGEST_SEED}.`;
      return;
    }
    const [chosen, asked, total, scale] = [about(), label.value, Number(steps.value), Number(guidance.value)];
    const n = count();
    button.setAttribute("aria-busy", "true");
    try {
      status.textContent = `Loading the model ${chosen.name} (${chosen.megabytes} MB) and what runs it …`;
      await engine.open(chosen);
      const model = new Model(chosen, engine);
      const labels = chosen.classes.length ? model.labels(asked === "" ? null : Number(asked), n) : null;
      const denoiser = model.denoiser(labels, scale);
      const noise = startNoise(chosen, value, n);
      const started = performance.now();
      let first = 0; // when the first step was there, which is slower than the others
      [film, filmed] = [[], chosen];
      moment.disabled = true;
      for await (const step of model.steps(sampler.value, denoiser, noise, total, value)) {
        if (mine !== run) return;
        film.push(step);
        [moment.max, moment.value] = [String(film.length), String(film.length)];
        show();
        const now = performance.now();
        first ||= now;
        const left = film.length > 1 ? (((now - first) / (film.length - 1)) * (total - film.length)) / 1000 : 0;
        status.textContent = `Step ${film.length} of ${total}, timestep ${step.t}${left > 5 ? `, about ${Math.round(left)} s to go` : ""}`;
        await painted();
      }
      const seconds = (performance.now() - started) / 1000;
      status.textContent = `${n} ${n === 1 ? "image" : "images"} in ${total} ${total === 1 ? "step" : "steps"}, ${seconds.toFixed(1)} s. Move the slider to go back through them.`;
      moment.disabled = false;
      document.body.dataset.drawn = String(mine);
    } catch (error) {
      if (mine === run) status.textContent = `That didn't work: ${error instanceof Error ? error.message : error}.`;
    } finally {
      if (mine === run) button.removeAttribute("aria-busy");
    }
  }

  /** The two pictures at the moment that the slider shows. */
  function show() {
    const step = film[Number(moment.value) - 1];
    if (!step) return;
    const { channels, size } = filmed;
    const columns = Math.min(COLUMNS, step.x.length / channels / size ** 2);
    paintImages(left, step.x, channels, size, columns);
    paintImages(right, step.x0, channels, size, columns);
    const words = `Step ${moment.value}, left timestep ${step.t}`;
    moment.setAttribute("aria-valuetext", words);
    element("draw-at", HTMLElement).textContent = words;
  }
}
