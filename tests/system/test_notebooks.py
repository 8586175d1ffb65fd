"""The notebooks run from top to bottom, on small files that are made here.

Their cells are run one after another in this process: a kernel of its own would import torch and
compile anew, which takes longer than the notebooks. What only a notebook can read (magics) is in
none of them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pytest
from conftest import DEMO

NOTEBOOKS = Path(__file__).resolve().parents[2] / "docs" / "notebooks"


def run_notebook(name: str, **settings: int) -> dict[str, Any]:
    """Run the cells of code in order; return what they defined.

    `settings` replace the numbers that the first cell of code gives to names in capitals.
    """
    cells = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    for key, value in settings.items():
        sources[0], n = re.subn(rf"^{key} = \w+", f"{key} = {value}", sources[0], flags=re.M)
        assert n == 1, key
    space: dict[str, Any] = {"__name__": "__main__"}
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    for number, source in enumerate(sources, start=1):
        exec(compile(source, f"{name}, cell {number}", "exec"), space)
    plt.close("all")
    return space


@pytest.mark.usefixtures("own_cache")
def test_annotating_massbank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = (DEMO / "library.msp").read_text(encoding="utf-8").rstrip().split("\n\n")[:120]
    library = tmp_path / "MassBank_NISTformat.msp"
    library.write_text("\n\n".join(records) + "\n\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    space = run_notebook("annotate_massbank.ipynb", EPOCHS=1, MOST_COMPOUNDS=30)
    table, aside = space["table"], space["aside"]
    assert isinstance(table, pd.DataFrame)
    assert len(aside) == 3
    assert set(table["query_id"]) == {query.query_id for query in space["queries"]}
    assert set(space["truth"].values()) == aside
    # What was kept aside was not learned from, nor what is beyond the chosen compounds.
    learned = space["model"].annotator.header.compounds
    assert not aside & {block for blocks in learned.values() for block in blocks}
    assert sum(map(len, learned.values())) == 27
    best = space["best"].set_index("query_id")
    assert set(best.index) == set(table["query_id"][table["rank"].notna()])
    # The truth among those that tie for the first place counts in part.
    for query_id, rows in space["first"].groupby("query_id"):
        has_truth = (rows["inchikey"].str[:14] == space["truth"][query_id]).any()
        assert best["right"][query_id] == has_truth / len(rows)


def test_an_autoencoder_of_two_arrays() -> None:
    space = run_notebook("two_arrays.ipynb", N_EXAMPLES=800, EPOCHS=15)
    assert space["right"] > 0.85
    assert space["given"] > space["blind"] + 3.0
