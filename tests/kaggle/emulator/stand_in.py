"""What a session does, without the training: executed in place of a pushed kernel where a test is about the runner alone.

    python stand_in.py KERNEL.PY

Keeps the kernel's contract: a GPU that is lacking is refused, the chain is taken up from the inputs or refused, as many epochs as max-epochs says
are "trained" (each appends a digest of what was there to the state), the same files are left. A test can set OUTCOME = (status, cause, reason)
ahead of it.
"""

import ast
import hashlib
import json
import os
import re
import sys
from pathlib import Path

text = Path(sys.argv[1]).read_text()
CHAIN, JOB = (ast.literal_eval(re.search(rf"^{name} = (.*)$", text, re.M)[1]) for name in ("CHAIN", "JOB"))
INPUT, WORKING = Path(os.environ["KAGGLE_INPUT_ROOT"]), Path(os.environ["KAGGLE_WORKING_ROOT"])

if JOB["train"].get("device") == "cuda" and os.environ["EMULATED_GPUS"] == "0":
    reason = "this session has no GPU: Kaggle lends none without a verified phone number, and none once the week's hours are used up"
    print("refused: " + json.dumps({"cause": "no gpu", "reason": reason}), flush=True)
    sys.exit(f"error: {reason}")
state, history = b"", []
if JOB["resume"]:
    own = [p for p in INPUT.rglob("status.json") if json.loads(p.read_text())["chain"] == CHAIN]
    if not own:
        sys.exit(f"error: there is no checkpoint of chain {CHAIN!r} to go on from")
    before = json.loads(own[0].read_text())
    state, history = (own[0].parent / before["state"]).read_bytes(), before["history"]

epoch = min(JOB["epochs"], len(state) // 32 + JOB["train"].get("max-epochs", 1000))
while len(state) < 32 * epoch:
    state += hashlib.sha256(state).digest()
print(f"kernel: trained to epoch {epoch}", flush=True)

done = epoch == JOB["epochs"]
status, cause, reason = globals().get("OUTCOME") or (("done", "done", "all trained") if done else ("stopped", "stopped", "as asked"))
files = {f"run/state-{epoch:08d}.pt": state, "run/model.safetensors": hashlib.sha256(state).digest()}
(WORKING / "run").mkdir()
for name, content in files.items():
    (WORKING / name).write_bytes(content)
this = {"session": len(history) + 1, "status": status, "cause": cause, "reason": reason}
this |= {"epoch": epoch, "hours": 0.001, "peak_disk_gb": 0.001}
about = {"chain": CHAIN, **this, "epochs": JOB["epochs"], "step": epoch, "steps": JOB["epochs"], "history": [*history, this]}
about |= {"total_hours": 0.001 * len(about["history"]), "state": f"run/state-{epoch:08d}.pt", "model": "run/model.safetensors"}
about["files"] = {name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()}
(WORKING / "report.html").write_text("<p>report</p>")
(WORKING / "status.json").write_text(json.dumps(about))
