/**
 * Before and after in one picture: a divider to drag, pan, zoom up to single pixels, a map of what changed. Nothing is imported and nothing
 * fetched, so that a page may carry this file as it is, beside it or inside it:
 *
 *     viewer(document.getElementById("photograph"), { before: "a.jpg", after: "b.jpg", map: "changes.png", name: "a.jpg" });
 *
 * Inside a page it is the text of a script of type "module", with such a call behind it. It lies in the package, so that pages can be written
 * by an installed one; the site bundles it from here.
 *
 * Pictures are addresses (data: too), images, canvases or ImageBitmaps. `after`, `map` and `overlay` are stretched over `before`, so that they
 * may be small. The map is drawn over the right side while "Show changes" is pressed, opaque where something changed; an overlay always, over
 * both. Colours follow the page's variables --paper, --ink, --line and --accent where it has them.
 *
 * Keyboard, with the picture in focus: arrows move it (with Shift: the divider), + and - zoom, 0 fits it, 1 shows a pixel as a pixel.
 */

/** @typedef {HTMLImageElement | HTMLCanvasElement | ImageBitmap | OffscreenCanvas} Picture */
/** @typedef {{before: Picture | string, after: Picture | string, map?: Picture | string | null, overlay?: Picture | null, name?: string}} Pictures */
/**
 * What a page may do with a viewer. paint: called while a pointer draws on the picture, in pixels of `before`, with the width of one
 * pixel of the screen in them; null lets a pointer move the picture again.
 * @typedef {{
 *   show: (pictures: Partial<Pictures>) => Promise<void>,
 *   redraw: () => void,
 *   paint: ((x: number, y: number, unit: number, phase: "begin" | "draw" | "end") => void) | null,
 * }} Viewer
 */

const STYLE = `
.viewer { display: grid; grid-template-columns: minmax(0, 1fr); gap: .5rem; color: var(--ink, #222); font: inherit; }
.viewer canvas { display: block; width: 100%; height: min(70vh, 46rem); border-radius: .5rem; background: var(--line, #ddd); cursor: grab; }
.viewer canvas.paints { cursor: crosshair; touch-action: none; }
.viewer canvas:focus-visible { outline: 3px solid var(--accent, #06c); outline-offset: 2px; }
.viewer input[type=range] { width: 100%; margin: 0; accent-color: var(--accent, #06c); }
.viewer .tools { display: flex; flex-wrap: wrap; gap: .4rem; align-items: center; }
.viewer button { font: inherit; padding: .35rem .8rem; min-height: 2.4rem; border: 1px solid var(--line, #ccc); border-radius: .5rem;
  background: var(--paper, #fff); color: inherit; cursor: pointer; }
.viewer button[aria-pressed=true] { background: var(--accent, #06c); border-color: var(--accent, #06c); color: var(--on-accent, #fff); }
.viewer output { font-variant-numeric: tabular-nums; margin-inline-start: auto; }
`;
const LARGEST = 16; // pixels of the screen that a pixel of the photograph can take
const GRIP = 18; // radius of the divider's knob, in CSS pixels

/**
 * Fill an element with a viewer.
 * @param {HTMLElement} element
 * @param {Pictures} pictures
 * @returns {Viewer}
 */
export function viewer(element, pictures) {
  if (!document.getElementById("viewer-style")) {
    document.head.append(Object.assign(document.createElement("style"), { id: "viewer-style", textContent: STYLE }));
  }
  element.classList.add("viewer");
  element.innerHTML = `
    <canvas tabindex="0" role="application"></canvas>
    <input type="range" min="0" max="100" step="0.1" value="50">
    <div class="tools">
      <button type="button" data-do="fit">Fit</button>
      <button type="button" data-do="pixels">100 %</button>
      <button type="button" data-do="in" aria-label="Larger">+</button>
      <button type="button" data-do="out" aria-label="Smaller">&minus;</button>
      <button type="button" data-do="map" aria-pressed="false">Show changes</button>
      <output aria-live="off"></output>
    </div>`;
  const canvas = /** @type {HTMLCanvasElement} */ (element.querySelector("canvas"));
  const divider = /** @type {HTMLInputElement} */ (element.querySelector("input"));
  const zoomed = /** @type {HTMLOutputElement} */ (element.querySelector("output"));
  const mapButton = /** @type {HTMLButtonElement} */ (element.querySelector("[data-do=map]"));
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  /** @type {{before: Picture | null, after: Picture | null, map: Picture | null, overlay: Picture | null}} */
  const seen = { before: null, after: null, map: null, overlay: null };
  /** @type {Viewer} */
  const view = { show, redraw, paint: null };
  // The picture's pixel in the middle of the canvas, and pixels of the screen for each of its pixels. fitted: as large as fits, always.
  const at = { x: 0, y: 0, scale: 1, fitted: true };
  /** @type {Map<number, {x: number, y: number}>} */
  const pointers = new Map();
  let grabbed = /** @type {"divider" | "picture" | "brush" | null} */ (null);
  let waiting = false; // for the frame that draws it

  /** @param {Partial<Pictures>} given */
  async function show(given) {
    if (given.name !== undefined || !canvas.hasAttribute("aria-label")) {
      const what = given.name ? `Photograph ${given.name}` : "Photograph";
      canvas.setAttribute("aria-label", `${what}, before and after. Arrows move it, plus and minus zoom, 0 fits it, 1 shows its pixels.`);
      divider.setAttribute("aria-label", "Divider: before is to its left, after to its right");
    }
    for (const name of /** @type {const} */ (["before", "after", "map", "overlay"])) {
      const picture = given[name];
      if (picture !== undefined) seen[name] = typeof picture === "string" ? await loaded(picture) : picture;
    }
    mapButton.hidden = !seen.map;
    redraw();
  }

  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  }

  function draw() {
    const { before, after, map, overlay } = seen;
    const dots = devicePixelRatio;
    const [width, height] = [Math.round(canvas.clientWidth * dots), Math.round(canvas.clientHeight * dots)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    context.clearRect(0, 0, width, height);
    if (!before || !width) return;
    settle(width, height);
    const size = sizeOf(before);
    const left = width / 2 - at.x * at.scale;
    const top = height / 2 - at.y * at.scale;
    const cut = (Number(divider.value) / 100) * width;
    context.imageSmoothingEnabled = at.scale < 2;
    context.imageSmoothingQuality = "high";
    context.drawImage(before, left, top, size.width * at.scale, size.height * at.scale);
    context.save();
    context.beginPath();
    context.rect(cut, 0, width - cut, height);
    context.clip();
    if (after) context.drawImage(after, left, top, size.width * at.scale, size.height * at.scale);
    if (map && mapButton.getAttribute("aria-pressed") === "true") {
      context.imageSmoothingEnabled = true;
      context.drawImage(map, left, top, size.width * at.scale, size.height * at.scale);
    }
    context.restore();
    if (overlay) context.drawImage(overlay, left, top, size.width * at.scale, size.height * at.scale);
    knob(cut, height, dots);
    canvas.style.touchAction = at.fitted && !view.paint ? "pan-y" : "none"; // a phone must still be able to scroll past
    canvas.classList.toggle("paints", view.paint !== null);
    zoomed.value = `${Math.round(at.scale * 100)} %`;
  }

  /** The divider's line and knob at column x. @param {number} x @param {number} height @param {number} dots */
  function knob(x, height, dots) {
    context.lineWidth = 2 * dots;
    context.strokeStyle = "#fff";
    context.shadowColor = "#000";
    context.shadowBlur = 4 * dots;
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, height);
    context.stroke();
    context.beginPath();
    context.arc(x, height / 2, GRIP * dots, 0, 2 * Math.PI);
    context.fillStyle = "#fff";
    context.fill();
    context.shadowBlur = 0;
    context.strokeStyle = "#333";
    for (const side of [-1, 1]) {
      context.beginPath();
      context.moveTo(x + side * 4 * dots, height / 2 - 6 * dots);
      context.lineTo(x + side * 10 * dots, height / 2);
      context.lineTo(x + side * 4 * dots, height / 2 + 6 * dots);
      context.stroke();
    }
  }

  /** Keep the scale and the place within bounds. @param {number} width @param {number} height */
  function settle(width, height) {
    const size = sizeOf(/** @type {Picture} */ (seen.before));
    const fit = Math.min(width / size.width, height / size.height);
    if (at.fitted) at.scale = fit;
    at.scale = Math.max(Math.min(fit, 1), Math.min(LARGEST, at.scale));
    const within = (/** @type {number} */ value, /** @type {number} */ length, /** @type {number} */ room) =>
      length * at.scale <= room ? length / 2 : Math.max(room / 2 / at.scale, Math.min(length - room / 2 / at.scale, value));
    at.x = within(at.x, size.width, width);
    at.y = within(at.y, size.height, height);
  }

  /** Zoom so that the place (x, y) on the canvas, in pixels of the screen, stays. @param {number} scale @param {number} [x] @param {number} [y] */
  function zoomTo(scale, x = canvas.width / 2, y = canvas.height / 2) {
    const held = { x: at.x + (x - canvas.width / 2) / at.scale, y: at.y + (y - canvas.height / 2) / at.scale };
    at.fitted = false;
    at.scale = scale;
    if (seen.before) settle(canvas.width, canvas.height);
    at.x = held.x - (x - canvas.width / 2) / at.scale;
    at.y = held.y - (y - canvas.height / 2) / at.scale;
    redraw();
  }

  /** Where a pointer is on the canvas, in pixels of the screen. @param {MouseEvent} event */
  function place(event) {
    const box = canvas.getBoundingClientRect();
    return { x: (event.clientX - box.left) * devicePixelRatio, y: (event.clientY - box.top) * devicePixelRatio };
  }

  /** @param {{x: number, y: number}} where @param {"begin" | "draw" | "end"} phase */
  function brush(where, phase) {
    view.paint?.(
      at.x + (where.x - canvas.width / 2) / at.scale,
      at.y + (where.y - canvas.height / 2) / at.scale,
      devicePixelRatio / at.scale,
      phase,
    );
  }

  /** @param {{x: number, y: number}} where */
  const isOnKnob = (where) => {
    const [cut, reach] = [(Number(divider.value) / 100) * canvas.width, 1.6 * GRIP * devicePixelRatio];
    return Math.hypot(where.x - cut, where.y - canvas.height / 2) < reach;
  };

  canvas.addEventListener("pointerdown", (event) => {
    const where = place(event);
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, where);
    if (pointers.size > 1) return;
    grabbed = isOnKnob(where) ? "divider" : view.paint ? "brush" : at.fitted ? "divider" : "picture";
    if (grabbed === "brush") brush(where, "begin");
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const where = place(event);
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    pointers.set(event.pointerId, where);
    if (other) {
      const [far, near] = [Math.hypot(where.x - other.x, where.y - other.y), Math.hypot(before.x - other.x, before.y - other.y)];
      zoomTo((at.scale * far) / Math.max(near, 1), (where.x + other.x) / 2, (where.y + other.y) / 2);
    } else if (grabbed === "brush") {
      brush(where, "draw");
    } else if (grabbed === "divider") {
      divider.value = String((100 * where.x) / canvas.width);
      redraw();
    } else {
      at.x -= (where.x - before.x) / at.scale;
      at.y -= (where.y - before.y) / at.scale;
      redraw();
    }
  });
  for (const name of /** @type {const} */ (["pointerup", "pointercancel"])) {
    canvas.addEventListener(name, (event) => {
      if (pointers.delete(event.pointerId) && grabbed === "brush" && pointers.size === 0) brush(place(event), "end");
    });
  }
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the page scrolls; trackpads pinch with ctrlKey
      event.preventDefault();
      const { x, y } = place(event);
      zoomTo(at.scale * Math.exp(-event.deltaY / 200), x, y);
    },
    { passive: false },
  );
  canvas.addEventListener("dblclick", (event) => {
    if (view.paint) return;
    const { x, y } = place(event);
    if (at.fitted) zoomTo(1, x, y);
    else act("fit");
  });
  canvas.addEventListener("keydown", (event) => {
    const named = { "+": "in", "=": "in", "-": "out", 0: "fit", 1: "pixels" }[event.key];
    const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (event.ctrlKey || event.metaKey || !(named || x || y)) return;
    event.preventDefault();
    if (named) act(named);
    if (x && event.shiftKey) divider.value = String(Number(divider.value) + 2 * x);
    else [at.x, at.y] = [at.x + (x * canvas.width) / 10 / at.scale, at.y + (y * canvas.height) / 10 / at.scale];
    redraw();
  });
  element.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("[data-do]") : null;
    if (button instanceof HTMLElement) act(button.dataset.do ?? "");
  });
  divider.addEventListener("input", redraw);
  new ResizeObserver(redraw).observe(canvas);

  /** @param {string} what */
  function act(what) {
    if (what === "fit") at.fitted = true;
    if (what === "pixels") zoomTo(1);
    if (what === "in") zoomTo(at.scale * 1.5);
    if (what === "out") zoomTo(at.scale / 1.5);
    if (what === "map") mapButton.setAttribute("aria-pressed", String(mapButton.getAttribute("aria-pressed") !== "true"));
    redraw();
  }

  show(pictures);
  return view;
}

/** @param {Picture} picture */
function sizeOf(picture) {
  if (picture instanceof HTMLImageElement) return { width: picture.naturalWidth, height: picture.naturalHeight };
  return { width: picture.width, height: picture.height };
}

/** @param {string} address @returns {Promise<HTMLImageElement>} */
async function loaded(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}
