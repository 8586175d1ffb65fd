"""`specvae library`, and what --library and --no-library do to a ranking."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import click
import h5py
import numpy as np
import pytest
from annotation_examples import ASPIRIN, CAFFEINE, spectrum_of, tiny_annotator
from click.testing import CliRunner, Result

import specvae
from specvae.annotation.evidence.analogues import ANALOGUE_BINS, AnalogueIndex
from specvae.annotation.evidence.checkpoint import to_companions
from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.evidence.remembered import (
    ANALOGUE_FINGERPRINT,
    RememberedSpectra,
    describe_library,
)
from specvae.annotation.library.library import Library
from specvae.cli.annotate import annotate
from specvae.cli.embed import embed
from specvae.cli.evaluate import evaluate
from specvae.cli.library import library
from specvae.cli.predict import predict
from specvae.errors import ConfigError, InputError
from specvae.files import sha256_of
from specvae.molecules.candidates import read_candidates
from specvae.molecules.fingerprint import fingerprints, get_layout
from specvae.report import ReadReport
from specvae.vae.checkpoint import save_checkpoint

THEOBROMINE = "Cn1cnc2c1c(=O)[nH]c(=O)n2C"
THEOPHYLLINE = "Cn1c2nc[nH]c2c(=O)n(C)c1=O"
PARAXANTHINE = "Cn1cnc2c1c(=O)n(C)c(=O)[nH]2"
# Of no fragment of any: only a library can tell whose they are.
PEAKS = (61.3, 77.4, 99.2, 121.6)


def msp(path: Path, *records: tuple[str, str, tuple[float, ...]]) -> Path:
    """Write records of name, structure and peaks as [M+H]+."""
    with path.open("w", encoding="utf-8") as stream:
        for name, smiles, peaks in records:
            spectrum = spectrum_of(smiles, *peaks)
            stream.write(
                f"NAME: {name}\nPRECURSORMZ: {spectrum.precursor_mz:.5f}\nPRECURSORTYPE: [M+H]+\n"
                f"IONMODE: positive\nSMILES: {smiles}\nNum Peaks: {len(peaks)}\n"
                + "".join(
                    f"{m} {h}\n" for m, h in zip(spectrum.mz, spectrum.intensity, strict=True)
                )
                + "\n"
            )
    return path


REMEMBERED = ("caffeine", CAFFEINE, (110.0713, 138.0662)), ("aspirin", ASPIRIN, (121.0284,))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model that remembers two compounds, candidates, a query and files."""
    folder = tmp_path_factory.mktemp("library")
    tiny = tiny_annotator()
    msp(folder / "remembered.msp", *REMEMBERED)
    spectra = specvae.read_spectra(folder / "remembered.msp")
    remembered = Library.from_spectra(spectra, tiny.bins, ReadReport(), peaks=ANALOGUE_BINS)
    packed = fingerprints(remembered.molecules, get_layout(ANALOGUE_FINGERPRINT), n_jobs=1)
    pool = EvidencePool.from_library(remembered, np.arange(len(remembered)), packed)
    stored, companions = to_companions(pool)
    header = replace(tiny.header, evidence=stored, program="specvae")
    save_checkpoint(folder / "model.safetensors", tiny.model, header, companions)
    save_checkpoint(folder / "plain.safetensors", tiny.model, tiny.header)
    lines = "\n".join(("smiles", THEOPHYLLINE, THEOBROMINE, PARAXANTHINE, CAFFEINE))
    (folder / "c.csv").write_text(lines + "\n", encoding="utf-8")
    msp(folder / "query.msp", ("q", PARAXANTHINE, (*PEAKS, 140.1)))
    msp(
        folder / "today.msp",
        ("today-1", PARAXANTHINE, PEAKS),
        ("caffeine again", CAFFEINE, (110.0713, 138.0662)),
    )
    return folder


def test_the_structures_of_a_library_are_a_table_of_candidates(
    folder: Path, tmp_path: Path
) -> None:
    files = [str(folder / name) for name in ("remembered.msp", "today.msp")]
    done = CliRunner().invoke(library, ["structures", *files, "-o", str(tmp_path / "s.csv")])
    assert done.exception is None, done.output
    with (tmp_path / "s.csv").open(encoding="utf-8", newline="") as stream:
        found = [(row["name"], row["inchikey"][:14]) for row in csv.DictReader(stream)]
    # One row of a compound, under its first name.
    assert found == [
        ("caffeine", "RYYVLZVUVIJVGH"),
        ("aspirin", "BSYNRYMUTXBXSQ"),
        ("today-1", "QUNWUDVFRNGTCO"),
    ]
    assert len(read_candidates(tmp_path / "s.csv")) == 3
    piped = CliRunner().invoke(library, ["structures", *files, "-o", "-"])
    assert piped.stdout_bytes == (tmp_path / "s.csv").read_bytes()
    assert "3 structures" in piped.stderr
    empty = tmp_path / "e.msp"
    empty.write_text("Name: x\nPrecursorMZ: 195.1\nNum Peaks: 1\n138.1 9\n", encoding="utf-8")
    refused = CliRunner().invoke(library, ["structures", str(empty), "-o", str(tmp_path / "e.csv")])
    assert "no usable structure" in str(refused.exception)
    assert not (tmp_path / "e.csv").exists()


def run(folder: Path, *options: object, model: str = "model") -> Result:
    arguments = [
        folder / "query.msp", "--candidates", folder / "c.csv", "--jobs", 1,
        "--model", folder / f"{model}.safetensors", *options,
    ]  # fmt: skip
    return CliRunner().invoke(annotate, [str(argument) for argument in arguments])


def best(done: Result) -> dict[str, str]:
    assert done.exception is None, done.output
    return next(csv.DictReader(io.StringIO(done.stdout)))


@pytest.mark.parametrize("encoded", [False, True])
def test_todays_standard_is_found_by_its_own_spectrum(
    folder: Path, tmp_path: Path, encoded: bool
) -> None:
    file = folder / "today.msp"
    if encoded:
        built = CliRunner().invoke(library, ["build", str(file), "-o", str(tmp_path / "t.h5")])
        assert built.exception is None, built.output
        file = tmp_path / "t.h5"
    assert best(run(folder))["library_match"] == ""
    done = run(folder, "--library", file)
    row = best(done)
    assert row["inchikey"].startswith("QUNWUDVFRNGTCO")
    assert (row["evidence"], row["library_match"], row["level"]) == (
        "library match", "today-1", "2a",
    )  # fmt: skip
    assert (
        "library: 1 spectrum added (1 more is remembered already), 1 compound new; "
        "3 spectra of 3 compounds in all"
    ) in done.stderr


def test_a_model_that_encodes_as_before_remembers_spectra_too(folder: Path, tmp_path: Path) -> None:
    tiny = tiny_annotator()
    old = replace(ANALOGUE_BINS, version=2, soft_edge=0.0)
    spectra = specvae.read_spectra(folder / "remembered.msp")
    remembered = Library.from_spectra(spectra, tiny.bins, ReadReport(), peaks=old)
    packed = fingerprints(remembered.molecules, get_layout(ANALOGUE_FINGERPRINT), n_jobs=1)
    encoded = RememberedSpectra.from_library(remembered, np.arange(len(remembered)), packed, old)
    pool = EvidencePool.from_library(remembered, np.arange(len(remembered)), packed)
    empty = replace(pool.library.forgetting(), index=AnalogueIndex.empty(old))
    pool, _ = replace(pool, library=empty).remembering(encoded)
    stored, companions = to_companions(pool)
    header = replace(tiny.header, evidence=stored, program="specvae")
    save_checkpoint(folder / "old.safetensors", tiny.model, header, companions)
    assert best(run(folder, "--library", folder / "today.msp", model="old"))["level"] == "2a"
    # What is encoded already is not encoded again.
    built = CliRunner().invoke(
        library, ["build", str(folder / "today.msp"), "-o", str(tmp_path / "t.h5")]
    )
    assert built.exception is None, built.output
    done = run(folder, "--library", tmp_path / "t.h5", model="old")
    assert done.exit_code == 1
    assert "encoded in another way than the model's" in str(done.exception or done.output)


def test_a_model_can_forget_its_library(folder: Path) -> None:
    done = run(folder, "--no-library", "--library", folder / "today.msp")
    assert best(done)["library_match"] == "today-1"
    assert "the model's own is not used" in done.stderr
    assert "2 spectra of 2 compounds in all" in done.stderr
    nothing = run(folder, "--no-library")
    rows = list(csv.DictReader(io.StringIO(nothing.stdout)))
    assert nothing.exception is None
    assert {row["library_nats"] for row in rows} == {"0.0"}


def test_evaluate_and_python_remember_too(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"query_id,smiles\nq,{PARAXANTHINE}\n", encoding="utf-8")
    (tmp_path / "n.csv").write_text(f"smiles,patents\n{PARAXANTHINE},3\n", encoding="utf-8")
    arguments = [
        folder / "query.msp", "--candidates", folder / "c.csv", "--truth", tmp_path / "t.csv",
        "--model", folder / "model.safetensors", "--library", folder / "today.msp", "--jobs", 1,
        "--json", tmp_path / "f.json", "--counts", tmp_path / "n.csv", "--counts-weight", 0.25,
    ]  # fmt: skip
    done = CliRunner().invoke(evaluate, [str(argument) for argument in arguments])
    assert done.exception is None, done.output
    figures = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert figures["hit_at_1"] == 1.0
    assert figures["library"][0]["name"] == "today.msp"
    # Whatever changes the figures stands beside them.
    assert figures["counts"] == [{"name": "n.csv", "sha256": sha256_of(tmp_path / "n.csv")}]
    assert (figures["exclude"], figures["options"]["counts_weight"]) == ([], 0.25)
    model = specvae.load(folder / "model.safetensors")
    files = folder / "query.msp", folder / "c.csv"
    found = model.annotate(*files, library=folder / "today.msp", n_jobs=1)
    assert found.loc[0, "library_match"] == "today-1"
    assert model.annotate(*files, n_jobs=1).loc[0, "library_match"] != "today-1"


def test_predictions_stand_beside_the_nearest_spectrum(folder: Path) -> None:
    arguments = [folder / "query.msp", "--model", folder / "model.safetensors"]

    def rows(*options: object) -> list[dict[str, str]]:
        done = CliRunner().invoke(predict, [str(a) for a in (*arguments, *options)])
        assert done.exception is None, done.output
        return list(csv.DictReader(io.StringIO(done.stdout)))

    found = rows("--library", folder / "today.msp")
    assert {row["library_match"] for row in found} == {"today-1"}
    assert float(found[0]["library_cosine"]) > 0.5
    packed = fingerprints([PARAXANTHINE], get_layout("morgan4096"), n_jobs=1)
    bits = np.unpackbits(packed[0], bitorder="big")
    n_set = sum(int(row["library_bit"]) for row in found)
    assert n_set == int(bits.sum()) > 0
    bare = rows("--no-library")
    assert {row["library_match"] + row["library_bit"] for row in bare} == {""}
    same = ("query_id", "bit", "probability", "meaning")
    assert [[row[c] for c in same] for row in found] == [[row[c] for c in same] for row in bare]


@pytest.mark.parametrize("command", [predict, embed])
def test_what_is_encoded_says_what_the_model_does_not_know(
    folder: Path, command: click.Command
) -> None:
    text = "BEGIN IONS\nTITLE=a\nPEPMASS=181.07\nMSLEVEL=3\nCHARGE=1+\n100 1\nEND IONS\n"
    text += "BEGIN IONS\nTITLE=b\n100 1\nEND IONS\n"
    (folder / "odd.mgf").write_text(text, encoding="utf-8")
    model = ("--model", folder / "model.safetensors")
    arguments = (folder / "odd.mgf", *model, "-o", folder / f"{command.name}.h5")
    options = arguments if command is embed else arguments[:-2]
    done = CliRunner().invoke(command, [str(a) for a in options])
    assert done.exception is None, done.output
    assert "the model was not trained on MS level 3: 1 of the spectra" in done.stderr
    assert "adduct taken as [M+H]+: 2 of the spectra" in done.stderr
    assert "\nno precursor m/z: 1 of the spectra" in f"\n{done.stderr}"


def test_a_file_without_one_readable_spectrum_predicts_nothing(folder: Path) -> None:
    (folder / "comma.mgf").write_text(
        "BEGIN IONS\nPEPMASS=1,5\n100 1\nEND IONS\n", encoding="utf-8"
    )
    output = folder / "bits.csv"
    arguments = (folder / "comma.mgf", "--model", folder / "model.safetensors", "-o", output)
    done = CliRunner().invoke(predict, [str(a) for a in arguments])
    assert isinstance(done.exception, InputError)
    assert "comma.mgf: nothing to predict (0 spectra read, 1 skipped" in str(done.exception)
    assert "line 1: found '1,5'" in str(done.exception)
    assert not output.exists()
    assert "BAD_PRECURSOR" in (folder / "bits.skipped.csv").read_text(encoding="utf-8")


def test_a_model_without_other_evidence_refuses_a_library(folder: Path) -> None:
    done = run(folder, "--library", folder / "today.msp", model="plain")
    assert isinstance(done.exception, ConfigError)
    assert "ranks by the predicted fingerprint alone" in str(done.exception)


def test_a_library_says_what_it_holds(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "t.h5"
    both = [str(folder / name) for name in ("today.msp", "remembered.msp")]
    built = CliRunner().invoke(library, ["build", *both, "-o", str(output)])
    assert f"4 spectra of 3 compounds in {output}" in built.stdout
    text = CliRunner().invoke(library, ["info", str(output), "--json"]).stdout
    described = json.loads(text)
    assert described["n_spectra"] == 4
    assert described["ion_modes"] == {"positive": 4}
    assert described["adducts"] == {"[M+H]+": 4}
    assert [source["file"] for source in described["sources"]] == ["today.msp", "remembered.msp"]
    shown = CliRunner().invoke(library, ["info", str(output)]).stdout
    assert "holds          4 spectra of 3 compounds\n" in shown
    assert "adducts        [M+H]+: 4\n" in shown
    assert "file read      today.msp, sha256 " in shown


def test_an_output_never_replaces_an_input(folder: Path, tmp_path: Path) -> None:
    file = msp(tmp_path / "x.msp", *REMEMBERED)
    done = CliRunner().invoke(library, ["build", str(file), "-o", str(file)])
    assert "an output never replaces an input" in str(done.exception)
    done = run(folder, "--library", file, "-o", file)
    assert "an output never replaces an input" in str(done.exception)


def test_damaged_newer_and_foreign_files_are_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    RememberedSpectra.read_spectra([folder / "today.msp"], ReadReport(), n_jobs=1).write(
        path, [folder / "today.msp"], ReadReport()
    )
    with h5py.File(path, "r+") as file:
        file["values"][0] += 1.0
    with pytest.raises(InputError, match="damaged"):
        describe_library(path)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(InputError, match="library format 99"):
        describe_library(path)
    with h5py.File(path, "w") as file:
        file.attrs["kind"] = "else"
    with pytest.raises(InputError, match="no library"):
        describe_library(path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="no library of encoded spectra, which 'specvae library"):
        describe_library(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    with pytest.raises(InputError, match="no whole library"):
        describe_library(path)
    with pytest.raises(InputError, match="no usable spectrum"):
        RememberedSpectra.read_spectra([_without_structure(tmp_path)], ReadReport())


def _without_structure(tmp_path: Path) -> Path:
    path = tmp_path / "bare.msp"
    path.write_text("NAME: a\nPRECURSORMZ: 100\nNum Peaks: 1\n50 1\n\n", encoding="utf-8")
    return path


def test_evaluate_says_which_truths_the_library_of_the_run_has(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "truth.csv").write_text(f"query_id,smiles\nq,{PARAXANTHINE}\n", encoding="utf-8")
    arguments = [
        folder / "query.msp", "--candidates", folder / "c.csv", "--jobs", 1,
        "--model", folder / "model.safetensors", "--truth", tmp_path / "truth.csv",
    ]  # fmt: skip
    for added, n in (([], 0), (["--library", folder / "today.msp"], 1)):
        done = CliRunner().invoke(evaluate, [str(argument) for argument in (*arguments, *added)])
        assert f"n_truth_in_library {n:>14}" in done.stdout
        said = "note: the library has spectra of the truth of 1 of 1 query"
        assert (said in done.stderr) == bool(n)


def test_a_folder_is_no_library(tmp_path: Path) -> None:
    done = CliRunner().invoke(library, ["info", str(tmp_path)])
    assert isinstance(done.exception, InputError)
    assert str(done.exception) == f"{tmp_path}: is a folder, wanted a file"
