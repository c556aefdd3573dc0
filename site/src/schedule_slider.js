/** The slider over noise schedules of chapter 01: where the exported page shows one of a few pictures, every timestep is drawn here. */

import { contextOf } from "./paint.js";
import { general } from "./rounding.js";
import { alphaBar, snr } from "./schedules.js";

const [WIDTH, HEIGHT, SHARP] = [560, 228, 2];
const MARGIN = { left: 44, right: 12, top: 24, bottom: 26 };

for (const figure of document.querySelectorAll("figure.ddpm-slider")) {
  const [t, T, schedule] = ["t", "T", "schedule"].map((name) => figure.querySelector(`[data-n][aria-label="${name}"]`));
  if (t instanceof HTMLInputElement && T instanceof HTMLSelectElement && schedule instanceof HTMLSelectElement)
    live(figure, t, T, schedule);
}

/** @param {Element} figure @param {HTMLInputElement} t @param {HTMLSelectElement} T @param {HTMLSelectElement} schedule */
function live(figure, t, T, schedule) {
  const [output, frame, picture] = ["output", "div", "img"].map((name) => /** @type {HTMLElement} */ (figure.querySelector(name)));
  const canvas = Object.assign(document.createElement("canvas"), { width: SHARP * WIDTH, height: SHARP * HEIGHT });
  canvas.style.width = "100%";
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", picture.getAttribute("alt") ?? "");
  frame.style.cssText = `max-width:${WIDTH}px`;
  frame.replaceChildren(canvas);
  const began = /t = (\d+)/.exec(output.textContent ?? "")?.[1] ?? "0";
  t.max = String(Math.max(...Array.from(T.options, (option) => Number(option.text))) - 1);
  t.value = began;
  for (const control of [t, T, schedule]) {
    control.removeAttribute("oninput");
    control.removeAttribute("onchange");
    control.addEventListener("input", show);
  }
  show();

  function show() {
    const [name, steps] = [schedule.selectedOptions[0].text, Number(T.selectedOptions[0].text)];
    const at = Math.min(Number(t.value), steps - 1);
    const ab = alphaBar(name, steps);
    const ratio = snr(ab);
    const context = contextOf(canvas);
    context.setTransform(SHARP, 0, 0, SHARP, 0, 0);
    context.clearRect(0, 0, WIDTH, HEIGHT);
    panel(context, 0, "alpha_bar", ab, at, [0, 0.5, 1], String);
    const logs = ratio.map(Math.log10);
    panel(context, WIDTH / 2, "SNR, its axis logarithmic", logs, at, [-8, -4, 0, 4], (power) => (power ? `1e${power}` : "1"));
    const numbers = [
      `alpha_bar = ${general(ab[at], 4)}`,
      `noise weight = ${general(Math.sqrt(1 - ab[at]), 4)}`,
      `SNR = ${general(ratio[at], 4)}`,
    ];
    output.textContent = `t = ${t.value}, T = ${steps}, schedule = ${name}. ${numbers.join(", ")}`;
    for (const control of [t, T, schedule]) control.setAttribute("aria-valuetext", output.textContent);
  }
}

/**
 * A curve over t with a dot where the slider is.
 * @param {CanvasRenderingContext2D} context @param {number} left @param {string} title @param {Float64Array} values @param {number} at
 * @param {number[]} ticks the outer ones are the ends of the axis, or near @param {(tick: number) => string} words
 */
function panel(context, left, title, values, at, ticks, words) {
  const [low, high] = [Math.min(ticks[0], ...values), Math.max(ticks[ticks.length - 1], ...values)];
  const [width, height] = [WIDTH / 2 - MARGIN.left - MARGIN.right, HEIGHT - MARGIN.top - MARGIN.bottom];
  const x = (/** @type {number} */ t) => left + MARGIN.left + (width * t) / (values.length - 1);
  const y = (/** @type {number} */ value) => MARGIN.top + (height * (high - value)) / (high - low);
  [context.font, context.fillStyle, context.strokeStyle, context.lineWidth] = ["12px system-ui, sans-serif", "#333", "#ccc", 1];
  context.textAlign = "left";
  context.fillText(title, left + MARGIN.left, 14);
  for (const tick of ticks) {
    context.textAlign = "right";
    context.fillText(words(tick), left + MARGIN.left - 6, y(tick) + 4);
    line(context, [x(0), x(values.length - 1)], [y(tick), y(tick)]);
  }
  context.textAlign = "center";
  for (const t of [0, values.length - 1]) context.fillText(String(t), x(t), HEIGHT - 8);
  context.fillText("t", x((values.length - 1) / 2), HEIGHT - 8);
  [context.strokeStyle, context.lineWidth] = ["#00224e", 2];
  line(
    context,
    Array.from(values, (_, t) => x(t)),
    Array.from(values, y),
  );
  context.beginPath();
  context.arc(x(at), y(values[at]), 4, 0, 2 * Math.PI);
  context.fill();
}

/** @param {CanvasRenderingContext2D} context @param {number[]} xs @param {number[]} ys */
function line(context, xs, ys) {
  context.beginPath();
  for (let i = 0; i < xs.length; i++) context.lineTo(xs[i], ys[i]);
  context.stroke();
}
