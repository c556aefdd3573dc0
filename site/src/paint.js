/** Images onto canvases, and small things that every page needs. */

/**
 * An element of the page, by its id; the page is broken without it.
 * @template {typeof HTMLElement} T
 * @param {string} id
 * @param {T} kind
 * @returns {InstanceType<T>}
 */
export function element(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} ${id}`);
  return /** @type {InstanceType<T>} */ (found);
}

/** @param {HTMLCanvasElement} canvas */
export function contextOf(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
}

/**
 * Paint images (n, channels, size, size) in [-1, 1] in rows onto a canvas, a pixel for a pixel.
 * @param {HTMLCanvasElement} canvas @param {Float32Array} x @param {number} channels @param {number} size @param {number} columns
 */
export function paintImages(canvas, x, channels, size, columns) {
  const plane = size * size;
  const n = x.length / channels / plane;
  const [width, height] = [columns * size, Math.ceil(n / columns) * size];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = contextOf(canvas);
  const image = context.createImageData(width, height);
  for (let i = 0; i < n; i++) {
    for (let p = 0; p < plane; p++) {
      const row = Math.floor(i / columns) * size + Math.floor(p / size);
      const into = 4 * (row * width + (i % columns) * size + (p % size));
      for (let c = 0; c < 3; c++) image.data[into + c] = level(x[(i * channels + (channels === 3 ? c : 0)) * plane + p]);
      image.data[into + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
}

/** A value in [-1, 1] as a grey level, in float32 as in Python; a canvas rounds and clips it. @param {number} value */
const level = (value) => Math.fround(Math.fround(value * 0.5 + 0.5) * 255);

/** Text of a range or number beside it, now and whenever it moves. @param {HTMLInputElement} input @param {(value: number) => string} [words] */
export function shown(input, words = String) {
  const output = document.querySelector(`output[for="${input.id}"]`);
  const write = () => {
    if (output) output.textContent = words(Number(input.value));
  };
  input.addEventListener("input", write);
  write();
}

/** Fill a choice. @param {HTMLSelectElement} select @param {string[][]} options value and words of each */
export function offer(select, options) {
  select.replaceChildren(...options.map(([value, words]) => new Option(words, value)));
}

/** A word as a shell takes it, whatever it holds. @param {string} word */
export function quoted(word) {
  return /^[\w./-]+$/.test(word) && !word.startsWith("-") ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/**
 * One thing at a time, the newest: while a work is on its way, only the last call that comes in the meantime is kept.
 * @param {() => Promise<void>} work
 */
export function newest(work) {
  let [busy, again] = [false, false];
  return async () => {
    again = true;
    if (busy) return;
    busy = true;
    try {
      while (again) {
        again = false;
        await work();
      }
    } finally {
      busy = false;
    }
  };
}

/** Let the browser paint. */
export const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
