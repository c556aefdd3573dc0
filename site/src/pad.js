/** A square to draw on: by pointer, or by keyboard, where the arrows move and the space bar draws. */

import { contextOf } from "./paint.js";

export class Pad {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {number} size pixels a side
   * @param {number} pen its radius in pixels
   * @param {() => void} changed
   */
  constructor(canvas, size, pen, changed) {
    this.canvas = canvas;
    this.size = size;
    this.pen = pen;
    this.changed = changed;
    this.ink = new Float32Array(size * size); // 0 .. 1
    this.cursor = /** @type {{x: number, y: number} | null} */ (null);
    [canvas.width, canvas.height] = [size, size];
    let last = /** @type {{x: number, y: number} | null} */ (null);
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      last = this.place(event);
      this.line(last, last);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      const now = this.place(event);
      this.line(last, now);
      last = now;
    });
    for (const name of /** @type {const} */ (["pointerup", "pointercancel"])) {
      canvas.addEventListener(name, () => {
        last = null;
      });
    }
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => {
      this.cursor = null;
      this.paint();
    });
    this.paint();
  }

  /** @param {PointerEvent} event */
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: ((event.clientX - box.left) / box.width) * this.size, y: ((event.clientY - box.top) / box.height) * this.size };
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (!x && !y && event.key !== " ") return;
    event.preventDefault();
    const at = this.cursor ?? { x: this.size / 2, y: this.size / 2 };
    const within = (/** @type {number} */ value) => Math.max(0.5, Math.min(this.size - 0.5, value));
    this.cursor = { x: within(at.x + x), y: within(at.y + y) };
    if (event.key === " ") this.line(this.cursor, this.cursor);
    else this.paint();
  }

  /** @param {{x: number, y: number}} from @param {{x: number, y: number}} to */
  line(from, to) {
    const pieces = Math.max(1, Math.ceil(2 * Math.hypot(to.x - from.x, to.y - from.y)));
    for (let k = 0; k <= pieces; k++) {
      const [px, py] = [from.x + ((to.x - from.x) * k) / pieces, from.y + ((to.y - from.y) * k) / pieces];
      for (let i = 0; i < this.ink.length; i++) {
        const away = Math.hypot((i % this.size) + 0.5 - px, Math.floor(i / this.size) + 0.5 - py);
        this.ink[i] = Math.max(this.ink[i], Math.max(0, Math.min(1, this.pen + 0.5 - away)));
      }
    }
    this.paint();
    this.changed();
  }

  /** Strokes through points in 0 .. 1. @param {[number, number][][]} strokes */
  put(strokes) {
    this.ink.fill(0);
    const at = (/** @type {[number, number]} */ [x, y]) => ({ x: x * this.size, y: y * this.size });
    for (const stroke of strokes) for (let i = 1; i < stroke.length; i++) this.line(at(stroke[i - 1]), at(stroke[i]));
    this.paint();
    this.changed();
  }

  paint() {
    const context = contextOf(this.canvas);
    const image = context.createImageData(this.size, this.size);
    this.ink.forEach((ink, i) => {
      image.data.set([255 * ink, 255 * ink, 255 * ink, 255], 4 * i);
    });
    context.putImageData(image, 0, 0);
    if (!this.cursor) return;
    context.fillStyle = "#f80";
    context.fillRect(Math.floor(this.cursor.x), Math.floor(this.cursor.y), 1, 1);
  }
}
