"""Ask a server of ``specvae serve`` by many clients for minutes: is a request lost, does it grow?

    specvae demo -o demo
    python tests/serve_load.py demo --minutes 10 --json docs/results/serve.json

Each client uploads a dozen of the demo's queries and its candidates, asks for the progress until
the job is done, takes every file and removes the job; then again. All tables must be the same. Not
part of ``make test``. docs/reliability.md has what came of it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

import specvae

_N_QUERIES = 12
_POLL = 0.3  # s between two questions for the progress
_SAMPLE = 2.0  # s between two looks at the server's memory


class Counts:
    """What all clients saw."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.problems: list[str] = []
        self.tables: Counter[bytes] = Counter()
        self.longest = 0.0  # s, one job from upload to the last file

    def saw(self, kind: str, answer: httpx.Response, wanted: int) -> httpx.Response:
        """Count a request; what is not as wanted is a problem."""
        with self.lock:
            self.requests[kind] += 1
            if answer.status_code != wanted:
                self.problems.append(f"{kind}: {answer.status_code} {answer.text[:200]}")
        return answer


def one_job(client: httpx.Client, folder: Path, counts: Counts) -> None:
    """Have the demo ranked once, and take everything."""
    begun = time.monotonic()
    records = (folder / "queries.mgf").read_text(encoding="utf-8").split("END IONS\n")
    queries = "END IONS\n".join([*records[:_N_QUERIES], ""])
    files = [
        ("spectra", ("queries.mgf", queries.encode())),
        ("candidates", ("candidates.csv", (folder / "candidates.csv").read_bytes())),
    ]
    job = counts.saw("upload", client.post("/api/jobs", files=files), 202).json()["job"]
    while True:
        state = counts.saw("progress", client.get(f"/api/jobs/{job}"), 200).json()
        if state["state"] in ("done", "failed"):
            break
        time.sleep(_POLL)
    if state["state"] == "failed":
        counts.problems.append(f"job failed: {state['error']}")
    for name in state["files"]:
        found = counts.saw("file", client.get(f"/api/jobs/{job}/{name}"), 200)
        if name == "ranked.csv":
            with counts.lock:
                counts.tables[found.content] += 1
    counts.saw("removal", client.delete(f"/api/jobs/{job}"), 204)
    with counts.lock:
        counts.longest = max(counts.longest, time.monotonic() - begun)


def work(address: str, folder: Path, until: float, counts: Counts) -> None:
    """Do one job after the other until the time is up."""
    with httpx.Client(base_url=address, timeout=600.0) as client:
        while time.monotonic() < until:
            try:
                one_job(client, folder, counts)
            except Exception as error:
                with counts.lock:
                    counts.problems.append(f"{type(error).__name__}: {error}")


def resident(pid: int) -> float:
    """Return the memory of a process in MB (Linux)."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found[1]) / 1000 if found else 0.0


def main() -> int:
    """Start a server and clients, wait, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("demo", type=Path, help="what specvae demo wrote")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address, counts = f"http://127.0.0.1:{port}", Counts()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "specvae.cli.main", "serve", "--model", options.demo / "model",
            "--port", port,
        ]  # fmt: skip
        server = subprocess.Popen(
            [str(part) for part in command], env={**os.environ, "TMPDIR": folder},
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            memory = watched(server, address, options, counts)
            left_files = sorted(path.name for path in Path(folder).glob("specvae-serve-*/*"))
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()
        after = sorted(path.name for path in Path(folder).glob("specvae-serve-*"))
    result = summary(options, counts, memory, left_files, after)
    text = json.dumps(result, indent=2)
    print(text)  # noqa: T201
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    return int(bool(counts.problems))


def watched(
    server: subprocess.Popen[bytes], address: str, options: argparse.Namespace, counts: Counts
) -> list[tuple[float, float]]:
    """Let the clients work; return the server's memory, in MB, by seconds."""
    while True:
        try:
            httpx.get(address)
            break
        except httpx.TransportError:
            if server.poll() is not None:
                raise RuntimeError("the server did not start") from None
            time.sleep(0.2)
    begun = time.monotonic()
    until = begun + 60.0 * options.minutes
    threads = [
        threading.Thread(target=work, args=(address, options.demo, until, counts))
        for _ in range(options.clients)
    ]
    for thread in threads:
        thread.start()
    memory = []
    while any(thread.is_alive() for thread in threads):
        memory.append((time.monotonic() - begun, resident(server.pid)))
        time.sleep(_SAMPLE)
    return memory


def summary(
    options: argparse.Namespace,
    counts: Counts,
    memory: list[tuple[float, float]],
    left_files: list[str],
    after: list[str],
) -> dict[str, Any]:
    """Return the result as JSON values; memory is the highest of each tenth of the time."""
    end = memory[-1][0]
    tenths = [
        max((mb for at, mb in memory if n * end / 10 <= at <= (n + 1) * end / 10), default=0.0)
        for n in range(10)
    ]
    return {
        "command": f"python tests/serve_load.py demo --minutes {options.minutes:g}",
        "program": f"specvae {specvae.__version__}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "clients": options.clients,
        "minutes": round(end / 60, 2),
        "requests": sum(counts.requests.values()),
        "by_kind": dict(counts.requests),
        "jobs": counts.requests["removal"],
        "different_tables": len(counts.tables),
        "problems": len(counts.problems),
        "first_problems": counts.problems[:5],
        "longest_job_s": round(counts.longest, 1),
        "memory_mb_by_tenth": [round(value, 1) for value in tenths],
        "folders_before_the_end": len(left_files),
        "folders_after_the_end": len(after),
    }


if __name__ == "__main__":
    sys.exit(main())
