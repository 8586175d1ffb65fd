"""Draw the figures of pages in docs/ anew from the JSON files in docs/results.

Usage: python docs/make_plots.py [FOLDER]
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from make_tables import SETS
from specvae_bench.folds import topk
from specvae_bench.retrieval import report as retrieval
from specvae_bench.supervision import report as supervision

from specvae.annotation.evaluation.reliability import wilson_interval
from specvae.annotation.output.plots import plot_reliability

RESULTS = Path(__file__).resolve().parent / "results"
RETRIEVAL = {"massbank-fold": "MassBank compounds held out", "casmi2016": "CASMI 2016"}
TOP_K = {name: SETS[name] for name in ("massbank-fold", "casmi2017-fingerprint")}


def main(folder: Path = RESULTS) -> None:
    """Write all figures to a folder."""
    for name, title in TOP_K.items():
        result = _read(name)
        n_queries = next(iter(result["models"].values()))["n_queries"]
        topk.draw(result, folder / f"{name}.png", title, n_queries)
    for name, title in RETRIEVAL.items():
        with tempfile.TemporaryDirectory() as made:
            retrieval.draw(_read(f"retrieval-{name}"), Path(made), title)
            shutil.copy(Path(made, "falloff.png"), folder / f"retrieval-{name}-falloff.png")
    name = "supervision-massbank-fold"
    runs = _read(name)["runs"]
    supervision.draw(runs, folder / f"{name}.png", "MassBank compounds held out")
    name = "probability-massbank-fold"
    figures = _read(name)
    reliability(figures, folder / f"{name}.png", "MassBank compounds held out")


def reliability(figures: dict[str, Any], path: Path, title: str) -> None:
    """Draw a result of ``specvae evaluate``, which has risk and coverage at some points only."""
    bins = figures["reliability"]
    for each in bins:  # results of before they had intervals: every query is a trial
        each.setdefault("right_ci95", wilson_interval(each["right"], each["n_queries"]))
    falling = bins[::-1]
    sizes = np.array([each["n_queries"] for each in falling])
    kept = np.cumsum(sizes)

    def wrong(name: str) -> Any:  # noqa: ANN401
        return np.cumsum(sizes * [1.0 - each[name] for each in falling]) / kept

    curves = {"coverage": kept / kept[-1], "risk": wrong("right"), "promised": wrong("probability")}
    plot_reliability(figures, curves, path, title=title)


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
