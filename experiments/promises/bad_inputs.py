"""Run the property tests on bad input with many more examples than `make test`, and keep how many were tried.

python experiments/promises/bad_inputs.py [--times 10] [--seed 0] [--out FOLDER]

Each example is a file that is wrong in a random place. The test expects an error message or a counted reason, and fails
on a traceback. Writes ``bad-inputs.json``; status 1 if a test failed.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from selectmm.cache.provenance import COMMAND, command_line, provenance
from selectmm.cache.stage import write_atomically

ROOT = Path(__file__).resolve().parents[2]
NAME = "bad-inputs.json"
TESTS = {
    "rows of a pool": ("tests/pool/test_strange_rows.py",),
    "images": ("tests/pool/test_image.py",),
    "a record's pool and model": ("tests/commands/test_recorded.py",),
    "records, answers and references": ("tests/records/test_fuzz.py",),
    "adapters": ("tests/tuning/test_adapter_file.py",),
    "subsets and scores": ("tests/methods/test_from_file.py",),
}
# What hypothesis says of each test: its name on a line, then how many examples of each phase ended in which way.
_TEST = re.compile(r"^(tests/\S+::\S.*):$", re.MULTILINE)
_COUNTS = re.compile(r"(\d+) passing, (\d+) failing, and (\d+) invalid test cases")


def main(arguments: Sequence[str]) -> int:
    """Run the tests, kind by kind, and write the record. Returns the exit status."""
    asked = _parser().parse_args(arguments)
    os.environ[COMMAND] = command_line([sys.argv[0], *arguments])
    kinds = {kind: _tried(files, asked.times, asked.seed) for kind, files in TESTS.items()}
    record = {"provenance": asdict(provenance()), "times": asked.times, "seed": asked.seed, "kinds": kinds}
    asked.out.mkdir(parents=True, exist_ok=True)
    write_atomically(asked.out / NAME, json.dumps(record, indent=1) + "\n")
    for kind, found in kinds.items():
        print(f"{kind}: {found['passed']:,} examples passed, {found['failed']:,} failed, in {found['seconds']:.0f} s")
    return int(any(found["failed"] or found["status"] or not found["passed"] for found in kinds.values()))


def _tried(files: Sequence[str], times: int, seed: int) -> dict[str, object]:
    """Examples that passed and failed in the property tests of some files, by test."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--hypothesis-show-statistics",
        f"--hypothesis-seed={seed}",
        *files,
    ]
    began = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "SELECTMM_EXAMPLES": str(times)},
        capture_output=True,
        text=True,
        check=False,
    )
    tests = counts_in(done.stdout)
    return {
        "passed": sum(passed for passed, _ in tests.values()),
        "failed": sum(failed for _, failed in tests.values()),
        "seconds": time.perf_counter() - began,
        "status": done.returncode,
        "tests": {name: passed for name, (passed, _) in tests.items()},
    }


def counts_in(output: str) -> dict[str, tuple[int, int]]:
    """Examples that passed and failed, by test, from pytest's output with hypothesis' statistics."""
    parts = _TEST.split(output)
    found: dict[str, tuple[int, int]] = {}
    for name, part in zip(parts[1::2], parts[2::2], strict=True):
        counts = [(int(passed), int(failed)) for passed, failed, _ in _COUNTS.findall(part)]
        found[name] = sum(passed for passed, _ in counts), sum(failed for _, failed in counts)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10, help="how many times the examples that make test tries")
    parser.add_argument("--seed", type=int, default=0, help="of the examples")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "metrics", help="folder of the record")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
