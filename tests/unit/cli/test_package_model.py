from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import run_specvae

from specvae.annotation.library.header import AnnotatorHeader
from specvae.annotation.output.card import licence_remarks, model_card
from specvae.counting import counted
from specvae.errors import CheckpointError
from specvae.vae.header import read_header


def header_of(path: Path, licences: dict[str, int]) -> AnnotatorHeader:
    header = AnnotatorHeader.of_model(read_header(path), path)
    return replace(header, provenance=replace(header.provenance, licences=licences))


def test_an_archive_holds_a_model_and_nothing_else(demo_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(demo_model.read_bytes())
    for name in ("training-state.safetensors", "split.csv", "epochs.jsonl"):
        (folder / name).write_text("not for others")
    archive = tmp_path / "given-1.0.zip"
    done = run_specvae("package-model", folder, "-o", archive, "--licence", "CC BY 4.0")
    assert done.stdout.strip() == str(archive)
    with zipfile.ZipFile(archive) as packed:
        assert sorted(packed.namelist()) == [
            f"given-1.0/{name}" for name in ("MODEL_CARD.md", "SHA256SUMS", "model.safetensors")
        ]
        packed.extractall(tmp_path)
    unpacked = tmp_path / "given-1.0"
    lines = (unpacked / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert set(sums) == {"model.safetensors", "MODEL_CARD.md"}
    for name, digest in sums.items():
        assert hashlib.sha256((unpacked / name).read_bytes()).hexdigest() == digest
    card = (unpacked / "MODEL_CARD.md").read_text()
    digest = read_header(demo_model).weights_sha256
    for text in ("CC BY 4.0", digest, "library.msp", "[M+H]+", "hit@1", "in-sample", '"epochs"'):
        assert text in card, text
    assert digest in run_specvae("info", unpacked).stdout


def test_the_same_model_gives_the_same_archive(demo_model: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        run_specvae("package-model", demo_model, "-o", tmp_path / folder / "x.zip")
    assert (tmp_path / "a/x.zip").read_bytes() == (tmp_path / "b/x.zip").read_bytes()


@pytest.mark.parametrize("name", ["x.tar.gz", "x", "a b.zip"])
def test_other_names_of_archives_are_refused(demo_model: Path, tmp_path: Path, name: str) -> None:
    assert (
        "NAME.zip" in run_specvae("package-model", demo_model, "-o", tmp_path / name, code=1).stderr
    )


def test_a_damaged_model_is_not_packed(demo_model: Path, tmp_path: Path) -> None:
    content = bytearray(demo_model.read_bytes())
    content[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    done = run_specvae("package-model", tmp_path, "-o", tmp_path / "x.zip", code=1)
    assert "damaged" in done.stderr
    assert not (tmp_path / "x.zip").exists()


@pytest.mark.parametrize(
    ("licences", "wanted"),
    [
        ({}, ["older specvae"]),
        ({"CC BY-SA": 5}, []),
        ({"CC BY-NC-SA": 2, "CC BY": 1}, ["CC BY-NC-SA: such data may not be used commercially"]),
        ({"not stated": 3}, ["3 spectra state no licence"]),
    ],
)
def test_what_must_be_heeded_is_said(
    demo_model: Path, licences: dict[str, int], wanted: list[str]
) -> None:
    header = header_of(demo_model, licences)
    remarks = licence_remarks(header)
    assert len(remarks) == len(wanted)
    assert all(text in remark for text, remark in zip(wanted, remarks, strict=True))
    card = model_card(header, "x", None)
    assert all(f"| {text} | {counted(n, 'spectra')} |" in card for text, n in licences.items())
    assert all(remark in card for remark in remarks)


def test_the_card_and_info_say_the_same_of_what_was_learned_from(demo_model: Path) -> None:
    header = header_of(demo_model, {})
    n_compounds = len(header.compounds["train"])
    assert 0 < n_compounds < header.provenance.n_compounds
    assert header.trained_on.endswith(f" spectra of {n_compounds:,} compounds")
    assert f"trained on {header.trained_on}." in model_card(header, "x", None)
    assert f"trained on     {header.trained_on}\n" in run_specvae("info", demo_model).stdout


def test_a_card_stays_a_table_whatever_a_record_says(demo_model: Path) -> None:
    assert "| a \\| b | 1 spectrum |" in model_card(header_of(demo_model, {"a |\nb": 1}), "x", None)


def test_a_packed_model_says_that_it_must_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "m.zip").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    with pytest.raises(
        CheckpointError,
        match=r"m\.zip: not a specvae .* an archive; a packed model is unpacked first",
    ):
        read_header(tmp_path / "m.zip")
