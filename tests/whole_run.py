"""Measure a whole run of a command: seconds by the clock and of processors, and memory.

    python tests/whole_run.py NAME --json docs/results/whole-runs.json -- specvae annotate ...

The record of NAME in the file is replaced. Processor seconds are of the command and of all
processes that it started; memory is the most that they had together (PSS, so that what they share
counts once), looked at once a second; Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def _processes(root: int) -> list[int]:
    """Return a process and all that it started."""
    found = [root]
    try:
        for task in Path(f"/proc/{root}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += _processes(int(child))
    except OSError:  # it has ended
        pass
    return found


def _megabytes(process: int) -> float:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def measure(command: list[str]) -> dict[str, Any]:
    """Run a command and return what it took.

    Raises
    ------
    SystemExit
        If it fails.
    """
    load, start, most, next_look = os.getloadavg()[0], time.monotonic(), 0.0, 0.0
    with subprocess.Popen(command) as running:
        while running.poll() is None:
            if time.monotonic() >= next_look:
                most = max(most, sum(map(_megabytes, _processes(running.pid))))
                next_look = time.monotonic() + 1.0
            time.sleep(0.05)
        wall = time.monotonic() - start
    if running.returncode:
        raise SystemExit(f"{shlex.join(command)}: ended with {running.returncode}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join(command),
        "seconds": round(wall, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "megabytes": round(most),
        "load_before": round(load, 1),
    }


def main() -> None:
    """Measure a command and keep what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args()
    found = measure(asked.command)
    known = json.loads(asked.json.read_text("utf-8")) if asked.json.exists() else {}
    known[asked.name] = {**known.get(asked.name, {}), **found}
    asked.json.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
