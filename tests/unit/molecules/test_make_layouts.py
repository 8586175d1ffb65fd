import runpy
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "data" / "make_layouts.py"


@pytest.mark.parametrize("seed", range(8))
def test_alignment_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    candidates = rng.random((6, 9)) < 0.4
    spread = candidates.mean(axis=0) * (1 - candidates.mean(axis=0)) + rng.random(9) * 0.01
    kept = np.sort(rng.choice(np.arange(2, 9), 4, replace=False))
    published = candidates[:, kept] ^ (rng.random((6, 4)) < 0.1)
    align = runpy.run_path(str(SCRIPT))["align"]
    chosen = align(published, candidates, spread, 2)

    def cost(indices: tuple[int, ...]) -> tuple[int, float]:
        differing = int((published != candidates[:, indices]).sum())
        return differing, -float(spread[list(indices)].sum())

    best = min(combinations(range(2, 9), 4), key=cost)
    assert tuple(chosen) == best


def test_alignment_prefers_the_variable_index_for_a_column_never_on() -> None:
    published = np.zeros((5, 1), dtype=bool)
    candidates = np.zeros((5, 4), dtype=bool)
    candidates[0, 1] = True
    spread = np.array([0.01, 0.2, 0.1, 0.05])
    align = runpy.run_path(str(SCRIPT))["align"]
    # Index 1 varies most, but is on in a row where the column is not.
    assert align(published, candidates, spread, 0).tolist() == [2]
