"""Look at this machine for seconds: versions, disk, and one real computation on each device, with what to do about problems."""

import argparse
import json
from pathlib import Path

from ddpm_utils.commands.arguments import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=user_path, default=Path("."), help="folder in which runs will be written (default: this one)")
    parser.add_argument("--json", action="store_true", help="the findings as JSON, for programs; the exit code is the same")


def run(args: argparse.Namespace) -> int:
    from ddpm_utils.runtime.doctor import as_json, examine

    findings = examine(args.out)
    if args.json:
        print(json.dumps(as_json(findings), indent=2))
    for finding in () if args.json else findings:
        print(f"{finding.what:<24} {finding.found}" + (f"\n{'':<24} PROBLEM: {finding.problem}" if finding.problem else ""))
    return 1 if any(finding.problem for finding in findings) else 0
