"""The package's annotations, as mypy sees them. A test, so that it runs beside the others and not before them."""

import subprocess
import sys
from pathlib import Path

from civilwar import paths

MYPY = Path(sys.executable).with_name("mypy")


def mypy(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Strict, as pyproject.toml has it."""
    return subprocess.run([MYPY, *arguments], cwd=paths.repository(), capture_output=True, text=True, check=False)


def test_mypy_finds_nothing() -> None:
    done = mypy("civilwar")
    assert done.returncode == 0, f"\n{done.stdout}{done.stderr}"
    assert "Success" in done.stdout


def test_the_check_can_fail(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def half(n: int) -> str:\n    return n / 2\n", encoding="utf-8")
    done = mypy(str(wrong))
    assert done.returncode == 1
    assert 'Incompatible return value type (got "float", expected "str")' in done.stdout
