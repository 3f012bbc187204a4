"""Draw docs/neighbours.png: nearest neighbours in feature space, from the folder of a run with transfer.

    python bench/neighbours.py RUN [--docs docs]     the picture needs chromium

It is the section that the run's own page has, alone. The one in docs is of a run that `bench/transfer.py --keep` left.
"""

import argparse
import sys
from pathlib import Path

from browser import screenshot
from plotly.offline import get_plotlyjs

from trainwell.pictures.style import template
from trainwell.report.embed import as_script_data
from trainwell.report.evidence import gather
from trainwell.report.neighbours import Neighbours, nearest_neighbours
from trainwell.train.folder import RunFolder

ROOT = Path(__file__).parents[1]
WIDTH = 1100


def page(found: Neighbours) -> str:
    """Return a page of its own with the figure."""
    figure = found.chart.figure
    figure["layout"] |= {"width": WIDTH, "template": template("light").to_plotly_json()}
    style = f"body{{margin:14px 20px;font:14px system-ui,sans-serif;color:#3c434a;background:#fff;width:{WIDTH}px}}"
    drawn = as_script_data({**figure, "config": {"staticPlot": True}})
    return (
        f"<!doctype html><meta charset=utf-8><style>{style}</style><p>{found.lead}</p><div id=p></div>"
        f"<script>{get_plotlyjs()}</script><script>Plotly.newPlot('p', {drawn})</script>"
    )


def main() -> None:
    """Read the run and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    asked = parser.parse_args()
    found = nearest_neighbours(gather(RunFolder.open(asked.run)))
    if found is None:
        sys.exit(f"{asked.run} holds no features of its sheet: take a run with --from on classes of images")
    screenshot(page(found), asked.docs / "neighbours.png", width=WIDTH + 40, height=found.chart.height + 90)


if __name__ == "__main__":
    main()
