"""The report in a browser: searched, sorted, opened, zoomed, printed, on a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chromium import Browser, Page, needs_chromium, pages_of
from report_examples import NASTY, explained, result, spectrum, unranked

from specvae.annotation.evidence.items import PeakEvidence
from specvae.annotation.library.query import Query
from specvae.annotation.output.html import write_report
from specvae.annotation.ranking.result import Answer, QueryResult
from specvae.annotation.ranking.told import Told

pytestmark = needs_chromium

# Markup, quotation marks, control characters, an override of the direction of writing, and more.
HOSTILE = (
    NASTY,
    "'\"><script>document.title='ran'</script>",
    "a\x00b\x07c\x1b[31m\x7f",
    "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe \N{ARABIC LETTER AIN}\N{ZERO WIDTH JOINER}",
    "{{ 7 * 7 }} ${7*7} %s \\u003c",
    "x" * 400,
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


def named(answer: Answer, query_id: str, probability: float | None = None) -> Answer:
    """Return an answer to a query of this name."""
    best, *others = answer.annotations
    if probability is not None:
        best = replace(best, probability=probability)
    query = Query.assign_ion(replace(answer.query.spectrum, query_id=query_id))
    return replace(answer, query=query, annotations=(best, *others))


def opened(
    browser: Browser, tmp_path: Path, results: Sequence[QueryResult], *size: int, at: str = ""
) -> Page:
    path = tmp_path / "report.html"
    made = {"date": "today"}
    write_report(results, path, title="Some <queries>", provenance=made, told=Told(advice=("s",)))
    return browser.open(path.as_uri() + at, *size)


def test_queries_are_searched_sorted_filtered_and_opened(browser: Browser, tmp_path: Path) -> None:
    results: list[QueryResult] = [
        result("alpha", probability=0.3, name="caffeine"),
        result("beta", (-1.0, -9.0), probability=0.97, name="theobromine"),
        unranked("gamma", "no precursor m/z"),
        named(explained(), "delta", 0.6),
    ]
    page = opened(browser, tmp_path, results)
    names = "#queries td.query a"
    assert page.texts(names) == ["beta", "delta", "alpha", "gamma"]  # the most probable first
    page.type("#filter", "theobro")
    assert page.texts(names) == ["beta"]
    assert page.texts("#shown") == ["1 of 4"]
    page.type("#filter", "")
    for kind, left in (("0.9", ["beta"]), ("unranked", ["gamma"]), ("", 4)):
        page.choose("#which", kind)
        assert page.texts(names) == left or len(page.texts(names)) == left
    page.click("#queries th.query")
    assert page.texts(names) == ["alpha", "beta", "delta", "gamma"]
    page.click("#queries th.query")
    assert page.texts(names) == ["gamma", "delta", "beta", "alpha"]
    page.click("#queries th.gap")
    assert page.texts(names)[0] == "beta"
    assert page.run("document.querySelectorAll('.detail').length") == 0
    page.click("#q4 td.candidate")
    (detail,) = page.texts(".detail")
    assert "Peaks that only one of the two explains" in detail
    assert "explained by both candidates (1)" in detail
    assert page.run("document.querySelectorAll('#q4 .mark.first').length") >= 2
    assert page.run("location.hash") == "#q4"
    page.click("#q4 td.candidate")
    assert page.texts(".detail") == []
    page.click("#q3 td.query a")
    assert "Not ranked: no precursor m/z" in page.texts(".detail")[0]
    assert page.problems() == []
    assert all(url.startswith("file:") for url in page.requests())


def test_a_mirror_plot_is_zoomed_by_the_mouse_and_names_its_library_spectrum(
    browser: Browser, tmp_path: Path
) -> None:
    answer = explained()
    library = replace(
        answer.explanation.library, is_own=False, name="isocaffeine", query_id="MSBNK-1",  # type: ignore[union-attr, type-var]
    )  # fmt: skip
    page = opened(
        browser, tmp_path,
        [replace(answer, explanation=replace(answer.explanation, library=library))], at="#q1",  # type: ignore[type-var]
    )  # fmt: skip
    said = page.texts(".detail .facts")[1]
    assert said.startswith("isocaffeine · MSBNK-1 · [M+H]+ · cosine 0.91")
    # The cosine is of bins; more than one peak may lie in each. So no number of peaks is stated.
    assert re.search(r" · \d+ shared bins? of 0\.02 Th$", said)
    assert "peaks in common" not in page.texts(".legend")[0]
    assert page.texts(".detail h3")[0].startswith("The nearest analogue")
    ticks = "Array.from(document.querySelectorAll('.spectrum text')).map((e) => e.textContent)"
    whole = page.run(ticks)
    assert whole.count("50") == 2  # percent, above the axis and below it
    lines = "document.querySelectorAll('.spectrum line.none,.spectrum line.both').length"
    before = page.run(lines)
    x, y = page.middle(".spectrum")
    width = page.run("document.querySelector('.spectrum').getBoundingClientRect().width")
    page.drag((x + 0.05 * width, y), (x + 0.45 * width, y))
    assert page.run(ticks) != whole
    assert page.run(lines) < before
    page.click(".legend button")
    assert page.run(ticks) == whole
    assert page.problems() == []


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_of_a_file_becomes_anything_but_text(
    browser: Browser, tmp_path: Path, name: str
) -> None:
    results: list[QueryResult] = [named(explained(name), name), unranked(name, name)]
    page = opened(browser, tmp_path, results, at="#q1")
    assert page.run("document.title") == "Some <queries>"
    assert page.run("document.querySelectorAll('img, iframe, script:not([id])').length") == 1
    assert len(page.texts(".detail")) == 1
    shown = page.run("document.querySelector('#q1 .contestant .name').textContent")
    # A page cannot hold the character of code 0; all others are kept.
    assert shown.replace("\N{REPLACEMENT CHARACTER}", "\0") == f"1. {name}"
    width = "document.documentElement.scrollWidth <= window.innerWidth"
    assert page.run(width)
    assert page.problems() == []


@pytest.mark.parametrize("width", [641, 865, 1057, 1120, 1217, 1280])
def test_names_have_room_at_every_width(browser: Browser, tmp_path: Path, width: int) -> None:
    page = opened(browser, tmp_path, [result("alpha", name="acetylsalicylic")], width, 900)
    cell = "document.querySelector('#queries td.candidate')"
    assert page.run(f"{cell}.getBoundingClientRect().width") > 110
    assert page.run(f"{cell}.querySelector('.name').getClientRects().length") == 1


def test_a_mass_error_of_nothing_has_no_sign(browser: Browser, tmp_path: Path) -> None:
    answer = explained()
    best, *others = answer.annotations
    assert answer.query.neutral_mass is not None
    best = replace(best, exact_mass=answer.query.neutral_mass * (1.0 + 4e-8))
    page = opened(browser, tmp_path, [replace(answer, annotations=(best, *others))], at="#q1")
    (facts, *_) = page.texts(".contestant dl")
    assert "mass error0.0 ppm" in facts


def test_a_candidate_that_is_hardly_behind_is_not_called_best(
    browser: Browser, tmp_path: Path
) -> None:
    page = opened(browser, tmp_path, [result("alpha", (-1.0, -1.001, -3.5))], at="#q1")
    shown = page.texts(".candidates .number")
    assert shown == ["best", "0.00 nats", "\N{MINUS SIGN}2.50 nats"]


def crowded(n: int) -> Answer:
    """Return an answer with as much behind it as a real one has."""
    answer = explained()
    query = Query.assign_ion(spectrum(f"query {n}", 80))
    mz = query.spectrum.mz
    first, second = (
        tuple(
            PeakEvidence(float(mz[i]), f"C{i}H{i + k}N+", 2.5, 1.0 + i / 9, (i % 9, i % 9 + 1))
            for i in range(k, 60, 2)
        )
        for k in (0, 1)
    )
    bits = answer.explanation.bits * 8  # type: ignore[union-attr]
    told = replace(answer.explanation, peaks=first, second_peaks=second, bits=bits)  # type: ignore[type-var]
    return replace(answer, query=query, explanation=told, annotations=answer.annotations * 10)


def test_three_queries_are_printed_on_two_pages(browser: Browser, tmp_path: Path) -> None:
    """So sixty take forty at most."""
    page = opened(browser, tmp_path, [crowded(n) for n in range(12)])
    page.click("#open-all")
    assert len(page.texts(".detail")) == 12
    assert 4 <= pages_of(page.pdf()) <= 8
    assert page.problems() == []


def test_a_phone_shows_probability_and_candidate(browser: Browser, tmp_path: Path) -> None:
    page = opened(browser, tmp_path, [crowded(n) for n in range(3)], 390, 844)
    inside = """(selector) => { const b = document.querySelector(selector).getBoundingClientRect();
        return b.width > 0 && b.left >= 0 && b.right <= innerWidth && b.bottom <= innerHeight; }"""
    for part in ("p", "candidate", "picture svg"):  # without scrolling
        assert page.run(f"({inside})('#q1 .{part}')"), part
    page.click("#q1 td.candidate")
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    page.run("document.querySelector('.all-peaks').open = true")
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    height = "document.querySelector('.all-peaks tbody tr').getBoundingClientRect().height"
    assert page.run(height) < 40  # a formula stands on one line
    ratio = page.run("(() => { const b = document.querySelector('.spectrum')"
                     ".getBoundingClientRect(); return b.height / b.width; })()")  # fmt: skip
    assert ratio > 0.6  # as high as it can be read
    assert page.problems() == []


def test_what_is_behind_a_thousand_rows_is_drawn_when_it_is_looked_at(
    browser: Browser, tmp_path: Path
) -> None:
    results: list[Any] = [result(f"query {n}", probability=n / 1000) for n in range(1000)]
    page = opened(browser, tmp_path, results)
    count = "document.getElementsByTagName('*').length"
    assert page.run(count) < 40_000
    assert page.run("document.querySelectorAll('svg').length") < 60
    page.type("#filter", "query 999")
    assert page.texts("#queries td.query a") == ["query 999"]
    page.click("#q1000 td.candidate")
    assert len(page.texts(".detail")) == 1
    assert page.problems() == []
