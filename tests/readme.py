"""The commands of the README and of docs/usage.md, and the files that they name."""

import re
import shlex
import shutil
from pathlib import Path

from conftest import DEMO
from image_files import write_mnist

README = Path(__file__).resolve().parents[1] / "README.md"
USAGE = README.parent / "docs" / "usage.md"


def readme_commands() -> list[list[str]]:
    """Return the words of every command in the blocks of shell commands of both."""
    text = "".join(page.read_text(encoding="utf-8") for page in (README, USAGE))
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def write_readme_files(
    folder: Path, n_library: int | None = None, n_queries: int | None = None
) -> None:
    """Write the demo data under the README's names; None keeps all spectra."""
    for ours, theirs, n_records in (
        ("library.msp", "mona.msp", n_library),
        ("library.msp", "standards.msp", 50),
        ("queries.mgf", "query.mgf", n_queries),
    ):
        records = (DEMO / ours).read_text(encoding="utf-8").rstrip().split("\n\n")[:n_records]
        (folder / theirs).write_text("\n\n".join(records) + "\n\n", encoding="utf-8")
    shutil.copy(DEMO / "candidates.csv", folder / "cands.csv")
    # A quarter is enough to make a pool of: fingerprints take long.
    rows = (DEMO / "candidates.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "structures.csv").write_text("".join(rows[:1] + rows[1::4]), encoding="utf-8")
    names = re.findall("^TITLE=(.*)$", (folder / "query.mgf").read_text(encoding="utf-8"), re.M)
    head, *rows = (DEMO / "truth.csv").read_text(encoding="utf-8").splitlines()
    kept = [row for row in rows if row.split(",")[0] in names]
    assert len(kept) == len(names)
    (folder / "truth.csv").write_text("\n".join([head, *kept]) + "\n", encoding="utf-8")
    write_mnist(folder / "data/cache/mnist")
