"""What a browser makes of a page, as a picture for the documents."""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

WAIT = 30_000  # milliseconds of the page's own time that it may take to draw; it ends when nothing is left to do


def screenshot(page: str, target: Path, *, width: int, height: int) -> None:
    """Write the picture of a page (HTML) of so many pixels by the page's own measure, one and a half times as sharp."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("the picture needs chromium: install it")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(page, "utf-8")
        words = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1.5"]
        words += [f"--window-size={width},{height}", f"--virtual-time-budget={WAIT}", f"--screenshot={target}"]
        subprocess.run([browser, *words, path.as_uri()], check=True, capture_output=True, timeout=300)
    print(f"written: {target}")
