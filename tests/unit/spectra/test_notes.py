"""The words for what a reader decides, and where users find them explained."""

from pathlib import Path

import pytest

from specvae.spectra.notes import Note, note_kind

DOCS = Path(__file__).parents[3] / "docs" / "formats.md"


@pytest.mark.parametrize("note", Note)
def test_every_note_stands_in_the_documents(note: Note) -> None:
    rows = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert any(f"`{note}`" in row.split(" | ")[0] for row in rows)


def test_a_note_is_counted_without_what_the_record_said() -> None:
    note = Note.FIRST_PRECURSOR.about("866.59/\n 792.13" + " " * 9 + "x" * 500)
    assert note.startswith("first of several precursors taken (866.59/ 792.13 xxx")
    assert len(note) < 130
    assert note_kind(note) == Note.FIRST_PRECURSOR
    assert note_kind(Note.PROFILE_KEPT) == Note.PROFILE_KEPT
