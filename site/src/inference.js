/** What a page needs to run networks: its files, the worker that computes, and questions to that worker. */

/** @typedef {{name: string, files: string[], megabytes: number, does: string, licence: string}} About */

/**
 * A file of the site. In the page that is a single file it lies in an element instead, in base64.
 * @param {string} name
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
async function bytesOf(name) {
  const inside = document.getElementById(`file:${name}`);
  return inside ? fromBase64(inside.textContent ?? "") : fetched(name);
}

/** @param {string} name */
async function fetched(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name} is missing on this server (${answer.status})`);
  return new Uint8Array(await answer.arrayBuffer());
}

/** @param {string} text */
function fromBase64(text) {
  const letters = atob(text.trim());
  return Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
}

/** What the build wrote into the page as JSON. @param {string} id @returns {any} */
export function told(id) {
  return JSON.parse(document.getElementById(id)?.textContent ?? "null");
}

/** A worker that runs one script of the site, and answers questions. */
export class Engine {
  /** @param {string} script */
  constructor(script) {
    const inside = document.getElementById(`file:${script}`);
    const address = inside ? URL.createObjectURL(new Blob([fromBase64(inside.textContent ?? "")], { type: "text/javascript" })) : script;
    this.worker = new Worker(address);
    /** @type {Map<number, {resolve: (value: any) => void, reject: (reason: Error) => void}>} */
    this.waiting = new Map();
    this.asked = 0;
    this.worker.onmessage = ({ data: { id, answer, error } }) => {
      const question = this.waiting.get(id);
      this.waiting.delete(id);
      if (error) question?.reject(new Error(error));
      else question?.resolve(answer);
    };
    this.broken = /** @type {Error | null} */ (null);
    this.worker.onerror = (event) => {
      this.broken = new Error(event.message || `${script} could not be started`);
      for (const { reject } of this.waiting.values()) reject(this.broken);
      this.waiting.clear();
    };
    this.runtime = /** @type {Promise<void> | null} */ (null);
    /** @type {Map<string, Promise<void>>} */
    this.opened = new Map();
  }

  /**
   * Ask the worker for one of its works.
   * @param {string} work
   * @param {object} given
   * @param {Transferable[]} [transfer]
   * @returns {Promise<any>}
   */
  ask(work, given = {}, transfer = []) {
    const id = ++this.asked;
    if (this.broken) return Promise.reject(this.broken);
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, work, given }, transfer);
    });
  }

  /**
   * Have a network ready; fetched once.
   * @param {About} about
   */
  open(about) {
    const before = this.opened.get(about.name);
    if (before) return before;
    const ready = this.opening(about);
    this.opened.set(about.name, ready);
    ready.catch(() => this.opened.delete(about.name)); // so that it can be tried again
    return ready;
  }

  /** @param {About} about */
  async opening(about) {
    this.runtime ??= bytesOf("ort-wasm-simd-threaded.wasm.xz").then((packed) => this.ask("start", { packed }, [packed.buffer]));
    const [parts] = await Promise.all([Promise.all(about.files.map(bytesOf)), this.runtime]);
    const buffers = parts.map((part) => part.buffer);
    await this.ask("open", { name: about.name, parts }, buffers);
  }
}
