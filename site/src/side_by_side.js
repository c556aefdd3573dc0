/** What each noise schedule does to one picture, the reader's drawing or a file: nine moments of each, below each other. */

import { contextOf, element, paintImages } from "./paint.js";
import { Generator } from "./random.js";
import { alphaBar, noised, SCHEDULES } from "./schedules.js";

const MOMENTS = 9;
const SIDE = 64; // pixels of a picture from a file
const T = 1000;

/** @param {{pad: import("./pad.js").Pad, eps: Float32Array, whenChanged: (work: () => void) => void}} own */
export function sideBySide({ pad, eps, whenChanged }) {
  const file = element("schedules-file", HTMLInputElement);
  const status = element("schedules-status", HTMLElement);
  const rows = element("schedules-rows", HTMLElement);
  /** @type {{x0: Float32Array, eps: Float32Array, channels: number, size: number} | null} */
  let chosen = null;

  const canvases = SCHEDULES.map((name) => {
    const figure = document.createElement("figure");
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `The picture at nine timesteps of the ${name} schedule, from clean to noise`);
    const caption = document.createElement("figcaption");
    caption.textContent = name;
    figure.append(caption, canvas);
    rows.append(figure);
    return canvas;
  });

  function show() {
    const picture = chosen ?? { x0: pad.ink.map((ink) => 2 * ink - 1), eps, channels: 1, size: pad.size };
    for (const [i, name] of SCHEDULES.entries()) {
      const ab = alphaBar(name, T);
      const strip = new Float32Array(MOMENTS * picture.x0.length);
      for (let k = 0; k < MOMENTS; k++) {
        const t = Math.round((k / (MOMENTS - 1)) * (T - 1));
        strip.set(noised(picture.x0, picture.eps, ab[t]), k * picture.x0.length);
      }
      paintImages(canvases[i], strip, picture.channels, picture.size, MOMENTS);
    }
  }

  file.addEventListener("change", async () => {
    const [given] = file.files ?? [];
    if (!given) return;
    try {
      chosen = await squared(given);
      status.textContent = "Your picture, shrunk to 64 × 64 pixels; it stays on this page.";
    } catch {
      status.textContent = "This file is damaged, or no picture that your browser opens.";
    }
    show();
  });
  whenChanged(() => {
    chosen = null;
    status.textContent = "";
    show();
  });
  show();
}

/** The middle square of a picture, small, in [-1, 1]. @param {File} file */
async function squared(file) {
  const bitmap = await createImageBitmap(file);
  const side = Math.min(bitmap.width, bitmap.height);
  const canvas = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE });
  const context = contextOf(canvas);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, SIDE, SIDE);
  const { data } = context.getImageData(0, 0, SIDE, SIDE);
  const plane = SIDE * SIDE;
  const x0 = Float32Array.from({ length: 3 * plane }, (_, i) => data[4 * (i % plane) + Math.floor(i / plane)] / 127.5 - 1);
  return { x0, eps: new Generator(1).normals(3 * plane), channels: 3, size: SIDE };
}
