"""The whole book as one PDF: jupyter-book's single page, printed by Chromium."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from civilwar.files import atomic_path

#: Debian's name first.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
#: Milliseconds of the page's own time, in which its formulas are set.
PATIENCE = 120_000
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--no-pdf-header-footer",
    f"--virtual-time-budget={PATIENCE}",
)


def browser() -> str:
    """Chromium's program. Raises FileNotFoundError where there is none."""
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    raise FileNotFoundError(f"none of {', '.join(BROWSERS)} is here: on Debian, `apt-get install chromium`.")


def single_page(source: Path, build: Path) -> Path:
    """``jupyter-book build`` of all pages as one, warnings as errors. Returns the page."""
    program = Path(sys.executable).with_name("jupyter-book")
    command = [str(program), "build", str(source), "--builder", "singlehtml", "--path-output", str(build)]
    subprocess.run([*command, "--warningiserror", "--keep-going"], check=True)
    return build / "_build" / "singlehtml" / "index.html"


def print_page(page: Path, target: Path) -> None:
    """Print one HTML file to ``target``, with the style that it has for paper."""
    with tempfile.TemporaryDirectory() as profile, atomic_path(target) as temporary:
        command = [browser(), *OPTIONS, f"--user-data-dir={profile}", f"--print-to-pdf={temporary}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        if not temporary.is_file():
            raise FileNotFoundError(f"{command[0]} printed nothing from {page}: open that page in it and look why.")


def make_pdf(source: Path, target: Path) -> Path:
    """The book in the folder ``source`` as one PDF. Raises subprocess.CalledProcessError where a step fails."""
    with tempfile.TemporaryDirectory() as build:
        print_page(single_page(source, Path(build)), target)
    return target
