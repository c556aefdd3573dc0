/** The play page: images from noise, step by step; a drawing noised and denoised; schedules side by side; a scribbled car. */

import { drawing } from "./drawing.js";
import { Engine, told } from "./inference.js";
import { owned } from "./owned.js";
import { scribbling } from "./scribbling.js";
import { sideBySide } from "./side_by_side.js";

/** @type {import("./generator.js").AboutGenerator[]} */
const models = told("models");
const engine = new Engine("worker.js");
drawing(
  engine,
  models.filter((about) => about.hint === null),
);
const drawn = models.find((about) => about.channels === 1 && about.hint === null);
if (drawn) sideBySide(owned(engine, drawn));
const guided = models.find((about) => about.hint === 1);
if (guided) scribbling(engine, guided);
