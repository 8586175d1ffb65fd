from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import SMALL, run_specvae
from specvae_bench.fragments.beside import BesideFragments
from specvae_bench.fragments.command import fragments
from specvae_bench.fragments.comparison_command import fragment_scores
from specvae_bench.fragments.examples import Draws, draw_examples, read_measurements
from specvae_bench.fragments.run import write_scorers

from specvae.annotation.evidence.fragment_score import (
    FragmentScorer,
    block_digests,
    read_scorers,
    standard_scorers,
)
from specvae.annotation.library.filter import SpectrumFilter
from specvae.cli.console import Console
from specvae.errors import InputError
from specvae.molecules.candidates import read_candidates
from specvae.molecules.molecule import Molecule
from specvae.report import ReadReport

ENDS = ("C(=O)OC", "OC(C)=O", "CC(=O)O", "OC=O", "CCOC=O")


def written(folder: Path, *signs: str) -> list[str]:
    """Write a library of ions of these signs and a table of isomers; return the options."""
    records, rows = [], ["smiles"]
    for n in range(1, 9):
        isomers = [Molecule.parse("C" * n + end) for end in ENDS]
        rows += [isomer.smiles for isomer in isomers]
        for sign in signs:
            mz = isomers[0].exact_mass + float(f"{sign}1.00728")
            mode = "POSITIVE" if sign == "+" else "NEGATIVE"
            records += [
                f"NAME: {n}\nSMILES: {isomers[0].smiles}\nPRECURSORMZ: {mz:.4f}\n"
                f"PRECURSORTYPE: [M{sign}H]{sign}\nIONMODE: {mode}\nNum Peaks: 2\n"
                f"{43.0178 + k * 14.01565:.4f} 100\n{mz:.4f} 50\n"
                for k in range(3)
            ]
    library, table = folder / "library.msp", folder / "structures.tsv"
    library.write_text("\n".join(records), encoding="utf-8")
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return ["--spectra", str(library), "--structures", str(table)]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Write a library of [M+H]+ spectra and a table of isomers; return the options."""
    return written(tmp_path, "+")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(fragments, ["--jobs", "1", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_draws(files: list[str]) -> None:
    console = Console()
    wanted = SpectrumFilter()
    measured = read_measurements([Path(files[1])], wanted, console)
    assert measured.ion_modes == ["positive"]
    source = read_candidates(Path(files[3]), ReadReport())
    excluded = frozenset([Molecule.parse("CCOC(C)=O").first_block])
    found = draw_examples(
        measured, "positive", [source], excluded, Draws(decoys=3, spectra=2), 1, console
    )
    assert len(found.learned) == 8
    assert all(len(example.spectra) == 2 for example in found.learned)
    assert all(2 <= len(example.molecules) <= 4 for example in found.learned)
    shared = draw_examples(
        measured, "positive", [source], excluded, Draws(validation=0.5), 1, console
    )
    assert len(shared.learned) + len(shared.judged) == 8
    assert len(shared.judged) > 0


def test_the_command_begins_averages_and_keeps_other_ion_modes(
    files: list[str], tmp_path: Path
) -> None:
    start, end, mean = (tmp_path / f"{name}.safetensors" for name in ("start", "end", "mean"))
    write_scorers(standard_scorers(), start)
    options = [*files, "--start", str(start), "--passes", "1"]
    text = run(*options, "--validation", "0.5", "-o", str(end))
    assert "pass 1 of 1" in text
    assert "compounds to judge by: hit@1" in text
    fitted, given = read_scorers(end), standard_scorers()
    assert sorted(fitted) == ["negative", "positive"]
    name = "hidden.weight"
    negative = fitted["negative"].to_arrays()[name]
    assert np.array_equal(negative, given["negative"].to_arrays()[name])
    positive = fitted["positive"].to_arrays()[name]
    assert not np.array_equal(positive, given["positive"].to_arrays()[name])
    run(*options, "--validation", "0.5", "--average", str(start), "-o", str(mean))
    halves = (positive + given["positive"].to_arrays()[name]) / 2
    np.testing.assert_allclose(
        read_scorers(mean)["positive"].to_arrays()[name], halves, rtol=1e-5, atol=1e-7
    )
    # What a fit needs to go on is gone when it is done.
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [
        ".msp", ".safetensors", ".safetensors", ".safetensors", ".tsv",
    ]  # fmt: skip


def test_a_score_keeps_which_compounds_it_was_fitted_to(files: list[str], tmp_path: Path) -> None:
    """Not those that it is judged by, but those of scores that it began from or was mixed with."""
    start, end = (tmp_path / f"{name}.safetensors" for name in ("start", "end"))
    ours = [Molecule.parse("C" * n + ENDS[0]).first_block for n in range(1, 9)]
    options = [*files, "--passes", "1", "--validation", "0.5"]
    run(*options, "-o", str(start))
    first = read_scorers(start)["positive"]
    learned = [block for block in ours if first.has_learned_from(block)]
    assert 0 < len(learned) < len(ours)
    assert len(first.learned_from) == len(learned)
    run(*options, "--seed", "1", "--start", str(start), "-o", str(end))
    second = read_scorers(end)["positive"]
    assert set(learned) < {block for block in ours if second.has_learned_from(block)}
    run(*options, "--average", str(end), "-o", str(start))
    averaged = read_scorers(start)["positive"]
    assert averaged.learned_from.tolist() == second.learned_from.tolist()
    assert not second.has_learned_from("LFQSCWFLJHTTHZ")
    # To go on from one that does not say it is not to have seen the new compounds alone.
    write_scorers({"positive": FragmentScorer(second.to_arrays())}, start)
    run(*options, "--start", str(start), "-o", str(end))
    assert not len(read_scorers(end)["positive"].learned_from)


def test_a_model_is_trained_with_a_score_of_its_own(tmp_path: Path) -> None:
    """The ion mode that it lacks is as it comes with the program."""
    score, model, fold = tmp_path / "score.safetensors", tmp_path / "model", tmp_path / "fold"
    files = written(tmp_path, "+")
    run(*files, "--passes", "1", "-o", str(score))
    arguments = ["train", *files[:2], "-o", model, "--epochs", "1", *SMALL]
    run_specvae(*arguments, "--fragment-score", score)
    kept, given = (read_scorers(path) for path in (model / "model.safetensors", score))
    for found, expected in (
        (kept["positive"], given["positive"]),
        (kept["negative"], standard_scorers()["negative"]),
    ):
        assert found.learned_from.tolist() == expected.learned_from.tolist()
        for name, array in expected.to_arrays().items():
            np.testing.assert_array_equal(found.to_arrays()[name], array)
    fold.mkdir()
    queries, truth = fold / "queries.msp", fold / "truth.csv"
    one = Molecule.parse("CC" + ENDS[0])
    records = (tmp_path / "library.msp").read_text(encoding="utf-8").split("\n\n")
    queries.write_text(next(r for r in records if f"SMILES: {one.smiles}\n" in r), "utf-8")
    truth.write_text(f"query_id,inchikey14\n2,{one.first_block}\n", "utf-8")
    done = run_specvae(
        "evaluate", queries, "--candidates", files[3], "--truth", truth, "--model", model,
        "--no-library",
    )  # fmt: skip
    assert "fragment score were fitted to the truth of 1 of 1 query" in done.stderr
    assert "n_truth_in_fragment_score" in done.stdout
    no_score = tmp_path / "library.msp"
    done = run_specvae(*arguments, "--force", "--fragment-score", no_score, code=1)
    assert "library.msp: no file of weights" in done.stderr


def test_ion_modes_are_learned_together(tmp_path: Path) -> None:
    output = tmp_path / "both.safetensors"
    options = [*written(tmp_path, "+", "-"), "--passes", "2", "--validation", "0.5"]
    text = run(*options, "--together", "-o", str(output))
    for mode in ("positive", "negative"):
        assert text.count(f"{mode}, pass 2 of 2: ") == 1
    positive, negative = (read_scorers(output)[m].to_arrays() for m in ("positive", "negative"))
    assert np.array_equal(positive["hidden.weight"], negative["hidden.weight"])
    compounds = [read_scorers(output)[m].learned_from.tolist() for m in ("positive", "negative")]
    assert compounds[0] == compounds[1]
    assert not np.array_equal(positive["direct.weight"], negative["direct.weight"])
    run(*options, "-o", str(output))
    positive, negative = (read_scorers(output)[m].to_arrays() for m in ("positive", "negative"))
    assert not np.array_equal(positive["hidden.weight"], negative["hidden.weight"])
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".msp", ".safetensors", ".tsv"]


def test_files_without_a_score_are_named(files: list[str], tmp_path: Path) -> None:
    negative = tmp_path / "negative.safetensors"
    write_scorers({"negative": standard_scorers()["negative"]}, negative)
    (tmp_path / "text.safetensors").write_text("nothing", encoding="utf-8")
    for path, complaint in (
        (negative, "no fragment score of positive ions, wanted one"),
        (tmp_path / "none.safetensors", "no such file"),
        (tmp_path / "text.safetensors", "no file of weights"),
    ):
        for option in ("--start", "--average"):
            arguments = [*files, option, str(path), "-o", str(tmp_path / "out")]
            result = CliRunner().invoke(fragments, arguments)
            assert isinstance(result.exception, InputError)
            assert f"{path}: {complaint}" in str(result.exception)


def test_structures_of_other_masses_are_named(files: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other.smi"
    other.write_text("c1ccccc1\n", encoding="utf-8")
    place = files.index("--structures") + 1
    arguments = [*files[:place], str(other), *files[place + 1 :], "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(fragments, arguments)
    assert isinstance(result.exception, InputError)
    assert f"{other}: no other structure of the mass of any positive compound" in str(
        result.exception
    )


def test_scores_are_compared_on_a_fold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fold = tmp_path / "fold"
    fold.mkdir()
    esters = [Molecule.parse(smiles) for smiles in ("CCC(=O)OC", "CCOC(C)=O")]
    # Only the ester of acetic acid breaks into acetyl, m/z 43.0178; the other gives m/z 57.0335.
    queries = {"a": (57.0335, esters[0]), "b": (43.0178, esters[1]), "c": (43.0178, None)}
    (fold / "queries.mgf").write_text(
        "".join(
            f"BEGIN IONS\nTITLE={name}\nPEPMASS=89.0597\nADDUCT=[M+H]+\nIONMODE=positive\n"
            f"{mz} 100\nEND IONS\n"
            for name, (mz, _) in queries.items()
        ),
        encoding="utf-8",
    )
    truths = {
        name: truth.first_block if truth else "A" * 14 for name, (_, truth) in queries.items()
    }
    (fold / "truth.csv").write_text(
        "query_id,inchikey14\n" + "".join(f"{name},{block}\n" for name, block in truths.items()),
        encoding="utf-8",
    )
    (fold / "candidates.csv").write_text(
        "smiles\nC(C\n" + "".join(f"{ester.smiles}\n" for ester in esters), encoding="utf-8"
    )
    given, flat = tmp_path / "given.safetensors", tmp_path / "flat.safetensors"
    scorers = standard_scorers()
    write_scorers(scorers, given)
    arrays = scorers["positive"].to_arrays()
    arrays["scale"] = np.array(-20.0, np.float32)  # all candidates have the same score, 0
    write_scorers({"positive": FragmentScorer.from_arrays(arrays)}, flat)
    output = tmp_path / "result.json"
    options = ["--data", str(fold), "--score", str(given), "--score", str(flat), "--jobs", "1"]
    result = CliRunner().invoke(fragment_scores, [*options, "-o", str(output)])
    assert result.exit_code == 0, result.output
    found = json.loads(output.read_text(encoding="utf-8"))["folds"]["fold"]
    assert (found["n_queries"], found["n_truth_absent"]) == (2, 1)
    assert (
        "fold: 1 of 3 queries are left out, as their truth is not among their candidates"
        in caplog.messages
    )
    skipped = "candidates: 2 candidates read, 1 skipped: structure cannot be parsed (1)"
    assert skipped in caplog.messages
    one, other = found["scores"]
    assert one["hit_at_1"] == 1.0
    assert one["nats_gained"] == 0.0
    assert (other["hit_at_1"], other["hit_at_5"]) == (0.5, 1.0)
    assert other["nats"] == pytest.approx(np.log(2), abs=1e-3)
    assert other["nats_gained"] == pytest.approx(one["nats"] - other["nats"])
    assert other["nats_gained_ci95"][0] <= other["nats_gained"] <= other["nats_gained_ci95"][1]
    assert "| fold (2) | flat.safetensors | 50.0/100.0/100.0 |" in result.output
    assert (one["n_truth_in_fragment_score"], other["n_truth_in_fragment_score"]) == (0, None)
    assert any("flat.safetensors does not keep which compounds" in m for m in caplog.messages)
    learned, twice = tmp_path / "learned.safetensors", tmp_path / "twice" / "fold"
    digests = block_digests([truths["b"]])
    write_scorers(
        {"positive": FragmentScorer.from_arrays(arrays).having_learned_from(digests)}, learned
    )
    options = ["--data", str(fold), "--score", str(learned), "--jobs", "1", "-o", str(output)]
    CliRunner().invoke(fragment_scores, options, catch_exceptions=False)
    (figures,) = json.loads(output.read_text())["folds"]["fold"]["scores"]
    assert figures["n_truth_in_fragment_score"] == 1
    assert any(
        m.startswith("warning: learned.safetensors was fitted to the truth of 1 of the 2 queries")
        for m in caplog.messages
    )
    doubled = CliRunner().invoke(fragment_scores, [*options, "--data", str(twice)])
    assert doubled.exit_code == 2
    assert "two --data folders have the same folder name" in doubled.output
    negative = tmp_path / "negative.safetensors"
    write_scorers({"negative": scorers["negative"]}, negative)
    failed = CliRunner().invoke(
        fragment_scores, ["--data", str(fold), "--score", str(negative), "-o", str(output)]
    )
    assert "no fragment score of positive ions" in str(failed.exception)


def test_beside_the_library_its_other_compounds_count(files: list[str], tmp_path: Path) -> None:
    alone, beside = (tmp_path / f"{name}.safetensors" for name in ("alone", "beside"))
    options = [*files, "--passes", "1", "--validation", "0.5"]
    first = run(*options, "-o", str(alone))
    second = run(*options, "--beside-library", "-o", str(beside))
    assert "compounds to judge by" in second
    assert first != second
    one, other = (read_scorers(path)["positive"].to_arrays() for path in (alone, beside))
    assert any(not np.array_equal(one[name], other[name]) for name in one)


def test_a_compound_s_own_spectra_say_nothing_beside_it(files: list[str]) -> None:
    """What is left are the other compounds: the same as in a library without it."""
    library = Path(files[1])
    measured = read_measurements([library], SpectrumFilter(), Console())
    molecule = measured.molecules[Molecule.parse("CCCC(=O)OC").first_block]
    spectra = measured.spectra["positive", molecule.first_block]
    listed = [molecule, Molecule.parse("CCCOC(C)=O"), Molecule.parse("CCCCCC(=O)O")]
    whole = BesideFragments.read([library], frozenset(), 1, Console())
    without = BesideFragments.read([library], frozenset([molecule.first_block]), 1, Console())
    found = whole.of(spectra, listed)
    assert found.shape == (3, 3)
    assert np.isfinite(found).all()
    assert len(set(found[0].tolist())) > 1
    np.testing.assert_allclose(found, without.of(spectra, listed), atol=1e-5)
