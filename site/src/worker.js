/** The heavy work, off the page: networks by onnxruntime-web, and photographs. Answers each question {id, work, given} in its turn. */

import * as ort from "onnxruntime-web/wasm";
import { XzReadableStream } from "xz-decompress";
import { applyChange, predictChange } from "./restoration.js";

/** @type {Map<string, ort.InferenceSession>} */
const sessions = new Map();
/** @type {{photograph: import("./restoration.js").Photograph, change: import("./restoration.js").Change} | null} */
let photographed = null;

/** @type {Record<string, (given: any) => Promise<unknown>>} */
const WORKS = {
  /** The runtime's own program. */
  async start({ packed }) {
    ort.env.wasm.numThreads = 1; // more need headers that few servers of static files send
    ort.env.wasm.wasmBinary = await unpacked(packed);
    ort.env.logLevel = "error";
  },

  /** parts: packed; one behind the other they are the ONNX file. */
  async open({ name, parts }) {
    const bytes = await new Blob(await Promise.all(parts.map(unpacked))).arrayBuffer();
    sessions.set(name, await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] }));
  },

  /** inputs: name -> {values, shape}; whole numbers become int64. */
  async run({ name, inputs }) {
    return (await predicted(name, inputs)).data;
  },

  /** What a network would change in a photograph, which is kept for `apply`. */
  async look({ name, around, rgba, width, height }) {
    const started = performance.now();
    const photograph = { rgba, width, height };
    const change = await predictChange(photograph, (x, source, wide, high) => retoucher(name, x, source, wide, high), around);
    photographed = { photograph, change };
    return { mask: change.mask, width: change.width, height: change.height, milliseconds: performance.now() - started };
  },

  async apply({ strength, allowed }) {
    if (!photographed) throw new Error("there is no photograph yet");
    return applyChange(photographed.photograph, photographed.change, strength, allowed);
  },
};

/** @param {Uint8Array<ArrayBuffer>} packed by xz, which no browser unpacks by itself @returns {Promise<ArrayBuffer>} */
function unpacked(packed) {
  return new Response(new XzReadableStream(new Blob([packed]).stream())).arrayBuffer();
}

/** @param {string} name @param {Record<string, {values: Float32Array | number[], shape: number[]}>} inputs */
async function predicted(name, inputs) {
  const session = sessions.get(name);
  if (!session) throw new Error(`the model ${name} isn't open`);
  const feeds = Object.entries(inputs).map(([input, { values, shape }]) => [
    input,
    values instanceof Float32Array
      ? new ort.Tensor("float32", values, shape)
      : new ort.Tensor("int64", BigInt64Array.from(values, BigInt), shape),
  ]);
  return (await session.run(Object.fromEntries(feeds))).prediction;
}

/** @param {string} name @param {Float32Array} x @param {Float32Array} source @param {number} width @param {number} height */
async function retoucher(name, x, source, width, height) {
  const shape = [1, 3, height, width];
  const inputs = {
    sample: { values: x, shape },
    timestep: { values: [999], shape: [1] },
    condition: { values: source, shape },
  };
  return /** @type {Float32Array} */ ((await predicted(name, inputs)).data);
}

let before = Promise.resolve();
self.onmessage = ({ data: { id, work, given } }) => {
  before = before.then(async () => {
    try {
      postMessage({ id, answer: await WORKS[work](given) });
    } catch (error) {
      postMessage({ id, error: error instanceof Error ? error.message : String(error) });
    }
  });
};
