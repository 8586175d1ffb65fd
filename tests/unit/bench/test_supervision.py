from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from specvae_bench.supervised import learner_config
from specvae_bench.supervision import _kept
from specvae_bench.supervision_plan import LEARNERS, LEVELS, PLAIN, UNPAIRED, Run, planned
from specvae_bench.supervision_report import draw, gains, markdown_table, with_figures

from specvae.annotation.metrics import TruthRank, rank_of_truth
from specvae.errors import InputError

# Two spectra of one molecule, one of another.
MOLECULES = ["A", "A", "B"]
SETTINGS = {"steps": 3, "seed": 0}


def ranks(*firsts: bool) -> list[TruthRank]:
    """Return the truth first or last of three candidates."""
    scores = np.array([3.0, 2.0, 1.0])
    return [
        rank_of_truth(molecule, scores, 0 if first else 2)
        for molecule, first in zip(MOLECULES, firsts, strict=True)
    ]


def record(run: Run, *firsts: bool) -> dict[str, Any]:
    described = {"n_pairs": 7, "n_paired_compounds": 5, "validation_mrr": 0.5, "seconds": 1.0}
    return with_figures(run, ranks(*firsts), described, 0)


def test_each_combination_that_differs_is_trained_once() -> None:
    runs = planned(list(LEARNERS), (0.1, 1.0, 0.1), ("both", "spectra", "none"))
    assert len(runs) == len(set(runs)) == len({run.name for run in runs})
    # Five that learn from anything: three ways at a tenth, two at full supervision.
    assert len(runs) == 5 * (3 + 2) + 2
    assert {run.unpaired for run in runs if run.learner == PLAIN} == {"none"}
    assert {run.unpaired for run in runs if run.level == 1.0} == {"none", "both"}
    assert runs[0].level == 1.0
    assert {Run("svae", 0.1, what).has_spectra for what in UNPAIRED} == {True, False}


def test_the_default_levels_are_those_of_the_question() -> None:
    assert LEVELS == (1.0, 0.3, 0.1, 0.03, 0.01)


def test_only_ours_has_the_term_of_the_path() -> None:
    for name in LEARNERS:
        if name != PLAIN:
            config = learner_config(name, 3, amp=True)
            assert config.objective.path_weight == (1.0 if name == "ours" else 0.0)
            assert config.model.kind == ("svae" if name == "ours" else name)
            assert (config.seed, config.optim.amp) == (3, True)


def test_what_unpaired_examples_add_is_measured_on_the_same_queries() -> None:
    alone = record(Run("svae", 0.1, "none"), False, False, True)
    both = record(Run("svae", 0.1, "both"), True, False, True)
    # Nothing to compare these with.
    others = [
        record(Run("svae", 0.3, "both"), True, True, True),
        record(Run("vaevae", 0.1, "both"), True, True, True),
    ]
    assert alone["hit_at_1"] == pytest.approx(1 / 3)
    (gain,) = gains([both, alone, *others], 0)
    assert (gain["learner"], gain["level"], gain["unpaired"]) == ("svae", 0.1, "both")
    assert gain["hit_at_1"] == pytest.approx(1 / 3)
    low, high = gain["hit_at_1_ci95"]
    # Molecule B never gains, molecule A half: resampled, they are all A or all B at the ends.
    assert (low, high) == pytest.approx((0.0, 0.5))


def test_the_table_has_a_row_for_each_learner_and_a_column_for_each_level(tmp_path: Path) -> None:
    records = [
        record(Run("svae", 0.01, "none"), False, False, True),
        record(Run("svae", 0.01, "both"), True, True, True),
        record(Run(PLAIN, 1.0, "none"), True, False, True),
    ]
    result = {"steps": 1234, "runs": records, "gains": gains(records, 0)}
    lines = markdown_table(result).splitlines()
    assert "3 queries of 2 compounds, 1,234 steps" in lines[0]
    assert lines[2] == "| learner | learned from | 100 % | 1 % |"
    assert lines[4] == "| pairs (compounds) | | 7 (5) | 7 (5) |"
    assert lines[5].startswith("| svae | pairs only |  | 33.3 [0.0, ")
    assert lines[6] == "| svae | and both |  | 100.0 [100.0, 100.0] |"
    assert lines[7].startswith("| plain-network | pairs only | 66.7 [")
    assert lines[-1].startswith("| svae | and both |  | +66.7 [+0.0, +100.0]")
    draw(records, tmp_path / "plot.png", "title")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_finished_training_is_taken_again_unless_it_was_made_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "svae-1-none.json"
    assert _kept(path, SETTINGS) is None
    path.write_text(json.dumps({"settings": SETTINGS, "run": {"learner": "svae"}}))
    assert _kept(path, SETTINGS) == {"learner": "svae"}
    with pytest.raises(
        InputError, match=r"svae-1-none\.json: made with other values of seed; remove it"
    ):
        _kept(path, {**SETTINGS, "seed": 1})
    for damaged in ("", "[]", '{"run": {}}'):
        path.write_text(damaged)
        with pytest.raises(InputError, match=r"svae-1-none\.json: not a finished training"):
            _kept(path, SETTINGS)
