"""The tables of the pages are those that the stored results give."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_tables_are_made_from_the_results() -> None:
    spec = importlib.util.spec_from_file_location("make_tables", ROOT / "docs" / "make_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pages = [page.read_text(encoding="utf-8") for page in module.PAGES]
    for name in module.TABLES:
        assert sum(f"<!-- {name} -->" in text and f"<!-- /{name} -->" in text for text in pages) > 0
    for text in pages:
        assert module.render(text) == text
