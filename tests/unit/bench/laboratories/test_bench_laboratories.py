"""A library of three laboratories, small enough to rank by hand."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from annotation_examples import candidates, spectrum_of
from click.testing import CliRunner
from numpy.typing import NDArray
from specvae_bench.fragments.run import write_scorers
from specvae_bench.laboratories import fit
from specvae_bench.laboratories import records as records_module
from specvae_bench.laboratories.command import laboratories
from specvae_bench.laboratories.comparison import Fold, rank_folds
from specvae_bench.laboratories.folds import (
    HALF,
    INSTRUMENTS,
    KNOWN,
    OTHER_ION,
    REPORTING,
    UNKNOWN,
    FoldQuery,
    choose_queries,
    default_groups,
    runs_of,
)
from specvae_bench.laboratories.lists import (
    ANALOGUES,
    FRAGMENTS,
    METFRAG,
    long_lists,
    own_records,
)
from specvae_bench.laboratories.methods import (
    EVERYTHING,
    OWN_COSINE,
    OWN_ENTROPY,
    OWN_MODIFIED,
    ListedQuery,
    Memory,
    list_candidates,
    packed_fingerprints,
)
from specvae_bench.laboratories.records import LABORATORY, group_of, read_records, read_structures
from specvae_bench.laboratories.reliability import LISTED, STRUCK, Promises, struck
from specvae_bench.laboratories.report import Run, figures

from specvae.annotation.evaluation.hits import TruthRank
from specvae.annotation.evidence.defaults import DEFAULTS_FILE, defaults
from specvae.annotation.evidence.fragment_score import (
    SCORERS_FILE,
    FragmentScorer,
    standard_scorers,
)
from specvae.annotation.ranking.probability import ProbabilityModel, default_probability
from specvae.annotation.ranking.result import ListScores
from specvae.annotation.ranking.run_scoring import RunScoring
from specvae.cli.console import Console
from specvae.errors import InputError
from specvae.files import sha256_of
from specvae.spectra.spectrum import Spectrum

# 1-propanol and 2-propanol are isomers; 1-butanol and 2-butanol too.
PROPANOL, ISOPROPANOL, BUTANOL, SEC_BUTANOL = "CCCO", "CC(C)O", "CCCCO", "CCC(C)O"
PROPANOL_ION, BUTANOL_ION, SODIUM_ION = 61.0648, 75.0804, 97.0624

_RECORDS = (
    # accession, SMILES, adduct, precursor, peaks
    ("MSBNK-Here-H1", PROPANOL, "[M+H]+", PROPANOL_ION, "31.018 10; 43.054 100"),
    ("MSBNK-There-T1", PROPANOL, "[M+H]+", PROPANOL_ION, "31.018 20; 43.054 100"),
    ("MSBNK-There-T2", ISOPROPANOL, "[M+H]+", PROPANOL_ION, "45.033 100; 29.039 20"),
    ("MSBNK-Here-H2", BUTANOL, "[M+H]+", BUTANOL_ION, "57.070 100; 41.039 30"),
    ("MSBNK-There-T3", BUTANOL, "[M+Na]+", SODIUM_ION, "57.070 10; 97.062 100"),
    ("MSBNK-Here-H3", SEC_BUTANOL, "[M+H]+", BUTANOL_ION, "45.033 100; 57.070 20"),
    ("MSBNK-Far_Away-F1", ISOPROPANOL, "[M+H]+", PROPANOL_ION, "45.033 100; 29.039 10"),
)


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPECVAE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "library.msp"
    path.write_text(
        "\n".join(
            f"Name: x\nDB#: {accession.rsplit('-', 1)[1]}\nPrecursor_type: {adduct}\n"
            f"Spectrum_type: MS2\nPrecursorMZ: {mz}\nInstrument_type: LC-ESI-QTOF\nIon_mode: P\n"
            f'Comments: "SMILES={smiles}" "accession={accession}"\n'
            f"Num Peaks: {len(peaks.split(';'))}\n" + "\n".join(peaks.split("; ")) + "\n"
            for accession, smiles, adduct, mz, peaks in _RECORDS
        )
    )
    return path


@pytest.fixture
def structures(tmp_path: Path) -> Path:
    path = tmp_path / "structures.tsv"
    path.write_text("smiles\n" + "".join(f"{s}\n" for s in (PROPANOL, ISOPROPANOL, BUTANOL)))
    extra = tmp_path / "extra.tsv"
    extra.write_text(
        "inchikey14\tmonoisotopic_mass\tsmiles\n"
        f"BTANRVKWQNVYAZ\t74.073165\t{SEC_BUTANOL}\n"
        "AAAAAAAAAAAAAA\t74.073165\tC[C](C)(C)(C)C\n"  # carbon with five bonds
    )
    return path


def test_the_laboratory_is_the_middle_of_the_accession() -> None:
    def spectrum(accession: str, query_id: str = "EA0001") -> Spectrum:
        return Spectrum(
            mz=np.ones(1),
            intensity=np.ones(1),
            query_id=query_id,
            instrument_type="LC-ESI-QTOF",
            metadata={"Comments": f'"accession={accession}"'} if accession else {"Lab": "ours"},
        )

    assert group_of(spectrum("MSBNK-Fac_Eng_Univ_Tokyo-JP001"), LABORATORY) == "Fac_Eng_Univ_Tokyo"
    assert group_of(spectrum("MSBNK-A-B-001"), LABORATORY) == "A-B"
    assert group_of(spectrum(""), LABORATORY) == "EA"
    assert group_of(spectrum(""), "instrument_type") == "LC-ESI-QTOF"
    assert group_of(spectrum(""), "Lab") == "ours"
    assert group_of(spectrum(""), "absent") == ""


def test_queries_are_known_known_as_another_ion_or_unknown(library: Path) -> None:
    records = read_records([library], LABORATORY, Console())
    chosen = choose_queries(records, "Here", ["[M+H]+"], INSTRUMENTS, 10, 0)
    assert {str(records.query_id[row]): kind for row, kind in chosen} == {
        "H1": KNOWN,
        "H2": OTHER_ION,
        "H3": UNKNOWN,
    }
    assert choose_queries(records, "Here", ["[M+H]+"], INSTRUMENTS, 10, 0) == chosen
    with pytest.raises(InputError, match="no query of 'Here'"):
        choose_queries(records, "Here", ["[M+H]+"], ["GC*"], 10, 0)


def test_excluded_compounds_are_no_queries(library: Path) -> None:
    records = read_records([library], LABORATORY, Console())
    chosen = choose_queries(records, "Here", ["[M+H]+"], INSTRUMENTS, 10, 0)
    first, *others = (str(records.first_blocks[records.compound[row]]) for row, _ in chosen)
    kept = choose_queries(records, "Here", ["[M+H]+"], INSTRUMENTS, 10, 0, excluded={first})
    assert kept == chosen[1:]
    with pytest.raises(InputError, match="of no excluded compound"):
        choose_queries(records, "Here", ["[M+H]+"], INSTRUMENTS, 10, 0, excluded={first, *others})


def test_each_compound_is_one_query(library: Path) -> None:
    records = read_records([library], LABORATORY, Console())
    chosen = choose_queries(records, "There", ["[M+H]+"], INSTRUMENTS, 10, 0)
    blocks = [str(records.first_blocks[records.compound[row]]) for row, _ in chosen]
    assert len(blocks) == len(set(blocks)) == 2


def test_a_file_is_read_once(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_records([library], LABORATORY, Console())

    def fail(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(records_module, "read_pairs", fail)
    again = read_records([library], LABORATORY, Console())
    assert again.query_id.tolist() == first.query_id.tolist()
    assert np.array_equal(again.mz, first.mz)
    spectrum = again.spectrum(0)
    assert (spectrum.adduct, spectrum.precursor_mz, spectrum.smiles) == (
        "[M+H]+",
        PROPANOL_ION,
        None,
    )


def test_a_damaged_cache_is_made_again(library: Path, tmp_path: Path) -> None:
    read_records([library], LABORATORY, Console())
    (stored,) = (tmp_path / "cache" / "laboratories").glob("records-*.npz")
    stored.write_bytes(stored.read_bytes()[:100])
    assert len(read_records([library], LABORATORY, Console())) == len(_RECORDS)


def test_what_another_version_of_rdkit_read_is_read_again(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_records([library], LABORATORY, Console())
    *ours, _ = records_module._VERSIONS
    monkeypatch.setattr(records_module, "_VERSIONS", (*ours, "1066.09"))
    read_records([library], LABORATORY, Console())
    assert len(list((tmp_path / "cache" / "laboratories").glob("records-*.npz"))) == 2


def test_records_without_the_field_are_an_error(library: Path) -> None:
    with pytest.raises(InputError, match="no record has the field 'Lab'"):
        read_records([library], "Lab", Console())


def test_tables_are_joined(structures: Path, tmp_path: Path) -> None:
    table = read_structures([structures, tmp_path / "extra.tsv", structures], Console())
    assert len(table) == 5
    assert "BTANRVKWQNVYAZ" in table.first_block


def test_structures_that_are_written_as_ions_have_the_mass_of_the_molecule(tmp_path: Path) -> None:
    """As where they are candidates of `annotate`: a table of ions would lack the compound."""
    path = tmp_path / "structures.tsv"
    rows = {
        "CC(=O)[O-]": ("QTBSBXVTEAMEQO", 59.013853, 60.021129),
        "CC[NH3+]": ("QUSNBJAOOMFDIB", 46.065126, 45.057849),
        "C[N+](C)(C)C": ("QEMXHQIAXOOASZ", 74.096425, 74.096974),
        "C[N+](=O)[O-]": ("LYGJENNIWJXYER", 61.016378, 61.016378),
        "CCO": ("LFQSCWFLJHTTHZ", 46.041865, 46.041865),
    }
    path.write_text(
        "inchikey14\tmonoisotopic_mass\tsmiles\n"
        + "".join(f"{block}\t{stated}\t{text}\n" for text, (block, stated, _) in rows.items())
    )
    table = read_structures([path], Console())
    assert list(table.first_block) == [block for block, _, _ in rows.values()]
    masses = [mass for _, _, mass in rows.values()]
    np.testing.assert_allclose(table.exact_mass, masses, atol=1e-5)


def test_own_records_have_the_querys_peaks(library: Path) -> None:
    records = read_records([library], LABORATORY, Console())
    query = records.spectrum(0)
    truth = str(records.first_blocks[records.compound[0]])
    assert own_records(records, [query], [truth]).tolist() == [0]
    assert not len(own_records(records, [query], ["A" * 14]))


def test_only_laboratories_have_default_groups() -> None:
    assert default_groups(LABORATORY) == REPORTING
    with pytest.raises(InputError, match="--by instrument_type needs at least one --group"):
        default_groups("instrument_type")


def test_the_mixture_has_as_many_known_as_unknown_compounds() -> None:
    kinds = [KNOWN] * 3 + [UNKNOWN]
    runs = runs_of("here", kinds, seed=0)
    assert list(runs) == [KNOWN, UNKNOWN, HALF]
    assert sorted(kinds[n] for n in runs[HALF]) == [KNOWN, UNKNOWN]
    assert runs_of("here", [KNOWN], seed=0) == {KNOWN: [0]}


def test_figures_are_of_all_and_of_each_laboratory() -> None:
    ranks = [TruthRank("A" * 14, 0, 1, 2), TruthRank("B" * 14, 1, 1, 2)]
    result = figures({KNOWN: Run(["here", "there"], {"method": ranks}, {})}, seed=0)
    assert result[KNOWN]["all"]["method"]["hit_at_1"] == 0.5
    assert result[KNOWN]["groups"]["here"]["method"]["hit_at_1"] == 1.0


def test_the_command_ranks_with_the_library_of_the_others(
    library: Path, structures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "queries.mgf").write_text(
        "BEGIN IONS\nTITLE=q\nPEPMASS=61.0648\nADDUCT=[M+H]+\nIONMODE=positive\n"
        "31.018 10\n43.054 100\nEND IONS\n"
        "BEGIN IONS\nTITLE=alone\nPEPMASS=61.0648\nIONMODE=positive\n31.018 1\nEND IONS\n"
    )
    (lists / "truth.csv").write_text(
        "query_id,inchikey14\nq,BDERNNFJNOPAEC\nalone,BDERNNFJNOPAEC\n"
    )
    (lists / "candidates.csv").write_text(f"query_id,smiles\nq,{PROPANOL}\nq,{ISOPROPANOL}\n")
    output = tmp_path / "out"
    arguments = [
        "--spectra", library, "--structures", structures, "--structures", tmp_path / "extra.tsv",
        "--group", "Here", "--group", "Here", "--adduct", "M+H", "--lists", lists, "--jobs", 1,
        "-o", output,
    ]  # fmt: skip
    run = CliRunner().invoke(laboratories, list(map(str, arguments)))
    assert run.exit_code == 0, run.output
    assert "warning: lists: 1 query left out, with a truth but no candidates" in caplog.messages
    result = json.loads((output / "laboratories.json").read_text())
    assert (result["groups"], result["adducts"]) == (["Here"], ["[M+H]+"])
    assert result["n_truth_in_fragment_score"] == 0
    assert result["lists"]["n_without_candidates"] == 1
    known = result["kinds"][KNOWN]["all"]
    # The only own spectrum that is like the query's is that of the truth.
    assert all(known[name]["hit_at_1"] == 1.0 for name in (OWN_COSINE, OWN_MODIFIED, OWN_ENTROPY))
    assert known["random"]["hit_at_1"] == 0.5
    assert result["kinds"][UNKNOWN]["all"]["random"]["n_queries"] == 1
    assert result["candidates_median"] == 2
    promises = result["kinds"][KNOWN]["probabilities"][EVERYTHING]
    # One query: its truth is first where it is listed, and cannot be where it was struck.
    assert {name: found["hit_at_1"] for name, found in promises.items()} == {
        LISTED: 1.0,
        STRUCK: 0.0,
    }
    assert all(
        found["ece"] == pytest.approx(abs(found["hit_at_1"] - found["mean_probability"]))
        for found in promises.values()
    )
    assert 0.0 < promises[STRUCK]["mean_probability"] < promises[LISTED]["mean_probability"] < 1.0
    libraries = result["lists"]["libraries"]
    assert result["lists"]["n_own_records"] == 1
    assert result["lists"]["n_library_spectra"] == {
        "whole library": 7,
        "without own records": 6,
        "other laboratories": 4,
        "without their compounds": 5,
    }
    assert libraries["other laboratories"]["all"][OWN_COSINE]["hit_at_1"] == 1.0
    for name in (ANALOGUES, FRAGMENTS, METFRAG):
        assert libraries["whole library"]["30"][name]["n_queries"] == 1
    # No list is longer than 10.
    rescored = result["lists"]["rescored"]["other laboratories"]
    assert list(rescored) == ["10", "30", "100", "300", "1000"]
    assert rescored["10"][EVERYTHING] == libraries["other laboratories"]["all"][EVERYTHING]
    assert (output / "truth.csv").read_text().splitlines()[0] == "query_id,inchikey14"
    assert (output / "laboratories.png").stat().st_size > 0
    written = (output / "table.md").read_text()
    assert "| random |" in written
    assert "| whole library: everything | 100.0 / 100.0 / 100.0 |" in written
    assert f"| {EVERYTHING}, {STRUCK} |" in written


def test_long_lists_are_ranked_by_what_a_run_tells_too(
    library: Path, structures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[ListScores] = []

    def reversed_scores(
        _: RunScoring, lists: Mapping[int, ListScores]
    ) -> dict[int, NDArray[np.float64]]:
        taken.extend(lists.values())
        return {number: -each.scores for number, each in lists.items()}

    monkeypatch.setattr(RunScoring, "scores_of_run", reversed_scores)
    folder = library.parent / "lists"
    folder.mkdir()
    (folder / "queries.mgf").write_text(
        "BEGIN IONS\nTITLE=q\nPEPMASS=61.0649\nADDUCT=[M+H]+\nIONMODE=positive\n"
        "31.018 10\n43.054 100\nEND IONS\n"
    )
    (folder / "truth.csv").write_text("query_id,inchikey14\nq,BDERNNFJNOPAEC\n")
    (folder / "candidates.csv").write_text(f"query_id,smiles\nq,{PROPANOL}\nq,{ISOPROPANOL}\n")
    records = read_records([library], LABORATORY, Console())
    packed = packed_fingerprints(records.smiles.tolist(), "morgan4096", 1, Console())
    found = long_lists(folder, records, packed, {}, 0, SCORERS_FILE, 1, Console())
    everything = found["libraries"]["whole library"]["all"][EVERYTHING]
    assert everything["hit_at_1"] == 0.0  # its own spectrum makes the truth the last one, reversed
    assert all(each.evidence is not None for each in taken)
    assert all(each.evidence.mass_errors is not None for each in taken if each.evidence)


def test_truths_that_no_table_holds_are_told(
    library: Path, structures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = ["--spectra", library, "--structures", structures, "--jobs", 1]
    here = [*arguments, "--group", "Here", "-o", tmp_path / "out"]
    CliRunner().invoke(laboratories, list(map(str, here)))
    assert (
        "Here: 3 queries; no table holds the truth of 1, which count as missed" in caplog.messages
    )
    CliRunner().invoke(
        laboratories, list(map(str, [*here, "--structures", tmp_path / "extra.tsv"]))
    )
    assert "Here: 3 queries" in caplog.messages
    nowhere = CliRunner().invoke(laboratories, list(map(str, [*arguments, "--group", "Nowhere"])))
    assert "--group names others" in f"{nowhere.output} {nowhere.exception}"


def test_structures_of_other_masses_are_an_error(library: Path, tmp_path: Path) -> None:
    (tmp_path / "other.smi").write_text("c1ccccc1\n")
    arguments = ["--spectra", library, "--structures", tmp_path / "other.smi", "--group", "Here"]
    failed = CliRunner().invoke(laboratories, [*map(str, arguments), "-o", str(tmp_path / "out")])
    assert isinstance(failed.exception, InputError)
    assert "other.smi: no structure within 10 ppm of any query of 'Here'" in str(failed.exception)


def test_odds_of_short_lists_are_fitted(library: Path, structures: Path, tmp_path: Path) -> None:
    lists, output = tmp_path / "lists", tmp_path / "out"
    lists.mkdir()
    (lists / "queries.mgf").write_text(
        "".join(
            f"BEGIN IONS\nTITLE={name}\nPEPMASS=61.0648\nADDUCT=[M+H]+\nIONMODE=positive\n"
            f"{mz} 90\n61.0648 100\nEND IONS\n"
            for name, mz in (("a", 43.0542), ("b", 33.0335))
        )
    )
    (lists / "truth.csv").write_text("query_id,inchikey14\na,KFZMGEQAYNKOFK\nb,BDERNNFJNOPAEC\n")
    rows = [f"{q},{s}\n" for q in "ab" for s in (PROPANOL, ISOPROPANOL, "CCOC")]
    (lists / "candidates.csv").write_text("query_id,smiles\n" + "".join(rows))
    arguments = [
        "--spectra", library, "--structures", structures, "--structures", tmp_path / "extra.tsv",
        "--group", "Here", "--group", "There", "--jobs", 1, "-o", output,
        "--fit-short-lists", lists,
    ]  # fmt: skip
    run = CliRunner().invoke(laboratories, list(map(str, arguments)))
    assert run.exit_code == 0, run.output
    assert [path.name for path in output.iterdir()] == ["probability.json"]
    fitted = ProbabilityModel.from_json(json.loads((output / "probability.json").read_text()))
    shipped = default_probability()
    assert fitted.short_lists not in (None, shipped.short_lists)
    assert replace(fitted, short_lists=shipped.short_lists) == shipped
    for further in (["--fit"], ["--lists", lists], ["--model", "m"]):
        refused = CliRunner().invoke(laboratories, list(map(str, [*arguments, *further])))
        assert refused.exit_code == 2
        assert "--fit-short-lists takes no --fit" in refused.output


def test_a_fit_takes_no_lists_and_one_model(tmp_path: Path) -> None:
    given = ["--fit", "--spectra", "library.msp", "--structures", "structures.tsv"]
    for further in (["--lists", str(tmp_path)], ["--model", "one", "--model", "other"]):
        refused = CliRunner().invoke(laboratories, [*given, *further])
        assert refused.exit_code == 2
        assert "--fit takes no --lists, and one --model at most" in refused.output


def test_fragments_are_compared_with_the_peaks_that_count_in_the_program() -> None:
    found = candidates(PROPANOL, ISOPROPANOL)
    sound = spectrum_of(PROPANOL, 31.018, 43.054)
    noise = 36.5, 47.5  # no part of C3H8O has these
    noisy = spectrum_of(PROPANOL, 31.018, noise[0], 43.054, noise[1])
    noisy = replace(noisy, intensity=np.insert(sound.intensity, [1, 2], 500.0))
    queries = [FoldQuery("", spectrum, "", found, None) for spectrum in (sound, noisy)]
    for metfrag in (False, True):
        one, other = list_candidates(queries, {}, 1, Console(), metfrag=metfrag)
        np.testing.assert_array_equal(one.fragment_scores, other.fragment_scores)
        assert np.ptp(one.fragment_scores) > 0.0


def test_another_fragment_score_can_stand_in_the_place_of_the_shipped_one(
    library: Path, structures: Path, tmp_path: Path
) -> None:
    arrays = standard_scorers()["positive"].to_arrays()
    arrays["scale"] = np.array(-20.0, np.float32)  # all candidates have the same score, 0
    flat = tmp_path / "flat.safetensors"
    write_scorers({"positive": FragmentScorer.from_arrays(arrays)}, flat)
    spectrum, found = spectrum_of(PROPANOL, 31.018, 43.054), candidates(PROPANOL, ISOPROPANOL)
    queries = [FoldQuery("", spectrum, "", found, None)]
    for path, is_flat in ((SCORERS_FILE, False), (flat, True), (SCORERS_FILE, False)):
        (listed,) = list_candidates(queries, {}, 1, Console(), fragment_score=path)
        assert (np.ptp(listed.fragment_scores) < 1e-3) == is_flat
    arguments = [
        "--spectra", library, "--structures", structures, "--group", "Here", "--jobs", 1,
    ]  # fmt: skip
    digests = []
    for name, option in (("a", []), ("b", ["--fragment-score", flat])):
        output = tmp_path / name
        line = [*arguments, *option, "-o", output]
        run = CliRunner().invoke(laboratories, list(map(str, line)))
        assert run.exit_code == 0, run.output
        result = json.loads((output / "laboratories.json").read_text())
        digests.append(result["fragment_score_sha256"])
        learned = result["n_truth_in_fragment_score"]
        assert learned == (0 if name == "a" else None)  # this one does not say
    assert digests == [sha256_of(SCORERS_FILE), sha256_of(flat)]


def test_a_query_without_candidates_is_missed(library: Path, structures: Path) -> None:
    records = read_records([library], LABORATORY, Console())
    table = read_structures([structures], Console())
    bits = packed_fingerprints(table.smiles.tolist(), "morgan4096", 1, Console())
    truth = str(table.first_block[0])
    full = ListedQuery(KNOWN, records.spectrum(0), truth, table, 0, bits, np.zeros(len(table)), {})
    missed = replace(full, truth="A" * 14).cut(np.empty(0, np.int64))
    fold = Fold("Here", [missed, full])
    packed = packed_fingerprints(records.smiles.tolist(), "morgan4096", 1, Console())
    (run,) = rank_folds(records, packed, [fold], 0, Console()).values()
    assert run.groups == ["Here", "Here"]
    assert all(ranks[0] == TruthRank("A" * 14, 0, 0, 0) for ranks in run.ranks.values())
    assert run.ranks[EVERYTHING][1].is_found


def test_every_other_truth_of_each_kind_is_struck() -> None:
    kinds = [KNOWN] * 6 + [UNKNOWN] * 5
    found = struck(kinds, 0, "Here")
    assert sum(n < 6 for n in found) == 3
    assert sum(n >= 6 for n in found) == 3
    assert found == struck(kinds, 0, "Here") != struck(kinds, 1, "Here")


def test_what_a_run_promises(library: Path, structures: Path) -> None:
    records = read_records([library], LABORATORY, Console())
    table = read_structures([structures], Console())
    bits = packed_fingerprints(table.smiles.tolist(), "morgan4096", 1, Console())
    query = ListedQuery(KNOWN, records.spectrum(0), "", table, None, bits, np.zeros(len(table)), {})
    packed = packed_fingerprints(records.smiles.tolist(), "morgan4096", 1, Console())
    memory = Memory(records, np.flatnonzero(records.group != "Here"), packed)
    (evidence,) = dict(memory.evidence(query)).values()
    place = int(np.flatnonzero(table.smiles == PROPANOL)[0])
    promises = Promises()
    lists = ListScores.of(evidence, 2)
    for truth in (place, None):
        promises.add([lists], [truth], memory.pool.weights)
    assert promises.right == [1.0, 0.0]
    assert promises.probability[0] == promises.probability[1]
    # The truth is the best candidate; "not listed" has what no candidate has, this one at most.
    assert promises.outcome[0] == promises.probability[0]
    assert 0.0 < promises.outcome[1] <= 1.0 - promises.probability[1] + 1e-12
    figures = promises.figures()
    assert figures["n_with_probability"] == 2
    assert len(figures["share_known"]) == len(figures["share_in_list"]) == 2


def test_weights_are_fitted_to_laboratories(
    library: Path, structures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    with library.open("a") as stream:  # isopropanol, in the other ion mode
        stream.write(
            "\nName: x\nDB#: F2\nPrecursor_type: [M-H]-\nSpectrum_type: MS2\nPrecursorMZ: 59.0502\n"
            "Instrument_type: LC-ESI-QTOF\nIon_mode: N\n"
            f'Comments: "SMILES={ISOPROPANOL}" "accession=MSBNK-Far_Away-F2"\n'
            "Num Peaks: 2\n43.019 100\n41.003 20\n"
        )
    measured: dict[str, list[bool]] = {}
    elsewhere: dict[str, list[bool]] = {}
    probability_of = fit._fit_probability

    def watched(
        examples: Sequence[fit._Example],
        weights: Mapping[str, float],
        ratios: fit._Ratios,
    ) -> ProbabilityModel:
        for e in examples:
            measured.setdefault(e.kind, []).append(bool(e.evidence.measured[e.place]))
            elsewhere.setdefault(e.kind, []).append(bool(e.evidence.elsewhere[e.place]))
        return probability_of(examples, weights, ratios)

    monkeypatch.setattr(fit, "_fit_probability", watched)
    arguments = [
        "--spectra", library, "--structures", structures, "--structures", tmp_path / "extra.tsv",
        "--group", "Here", "--group", "There", "--fit", "--jobs", 1, "-o", output,
    ]  # fmt: skip
    run = CliRunner().invoke(laboratories, list(map(str, arguments)))
    assert run.exit_code == 0, run.output
    fitted = json.loads((output / "evidence.json").read_text())
    assert fitted.keys() == json.loads(DEFAULTS_FILE.read_text()).keys()
    assert fitted["own_spectra"].keys() == asdict(defaults().own_spectra).keys()
    assert fitted["weights"]["library"] == 1.0
    probability = ProbabilityModel.from_json(json.loads((output / "probability.json").read_text()))
    assert probability.feature_names == default_probability().feature_names
    assert probability.short_lists == default_probability().short_lists
    # A known compound counts a second time, with a library without it.
    assert set(measured[KNOWN]) == {True}
    assert measured["removed"] == [False] * len(measured[KNOWN])
    assert not any(elsewhere["removed"])
    # And one that was measured in both ion modes a third time, without its own.
    assert elsewhere["other ion mode only"] == [True]
    assert fitted["other_mode"].keys() == fitted["own_spectra"].keys()


def test_a_stated_mass_that_is_no_number_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "structures.csv"
    path.write_text(
        'smiles,inchikey14,monoisotopic_mass\n"CCO",LFQSCWFLJHTTHZ,46.0419\nCC,OTMSDBZUPAUEDD,n/a\n'
    )
    with pytest.raises(InputError, match=r"structures\.csv:3: monoisotopic_mass: found 'n/a'"):
        read_structures([path], Console())
