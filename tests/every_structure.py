"""Take structures of a table through every step of a ranking, and see that none ends it.

    python tests/every_structure.py TABLE MODEL --json docs/results/structures.json

Each is read, standardised, fingerprinted in the layouts of the model and of its evidence, broken
into fragments, looked up in the model's library, ranked and drawn. What is wrong: anything raised,
a row that is neither ranked nor skipped with its reason, a score that is no finite number, a
structure that cannot be drawn, a batch that takes long. A second call with the same file of counts
goes on where the first ended. Not part of ``make test``. docs/reliability.md has what came of it.
"""

from __future__ import annotations

import argparse
import csv
import faulthandler
import json
import logging
import math
import os
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from specvae.annotation.output.drawing import Drawings, drawn_atoms, drawn_smiles
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.options import RunOptions
from specvae.annotation.ranking.result import Answer
from specvae.annotation.ranking.run import RankingRun
from specvae.molecules.text_tables import read_named_rows
from specvae.spectra.spectrum import Spectrum

_BATCH = 500
_LONGEST_BATCH = 60.0  # s of this process's own time
_COLUMNS = ("smiles", "inchi")
_KEYS = ("inchikey", "inchikey14")
_COUNTED = ("tried", "ranked", "twice", "skipped", "drawn", "badly")
# Peaks at many nominal masses, so that pieces of every size are looked for.
_QUERY = Spectrum(
    mz=np.arange(41.0, 601.0, 8.0) + 0.04,
    intensity=np.linspace(1.0, 100.0, 70),
    query_id="q",
    precursor_mz=650.3,
    adduct="[M+H]+",
    charge=1,
    ion_mode="positive",
)


@dataclass
class Outcome:
    """What became of the structures of a table."""

    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def fail(self, step: str, rows: Sequence[dict[str, str]]) -> None:
        """Note a failure of a batch, with its first structure."""
        self.counts["badly"] += 1
        first = next((row[c] for row in rows for c in _COLUMNS if row.get(c)), "")
        self.failures.append(f"{step}: {first[:120]}")
        print(self.failures[-1], flush=True)  # noqa: T201


def sampled(path: Path, first: int, sample: int, seed: int) -> list[dict[str, str]]:
    """Return the rows from `first` on, or so many of them, drawn at random, in their order."""
    rows = [
        {column: row[column] for column in (*_COLUMNS, *_KEYS) if column in row}
        for number, (_, row) in enumerate(read_named_rows(path))
        if number >= first
    ]
    if not sample or sample >= len(rows):
        return rows
    return [rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), sample))]


def n_twice(rows: Sequence[dict[str, str]]) -> int:
    """Return how many rows have the first block of an earlier one, by the table's own InChIKeys."""
    blocks = [row[key][:14] for row in rows for key in _KEYS if row.get(key)]
    return len(blocks) - len(set(blocks))


def try_batch(
    annotator: Annotator,
    folder: Path,
    rows: Sequence[dict[str, str]],
    outcome: Outcome,
    draw_every: int,
) -> None:
    """Rank the structures of a batch for one spectrum, and draw every n-th of them."""
    table = folder / "batch.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ("query_id", *_COLUMNS), extrasaction="ignore")
        writer.writeheader()
        writer.writerows({"query_id": "q", **row} for row in rows)
    run = RankingRun(annotator, RunOptions(candidates=table, n_jobs=1))
    (result,) = run.results([_QUERY], top=None).results
    annotations = result.annotations if isinstance(result, Answer) else ()
    outcome.counts["ranked"] += len(annotations)
    outcome.counts["skipped"] += len(run.candidates.skips)
    twice = n_twice(rows)
    outcome.counts["twice"] += twice
    if lost := len(rows) - twice - len(annotations) - len(run.candidates.skips):
        outcome.fail(f"{lost} rows neither ranked nor skipped", rows)
    for skip in run.candidates.skips:
        outcome.reasons[re.sub(r"[:(].*|[\d,]+ ", "", skip.detail).strip()] += 1
    for note, n in run.candidates.notes.items():
        outcome.reasons[note] += n
    for annotation in annotations:
        if not math.isfinite(annotation.score):
            outcome.fail(f"score {annotation.score}", [{"smiles": annotation.smiles}])
    drawings = Drawings()
    for annotation in annotations[::draw_every]:
        is_drawn = drawings.number(drawn_smiles(annotation)) is not None
        if not is_drawn or len(drawn_atoms(annotation)) == 0:
            outcome.fail("not drawn", [{"smiles": annotation.smiles}])
        outcome.counts["drawn"] += 1


def walk(
    annotator: Annotator, rows: Sequence[dict[str, str]], outcome: Outcome, draw_every: int = 1
) -> Iterator[None]:
    """Try all rows batch by batch, and yield after each."""
    following = iter(rows)
    while batch := tuple(islice(following, _BATCH)):
        # If a library's C code ends the process itself, its place is printed.
        faulthandler.dump_traceback_later(600, exit=True)
        start = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            # A cache of its own: each is computed, and none has all the earlier ones to read.
            os.environ["SPECVAE_CACHE"] = folder
            try:
                try_batch(annotator, Path(folder), batch, outcome, draw_every)
            except Exception:  # what this is looking for
                outcome.fail(traceback.format_exc().strip().splitlines()[-1][:200], batch)
        seconds = time.process_time() - start
        if seconds > _LONGEST_BATCH:
            outcome.fail(f"{seconds:.0f} s for {len(batch)} structures", batch)
        outcome.counts["tried"] += len(batch)
        yield


@dataclass(frozen=True)
class Counts:
    """The file in which the counts stand, by table; none of it is kept without a path."""

    path: Path | None
    table: str
    first: int
    seed: int

    def outcome(self) -> Outcome:
        """Return what is known of the table from earlier calls with the same order of rows."""
        for entry in self._entries():
            if all(entry[name] == value for name, value in self._key().items()):
                counts = {name: entry.get(name, 0) for name in _COUNTED}
                return Outcome(Counter(counts), Counter(entry["reasons"]), list(entry["failures"]))
        return Outcome()

    def write(self, rows: int, outcome: Outcome) -> dict[str, Any]:
        """Put the counts of the table in the place of those that stood there."""
        result = {
            "date": time.strftime("%Y-%m-%d"),
            **self._key(),
            "rows": rows,
            **{name: outcome.counts[name] for name in _COUNTED},
            "reasons": dict(outcome.reasons.most_common()),
            "failures": outcome.failures,
        }
        if self.path is not None:
            others = [entry for entry in self._entries() if entry["table"] != self.table]
            text = json.dumps([*others, result], indent=1)
            self.path.write_text(text + "\n", encoding="utf-8")
        return result

    def _key(self) -> dict[str, Any]:
        return {"table": self.table, "first": self.first, "seed": self.seed}

    def _entries(self) -> list[dict[str, Any]]:
        if self.path is None or not self.path.exists():
            return []
        entries: list[dict[str, Any]] = json.loads(self.path.read_text("utf-8"))
        return entries


def main() -> int:
    """Try a table, and tell what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("model", type=Path, help="the checkpoint of a model, as demo writes one")
    parser.add_argument("--first", type=int, default=0, help="row at which it begins")
    parser.add_argument("--sample", type=int, default=0, help="so many rows, drawn at random")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--draw-every", type=int, default=1, help="draw every n-th only")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after so long")
    parser.add_argument("--json", type=Path, help="where the counts stand, by table")
    options = parser.parse_args()
    logging.getLogger("specvae").setLevel(logging.ERROR)
    faulthandler.enable()
    annotator = Annotator.load(options.model, "cpu")
    rows = sampled(options.table, options.first, options.sample, options.seed)
    # A shuffled order makes what was tried when time runs out a sample of all.
    random.Random(options.seed).shuffle(rows)
    counts = Counts(options.json, options.table.name, options.first, options.seed)
    outcome = counts.outcome()
    start = time.monotonic()
    for _ in walk(annotator, rows[outcome.counts["tried"] :], outcome, options.draw_every):
        counts.write(len(rows), outcome)
        if outcome.counts["tried"] % 5000 == 0:
            print(f"{outcome.counts['tried']:,} of {len(rows):,}", flush=True)  # noqa: T201
        if time.monotonic() - start > options.seconds:
            break
    print(json.dumps(counts.write(len(rows), outcome), indent=1))  # noqa: T201
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(main())
