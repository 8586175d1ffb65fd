from __future__ import annotations

import json
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from conftest import run_specvae

from specvae.annotation.library.header import AnnotatorHeader
from specvae.cli import doctor
from specvae.cli.doctor import parse_requirements
from specvae.vae.header import read_header


@pytest.fixture
def few_packages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of what is required, which a test may add to."""
    required = ["click>=8.1"]
    monkeypatch.setattr(metadata, "requires", lambda name: required)
    return required


def diagnosis(*arguments: object, cwd: Path, code: int = 0) -> dict[str, object]:
    text = run_specvae("doctor", "--json", *arguments, cwd=cwd, code=code).stdout
    found: dict[str, object] = json.loads(text)
    return found


def test_requirements_are_told_apart() -> None:
    texts = ["torch>=2.3", "click", 'matchms>=0.33; extra == "bench"', "a-b.c (>=1.2,<3)"]
    needed, optional = parse_requirements(texts)
    assert needed == {"torch": "2.3", "click": "", "a-b.c": "1.2"}
    assert optional == {"bench": ["matchms"]}


def test_extras_are_those_that_a_user_can_install(few_packages: list[str], tmp_path: Path) -> None:
    few_packages += ['no-such-thing>=1; extra == "serve"', 'pytest; extra == "dev"']
    done = run_specvae("doctor", cwd=tmp_path)
    assert "serve (specvae serve) no-such-thing not installed" in done.stdout
    assert "dev" not in done.stdout.partition("extras")[2].partition("machine")[0]


def test_what_is_looked_for_without_metadata_is_what_the_wheel_requires() -> None:
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    assert set(doctor._REQUIREMENTS) == set(parse_requirements(project["dependencies"])[0])
    assert set(doctor._EXTRAS) == set(project["optional-dependencies"]) - {"dev", "docs"}


@pytest.mark.usefixtures("few_packages")
def test_a_sound_installation(tmp_path: Path) -> None:
    done = run_specvae("doctor", "--device", "cpu", cwd=tmp_path)
    for text in ("specvae", "python", "click", "threads of torch", "to clear it", "none here"):
        assert text in done.stdout, text
    assert not (found := diagnosis(cwd=tmp_path))["problems"]
    assert found["ok"] is True
    assert found["packages"] == {"click": metadata.version("click")}


@pytest.mark.parametrize(
    ("required", "found", "advice"),
    [
        ("click>=999.1", "wanted 999.1 or newer", "pip install 'click>=999.1'"),
        ("no-such-thing>=1", "no-such-thing is not installed", "pip install 'no-such-thing>=1'"),
    ],
)
def test_packages_that_are_old_or_missing(
    few_packages: list[str], tmp_path: Path, required: str, found: str, advice: str
) -> None:
    few_packages[:] = [required]
    text = run_specvae("doctor", cwd=tmp_path, code=1).stdout
    assert "BROKEN" in text
    assert found in text
    assert advice in text


def test_a_package_that_cannot_be_imported(
    few_packages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site"
    (folder / "half_there-1.0.dist-info").mkdir(parents=True)
    (folder / "half_there-1.0.dist-info/METADATA").write_text("Name: half-there\nVersion: 1.0\n")
    (folder / "half_there.py").write_text("raise ImportError('libXyz.so.1: cannot open')\n")
    monkeypatch.syspath_prepend(str(folder))
    few_packages[:] = ["half-there"]
    assert "libXyz.so.1" in str(diagnosis(cwd=tmp_path, code=1)["problems"])


@pytest.mark.usefixtures("few_packages")
def test_a_model_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "specvae-model").mkdir()
    (tmp_path / "specvae-model/model.safetensors").write_bytes(b"not a model")
    found = diagnosis(cwd=tmp_path, code=1)
    assert found["ok"] is False
    assert "model.safetensors" in str(found["problems"])
    assert diagnosis("--model", "nowhere", cwd=tmp_path, code=1)["ok"] is False


@pytest.mark.usefixtures("few_packages")
def test_a_model_is_said_to_be_trained_on_what_its_networks_saw(
    demo_model: Path, tmp_path: Path
) -> None:
    found = diagnosis("--model", demo_model, cwd=tmp_path)["model"]
    header = AnnotatorHeader.of_model(read_header(demo_model), demo_model)
    assert isinstance(found, dict)
    assert found["trained on"] == header.trained_on


@pytest.mark.usefixtures("few_packages")
def test_a_cache_of_another_user_s_does_not_end_the_diagnosis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("SPECVAE_CACHE", str(cache))
    exists = Path.exists

    def refused(path: Path) -> bool:
        if path == cache:
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path)

    monkeypatch.setattr(Path, "exists", refused)
    monkeypatch.setattr(Path, "is_dir", refused)
    facts = diagnosis(cwd=tmp_path)["cache"]
    assert isinstance(facts, dict)
    assert facts["size"] == "0.0 MB in 0 files"


@pytest.mark.usefixtures("few_packages")
def test_a_cache_that_cannot_be_written_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SPECVAE_CACHE", str(tmp_path / "file"))
    found = diagnosis(cwd=tmp_path)
    assert "SPECVAE_CACHE" in str(found["problems"])
