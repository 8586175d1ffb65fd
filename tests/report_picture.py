"""The picture of the report in the README: a query of `specvae demo`, opened in Chromium.

    specvae demo -o first-look
    python tests/report_picture.py first-look/report.html --query query-13 -o docs/report.png

Not part of ``make test``, as it needs Chromium and eyes: look at the picture.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import sys
import tempfile
from pathlib import Path

from chromium import Browser
from PIL import Image

_WIDTH, _HEIGHT = 1000, 1070  # pixels


def main() -> int:
    """Read the arguments and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("--query", required=True, help="the query that is opened")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder)) as browser:
        page = browser.open(arguments.report.resolve().as_uri(), _WIDTH, _HEIGHT)
        query = json.dumps(arguments.query)
        page.run(
            f"""(async () => {{
            const painted = () => new Promise((f) => requestAnimationFrame(() => setTimeout(f)));
            const all = Array.from(document.querySelectorAll('#queries > tbody'));
            const body = all.find((b) => b.querySelector('td.query a')?.textContent === {query});
            body.rows[0].click();
            await painted();
            body.scrollIntoView({{ block: "start", behavior: "instant" }});
            await painted(); }})()"""
        )
        taken = page.send("Page.captureScreenshot", format="png")
        if page.problems():
            sys.exit("\n".join(page.problems()))
    picture = Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB")
    picture.quantize(256).save(arguments.output, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
