"""What a reader can choose, listed once: the views, and the one state behind them. `bundle` hands both to the JavaScript."""

import json
from typing import Any

import traitlets

#: Names of the views, in the order in which they are shown. View ``NAME`` is the function ``NAME`` of ``js/NAME.js``.
VIEWS = ("map", "time", "pattern", "plane", "gain")


class State(traitlets.HasTraits):
    """What every view shows, as traits that a kernel and a page share.

    ``field``: the trait's name in a page's state and address. ``start``: where a reader begins; a word names the entry of
    the inspector's data that says so. Traits stand in the order in which an address gives them.
    """

    layer = traitlets.Int(0).tag(sync=True, field="layer", start=0)
    query_head = traitlets.Int(0).tag(sync=True, field="head", start=0)
    step = traitlets.Int(0).tag(sync=True, field="step", start="last_step")
    metric = traitlets.Unicode().tag(sync=True, field="metric", start="default")
    text = traitlets.Int(0).tag(sync=True, field="text", start=0)
    query = traitlets.Int(-1).tag(sync=True, field="query", start=-1)


#: Trait -> its metadata, in the class's order.
TRAITS: dict[str, dict[str, Any]] = {
    name: trait.metadata for name, trait in vars(State).items() if isinstance(trait, traitlets.TraitType)
}


def fields_module() -> str:
    """``js/fields.js``: what ``js/fields.d.ts`` declares."""
    fields = {said["field"]: {"trait": trait, "start": said["start"]} for trait, said in TRAITS.items()}
    return f"export const FIELDS = {json.dumps(fields)};\n"


def views_module() -> str:
    """``js/views.js``: what ``js/views.d.ts`` declares."""
    imports = "".join(f'import {{ {name} }} from "./{name}.js";\n' for name in VIEWS)
    return f"{imports}export const VIEWS = {{ {', '.join(VIEWS)} }};\n"
