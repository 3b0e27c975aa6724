"""`HeadInspector`: open any head of any layer at any recorded step, in JupyterLab and, as the same views, in the book.

>>> inspector = HeadInspector(open_run("laptop-baseline-seed0"), layer=3, query_head=5)  # doctest: +SKIP
>>> inspector.step = 128  # what the reader sees follows, and what the reader chooses can be read here  # doctest: +SKIP
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import numpy as np
import traitlets

from civilwar.files import atomic_path
from civilwar.inspector import bundle, picture, static
from civilwar.inspector.of_run import payload_of_run
from civilwar.inspector.payload import Payload
from civilwar.inspector.state import TRAITS, VIEWS, State
from civilwar.runs.reader import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn


class HeadInspector(State, anywidget.AnyWidget):
    """Linked views of a run's heads: map, time, attention pattern, norm against entropy, gain.

    Traits, all synced both ways: ``step`` (training step; views use the last recorded one at or before it), ``layer``,
    ``query_head`` (numbered within the layer), ``metric`` (a key of `civilwar.names.measures.MEASURES`, or ``kind``),
    ``text`` (which short probe text) and ``query`` (token of that text, -1 for the last).
    """

    _esm = bundle.module()
    _css = bundle.style()
    core = traitlets.Bytes().tag(sync=True)
    views = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, run: Run | Payload, *, views: Sequence[str] = VIEWS, **state: int | str) -> None:
        """Opens in ``state``, traits by name; those left out begin at layer, query head and text 0, the last step and token.

        Raises ValueError for a layer, head, step, metric, text or view that the run does not have, naming those it has, and
        TypeError for a trait that there is none of.
        """
        self._payload = payload_of_run(run) if isinstance(run, Run) else run
        if odd := sorted(set(state) - set(TRAITS)):
            raise TypeError(f"{', '.join(odd)}: expected views, {', '.join(TRAITS)}.")
        unknown = [view for view in views if view not in VIEWS]
        if unknown or not views:
            raise ValueError(f"views = {list(views)}: expected some of {', '.join(VIEWS)}.")
        starts = {name: said["start"] for name, said in TRAITS.items()}
        begun = {name: getattr(self._payload, at) if isinstance(at, str) else at for name, at in starts.items()}
        super().__init__(core=self._payload.core, views=list(views), **(begun | state))
        self.on_msg(self._answer)

    @classmethod
    def from_model(cls, model: "nn.Module", tokenizer: Any, texts: Sequence[str], **options: Any) -> "HeadInspector":
        """Map, pattern and gain of any model whose attention can be heard, for one moment and no run.

        The views are those that the model has something for: no pattern where queries see what comes after them, no gain
        where keys are not normalised.

        Args:
            model: with transformers' own attention, `torch.nn.functional.scaled_dot_product_attention` or
                `torch.nn.MultiheadAttention`; wrapped, compiled, in training or not.
            tokenizer: a `tokenizers.Tokenizer`, or one of transformers.
            texts: a list of texts, one to a few sentences each.
            options: as for the class.

        Raises ValueError where the attention cannot be heard as the model makes it, and for what has no heads to show.
        """
        # torch is loaded only where a model is passed
        from civilwar.inspector.of_model import payload_of_model

        payload = payload_of_model(model, tokenizer, texts)
        has = {"pattern": payload.patterns is not None, "gain": bool(np.isfinite(payload.gain.energy).any())}
        views = [view for view in ("map", "pattern", "gain") if has.get(view, True)]
        return cls(payload, **{"views": views, **options})

    @traitlets.validate(*TRAITS)
    def _within(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        payload = self._payload
        if name == "metric":
            if value not in payload.metrics:
                raise ValueError(f"metric = {value!r}: expected one of {', '.join(payload.metrics)}.")
            return value
        longest = max((len(text.tokens) for text in payload.texts), default=1)
        low, high = {
            "step": (0, payload.last_step),
            "layer": (0, payload.n_layers - 1),
            "query_head": (0, payload.n_query_heads - 1),
            "text": (0, max(len(payload.texts) - 1, 0)),
            "query": (-1, longest - 1),
        }[name]
        if not low <= value <= high:
            raise ValueError(f"{name} = {value}: {payload.name} has {low} to {high}.")
        return value

    def _answer(self, widget: Any, content: dict[str, Any], buffers: Sequence[Any]) -> None:
        """Say that a kernel is there; send the patterns of a layer that a reader opened."""
        if content.get("kind") == "hello":
            self.send({"kind": "hello"})
        if content.get("kind") == "layer" and self._payload.patterns is not None:
            layer = min(max(int(content["layer"]), 0), self._payload.n_layers - 1)
            self.send({"kind": "layer", "layer": layer}, [self._payload.layer(layer)])

    def save_html(self, file: Path | str) -> Path:
        """Write this inspector, in its present state, as one HTML file that needs no network and no kernel.

        Raises OSError where it cannot be written.
        """
        target = Path(file)
        with atomic_path(target) as temporary:
            temporary.write_text(static.page(self._payload, self.to_html()), encoding="utf-8")
        return target

    def still(self) -> "Figure":
        """A still picture of the present state."""
        return picture.still(self._payload, self.views, self.step, self.layer, self.query_head, self.metric)

    def description(self) -> str:
        """The still picture in words."""
        return picture.describe(self._payload, self.views, self.step, self.layer, self.query_head, self.metric)

    def to_html(self, still: str = "") -> str:
        """The same inspector in the same state for a page without a kernel; ``still`` stands there without JavaScript."""
        state = {said["field"]: getattr(self, trait) for trait, said in TRAITS.items()}
        return static.element(self._payload.name, state, self.views, still)
