"""The README's commands are run as they stand, on the demo data under the README's names."""

from __future__ import annotations

import re
from pathlib import Path

from conftest import SMALL, run_specvae
from readme import README, readme_commands, write_readme_files


def test_every_command_of_the_readme_works(tmp_path: Path) -> None:
    write_readme_files(tmp_path, n_library=300, n_queries=12)
    found = readme_commands()
    assert {command[1] for command in found} >= {
        "train", "annotate", "evaluate", "predict", "embed", "pool", "library", "info",
        "bench",
    }  # fmt: skip
    for command in found:
        assert command[0] == "specvae"
        # Two epochs of small networks are enough to see that a command works.
        extra = ["--epochs", "2", *SMALL] if command[1] == "train" else []
        if command[1:3] == ["bench", "mnist-split"]:
            extra = ["--epochs", "1", "--oracle-epochs", "1", "--limit", "20"]
        run_specvae(*command[1:], *extra, cwd=tmp_path)
    for name in ("ranked.csv", "report.html", "from-pool.csv", "bits.csv", "latent.parquet"):
        assert (tmp_path / name).stat().st_size > 0, name
    for name in ("figures.json", "topk.png", "split/result.json", "split/table.md"):
        assert (tmp_path / name).stat().st_size > 0, name


def test_links_of_the_documents_lead_somewhere() -> None:
    root = README.parent
    pages = [README, root / "CONTRIBUTING.md", root / "CHANGELOG.md", *(root / "docs").glob("*.md")]
    for page in pages:
        prose = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", prose):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
