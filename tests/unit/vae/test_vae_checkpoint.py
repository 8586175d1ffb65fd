# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from vae_examples import small_batch, small_model

import specvae.vae.header as header_module
from specvae.errors import CheckpointError, SpecvaeError
from specvae.vae.checkpoint import (
    load_checkpoint,
    load_companions,
    save_checkpoint,
    weights_sha256,
)
from specvae.vae.config import Modality, ModelConfig
from specvae.vae.header import FORMAT_VERSION, METADATA_KEY, Header, migrate, read_header
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import NetworkConfig


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, small_model("joint"), Header(others={"provenance": {"spectra": 3}}))
    return path


def test_a_header_of_which_a_digit_changed_is_refused(path: Path) -> None:
    content = path.read_bytes()
    for before, after in ((b'spectra\\": 3', b'spectra\\": 8'), (b"joint", b"joins")):
        assert content.count(before) > 0
        path.write_bytes(content.replace(before, after, 1))
        with pytest.raises(CheckpointError, match="damaged: the header differs"):
            load_checkpoint(path)


def test_headers_without_a_digest_are_read(path: Path) -> None:
    before = read_header(path)
    rewrite(path)
    assert read_header(path) == before


def rewrite(path: Path, **changes: object) -> None:
    """Change keys of the header and leave the rest of the file as it is."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    table = json.loads(content[8 : 8 + length])
    header = json.loads(table["__metadata__"][METADATA_KEY]) | changes
    header.pop("header_sha256", None)  # as in files of earlier versions
    table["__metadata__"][METADATA_KEY] = json.dumps(header)
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def refused(path: Path, message: str) -> None:
    """Both readers must refuse in one line that names the file."""
    with pytest.raises(CheckpointError, match=message) as error:
        load_checkpoint(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_round_trip(path: Path) -> None:
    model, header = load_checkpoint(path)
    original, x = small_model("joint"), small_batch()
    assert model.config == original.config
    assert header == read_header(path)
    assert header.format_version == FORMAT_VERSION
    assert header.others["provenance"] == {"spectra": 3}
    assert header.weights_sha256 == weights_sha256(model) == weights_sha256(original)
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(model.posterior(x).mean, original.posterior(x).mean)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_buffers_survive_and_training_can_go_on(tmp_path: Path) -> None:
    layers = NetworkConfig((4,), batch_norm=True)
    modalities = (Modality("a", 6, layers, layers), Modality("b", 5, layers, layers))
    model = MultimodalVAE(ModelConfig(modalities, 2))
    x = small_batch()
    model.posterior(x)  # moves the running statistics
    save_checkpoint(tmp_path / "m.safetensors", model)
    loaded, _ = load_checkpoint(tmp_path / "m.safetensors")
    assert torch.equal(loaded.posterior(x).mean, model.eval().posterior(x).mean)
    loaded.train().posterior(x).mean.sum().backward()


def test_the_digest_follows_every_weight() -> None:
    model = small_model()
    before = weights_sha256(model)
    with torch.no_grad():
        model.get_parameter("decoders.b.output.bias")[3] += 1e-6
    assert weights_sha256(model) != before


def test_shared_tensors_are_saved(tmp_path: Path) -> None:
    model = small_model()
    shared = model.get_parameter("decoders.b.body.layers.0.weight")
    model.get_submodule("decoders.a.body.layers.0").weight = shared
    save_checkpoint(tmp_path / "m.safetensors", model)
    loaded, _ = load_checkpoint(tmp_path / "m.safetensors")
    assert weights_sha256(loaded) == weights_sha256(model)


def test_reading_the_header_needs_no_torch(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from specvae.vae.header import read_header;"
        f"assert read_header(Path({str(path)!r})).format_version == {FORMAT_VERSION};"
        "assert not {'torch', 'numpy', 'safetensors'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_checkpoints_of_the_first_format_are_read(path: Path) -> None:
    # Version 1 named a kind for each network.
    original = small_model("joint")
    described = original.config.to_json()
    for modality in described["modalities"]:
        for role in ("encoder", "decoder"):
            for key in ("convolutions", "shape", "embedding"):
                del modality[role][key]
            modality[role]["kind"] = "mlp"
        for key in ("joint_encoder", "n_classes", "ignored_class"):
            del modality[key]
    rewrite(path, format_version=1, model=described)
    model, header = load_checkpoint(path)
    assert header.format_version == FORMAT_VERSION == read_header(path).format_version
    assert model.config == original.config
    assert torch.equal(model.posterior(small_batch()).mean, original.posterior(small_batch()).mean)
    # A network of a present header has no such key.
    rewrite(path, format_version=FORMAT_VERSION, model=described)
    with pytest.raises(SpecvaeError, match="unknown key 'kind'"):
        load_checkpoint(path)


def test_truncated_files_are_refused_at_every_length(path: Path) -> None:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    cut = path.with_name("cut.safetensors")
    sizes = {0, 1, 7, 8, 9, 100, 7 + length, 8 + length, 9 + length, len(content) - 1}
    for size in sizes | set(range(10, len(content), 997)):
        cut.write_bytes(content[:size])
        refused(cut, "truncated")
        with pytest.raises(CheckpointError, match="truncated"):
            read_header(cut)


@pytest.mark.parametrize(
    "content",
    [
        b"NAME: Caffeine\nPRECURSORMZ: 195.0877\n",
        b"PK\x03\x04" + bytes(200),
        b"\x80\x02}q\x00(X\x05\x00\x00\x00model" * 9,
        b"\x89HDF\r\n\x1a\n" * 20,
        struct.pack("<Q", 20) + b"{not json at all....." * 3,
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 9) + b'{"a": 1} ',
        struct.pack("<Q", 0) + b"rest",
    ],
)
def test_files_of_other_kinds_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    refused(path, "not a specvae checkpoint")


def test_foreign_safetensors_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": torch.zeros(3)}, path, metadata)
        refused(path, "of another program: metadata key 'specvae' is missing")
    for text in ("[1, 2]", "{"):
        save_file({"weight": torch.zeros(3)}, path, {METADATA_KEY: text})
        refused(path, "no JSON table")


def test_missing_files_and_directories_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "absent.safetensors", ": no such file")
    refused(tmp_path, "cannot be read: Is a directory")


@pytest.mark.parametrize("version", [None, "1", 0, True])
def test_senseless_versions_are_refused(path: Path, version: object) -> None:
    rewrite(path, format_version=version)
    refused(path, f"format_version is {version!r}, wanted a positive number")


def test_newer_files_are_refused_with_both_versions(path: Path) -> None:
    rewrite(path, format_version=FORMAT_VERSION + 1)
    refused(
        path, rf"newer specvae \(format {FORMAT_VERSION + 1}\); .* up to format {FORMAT_VERSION}$"
    )


def test_older_headers_are_migrated_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_module, "FORMAT_VERSION", 3)
    steps = {1: lambda h: {**h, "b": h["a"] + 1}, 2: lambda h: {**h, "c": h["b"] + 1}}
    monkeypatch.setattr(header_module, "MIGRATIONS", steps)
    old = {"format_version": 1, "a": 1}
    assert migrate(old, Path("m")) == {"format_version": 3, "a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": [1]}, r"header: model: found \[1\], wanted a list or table"),
        (
            {"format_version": 1, "model": "joint"},
            "header: model: found 'joint', wanted a list or table",
        ),
        ({"format_version": 1, "model": {"modalities": [3]}}, "model configuration: "),
        (
            {"model": {"modalities": {}, "n_latent": 2}},
            r"configuration: modalities: .* a list or table",
        ),
        ({"seed": "1"}, "header: seed: found '1', wanted a whole number"),
        ({"weights_sha256": None}, "header: weights_sha256: found None, wanted text"),
        ({"companions_sha256": 7}, "header: companions_sha256: found 7, wanted text"),
    ],
)
def test_parts_of_another_kind_are_refused(
    path: Path, changes: dict[str, object], message: str
) -> None:
    rewrite(path, **changes)
    refused(path, message)


def test_unknown_keys_survive_loading_and_saving(path: Path) -> None:
    rewrite(path, of_a_newer_program={"a": [1, None]}, seed=4)
    model, header = load_checkpoint(path)
    again = path.with_name("again.safetensors")
    save_checkpoint(again, model, header)
    assert read_header(again) == header
    assert header.others == {"provenance": {"spectra": 3}, "of_a_newer_program": {"a": [1, None]}}
    assert header.seed == 4


def test_weights_that_do_not_fit_their_configuration_are_refused(path: Path) -> None:
    config = small_model("joint").config.to_json()
    rewrite(path, model={**config, "n_latent": 4})
    refused(path, r"tensor decoders\.a\.body\.layers\.0\.weight has shape \(7, 3\), .* \(7, 4\)$")
    rewrite(path, model={**config, "posterior": "product"})
    refused(path, r"has shape .*none")
    rewrite(path, model={**config, "n_latens": 4})
    refused(path, "model configuration: unknown key 'n_latens'.*'n_latent'")
    rewrite(path, model={**config, "n_latent": 10**30})  # beyond what torch can count
    refused(path, r"model configuration: [^\n]{10,200}$")
    rewrite(path, model=None)
    refused(path, "header: model: found None, wanted a list or table")


def test_damaged_weights_are_refused(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    refused(path, "damaged")


def test_companions_stand_beside_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, small_model("joint"), Header(), {"table": torch.arange(6).reshape(2, 3)})
    model, _ = load_checkpoint(path)
    assert weights_sha256(model) == weights_sha256(small_model("joint"))
    (found,) = load_companions(path).items()
    assert found[0] == "table"
    assert torch.equal(found[1], torch.arange(6).reshape(2, 3))


def test_a_checkpoint_without_companions_has_none(path: Path) -> None:
    assert load_companions(path) == {}


def test_other_companions_than_the_headers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, small_model("joint"), Header(), {"table": torch.zeros(2)})
    rewrite(path, companions_sha256="0" * 64)
    with pytest.raises(CheckpointError, match="the tensors beside the weights differ"):
        load_companions(path)
    load_checkpoint(path)


def test_a_checkpoint_may_be_read_by_whoever_may_read_new_files(path: Path) -> None:
    other = path.with_name("other")
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode
