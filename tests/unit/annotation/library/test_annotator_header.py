"""Headers of annotators' checkpoints: old ones, damaged ones, and those of newer programs."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from annotation_examples import tiny_annotator
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from specvae.annotation.library.header import (
    AnnotatorHeader,
    CalibrationFigures,
    StoredEvidence,
    ValidationFigures,
)
from specvae.annotation.ranking.annotator import Annotator
from specvae.cli.info import info
from specvae.errors import CheckpointError, SpecvaeError
from specvae.vae.checkpoint import save_checkpoint
from specvae.vae.config import ModelConfig
from specvae.vae.header import METADATA_KEY, read_header
from specvae.vae.model import MultimodalVAE


@pytest.fixture(scope="module")
def tiny() -> Annotator:
    return tiny_annotator()


@pytest.fixture(scope="module")
def stored(tiny: Annotator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A header with every part, as it stands in a file."""
    path = tmp_path_factory.mktemp("whole") / "model.safetensors"
    header = replace(
        tiny.header,
        seed=3,
        best_epoch=1,
        seconds={"training": 1.5},
        validation=ValidationFigures(10, 5, 100, 0.5, 0.8, 0.6, 0.01, 0.02),
        calibration=CalibrationFigures(30, 30, 10.0, 0.4, 0.7, "pool.h5"),
        evidence=StoredEvidence(
            tiny.bins, "morgan4096", "0" * 64, {"library": 1.0}, ("RYYVLZVUVIJVGH",), ("C",)
        ),
    )
    save_checkpoint(path, tiny.model, header)
    return header_of(path)


def header_of(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        found: dict[str, Any] = json.loads(file.metadata()[METADATA_KEY])
    del found["header_sha256"]
    return found


@pytest.fixture
def path(tiny: Annotator, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, tiny.model, tiny.header)
    return path


def rewrite(path: Path, header: dict[str, Any]) -> None:
    """Give the file another header."""
    save_file(load_file(path), path, {METADATA_KEY: json.dumps(header)})


def test_every_part_comes_back(tiny: Annotator, stored: dict[str, Any], path: Path) -> None:
    rewrite(path, stored)
    header = AnnotatorHeader.read(path)
    assert header.bins == tiny.bins
    assert header.fingerprint == tiny.header.fingerprint
    assert header.config.model.kind == "svae"
    assert header.config.objective["beta"] == 0.2
    assert header.provenance.ion_modes == {"positive": 1}
    assert header.validation is not None
    assert header.validation.n_candidates == 100
    assert header.calibration is not None
    assert header.calibration.structures == "pool.h5"
    assert "experts" in header.to_json()  # as every checkpoint before has it
    assert header.evidence is not None
    assert header.evidence.first_blocks == ("RYYVLZVUVIJVGH",)
    assert header.to_json() == stored


def test_headers_written_before_are_read(tiny: Annotator, path: Path) -> None:
    # As the first version wrote them: a kind for each network, a setting that is gone, no part of
    # what came later, and an empty table where nothing was validated.
    now = header_of(path)
    described = json.loads(json.dumps(now["model"]))
    for modality in described["modalities"]:
        modality["encoder"]["kind"] = modality["decoder"]["kind"] = "mlp"
    old = {
        "format_version": 1,
        "program": "specvae 0.1.0",
        "config": now["config"] | {"was_a_setting": 3},
        "seed": 0,
        "bins": now["bins"],
        "fingerprint": now["fingerprint"],
        "best_epoch": 2,
        "validation": {},
        "seconds": {"read": 1, "training": 2.5},
        "provenance": {"n_spectra": 4, "ion_modes": {"positive": 4}},
        "compounds": {"train": ["RYYVLZVUVIJVGH"], "val": []},
        "model": described,
        "weights_sha256": now["weights_sha256"],
        "companions_sha256": None,
    }
    rewrite(path, old)
    header = AnnotatorHeader.read(path)
    assert (header.validation, header.evidence, header.probability) == (None, None, None)
    assert header.seconds == {"read": 1.0, "training": 2.5}
    annotator = Annotator.load(path, "cpu")
    assert annotator.training_compounds == {"RYYVLZVUVIJVGH"}
    assert (annotator.blind_logits == tiny.blind_logits).all()
    result = CliRunner().invoke(info, [str(path)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "written by specvae 0.1.0" in result.output


def test_unknown_keys_survive_in_every_part(stored: dict[str, Any], path: Path) -> None:
    newer = json.loads(json.dumps(stored)) | {"a_new_part": [1, {"x": None}]}
    for part in ("fingerprint", "config", "provenance", "validation", "calibration", "experts"):
        newer[part]["new_in_it"] = {"deep": [part]}
    rewrite(path, newer)
    header = AnnotatorHeader.read(path)
    assert header.to_json() == newer
    assert header.provenance.others == {"new_in_it": {"deep": ["provenance"]}}
    assert read_header(path).to_json() == newer  # also by what knows the model alone


OTHERS: tuple[object, ...] = ("x", [[]], {"a": None})


def damaged(header: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the header with each part, and each part of a part, replaced or taken away."""
    for key, value in header.items():
        for other in OTHERS:
            yield header | {key: other}
        yield {k: v for k, v in header.items() if k != key}
        for inner in value if isinstance(value, dict) else ():
            for other in OTHERS:
                yield header | {key: value | {inner: other}}
            yield header | {key: {k: v for k, v in value.items() if k != inner}}


def test_damaged_headers_are_refused_in_one_line(
    stored: dict[str, Any], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_refused = 0
    for header in damaged(stored):
        monkeypatch.setattr(
            "specvae.vae.header.read_table",
            lambda _, header=header: ({"__metadata__": {METADATA_KEY: json.dumps(header)}}, 0),
        )
        for options in ([], ["--json"]):
            result = CliRunner().invoke(info, [str(path), *options])
            if result.exception is not None:
                assert isinstance(result.exception, SpecvaeError), (header, result.exception)
                assert "\n" not in str(result.exception)
        try:
            AnnotatorHeader.read(path)
        except CheckpointError:
            n_refused += 1
        else:  # what passed may still not fit the program that ranks
            with contextlib.suppress(SpecvaeError):
                Annotator.load(path, "cpu")
    assert n_refused > 100


def test_a_model_of_other_things_is_told_and_not_taken(path: Path, tmp_path: Path) -> None:
    config = ModelConfig.from_json(header_of(path)["model"])
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, MultimodalVAE(config))
    with pytest.raises(CheckpointError, match=r"no 'bins' in the header: .* not of spectra"):
        AnnotatorHeader.read(other)
    result = CliRunner().invoke(info, [str(other)], catch_exceptions=False)
    assert "modalities" in result.output


def test_reading_needs_neither_torch_nor_rdkit(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from specvae.annotation.library.header import AnnotatorHeader;"
        f"AnnotatorHeader.read(Path({str(path)!r}));"
        "assert not {'torch', 'rdkit', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("hit", "random", "blind", "is_doubtful"),
    [(0.3, 0.03, 0.02, False), (0.03, 0.03, 0.0, True), (0.05, 0.03, 0.1, True)],
)
def test_a_prediction_that_is_no_better_than_chance_is_told(
    hit: float, random: float, blind: float, is_doubtful: bool
) -> None:
    figures = ValidationFigures(98, 39, 32, hit, 0.2, 0.1, random, blind)
    assert str(figures) == (
        f"hit@1 {hit:.1%} among 32 structures of like mass (random {random:.1%}, blind {blind:.1%})"
    )
    assert ("no better than chance" in figures.doubt) == is_doubtful
