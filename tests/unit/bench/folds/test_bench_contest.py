"""The files of a contest, as its organisers give them, and what is said where one is missing."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from specvae_bench.files import write_result
from specvae_bench.folds.contest import prepare

from specvae.errors import InputError
from specvae.molecules.text_tables import read_named_rows
from specvae.report import ReadReport
from specvae.spectra.read import read_spectra

KEY = "LFQSCWFLJHTTHZ-UHFFFAOYSA-N"
SOLUTIONS = f"ChallengeName,InChIKey,ION_MODE,PRECURSOR_MZ\nChallenge-001,{KEY},POSITIVE,47.0491\n"
FILES = {
    "solutions.csv": SOLUTIONS,
    "challenge-001.mgf": "BEGIN IONS\nPEPMASS=0\n29.0386 10\n31.0178 5\nEND IONS\n",
    "challenge-001.csv": "SMILES,InChI\nCCO,\nCOC,\n",
}


def contest(folder: Path, **changed: str | None) -> Path:
    """Write the files of a contest of one challenge; None leaves one out."""
    folder.mkdir()
    for name, text in {**FILES, **changed}.items():
        if text is not None:
            (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_loose_files_are_merged_and_the_solutions_fill_in_the_precursor(tmp_path: Path) -> None:
    found = prepare(contest(tmp_path / "contest"), tmp_path, print)
    (spectrum,) = read_spectra(found.queries, ReadReport())
    assert (spectrum.query_id, spectrum.precursor_mz) == ("Challenge-001", 47.0491)
    assert spectrum.ion_mode == "positive"
    rows = [row for _, row in read_named_rows(found.candidates)]
    assert [(row["query_id"], row["smiles"]) for row in rows] == [
        ("Challenge-001", "CCO"),
        ("Challenge-001", "COC"),
    ]
    ((_, truth),) = read_named_rows(found.truth)
    assert (truth["query_id"], truth["inchikey14"]) == ("Challenge-001", KEY[:14])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"solutions.csv": None}, "neither truth.csv nor solutions.csv lies in it"),
        ({"challenge-001.mgf": None}, "neither queries.mgf nor an MGF per challenge lies in it"),
        ({"challenge-001.csv": None}, "neither candidates.csv nor a CSV per challenge lies in it"),
        ({"solutions.csv": "name,key\na,b\n"}, "solutions.csv:2: wanted columns Challenge"),
        (
            {"solutions.csv": SOLUTIONS.replace("POSITIVE", "both")},
            "solutions.csv: Challenge-001: ion_mode is 'both', wanted positive or negative",
        ),
        (
            {"solutions.csv": SOLUTIONS.replace("47.0491", "light")},
            "Challenge-001: precursor_mz is 'light', wanted a number (Th)",
        ),
        (
            {"solutions.csv": SOLUTIONS.replace("-001", "-002")},
            "challenge-001.mgf: solutions.csv has no such challenge",
        ),
        (
            {"challenge-1.mgf": FILES["challenge-001.mgf"]},
            "challenge-001.mgf and challenge-1.mgf are both of challenge 1, wanted one file",
        ),
        ({"raw_mgf.zip": "no archive"}, "raw_mgf.zip: cannot be read as a ZIP archive"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_one_line(
    tmp_path: Path, changed: dict[str, str | None], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        prepare(contest(tmp_path / "contest", **changed), tmp_path, print)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder; wanted the contest's files"):
        prepare(tmp_path / "contest", tmp_path, print)


def test_files_of_an_archive_are_told_apart_by_their_challenge_alone(tmp_path: Path) -> None:
    folder = contest(tmp_path / "contest", **{"challenge-001.mgf": None})
    with zipfile.ZipFile(folder / "raw_mgf.zip", "w") as archive:
        archive.writestr("positive/challenge-001.mgf", FILES["challenge-001.mgf"] or "")
        archive.writestr("__MACOSX/positive/._challenge-001.mgf", "")
    assert len(list(read_spectra(prepare(folder, tmp_path, print).queries, ReadReport()))) == 1
    with zipfile.ZipFile(folder / "raw_mgf.zip", "a") as archive:
        archive.writestr("negative/challenge-001.mgf", FILES["challenge-001.mgf"] or "")
    with pytest.raises(
        InputError, match=r"raw_mgf\.zip: challenge-001\.mgf and challenge-001\.mgf"
    ):
        prepare(folder, tmp_path, print)


def test_a_loose_query_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    said: list[str] = []
    solutions = f"{SOLUTIONS}Challenge-002,{KEY},POSITIVE,47.0491\n"
    bad = {"solutions.csv": solutions, "challenge-002.mgf": "BEGIN IONS\nPEPMASS=47\nEND IONS\n"}
    found = prepare(contest(tmp_path / "contest", **bad), tmp_path, said.append)
    assert [q.query_id for q in read_spectra(found.queries, ReadReport())] == ["Challenge-001"]
    (line,) = said
    assert line.startswith("queries: 1 spectrum read, 1 skipped: no peaks (1), the first: ")


@pytest.mark.parametrize("name", ["queries.mgf", "candidates.csv", "truth.csv"])
def test_merging_replaces_no_file_of_others(name: str, tmp_path: Path) -> None:
    folder, output = contest(tmp_path / "contest"), tmp_path / "mine"
    prepare(folder, output, print)
    prepare(folder, output, print)  # what is the same need not be replaced
    (output / name).write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=f"{name}: would be replaced, and no result"):
        prepare(folder, output, print)
    assert (output / name).read_text(encoding="utf-8") == "mine"
    write_result(output / "result.json", {})
    prepare(folder, output, print)
    assert (output / name).read_text(encoding="utf-8") != "mine"
