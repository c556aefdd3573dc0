/** Search in the course: every word must be in a section's heading or text; headings first. */

import { element } from "./paint.js";

const MOST = 20;
const AROUND = 70; // letters shown on either side of what was found

/** @typedef {{to: string, in: string, is: string, text: string}} Section */

const input = element("search", HTMLInputElement);
const list = element("found", HTMLElement);
const status = element("search-status", HTMLElement);
/** @type {Promise<Section[]> | null} */
let sections = null;

/**
 * The sections that hold all words, those with a word in their heading first.
 * @param {Section[]} all @param {string} asked
 */
export function matching(all, asked) {
  const words = asked.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const heading = (/** @type {Section} */ section) => words.filter((word) => section.is.toLowerCase().includes(word)).length;
  return all
    .filter((section) => words.every((word) => `${section.is} ${section.text}`.toLowerCase().includes(word)))
    .sort((a, b) => heading(b) - heading(a));
}

/** @param {Section} section @param {string} asked */
function entry(section, asked) {
  const item = document.createElement("li");
  const link = Object.assign(document.createElement("a"), { href: section.to, textContent: section.is });
  const where = Object.assign(document.createElement("span"), { className: "faint", textContent: ` in ${section.in}` });
  const place = section.text.toLowerCase().indexOf(asked.toLowerCase().trim().split(/\s+/)[0]);
  const excerpt = place < 0 ? section.text.slice(0, 2 * AROUND) : section.text.slice(Math.max(0, place - AROUND), place + AROUND);
  const text = Object.assign(document.createElement("div"), { className: "faint", textContent: `… ${excerpt} …` });
  item.append(link, where, text);
  return item;
}

input.addEventListener("input", async () => {
  sections ??= fetch("search.json").then((answer) => answer.json());
  const asked = input.value;
  try {
    const all = await sections;
    if (asked !== input.value) return;
    const found = matching(all, asked);
    list.replaceChildren(...found.slice(0, MOST).map((section) => entry(section, asked)));
    status.textContent = asked.trim() ? `${found.length} ${found.length === 1 ? "section" : "sections"}` : "";
  } catch {
    sections = null;
    status.textContent = "The index could not be read; open the site through a web server.";
  }
});
