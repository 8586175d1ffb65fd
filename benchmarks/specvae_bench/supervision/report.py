"""The figures of `bench supervision`: of each training, what unpaired ones add, and the plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter

from specvae.annotation.evaluation.hits import (
    TruthRank,
    bootstrap_interval,
    expected_hits,
    summarise,
)
from specvae.annotation.output.plots import COLOURS, label_axes, save_figure
from specvae.counting import counted
from specvae_bench.markdown import percent, table
from specvae_bench.supervision.plan import LEARNERS, UNPAIRED, Run

_MARKERS = {"none": "o", "spectra": "^", "molecules": "v", "both": "s"}
_DASHES = {"none": "--", "spectra": ":", "molecules": "-.", "both": "-"}
_ADDITIONS = {
    "none": "pairs only",
    "spectra": "pairs and spectra",
    "molecules": "pairs and molecules",
    "both": "pairs and both",
}


def with_figures(
    run: Run, ranks: Sequence[TruthRank], described: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Return the record of a training: what it is, its figures, and the hits of each query."""
    figures = summarise(ranks, ranks, seed=seed)
    return {
        **asdict(run),
        **described,
        **{
            key: value
            for key, value in figures.items()
            if not key.startswith(("random_", "blind_"))
        },
        "queries": {
            "molecules": [rank.molecule for rank in ranks],
            "hit_at_1": expected_hits(ranks, 1).tolist(),
        },
    }


def gains(records: Sequence[Mapping[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Return the gain in hit@1 by unpaired examples, for the same learner and level.

    Intervals: 95 %, percentile bootstrap of the differences over molecules.
    """
    alone = {
        (record["learner"], record["level"]): record
        for record in records
        if record["unpaired"] == "none"
    }
    found = []
    for record in records:
        base = alone.get((record["learner"], record["level"]))
        if base is None or record is base:
            continue
        gain = np.subtract(record["queries"]["hit_at_1"], base["queries"]["hit_at_1"])
        interval = bootstrap_interval(gain, record["queries"]["molecules"], seed=seed)
        found.append(
            {
                **{key: record[key] for key in ("learner", "level", "unpaired")},
                "hit_at_1": float(gain.mean()),
                "hit_at_1_ci95": list(interval),
            }
        )
    return found


def markdown_table(result: Mapping[str, Any]) -> str:
    """Return hit@1 in percent by learner and level, then what unpaired examples add to it."""
    runs = result["runs"]
    added = _with_both(result["gains"])
    levels = sorted({record["level"] for record in runs}, reverse=True)
    by_level = {record["level"]: record for record in runs}
    columns = ["learner", "learned from", *(f"{100 * level:g} %" for level in levels)]
    pairs = [
        f"{by_level[level]['n_pairs']:,} ({by_level[level]['n_paired_compounds']:,})"
        for level in levels
    ]
    heading = (
        f"**hit@1, %**, by the share of pairs that keep their structure: {runs[0]['n_queries']:,} "
        f"queries of {counted(runs[0]['n_molecules'], 'compounds')}, "
        f"{counted(result['steps'], 'steps')} each."
    )
    shares = {_key(record): percent(record, "hit_at_1") for record in _with_both(runs)}
    text = f"{heading}\n\n" + table(
        columns, [["pairs (compounds)", "", *pairs], *_rows(shares, levels)]
    )
    if added:
        gains = {_key(record): percent(record, "hit_at_1", "+") for record in added}
        text += "\n**Gain by unpaired examples**, on the same queries.\n\n"
        text += table(columns, _rows(gains, levels))
    return text


def draw(records: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw hit@1 against the share of pairs, one colour a learner, one dash what is added.

    Parameters
    ----------
    records
        Of the trainings, see `with_figures`.
    path
        PNG file, written whole or not at all.
    title
        Heading of the figure.
    """
    figure = Figure(figsize=(9.0, 4.8), layout="constrained")
    axes = figure.subplots()
    learners = [name for name in LEARNERS if any(record["learner"] == name for record in records)]
    drawn = 0
    for learner in learners:
        colour = COLOURS[list(LEARNERS).index(learner)]
        for added in UNPAIRED:
            points = sorted(
                (record["level"], record["hit_at_1"], *record["hit_at_1_ci95"])
                for record in _with_both(records)
                if (record["learner"], record["unpaired"]) == (learner, added)
            )
            if points:
                levels, shares, low, high = np.array(points).T
                # Curves of one level stand beside one another.
                beside = levels * 1.035 ** (drawn - 4)
                drawn += 1
                axes.vlines(beside, low, high, color=colour, lw=0.8)
                axes.plot(
                    beside,
                    shares,
                    color=colour,
                    linestyle=_DASHES[added],
                    marker=_MARKERS[added],
                    ms=4,
                    lw=1.6,
                    label=f"{learner}, {_ADDITIONS[added]}",
                )
    axes.set_xscale("log")
    axes.set_xticks(sorted({record["level"] for record in records}))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda level, _: f"{100 * level:g} %"))
    axes.set_ylim(bottom=0.0)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    label_axes(axes, "pairs that keep their structure", "truth ranked first", title)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save_figure(figure, path)


def _with_both(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return records, those of full supervision and molecules under each name that they have below.

    There are no other spectra at full supervision: a learner's row of ``both`` begins there too.
    """
    below = {(record["learner"], record["unpaired"]) for record in records if record["level"] < 1.0}
    shown: list[Mapping[str, Any]] = []
    for record in records:
        names = [record["unpaired"]]
        if record["level"] == 1.0 and record["unpaired"] == "molecules":
            names = [name for name in ("molecules", "both") if (record["learner"], name) in below]
        shown += [{**record, "unpaired": name} for name in names or ["molecules"]]
    return shown


def _key(record: Mapping[str, Any]) -> tuple[str, str, float]:
    return record["learner"], record["unpaired"], record["level"]


def _rows(cells: Mapping[tuple[str, str, float], str], levels: Sequence[float]) -> list[list[str]]:
    return [
        [learner, _ADDITIONS[added], *(cells.get((learner, added, level), "") for level in levels)]
        for learner in LEARNERS
        for added in UNPAIRED
        if any(key[:2] == (learner, added) for key in cells)
    ]
