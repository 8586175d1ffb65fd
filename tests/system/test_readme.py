"""The documents' links lead somewhere. The README's commands run in test_bare_install.py."""

from __future__ import annotations

import re

from readme import README


def test_links_of_the_documents_lead_somewhere() -> None:
    root = README.parent
    pages = [README, root / "CONTRIBUTING.md", root / "CHANGELOG.md", *(root / "docs").glob("*.md")]
    for page in pages:
        prose = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", prose):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
