"""A report of a thousand real queries: made from MassBank, opened in Chromium, measured.

    python tests/large_report.py prepare ../shared/data large
    specvae train --spectra large/library.msp -o large/model --epochs 5
    specvae annotate large/queries.msp --candidates large/candidates.csv --model large/model \\
      -o large/ranked.csv --report large/report.html
    python tests/large_report.py measure large/report.html --json docs/results/large-report.json

``prepare`` draws 1,000 spectra of [M+H]+ as queries and 8,000 others as the library, and keeps of
the candidate structures those within 10 ppm of a query. ``measure`` needs Chromium. Not part of
``make test``. docs/reliability.md has what came of it.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from chromium import Browser, Page, pages_of

import specvae

_MASSBANK = "massbank/massbank_2025.05.1.msp.gz"
_STRUCTURES = "structures/structures.tsv.gz"
_N_QUERIES, _N_LIBRARY = 1_000, 8_000
_WANTED = (
    "\nSpectrum_type: MS2\n", "\nPrecursor_type: [M+H]+\n", "SMILES=", "\nInstrument_type: LC-ESI",
)  # fmt: skip
_PROTON = 1.007276  # Da
_PPM = 10.0


def main() -> int:
    """Read the arguments and do the step that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    steps = parser.add_subparsers(required=True)
    prepare_step = steps.add_parser("prepare")
    prepare_step.add_argument("data", type=Path)
    prepare_step.add_argument("folder", type=Path)
    prepare_step.set_defaults(run=lambda a: prepare(a.data, a.folder))
    measure_step = steps.add_parser("measure")
    measure_step.add_argument("report", type=Path)
    measure_step.add_argument("--json", type=Path)
    measure_step.set_defaults(run=lambda a: measure(a.report, a.json))
    arguments = parser.parse_args()
    return int(arguments.run(arguments))


def prepare(data: Path, folder: Path) -> int:
    """Write library.msp, queries.msp and candidates.csv to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    records = [
        record
        for record in _records(data / _MASSBANK)
        if all(text in record for text in _WANTED) and _field(record, "PrecursorMZ")
    ]
    names = {_field(r, "InChIKey")[:14]: _field(r, "Name") for r in records}
    random.Random(0).shuffle(records)
    queries, library = records[:_N_QUERIES], records[_N_QUERIES : _N_QUERIES + _N_LIBRARY]
    for name, kept in (("queries.msp", queries), ("library.msp", library)):
        (folder / name).write_text("\n\n".join(kept), encoding="utf-8")
    masses = np.sort([float(_field(r, "PrecursorMZ")) - _PROTON for r in queries])
    n = 0
    with (
        gzip.open(data / _STRUCTURES, "rt", encoding="utf-8") as source,
        (folder / "candidates.csv").open("w", encoding="utf-8", newline="") as target,
    ):
        writer = csv.writer(target)
        writer.writerow(("id", "smiles", "name"))
        for row in csv.DictReader(source, delimiter="\t"):
            mass, key = float(row["monoisotopic_mass"]), row["inchikey14"]
            low, high = np.searchsorted(masses, mass * (1 + np.array([-1, 1]) * _PPM / 1e6))
            if high > low:
                writer.writerow((key, row["smiles"], names.get(key, "")))
                n += 1
    print(f"{len(queries):,} queries, {len(library):,} spectra, {n:,} candidates")  # noqa: T201
    return 0


def _records(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        lines: list[str] = []
        for line in stream:
            if line.strip():
                lines.append(line)
            elif lines:
                yield "".join(lines)
                lines = []
        if lines:
            yield "".join(lines)


def _field(record: str, name: str) -> str:
    _, found, rest = ("\n" + record).partition(f"\n{name}: ")
    return rest.partition("\n")[0].strip() if found else ""


def measure(report: Path, output: Path | None) -> int:
    """Open a report in Chromium and say how large and how quick it is."""
    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder)) as browser:
        browser.open("about:blank")
        before = _processor_seconds(browser)
        page = browser.open(report.resolve().as_uri())
        computed = _processor_seconds(browser) - before
        result = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "program": f"specvae {specvae.__version__}",
            "queries": page.run("document.querySelectorAll('#queries > tbody').length"),
            "ranked": page.run("document.querySelectorAll('#queries > tbody:not(.bad)').length"),
            "megabytes": round(report.stat().st_size / 1e6, 2),
            "seconds_until_loaded": round(page.load_seconds, 2),
            "processor_seconds_until_loaded": round(computed, 2),
            "elements_when_loaded": page.run("document.getElementsByTagName('*').length"),
            "drawings_when_loaded": page.run("document.querySelectorAll('svg').length"),
            "ms_to_open_a_query": _median(page, _OPENED),
            "ms_to_search": _median(page, _SEARCHED),
            "ms_to_sort": _median(page, _SORTED),
        }
        page.run("document.getElementById('close-all').click()")
        result["pages_of_60_queries"] = _printed(page, 60)
        result["problems"] = page.problems()
    text = json.dumps(result, indent=2)
    print(text)  # noqa: T201
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")
    return int(bool(result["problems"]))


# Each takes until the next frame is painted.
_FRAME = "await new Promise((f) => requestAnimationFrame(() => setTimeout(f)));"
_OPENED = f"""async (n) => {{
    const row = document.querySelectorAll('#queries > tbody')[5 * n].rows[0];
    row.scrollIntoView(); {_FRAME} const t = performance.now(); row.click(); {_FRAME}
    return performance.now() - t; }}"""
_SEARCHED = f"""async (n) => {{ const box = document.getElementById('filter');
    const say = (text) => {{ box.value = text; box.dispatchEvent(new Event('input')); }};
    const t = performance.now(); say('c' + n); {_FRAME}
    const taken = performance.now() - t; say(''); return taken; }}"""
_SORTED = f"""async (n) => {{ const heads = document.querySelectorAll('#queries th[role=button]');
    const t = performance.now(); heads[n % heads.length].click(); {_FRAME}
    return performance.now() - t; }}"""


def _processor_seconds(browser: Browser) -> float:
    """Return what all processes of the browser computed, which other work here does not change."""
    processes = browser.send("SystemInfo.getProcessInfo")["processInfo"]
    return sum(float(process["cpuTime"]) for process in processes)


def _median(page: Page, step: str) -> float:
    """Return the median of nine times of a step, in milliseconds."""
    times = sorted(float(page.run(f"({step})({n})")) for n in range(9))
    return round(times[4], 1)


def _printed(page: Page, n: int) -> int:
    """Return the pages of the first queries, opened, and of nothing else."""
    page.run(
        f"""(() => {{ const rows = Array.from(document.querySelectorAll('#queries > tbody'));
        rows.slice({n}).forEach((row) => row.remove());
        document.getElementById('open-all').click(); }})()"""
    )
    return pages_of(page.pdf())


if __name__ == "__main__":
    sys.exit(main())
