"""Which published numbers a change moved: compare what two folders of executed notebooks glued.

    python benchmarks/glued.py OLD_PHASES [NEW_PHASES]

Prints one line for each number that was added, dropped or changed, and exits with status 1 where there is one. Pictures and
tables count too: their CSV, not their drawing.
"""

import hashlib
import re
import sys
from pathlib import Path

import nbformat

PREFIX = "application/papermill.record/"


def glued(folder: Path) -> dict[str, str]:
    """Key -> what was glued under it, as text; of a figure or table, the data behind its links."""
    found: dict[str, str] = {}
    for file in sorted(folder.glob("*.ipynb")):
        for cell in nbformat.read(file, as_version=4).cells:
            for output in cell.get("outputs", []):
                key = output.get("metadata", {}).get("scrapbook", {}).get("name")
                if key is not None:
                    found[f"{file.stem}: {key}"] = _said(output["data"])
    return found


def _said(data: dict[str, str]) -> str:
    plain = {kind.removeprefix(PREFIX): "".join(content) for kind, content in data.items()}
    if "text/html" not in plain:
        return plain.get("text/plain", "")
    files = re.findall(r'download="([^"]*)" href="data:text/csv[^,]*,([^"]*)"', plain["text/html"])
    return "; ".join(f"{name} {hashlib.sha256(content.encode()).hexdigest()[:12]}" for name, content in files)


def main(old: Path, new: Path) -> int:
    """Print the differences; returns how many kinds of line were printed, 0 or 1."""
    before, after = glued(old), glued(new)
    lines = [f"{key}: {before.get(key)} -> {after.get(key)}" for key in sorted(before | after)]
    changed = [
        line for line, key in zip(lines, sorted(before | after), strict=True) if before.get(key) != after.get(key)
    ]
    print("\n".join(changed) or "nothing changed", f"({len(before)} keys before, {len(after)} after)", sep="\n")
    return int(bool(changed))


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    sys.exit(main(given[0], given[1] if len(given) > 1 else Path(__file__).parent.parent / "book" / "phases"))
