"""The example of docs/models.md is run as it stands, on two arrays of a user's."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from specvae.vae.kinds import MODEL_KINDS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "models.md"


def test_the_example_learns_from_the_users_own_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    rng = np.random.default_rng(0)
    z = rng.normal(size=(1000, 2))
    images = (z @ rng.normal(size=(2, 30)) > 0).astype(np.float64)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "sounds.npy", z @ rng.normal(size=(2, 8)) + 0.2 * rng.normal(size=(1000, 8)))
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    space: dict[str, torch.Tensor] = {}
    exec(compile(block, str(PAGE), "exec"), space)
    drawn = space["drawn"].detach().numpy()
    assert drawn.shape == (200, 30)
    assert space["codes"].shape == (200, 4)
    assert ((drawn > 0.5) == images[800:]).mean() > 0.85
    assert space["pairs"].shape == space["given"].shape == (200,)
    # Sounds tell more about an image than the share of each of its pixels does.
    shares = images[:800].mean(axis=0).clip(0.01, 0.99)
    guessed = (images[800:] * np.log(shares) + (1 - images[800:]) * np.log(1 - shares)).sum(axis=1)
    assert space["given"].mean().item() > guessed.mean() + 5.0


def test_every_kind_is_in_the_table() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("## The family")[2].partition("\n## ")[0]
    rows = [[c.strip() for c in line.split(" | ")] for line in text.splitlines() if "| `" in line]
    documented = {}
    for cells in rows:
        kinds = re.findall(r"`([^`]+)`", cells[0])
        losses = re.findall(r"`([^`]+)`", cells[4])
        for kind, loss in zip(
            kinds, losses * len(kinds) if len(losses) == 1 else losses, strict=True
        ):
            documented[kind] = (cells[3].strip("`"), loss, not cells[5].startswith("no"))
    assert documented == {
        name: (kind.posterior, kind.loss, kind.learns_from_unpaired)
        for name, kind in MODEL_KINDS.items()
    }
