"""docs/settings.md lists every setting with its default in both presets."""

from __future__ import annotations

import json
from pathlib import Path

from specvae.annotation.training.settings import flat_settings, preset_config

DOC = Path(__file__).resolve().parents[4] / "docs" / "settings.md"


def test_every_setting_is_documented_with_its_defaults() -> None:
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in DOC.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    documented = {cells[0].strip("`"): cells[1:3] for cells in rows}
    small = flat_settings(preset_config("small", "svae"))
    paper = flat_settings(preset_config("paper", "svae"))
    assert list(documented) == list(small)
    for key, cells in documented.items():
        assert [json.loads(cell.strip("`")) for cell in cells] == [small[key], paper[key]], key
    assert all(len(cells) == 4 and cells[3] for cells in rows)
