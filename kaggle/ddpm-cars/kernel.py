"""A job's kernel, small: ddpm_utils, and the code of a session (kernel.py), lie in the data set that `build.py dataset` writes.

kaggle/build.py fills in the constants; `build.py JOB` makes a kernel that carries all of it instead.
"""

import json
import os
import sys
from pathlib import Path

CHAIN = "ddpm-cars-735d54543a02"
SESSION = 0
JOB = {'job': 'ddpm-cars', 'pairs': False, 'drawn': '', 'processes': 0, 'contains': ['cars_train'], 'epochs': 100, 'images': 8144, 'classes': 0, 'max_hours': 11.0, 'session_hours': 12.0, 'max_disk_gb': 19.0, 'machine_shape': 'NvidiaTeslaT4', 'gpus': 2, 'tflops': [5, 10], 'train': {'device': 'cuda', 'img-size': 64, 'patch': 1, 'attention': [16], 'warmup': 500, 'fit': 'squash', 'timesteps': 1000, 'prediction': 'v', 'width': 128, 'multipliers': [1, 2, 2, 2], 'blocks': 2, 'dropout': 0.1, 'lr': 0.0002, 'ema-decay': 0.999, 'sample-every': 500, 'batch-size': 128, 'accumulate': 2}, 'dataset_sources': ['jessicali9530/stanford-cars-dataset'], 'resume': False, 'accelerator': 't4'}

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
