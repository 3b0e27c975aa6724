"""The inspector without a kernel: an element for the page, and the run's data as scripts that all pages share."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from civilwar.files import atomic_path
from civilwar.inspector.payload import Payload
from civilwar.inspector.state import VIEWS

#: Attribute by which a page's inspectors are found when the book is built.
MARK = "data-run"
#: Attribute with the names of the runs that it can be compared with.
MARK_OTHERS = "data-others"


def element(
    run: str,
    preset: Mapping[str, int | str],
    views: Sequence[str] = VIEWS,
    picture: str = "",
    others: Sequence[str] = (),
) -> str:
    """An element that the page's script turns into an inspector of ``run``; ``picture`` (HTML) stands there without it.

    ``others``: names of the runs that a reader can compare it with.

    ``preset``: step, layer, head, metric, text or query; what is left out is the inspector's default.
    """
    state = "".join(f' data-{name}="{html.escape(str(value))}"' for name, value in preset.items())
    shown = html.escape(" ".join(views))
    if others:
        state += f' {MARK_OTHERS}="{html.escape(" ".join(others))}"'
    return f'<div class="cw-inspector" {MARK}="{html.escape(run)}" data-views="{shown}"{state}>{picture}</div>'


def write_scripts(payload: Payload, folder: Path) -> list[Path]:
    """The run's data under ``folder/<run>/``: core.js, and layer-NN.js where there are patterns. Returns the files."""
    name = payload.name
    blocks = {"core": payload.core}
    if payload.patterns is not None:
        blocks |= {f"layer-{layer:02d}": payload.layer(layer) for layer in range(payload.n_layers)}
    files = []
    for block, content in blocks.items():
        file = folder / name / f"{block}.js"
        file.parent.mkdir(parents=True, exist_ok=True)
        # a name goes into a script as JSON, which no name can break out of
        call = f"civilwarInspector({json.dumps(f'{name}/{block}')},{json.dumps(base64.b64encode(content).decode())});\n"
        with atomic_path(file) as temporary:
            temporary.write_text(call, encoding="utf-8")
        files.append(file)
    return files
