"""An index of retention, learned from laboratories whose times follow a rule that is known."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import spearmanr
from specvae_bench.laboratories.comparison import Fold, memory_of, rank_folds
from specvae_bench.laboratories.folds import KNOWN
from specvae_bench.laboratories.methods import (
    EVERYTHING,
    WITHOUT_ERRORS,
    WITHOUT_TIMES,
    ListedQuery,
    packed_fingerprints,
)
from specvae_bench.laboratories.records import LABORATORY, Records, read_records
from specvae_bench.laboratories.reliability import LISTED
from specvae_bench.laboratories.retention import (
    Structures,
    Times,
    fit_index,
    indices_of,
    learn_index,
    times_of,
)
from specvae_bench.laboratories.retention_command import FILES, retention

from specvae.annotation.evaluation.hits import expected_hits
from specvae.annotation.evidence.retention import RetentionIndex
from specvae.cli.console import Console
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.molecule import parse_molecule

# Alcohols and ethers, amines and acids in pairs of isomers: the longer the later, and what has its
# methyl group at the hetero atom after what has it not.
LENGTHS = range(4, 20)
PAIRS = [
    pair
    for n in LENGTHS
    for pair in (
        ("C" * n + "O", "C" * (n - 1) + "OC"),
        ("C" * n + "N", "C" * (n - 1) + "NC"),
        ("C" * n + "C(=O)O", "C" * (n - 1) + "C(=O)OC"),
    )
]
PLACES = {
    smiles: 0.3 * smiles.count("C") + later
    for pair in PAIRS
    for smiles, later in zip(pair, (0.0, 2.0), strict=True)
}
# Minutes at 0 and for each step of the rule. The column of one laboratory is the other way round.
LABORATORIES = {"Here": (1.0, 1.0), "There": (0.2, 3.0), "Far": (5.0, 0.4), "Odd": (20.0, -1.0)}
PROTON = 1.007276


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("retention") / "library.msp"
    lines = []
    for group, (start, step) in LABORATORIES.items():
        for number, (smiles, place) in enumerate(PLACES.items()):
            # Each pair is unknown to one laboratory.
            if number // 2 % len(LABORATORIES) == list(LABORATORIES).index(group):
                continue
            mz = parse_molecule(smiles).exact_mass + PROTON
            time = start + step * place
            lines.append(
                f"Name: x\nDB#: {group}{number}\nPrecursor_type: [M+H]+\nSpectrum_type: MS2\n"
                f"PrecursorMZ: {mz:.4f}\nInstrument_type: LC-ESI-QTOF\nIon_mode: P\n"
                f'Comments: "SMILES={smiles}" "accession=MSBNK-{group}-{group}{number}" '
                f'"retention time={time:.3f} min"\nNum Peaks: 1\n41.039 100\n'
            )
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def records(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Records:
    monkeypatch.setenv("SPECVAE_CACHE", str(tmp_path / "cache"))
    return read_records([library], LABORATORY, Console())


@pytest.fixture
def structures(records: Records) -> Structures:
    return Structures(_packed(records), records.formulas.tolist())


def _packed(records: Records) -> np.ndarray:
    return packed_fingerprints(records.smiles.tolist(), "morgan4096", 1, Console())


def _all_times(records: Records) -> Times:
    return times_of(records, np.arange(len(records)))


def test_records_keep_their_times_in_seconds(records: Records) -> None:
    spectrum = records.spectrum(0)
    assert spectrum.retention_time == pytest.approx(
        60.0 * (1.0 + PLACES[str(records.smiles[records.compound[0]])])
    )


def test_a_compounds_time_is_the_median_of_its_spectra(records: Records) -> None:
    doubled = np.concatenate([np.arange(len(records)), [0, 0]])
    copies = replace(
        records,
        **{
            name: getattr(records, name)[doubled]
            for name in ("group", "compound", "retention_time")
        },
    )
    copies.retention_time[-2:] = [0.1, 5000.0]
    times = times_of(copies, np.arange(len(doubled)))
    assert len(times.seconds) == len(records)
    found = times.seconds[(times.group == "Here") & (times.compound == records.compound[0])]
    assert found == records.retention_time[0]


def test_laboratories_of_few_compounds_or_one_time_have_none(records: Records) -> None:
    assert set(_all_times(records).groups()) == set(LABORATORIES)
    rows = np.flatnonzero((records.group != "Here") | (records.compound < 29))
    assert "Here" not in times_of(records, rows).groups()
    same = replace(records, retention_time=np.where(records.group == "Far", 1.2, np.nan))
    assert not len(_all_times(same).seconds)


def test_a_time_of_zero_is_none(records: Records) -> None:
    none = replace(records, retention_time=np.where(records.group == "Far", 0.0, 1.0))
    none.retention_time[::2] *= 2.0
    assert "Far" not in _all_times(none).groups()
    some = records.retention_time.copy()
    some[np.flatnonzero(records.group == "Far")[0]] = 0.0
    times = _all_times(replace(records, retention_time=some))
    assert len(times.seconds) == len(records) - 1


def test_an_index_is_learned_from_usable_laboratories(
    records: Records, structures: Structures
) -> None:
    index, laboratories = learn_index(_all_times(records), structures)
    assert index is not None
    assert {each.group: each.is_used for each in laboratories} == {
        "Here": True, "There": True, "Far": True, "Odd": False,
    }  # fmt: skip
    found = indices_of(index, structures, np.arange(len(records.smiles)))
    expected = [PLACES[smiles] for smiles in records.smiles.tolist()]
    assert spearmanr(found, expected).statistic > 0.95
    assert found.std() == pytest.approx(1.0, abs=0.05)


def test_units_and_gradients_do_not_matter(records: Records, structures: Structures) -> None:
    times = _all_times(records).of(["Here", "There", "Far"])
    of_others = times._replace(
        seconds=np.where(times.group == "There", 7.0 + times.seconds / 60.0, times.seconds)
    )
    one, other = (fit_index(each, structures) for each in (times, of_others))
    assert np.allclose(one.bits, other.bits, atol=1e-4)
    assert np.allclose(one.composition, other.composition, atol=1e-4)


def test_a_laboratory_is_tried_without_itself_and_its_compounds(records: Records) -> None:
    times = _all_times(records)
    left = times.without("Here")
    assert left.groups() == ["Far", "Odd", "There"]
    assert not np.isin(left.compound, times.compound[times.group == "Here"]).any()


def test_a_folds_index_knows_nothing_of_its_laboratory(records: Records) -> None:
    packed = _packed(records)
    fold = Fold("Here", [])
    index = memory_of(fold, records, packed, True).pool.retention
    assert index is not None
    rng = np.random.default_rng(0)
    other = replace(
        records,
        retention_time=np.where(
            records.group == "Here", rng.random(len(records)), records.retention_time
        ),
    )
    again = memory_of(fold, other, packed, True).pool.retention
    assert again is not None
    assert np.array_equal(index.bits, again.bits)
    assert memory_of(fold, records, packed, False).pool.retention is None


def test_times_tell_isomers_apart_and_have_a_row_of_their_own(records: Records) -> None:
    packed = _packed(records)
    rows = np.flatnonzero(records.group == "Here")
    by_smiles = {str(records.smiles[records.compound[row]]): row for row in rows.tolist()}
    number = {smiles: n for n, smiles in enumerate(records.smiles.tolist())}
    queries = []
    for isomers in (pair for pair in PAIRS if pair[0] in by_smiles):
        pair = _candidates(isomers)
        bits = packed[[number[smiles] for smiles in isomers]]
        for place, smiles in enumerate(isomers):
            spectrum = records.spectrum(by_smiles[smiles])
            truth = str(pair.first_block[place])
            queries.append(ListedQuery(KNOWN, spectrum, truth, pair, place, bits, np.zeros(2), {}))
    fold = Fold("Here", queries)
    (run,) = rank_folds(records, packed, [fold], 0, Console()).values()
    without = f"{EVERYTHING}, {WITHOUT_TIMES}"
    assert list(run.promises) == [EVERYTHING, without, f"{EVERYTHING}, {WITHOUT_ERRORS}"]

    def right(method: str) -> float:
        return float(expected_hits(run.ranks[method], 1).mean())

    # All spectra are alike, so that nothing else tells them apart.
    assert right(without) == 0.5
    assert right(EVERYTHING) > 0.9
    assert run.promises[without][LISTED].line_variance == [None]
    (variance,) = run.promises[EVERYTHING][LISTED].line_variance
    assert variance is not None
    assert variance < 0.5


def _candidates(isomers: tuple[str, str]) -> CandidateSet:
    molecules = [parse_molecule(smiles) for smiles in isomers]
    empty = np.array(["", ""], dtype=object)
    return CandidateSet(
        np.array(isomers, dtype=object),
        np.array([molecule.exact_mass for molecule in molecules]),
        inchikey=np.array([molecule.first_block for molecule in molecules], dtype=object),
        name=empty,
        id=empty,
    )


def test_queries_without_times_have_no_row_without_them(records: Records) -> None:
    packed = _packed(records)
    untimed = replace(records, retention_time=np.full(len(records), np.nan))
    row = int(np.flatnonzero(records.group == "Here")[0])
    pair = _candidates(PAIRS[0])
    truth = str(pair.first_block[0])
    spectrum = untimed.spectrum(row)
    query = ListedQuery(KNOWN, spectrum, truth, pair, 0, packed[:2], np.zeros(2), {})
    fold = Fold("Here", [query])
    (run,) = rank_folds(untimed, packed, [fold], 0, Console()).values()
    assert list(run.promises) == [EVERYTHING, f"{EVERYTHING}, {WITHOUT_ERRORS}"]


def test_the_command_writes_the_index_and_what_it_was_fitted_to(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECVAE_CACHE", str(tmp_path / "cache"))
    truth = tmp_path / "truth.csv"
    truth.write_text(f"query_id,smiles\nq,{PAIRS[1][0]}\n")
    output = tmp_path / "out"
    arguments = ["--spectra", library, "--exclude", truth, "--jobs", 1, "-o", output]
    run = CliRunner().invoke(retention, list(map(str, arguments)))
    assert run.exit_code == 0, run.output
    assert sorted(path.name for path in output.iterdir()) == sorted(FILES)
    result = json.loads((output / "retention.json").read_text())
    assert result["n_compounds"] == len(PLACES) - 1
    assert result["excluded"]["n_compounds"] == 1
    used = {each["group"]: each["is_used"] for each in result["laboratories"]}
    assert used == {"Here": True, "There": True, "Far": True, "Odd": False}
    index = RetentionIndex.load(output / "retention_index.safetensors")
    assert index.bits.shape == (4096,)
    assert "| Odd | 71 |" in run.output


def test_a_library_without_times_is_one_line(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECVAE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "untimed.msp"
    path.write_text(library.read_text().replace("retention time", "remark"))
    arguments = ["--spectra", path, "--jobs", 1, "-o", tmp_path / "out"]
    run = CliRunner().invoke(retention, list(map(str, arguments)))
    assert run.exit_code == 1
    assert "untimed.msp: no laboratory with retention times of 30 compounds" in str(run.exception)
