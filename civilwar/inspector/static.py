"""The inspector without a kernel: an element for the page, and the run's data as scripts that all pages share."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from civilwar.files import atomic_path
from civilwar.inspector import bundle
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
    files = []
    for block, content in _blocks(payload).items():
        file = folder / name / f"{block}.js"
        file.parent.mkdir(parents=True, exist_ok=True)
        call = _call(name, block, content)
        with atomic_path(file) as temporary:
            temporary.write_text(call, encoding="utf-8")
        files.append(file)
    return files


def page(payload: Payload, inspector: str, others: Sequence[Payload] = ()) -> str:
    """A whole page in one file, for a browser without a network: ``inspector``, an `element`, with all that it needs.

    ``others`` are the runs that it offers for comparison.
    """
    # nothing inside can end the script's element: names are escaped, and the rest is base64
    data = "".join(
        f"<script>{_call(one.name, block, content)}</script>\n"
        for one in (payload, *others)
        for block, content in _blocks(one).items()
    )
    title = html.escape(f"Heads of {payload.name}")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>body {{ font-family: system-ui, sans-serif; margin: 1rem auto; max-width: 60rem; padding: 0 0.5rem }}\n"
        f"{bundle.style()}</style>\n<script>{bundle.script()}</script>\n{data}</head>\n"
        f"<body>\n<h1>{title}</h1>\n{inspector}\n</body>\n</html>\n"
    )


def _blocks(payload: Payload) -> dict[str, bytes]:
    """What a page fetches, by name: the core, and each layer's patterns where there are any."""
    blocks = {"core": payload.core}
    if payload.patterns is not None:
        blocks |= {f"layer-{layer:02d}": payload.layer(layer) for layer in range(payload.n_layers)}
    return blocks


def _call(name: str, block: str, content: bytes) -> str:
    # a name goes into a script as JSON, which no name can break out of once it cannot end the element either
    said = json.dumps(f"{name}/{block}").replace("<", "\\u003c")
    return f"civilwarInspector({said},{json.dumps(base64.b64encode(content).decode())});\n"
