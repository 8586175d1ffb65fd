from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from retrieval_examples import ACETIC_ACID, PROPANOL, candidates, problem
from retrieval_examples import spectrum as example
from specvae_bench.retrieval.comparison import Comparison
from specvae_bench.retrieval.learners import Learner, PlainNetwork, train
from specvae_bench.retrieval.methods import Options
from specvae_bench.supervision import trainings
from specvae_bench.supervision.comparison import finished
from specvae_bench.supervision.plan import LEARNERS, PLAIN, UNPAIRED, Run, n_checks, planned
from specvae_bench.supervision.report import draw, gains, markdown_table, with_figures
from specvae_bench.supervision.trainings import Material, carry_out, draw_molecules, learner_config

from specvae.annotation.evaluation.hits import TruthRank, rank_of_truth
from specvae.annotation.library.filter import SpectrumFilter
from specvae.annotation.library.library import Library
from specvae.annotation.training.networks import bin_layout
from specvae.annotation.training.settings import TrainConfig
from specvae.annotation.training.streams import choose_pairs
from specvae.cli.console import Console
from specvae.errors import InputError
from specvae.files import json_ready
from specvae.molecules.fingerprint import FingerprintCache, fingerprints, get_layout
from specvae.molecules.molecule import parse_molecule
from specvae.report import ReadReport

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
    runs = planned(list(LEARNERS), (0.1, 1.0, 0.1), UNPAIRED)
    assert len(runs) == len(set(runs)) == len({run.name for run in runs})
    # Five that learn from anything: four ways at a tenth, two at full supervision.
    assert len(runs) == 5 * (4 + 2) + 2
    assert {run.unpaired for run in runs if run.learner == PLAIN} == {"none"}
    # There are no other spectra: both is molecules.
    assert {run.unpaired for run in runs if run.level == 1.0} == {"none", "molecules"}
    assert planned([PLAIN], (0.1,), ("both",)) == planned(["svae"], (1.0,), ("spectra",)) == []
    assert len({run.name for run in planned(["svae"], (0.1, 0.1000001), ("none",))}) == 2
    assert runs[0].level == 1.0
    assert {Run("svae", 0.1, added).has_spectra for added in UNPAIRED} == {True, False}


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
    assert lines[4] == "| pairs (compounds) |  | 7 (5) | 7 (5) |"
    assert lines[5].startswith("| svae | pairs only |  | 33.3 [0.0, ")
    assert lines[6] == "| svae | pairs and both |  | 100.0 [100.0, 100.0] |"
    assert lines[7].startswith("| plain-network | pairs only | 66.7 [")
    assert lines[-1].startswith("| svae | pairs and both |  | +66.7 [+0.0, +100.0]")
    draw(records, tmp_path / "plot.png", "title")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_both_begins_where_molecules_do() -> None:
    records = [
        record(Run("svae", 1.0, "molecules"), True, True, True),
        record(Run("svae", 0.1, "both"), False, False, True),
        record(Run("vaevae", 1.0, "molecules"), True, False, True),
    ]
    lines = markdown_table({"steps": 1, "runs": records, "gains": []}).splitlines()
    assert lines[5].startswith("| svae | pairs and both | 100.0 [100.0, 100.0] | 33.3 [")
    assert lines[6].startswith("| vaevae | pairs and molecules | 66.7 [")
    assert len(lines) == 7


@pytest.mark.parametrize(("steps", "n"), [(1, 1), (2, 2), (6, 3), (7, 1), (500, 5)])
def test_checks_divide_the_steps(steps: int, n: int) -> None:
    assert n_checks(steps) == n


def test_finished_trainings_count_unless_they_were_made_otherwise(tmp_path: Path) -> None:
    assert finished(tmp_path, SETTINGS) == {}
    run = Run("svae", 1.0, "none")
    kept = {"settings": {**SETTINGS, "ppm": None}, "run": record(run, True, False, True)}
    path = tmp_path / f"{run.name}.json"
    path.write_text(json.dumps(json_ready(kept)))
    # What JSON cannot hold comes back as null.
    (found,) = finished(tmp_path, {**SETTINGS, "ppm": float("inf")}).items()
    assert found == (run, json_ready(kept["run"]))
    with pytest.raises(InputError, match=r"made with other values of seed; remove it"):
        finished(tmp_path, {**SETTINGS, "seed": 1})
    other = tmp_path / "vaevae-1.0-none.json"
    other.write_text(path.read_text())
    with pytest.raises(InputError, match=r"training \(its record is one of svae-1\.0-none\)"):
        finished(tmp_path, SETTINGS)
    for damaged in ("", "[]", '{"run": {}}', '{"settings": {"steps": 3, "seed": 0}, "run": {}}'):
        other.write_text(damaged)
        with pytest.raises(InputError, match=r"vaevae-1\.0-none\.json: not a finished training"):
            finished(tmp_path, SETTINGS)


@pytest.mark.parametrize("key", ["", "AAAAAAAAAAAAAA"])
def test_no_structure_is_drawn_that_is_to_be_unknown(
    tmp_path: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    known = ["CCO", "CCCO", "CCCCO", "CCCCCO"]
    blocks = [parse_molecule(smiles).first_block for smiles in known]
    path = tmp_path / "m.csv"
    rows = [f"{smiles},{key}\n" for smiles in known] + ["C1CC,\n", "c1ccccc1->C,\n"]
    path.write_text("smiles,inchikey\n" + "".join(rows))
    left_out = (frozenset(blocks[:1]), frozenset(blocks[1:2]))
    caplog.set_level(logging.INFO, "specvae")
    drawn = draw_molecules([path], 9, left_out, 0, Console())
    assert sorted(molecule.smiles for molecule in drawn) == ["CCCCCO", "CCCCO"]
    assert "2 skipped: structure cannot be parsed (2)" in caplog.text
    assert "2 drawn" in caplog.text
    assert len(draw_molecules([path], 1, left_out, 0, Console())) == 1
    with pytest.raises(InputError, match=r"m\.csv: no structure to learn from is left in it"):
        draw_molecules([path], 9, (frozenset(blocks), frozenset()), 0, Console())


@pytest.fixture
def material(tmp_path: Path) -> Material:
    """Return alcohols of 2 to 25 carbons, three spectra each, one problem, and two other molecules.

    The longest come first, those of even rows before the others: no order is that of another.
    """
    smiles = ["C" * n + "O" for n in range(25, 1, -1)]
    pairs = [
        (
            replace(example(f"{name}{n}", (31.0 + n, 40.0 + 2 * n)), smiles=name),
            parse_molecule(name),
        )
        for n, name in [*enumerate(smiles)][::2] + [*enumerate(smiles)][1::2]
        for _ in range(3)
    ]
    known = Library.from_pairs(pairs, keep_records=True)
    found = candidates(tmp_path, PROPANOL, ACETIC_ACID)
    comparison = Comparison([problem(found, 0)], known, 1, Console())
    library = Library.from_spectra(
        [spectrum for spectrum, _ in pairs],
        bin_layout(TrainConfig()),
        ReadReport(),
        SpectrumFilter(mass_tolerance_ppm=1e9),
    )
    folds = library.folds(0.2, 0.0, 0)
    layout = get_layout("mixed2149")
    return Material(
        comparison,
        library,
        library.split(folds),
        comparison.known_packed(layout.name),
        fingerprints(["CCN", "CCCN"], layout, FingerprintCache(), 1),
    )


@pytest.mark.parametrize("unpaired", UNPAIRED)
@pytest.mark.parametrize("learner", ["svae", "vaevae"])
def test_a_training_sees_what_its_run_says_and_no_more(
    material: Material, learner: str, unpaired: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def spy(name: str, function: Any, place: int) -> Any:  # noqa: ANN401 (any function)
        def wrapped(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
            seen[name] = arguments[place]
            return function(*arguments, **options)

        return wrapped

    for name, place in (("frequent_columns", 2), ("training_means", 1), ("fit", 1)):
        monkeypatch.setattr(trainings, name, spy(name, getattr(trainings, name), place))
    outcome = carry_out(Run(learner, 0.5, unpaired), material, Options(1), amp=False)
    split = choose_pairs(material.rows["train"], 0.5, "rest", 0)
    rest = split.pool if unpaired in ("spectra", "both") else split.pool[:0]
    molecules = 2 if unpaired in ("molecules", "both") else 0
    assert not set(split.paired) & set(material.rows["val"])
    np.testing.assert_array_equal(seen["frequent_columns"], np.union1d(split.paired, rest))
    np.testing.assert_array_equal(seen["training_means"], split.paired)
    # VAEVAE's objective needs single examples: the pairs' own.
    own = len(split.paired) if learner == "vaevae" else 0
    sizes = {name: len(source) for name, source in seen["fit"].streams().items()}
    wanted = {
        "paired": len(split.paired),
        "unpaired-spectrum": own + len(rest),
        "unpaired-fingerprint": own + molecules,
    }
    assert sizes == {name: n for name, n in wanted.items() if n}
    described = outcome.described
    assert described["n_unpaired_spectra"] == len(rest)
    assert described["n_unpaired_molecules"] == molecules
    assert len(outcome.ranks) == 1


def test_the_plain_network_learns_each_spectrum_s_own_fingerprint(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[Library, np.ndarray]] = []

    class Spy(PlainNetwork):
        def __init__(self, known: Library, packed: np.ndarray) -> None:
            taken.append((known, packed))
            super().__init__(known, packed)

    monkeypatch.setattr(trainings, "PlainNetwork", Spy)
    carry_out(Run(PLAIN, 0.3, "none"), material, Options(1), amp=False)
    ((known, packed),) = taken
    assert len(known) == round(0.3 * len(material.rows["train"]))
    assert not np.array_equal(known.compound, np.sort(known.compound)) or len(known.molecules) > 2
    expected = fingerprints(known.molecules, get_layout("mixed2149"), FingerprintCache(), 1)
    np.testing.assert_array_equal(packed, expected)


def test_the_best_of_the_validated_weights_are_kept(material: Material) -> None:
    known = material.comparison.known
    learner = PlainNetwork(known, material.packed)
    kept: list[Any] = []

    def validate(learner: Learner) -> float:
        kept.append(next(learner.parameters()).detach().clone())
        return (0.1, 0.3, 0.2)[len(kept) - 1]

    best = train(learner, known, Options(3), validate=validate, n_checks=3)
    assert best == 0.3
    assert not np.array_equal(kept[1], kept[2])
    np.testing.assert_array_equal(next(learner.parameters()).detach(), kept[1])
