"""MathJax beside the pages, without what they cannot use.

The package sphinx-mathjax-offline holds MathJax with every input, output and language: 24 MB. The pages need one script,
its fonts, and the TeX extensions that it fetches when a formula uses one: 2 MB. MathJax's context menu is off, since its
entries would fetch the rest.
"""

import importlib.util
import shutil
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinx.util.typing import ExtensionMetadata

SCRIPT = "tex-chtml.js"
NEEDED = (SCRIPT, "output/chtml/fonts/woff-v2", "input/tex/extensions")


def packaged() -> Path:
    """MathJax's folder in the installed package. Raises ExtensionError where it is missing."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    folder = Path(spec.origin).parent / "static" / "mathjax" if spec and spec.origin else None
    if folder is None or not (folder / SCRIPT).is_file():
        raise ExtensionError("MathJax is missing: install sphinx-mathjax-offline, as requirements.lock does.")
    return folder


def _configure(app: Sphinx, config: Config) -> None:
    config.mathjax_path = f"mathjax/{SCRIPT}"
    settings = dict(config.mathjax3_config or {})
    settings["options"] = {**settings.get("options", {}), "enableMenu": False}
    config.mathjax3_config = settings


def _copy(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    source, target = packaged(), Path(app.outdir) / "_static" / "mathjax"
    for name in NEEDED:
        if (source / name).is_dir():
            skip = shutil.ignore_patterns("all-packages.js")  # bundles the extensions beside it
            shutil.copytree(source / name, target / name, dirs_exist_ok=True, ignore=skip)
        else:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("config-inited", _configure)
    app.connect("build-finished", _copy)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
