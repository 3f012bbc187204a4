"""The page of a run: one self-contained HTML file, written from what its folder holds."""

from pathlib import Path


def write_report(run: Path) -> Path:
    """Write `report.html` into a run folder, whatever state the run is in, and return its path.

    Reads files only: neither the data nor the network nor torch is needed. What is missing is said on the page.

    Args:
        run: the run folder; of a finished, a running or a dead run.

    Raises:
        RunInvalid: there is no run at this path, or the page cannot be written.
    """
    from trainwell.report.page import render  # plotly takes a while to import, and only a page needs it
    from trainwell.train.folder import RunFolder

    folder = RunFolder.open(run)
    folder.write_text(folder.report, render(folder))
    return folder.report
