"""What is said of the program in pyproject.toml, the recipe, the container and the citation."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from versions import lowest_versions

import specvae

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return found


def test_the_recipe_asks_for_what_the_wheel_asks_for(project: dict[str, Any]) -> None:
    text = (ROOT / "recipe" / "meta.yaml").read_text(encoding="utf-8")
    run = text.partition("  run:\n")[2].partition("\n\n")[0]
    found = dict(re.findall(r"- ([\w-]+) >=([\w.]+)", run))
    # Names of conda-forge, where they differ.
    names = {"matplotlib": "matplotlib-base", "torch": "pytorch"}
    wanted = {names.get(name, name): version for name, version in lowest_versions().items()}
    assert found == {**wanted, "python": project["project"]["requires-python"].removeprefix(">=")}
    assert "specvae = specvae.cli.main:main" in text
    assert project["project"]["scripts"] == {"specvae": "specvae.cli.main:main"}


def test_the_container_installs_what_is_there() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line[:1].isupper()]
    words = [line.split()[0] for line in lines]
    assert words[0] == "FROM"
    assert set(words) <= {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "ENTRYPOINT", "CMD"}
    image = re.search(r"^FROM python:(3\.\d+)", text, re.MULTILINE)
    assert image is not None
    listed = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"Python :: {image[1]}" in listed
    # What is copied suffices for pip: the sources of the packages and of the documentation.
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert not {"specvae", "benchmarks", "docs", "README.md", "LICENSE", "pyproject.toml",
                "constraints.txt"} & {name.strip("/") for name in ignored}  # fmt: skip
    assert 'ENTRYPOINT ["specvae"]' in lines


def test_links_and_classifiers(project: dict[str, Any]) -> None:
    about = project["project"]
    assert about["urls"]
    assert all(url.startswith("https://") for url in about["urls"].values())
    assert len(set(about["classifiers"])) == len(about["classifiers"])
    minors = [c.rsplit(".", 1)[1] for c in about["classifiers"] if ":: 3." in c]
    assert minors == sorted(minors, key=int)
    assert about["requires-python"] == f">=3.{minors[0]}"


def test_the_citation_names_the_program_and_the_paper(project: dict[str, Any]) -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    for key in ("cff-version", "message", "title", "authors", "license"):
        assert re.search(rf"^{key}:", text, re.MULTILINE), key
    assert specvae.__version__
    paper = text.partition("\nreferences:\n")[2]
    assert f"url: {project['project']['urls']['Paper (method)']}\n" in paper
    assert "- family-names: Kutuzova" in paper


def test_the_source_distribution_holds_what_a_checkout_does() -> None:
    lines = (ROOT / "MANIFEST.in").read_text(encoding="utf-8").splitlines()
    held = {"pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"}  # by setuptools itself
    for verb, *names in (line.split() for line in lines if not line.startswith("#")):
        assert verb in {"include", "graft", "prune", "global-exclude"}
        if verb in {"include", "graft"}:
            held.update(names)
            assert all((ROOT / name).exists() for name in names)
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    of_git = {".gitignore", ".dockerignore", ""}
    assert {name.partition("/")[0] for name in listed} - of_git == held
