"""A job's kernel, small: ddpm_utils, and the code of a session (kernel.py), lie in the data set that `build.py dataset` writes.

kaggle/build.py fills in the constants; `build.py JOB` makes a kernel that carries all of it instead.
"""

import json
import os
import sys
from pathlib import Path

CHAIN = ""
SESSION = 0
JOB = {}

INPUT = Path(os.environ.get("KAGGLE_INPUT_ROOT", "/kaggle/input"))
sessions = [path for depth in range(6) for path in sorted(INPUT.glob("*/" * depth + "kaggle_kernel/kernel.py"))]
if not sessions:
    reason = f"ddpm_utils is in none of the data sets in {str(INPUT)!r}; attach the one that `build.py dataset` writes"
    print("refused: " + json.dumps({"cause": "no package", "reason": reason}), flush=True)
    sys.exit(f"error: {reason}")
sys.dont_write_bytecode = True  # inputs are read-only
sys.path.insert(0, str(sessions[0].parent))

import kernel  # noqa: E402

kernel.CHAIN, kernel.SESSION, kernel.JOB = CHAIN, SESSION, JOB
sys.exit(kernel.main())
