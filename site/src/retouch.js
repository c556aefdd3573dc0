/** The page that takes wrinkles out of a photograph: read, look, compare, paint where it may work, save. */

import { viewer } from "../../ddpm_utils/restoration/viewer.js";
import { Brush } from "./brush.js";
import { Engine, told } from "./inference.js";
import { contextOf, element, newest, painted, quoted, shown } from "./paint.js";
import { refusal } from "./restoration.js";

/** @type {(import("./inference.js").About & {around: import("./restoration.js").Around})[]} */
const [about] = told("models");
const engine = new Engine("worker.js");
const drop = element("photo-drop", HTMLElement);
const input = element("photo-file", HTMLInputElement);
const status = element("photo-status", HTMLElement);
const work = element("photo-work", HTMLElement);
const strength = element("photo-strength", HTMLInputElement);
const size = element("photo-size", HTMLInputElement);
const undo = element("photo-undo", HTMLButtonElement);
const save = element("photo-save", HTMLButtonElement);
const modes = /** @type {HTMLButtonElement[]} */ ([...document.querySelectorAll("[data-mode]")]);
const view = viewer(element("photo-viewer", HTMLElement), { before: blank(1, 1), after: blank(1, 1) });
/** @type {{name: string, width: number, height: number, after: HTMLCanvasElement, brush: Brush, milliseconds: number} | null} */
let photo = null;
let opening = 0; // number of the newest file: an older one is given up

/** @param {number} width @param {number} height */
function blank(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

/** @param {string} words */
function say(words) {
  status.textContent = words;
}

/** Look at a photograph, or say in a sentence why not. @param {Blob} file @param {string} name */
async function open(file, name) {
  const mine = ++opening;
  try {
    say(`Reading ${name} …`);
    const before = await read(file);
    if (typeof before === "string") {
      if (mine === opening) say(`${name}: ${before}`);
      return;
    }
    say(`Loading the model (${about.megabytes} MB) …`);
    await engine.open(about);
    say("Looking for wrinkles …");
    await painted();
    const { width, height } = before;
    const { data } = contextOf(before).getImageData(0, 0, width, height);
    const given = { name: about.name, around: about.around, rgba: data, width, height };
    const seen = await engine.ask("look", given, [data.buffer]);
    if (mine !== opening) return;
    const after = blank(width, height);
    photo = { name, width, height, after, brush: new Brush(width, height), milliseconds: seen.milliseconds };
    contextOf(after).drawImage(before, 0, 0);
    work.hidden = false;
    choose("move");
    await view.show({ before, after, map: mapOf(seen), overlay: photo.brush.overlay, name });
    await apply();
    document.body.dataset.photo = name;
  } catch (error) {
    if (mine === opening) say(`That didn't work: ${error instanceof Error ? error.message : error}.`);
  }
}

/** A photograph upright on a canvas, or the sentence that refuses it. Its size is known before it is decoded. @param {Blob} file @returns {Promise<HTMLCanvasElement | string>} */
async function read(file) {
  const unreadable =
    "This file is damaged, or no picture that your browser opens; JPEG, PNG and WebP are. The photograph on the page stays.";
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    await new Promise((resolve, reject) => {
      image.onload = resolve;
      image.onerror = reject;
    });
    const refused = refusal(image.naturalWidth, image.naturalHeight, about.around);
    if (refused) return refused;
    const bitmap = await createImageBitmap(file); // refuses what is cut off, which an image only leaves grey
    const canvas = blank(bitmap.width, bitmap.height);
    const context = contextOf(canvas);
    context.fillStyle = "#fff"; // under what is transparent
    context.fillRect(0, 0, bitmap.width, bitmap.height);
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    return canvas;
  } catch {
    return unreadable;
  } finally {
    URL.revokeObjectURL(image.src);
  }
}

/** Where the network would change something, in red. @param {{mask: Float32Array, width: number, height: number}} seen */
function mapOf({ mask, width, height }) {
  const canvas = blank(width, height);
  const context = contextOf(canvas);
  const image = context.createImageData(width, height);
  mask.forEach((probability, i) => {
    image.data.set([230, 20, 20, 190 * probability], 4 * i);
  });
  context.putImageData(image, 0, 0);
  return canvas;
}

const apply = newest(async () => {
  if (!photo) return;
  const current = photo;
  const answer = await engine.ask("apply", { strength: Number(strength.value), allowed: current.brush.allowed() });
  if (photo !== current) return;
  contextOf(current.after).putImageData(new ImageData(answer.rgba, current.width, current.height), 0, 0);
  view.redraw();
  undo.disabled = current.brush.strokes.length === 0;
  const share = (100 * answer.changed) / (current.width * current.height);
  const found = answer.changed
    ? `${share.toFixed(1)} % of its pixels changed`
    : "nothing to change was found, or everything is painted over";
  say(
    `${current.name}, ${current.width} × ${current.height}: ${found}; the look at it took ${(current.milliseconds / 1000).toFixed(1)} s.`,
  );
  command();
});

/** The command that does the same to the file itself, and the masks that it needs. */
function command() {
  if (!photo) return;
  const { name, brush } = photo;
  const [stem, ending] = [name.replace(/\.[^.]*$/, ""), name.match(/\.[^.]*$/)?.[0] ?? ".png"];
  const masks = /** @type {const} */ (["include", "exclude"]).filter((kind) => brush.has(kind));
  const flags = masks.map((kind) => ` --${kind} ${quoted(`${stem}-${kind}.png`)}`).join("");
  const share = strength.value === "1" ? "" : ` --strength ${strength.value}`;
  const path = name.startsWith("-") ? `./${name}` : name;
  element("photo-command", HTMLElement).textContent =
    `python -m ddpm_utils retouch ${quoted(path)} --out ${quoted(`${stem}-retouched${ending}`.replace(/^-/, "./-"))}${share}${flags}`;
  for (const kind of /** @type {const} */ (["include", "exclude"])) {
    element(`photo-${kind}`, HTMLButtonElement).hidden = !brush.has(kind);
  }
}

/** @param {HTMLCanvasElement} canvas @param {string} name */
function download(canvas, name) {
  canvas.toBlob((blob) => {
    if (!blob) return say("Your browser could not write this picture; it may be too large for it.");
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }, "image/png");
}

/** What a pointer does on the picture. @param {string} mode */
function choose(mode) {
  for (const button of modes) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  view.paint =
    mode === "move"
      ? null
      : (x, y, unit, phase) => {
          if (!photo) return;
          if (phase === "begin") photo.brush.begin(mode === "include" ? "include" : "exclude", Number(size.value) * unit, x, y);
          if (phase === "draw") photo.brush.go(x, y);
          if (phase === "end") apply();
          view.redraw();
        };
  view.redraw();
}

for (const button of modes) button.addEventListener("click", () => choose(button.dataset.mode ?? "move"));
shown(strength, (value) => `${Math.round(100 * value)} %`);
shown(size, (value) => `${2 * value} points wide on the screen`);
strength.addEventListener("input", () => apply());
undo.addEventListener("click", () => {
  photo?.brush.undo();
  apply();
});
save.addEventListener("click", () => {
  if (photo) download(photo.after, `${photo.name.replace(/\.[^.]*$/, "")}-retouched.png`);
});
for (const kind of /** @type {const} */ (["include", "exclude"])) {
  element(`photo-${kind}`, HTMLButtonElement).addEventListener("click", () => {
    if (photo) download(photo.brush.mask(kind), `${photo.name.replace(/\.[^.]*$/, "")}-${kind}.png`);
  });
}
input.addEventListener("change", () => {
  const [file] = input.files ?? [];
  if (file) open(file, file.name);
});
element("photo-example", HTMLButtonElement).addEventListener("click", async () => {
  try {
    const answer = await fetch("images/garment.jpg");
    await open(await answer.blob(), "garment.jpg");
  } catch {
    say("The example could not be fetched.");
  }
});
drop.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  const [file] = event.dataTransfer?.files ?? [];
  if (file) open(file, file.name);
});
document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData?.files ?? [];
  if (file) open(file, file.name);
});
