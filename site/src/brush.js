/** Where a photograph may be changed, painted in strokes: only here, or not here. Strokes can be undone; they are discs along a line. */

const SIDE = 1024; // pixels of the mask's long side

/** Points in pixels of the mask. @typedef {{kind: "include" | "exclude", radius: number, points: [number, number][]}} Stroke */

export class Brush {
  /** @param {number} width of the photograph @param {number} height */
  constructor(width, height) {
    const scale = Math.min(1, SIDE / Math.max(width, height));
    this.scale = scale;
    this.width = Math.max(1, Math.round(scale * width));
    this.height = Math.max(1, Math.round(scale * height));
    /** @type {Stroke[]} */
    this.strokes = [];
    this.overlay = Object.assign(document.createElement("canvas"), { width: this.width, height: this.height });
  }

  /** A new stroke at a place of the photograph. @param {"include" | "exclude"} kind @param {number} radius in its pixels @param {number} x @param {number} y */
  begin(kind, radius, x, y) {
    this.strokes.push({ kind, radius: Math.max(0.5, this.scale * radius), points: [] });
    this.go(x, y);
  }

  /** @param {number} x @param {number} y */
  go(x, y) {
    this.strokes[this.strokes.length - 1]?.points.push([this.scale * x, this.scale * y]);
    this.paint();
  }

  undo() {
    this.strokes.pop();
    this.paint();
  }

  /** @param {"include" | "exclude"} kind */
  has(kind) {
    return this.strokes.some((stroke) => stroke.kind === kind);
  }

  /**
   * All strokes of a kind on a canvas.
   * @param {CanvasRenderingContext2D} context @param {"include" | "exclude"} kind @param {string} colour
   */
  draw(context, kind, colour) {
    context.strokeStyle = colour;
    context.fillStyle = colour;
    context.lineCap = "round";
    context.lineJoin = "round";
    for (const { radius, points } of this.strokes.filter((stroke) => stroke.kind === kind)) {
      context.lineWidth = 2 * radius;
      context.beginPath();
      for (const [x, y] of points) context.lineTo(x, y);
      context.lineTo(points[0][0] + 0.01, points[0][1]); // a dot is a line, too
      context.stroke();
    }
  }

  /** The strokes as the page shows them: the overlay is cleared and drawn anew. */
  paint() {
    const context = /** @type {CanvasRenderingContext2D} */ (this.overlay.getContext("2d"));
    context.clearRect(0, 0, this.width, this.height);
    this.draw(context, "include", "rgb(0 150 80 / 0.35)");
    this.draw(context, "exclude", "rgb(20 90 220 / 0.4)");
  }

  /** A kind's strokes in white on black, as the command takes them. @param {"include" | "exclude"} kind */
  mask(kind) {
    const canvas = Object.assign(document.createElement("canvas"), { width: this.width, height: this.height });
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
    context.fillRect(0, 0, this.width, this.height);
    this.draw(context, kind, "#fff");
    return canvas;
  }

  /** Where the photograph may be changed, 255 wholly; null: everywhere. */
  allowed() {
    if (!this.strokes.length) return null;
    const [include, exclude] = /** @type {const} */ (["include", "exclude"]).map((kind) => {
      const context = /** @type {CanvasRenderingContext2D} */ (this.mask(kind).getContext("2d"));
      return context.getImageData(0, 0, this.width, this.height).data;
    });
    const isLimited = this.has("include");
    const values = new Uint8ClampedArray(this.width * this.height);
    for (let i = 0; i < values.length; i++) values[i] = (isLimited ? include[4 * i] : 255) * (1 - exclude[4 * i] / 255);
    return { values, width: this.width, height: this.height };
  }
}
