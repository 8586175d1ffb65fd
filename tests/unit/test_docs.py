"""The pages: links and anchors lead somewhere, the site has them all, commands can be typed."""

from __future__ import annotations

import inspect
import json
import operator
import re
import shlex
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

import specvae
from specvae.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md"), *(ROOT / "data").glob("*.md")])
# Pages whose commands a user is to type; tests/system/test_readme.py runs those of the README.
TYPED = ("tutorial.md", "howto.md")

_FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+(?:\([^()]*\))?)\)")


def prose(path: Path) -> str:
    """Return a page without its blocks of code."""
    return _FENCED.sub("", path.read_text(encoding="utf-8"))


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", prose(path), re.MULTILINE):
        text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        n = 1
        name = slug
        while name in found:
            name = f"{slug}-{n}"
            n += 1
        found.add(name)
    return frozenset(found)


def links(path: Path) -> list[str]:
    """Return the targets of a page's links, but for those to other sites."""
    found = _LINK.findall(re.sub(r"`[^`\n]*`", "", prose(path)))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def test_links_are_found() -> None:
    assert sum(len(links(path)) for path in PAGES) > 100
    assert "docs/results.md" in links(ROOT / "README.md")


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_the_site_has_what_its_pages_link_to(path: Path) -> None:
    """It is made of docs/ alone, without the JSON files of results."""
    for target in links(path):
        place = (path.parent / unquote(target.partition("#")[0])).resolve()
        assert place.is_relative_to(DOCS), target
        assert place.suffix not in (".json", ".py"), target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(path: Path) -> None:
    broken = []
    for target in links(path):
        name, _, anchor = unquote(target).partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_the_site_has_every_page_and_no_other() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r": (\S+\.md)$", text.partition("\nnav:\n")[2], re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in DOCS.glob("*.md"))
    assert listed[0] == "index.md"


def test_the_first_page_leads_to_all_others() -> None:
    named = {target.partition("#")[0] for target in links(DOCS / "index.md")}
    assert {path.name for path in DOCS.glob("*.md")} - {"index.md"} <= named


def test_research_says_in_short_what_came_of_each_section() -> None:
    text = (DOCS / "research.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (\d+)\. ", text, re.MULTILINE)
    assert re.findall(r"^\| \[(\d+)\]\(#\1-", text, re.MULTILINE) == sections


def test_named_files_of_the_repository_exist() -> None:
    """Pages name modules, tests and results in code: ``docs/results/speed.json``."""
    missing = set()
    for path in PAGES:
        if path.name == "CHANGELOG.md":
            continue  # tells of what was
        for name in re.findall(
            r"`((?:docs|tests|specvae|benchmarks|data)/[\w./-]+\.(?:py|json|md|png|csv))`",
            path.read_text(encoding="utf-8"),
        ):
            if "NAME" not in name and not (ROOT / name).exists():
                missing.add(f"{path.name}: {name}")
    assert missing == set()


def typed_commands() -> list[tuple[str, str]]:
    """Return page and command of each line that is to be typed."""
    found = []
    for name in TYPED:
        for block in re.findall(r"^```sh\n(.*?)^```", (DOCS / name).read_text(), re.M | re.S):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(name, line) for line in lines if line.startswith("specvae ")]
    return found


@pytest.mark.parametrize(("page", "line"), typed_commands())
def test_a_command_that_is_to_be_typed_is_one(page: str, line: str) -> None:
    """Its options exist and its values are allowed; what it reads need not be there."""
    context = click.Context(cli, info_name="specvae")
    command: click.Command = cli
    words = shlex.split(line, comments=True)[1:]
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None, line
        command = found
    command.make_context(command.name, words, parent=context).close()


@pytest.mark.parametrize("function", ["Model.annotate", "specvae.train", "specvae.load"])
def test_the_page_on_python_names_every_parameter(function: str) -> None:
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    (row,) = (
        line.split("|")[1] for line in text.splitlines() if line.startswith(f"| `{function}(")
    )
    named = set(re.findall(r"[(,] ?(\w+)", row))
    if "..." in row:  # the others are below the table
        (others,) = (part for part in text.split("\n\n") if "takes the options of" in part)
        named |= set(re.findall(r"`(\w+)`", others)) - {"annotate"}
    found = operator.attrgetter(function.removeprefix("specvae."))(specvae)
    assert set(inspect.signature(found).parameters) - {"self"} == named


def test_notebooks_have_no_outputs() -> None:
    notebooks = list((DOCS / "notebooks").glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                assert cell["outputs"] == [], path.name
                assert cell["execution_count"] is None, path.name
