"""The book's Sphinx extensions as modules: they lie beside the book, in no package."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

EXTENSIONS = Path(__file__).parents[1] / "book" / "_ext"


def load(name: str) -> ModuleType:
    """An extension by its name, able to import others."""
    if str(EXTENSIONS) not in sys.path:
        sys.path.append(str(EXTENSIONS))
    return importlib.import_module(name)
