"""What a reader can choose, listed once: the views, and the one state behind them. `bundle` hands both to the JavaScript."""

import json
from collections.abc import Mapping
from typing import Any

import traitlets

#: Names of the views, in the order in which they are shown. View ``NAME`` is the function ``NAME`` of ``js/NAME.js``.
VIEWS = ("map", "time", "find", "pattern", "thumbs", "plane", "gain", "training")

#: How two sides can be compared; an empty word for not at all.
COMPARE = ("", "beside", "difference")


class State(traitlets.HasTraits):
    """What every view shows, as traits that a kernel and a page share.

    ``field``: the trait's name in a page's state and address. ``start``: where a reader begins; a word names the entry of
    the inspector's data that says so. ``aside``: of a comparison; an address has it only where it differs from the start.
    Traits stand in the order in which an address gives them.

    The other side of a comparison is as the first one in whatever is left open: -1, or for the run an empty name.
    """

    layer = traitlets.Int(0).tag(sync=True, field="layer", start=0)
    query_head = traitlets.Int(0).tag(sync=True, field="head", start=0)
    step = traitlets.Int(0).tag(sync=True, field="step", start="last_step")
    metric = traitlets.Unicode().tag(sync=True, field="metric", start="default")
    text = traitlets.Int(0).tag(sync=True, field="text", start=0)
    query = traitlets.Int(-1).tag(sync=True, field="query", start=-1)
    compare = traitlets.Unicode().tag(sync=True, field="compare", start="", aside=True)
    other_run = traitlets.Unicode().tag(sync=True, field="run2", start="", aside=True)
    other_layer = traitlets.Int(-1).tag(sync=True, field="layer2", start=-1, aside=True)
    other_query_head = traitlets.Int(-1).tag(sync=True, field="head2", start=-1, aside=True)
    other_step = traitlets.Int(-1).tag(sync=True, field="step2", start=-1, aside=True)


#: Trait -> its metadata, in the class's order.
TRAITS: dict[str, dict[str, Any]] = {
    name: trait.metadata for name, trait in vars(State).items() if isinstance(trait, traitlets.TraitType)
}


def fields_module() -> str:
    """``js/fields.js``: what ``js/fields.d.ts`` declares."""
    fields = {
        said["field"]: {"trait": trait, "start": said["start"], "aside": said.get("aside", False)}
        for trait, said in TRAITS.items()
    }
    return f"export const FIELDS = {json.dumps(fields)};\nexport const COMPARE = {json.dumps(COMPARE)};\n"


def asked(state: Mapping[str, Any]) -> dict[str, Any]:
    """A page's state by its fields, from traits by their names; of a comparison only what differs from the start."""
    return {
        said["field"]: state[trait]
        for trait, said in TRAITS.items()
        if not (said.get("aside") and state[trait] == said["start"])
    }


def starts(payload: object) -> dict[str, Any]:
    """Where a reader of ``payload`` begins: trait -> value."""
    return {
        trait: getattr(payload, said["start"]) if isinstance(said["start"], str) and said["start"] else said["start"]
        for trait, said in TRAITS.items()
    }


def views_module() -> str:
    """``js/views.js``: what ``js/views.d.ts`` declares."""
    imports = "".join(f'import {{ {name} }} from "./{name}.js";\n' for name in VIEWS)
    return f"{imports}export const VIEWS = {{ {', '.join(VIEWS)} }};\n"
