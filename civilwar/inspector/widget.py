"""`HeadInspector`: open any head of any layer at any recorded step, in JupyterLab and, as the same views, in the book.

>>> inspector = HeadInspector(open_run("laptop-baseline-seed0"), layer=3, query_head=5)  # doctest: +SKIP
>>> inspector.step = 128  # what the reader sees follows, and what the reader chooses can be read here  # doctest: +SKIP
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from civilwar.inspector import bundle, picture, static
from civilwar.inspector import of_run as payload
from civilwar.inspector.of_run import Payload
from civilwar.runs.reader import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

#: Trait -> its name in the page's state and address.
PAGE_NAMES = {
    "step": "step",
    "layer": "layer",
    "query_head": "head",
    "metric": "metric",
    "text": "text",
    "query": "query",
}


class HeadInspector(anywidget.AnyWidget):
    """Linked views of a run's heads: map, time, attention pattern, norm against entropy, gain.

    Traits, all synced both ways: ``step`` (training step; views use the last recorded one at or before it), ``layer``,
    ``query_head`` (numbered within the layer), ``metric`` (a key of `civilwar.names.measures.MEASURES`, or ``kind``),
    ``text`` (which short probe text) and ``query`` (token of that text, -1 for the last).
    """

    _esm = bundle.module()
    _css = bundle.style()
    core = traitlets.Bytes().tag(sync=True)
    views = traitlets.List(traitlets.Unicode()).tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    query_head = traitlets.Int(0).tag(sync=True)
    metric = traitlets.Unicode().tag(sync=True)
    text = traitlets.Int(0).tag(sync=True)
    query = traitlets.Int(-1).tag(sync=True)

    def __init__(
        self,
        run: Run | Payload,
        *,
        step: int | None = None,
        layer: int = 0,
        query_head: int = 0,
        metric: str | None = None,
        text: int = 0,
        query: int = -1,
        views: Sequence[str] = bundle.VIEWS,
    ) -> None:
        """Raises ValueError for a layer, head, step, metric, text or view that the run does not have, naming those it has."""
        self._payload = payload.of_run(run) if isinstance(run, Run) else run
        meta = self._payload.meta
        chosen = {
            "step": meta["last_step"] if step is None else step,
            "layer": layer,
            "query_head": query_head,
            "metric": meta["default"] if metric is None else metric,
            "text": text,
            "query": query,
        }
        unknown = [view for view in views if view not in bundle.VIEWS]
        if unknown or not views:
            raise ValueError(f"views = {list(views)}: expected some of {', '.join(bundle.VIEWS)}.")
        super().__init__(core=self._payload.core, views=list(views), **chosen)
        self.on_msg(self._answer)

    @classmethod
    def from_model(cls, model: "nn.Module", tokenizer: Any, texts: Sequence[str], **options: Any) -> "HeadInspector":
        """Map, pattern and gain of any model whose layers have ``q_norm`` and ``k_norm``, for one moment and no run.

        Args:
            model: this package's Decoder, or one like Qwen3 that can return its attention (``output_attentions=True``).
            tokenizer: a `tokenizers.Tokenizer`, or one of transformers.
            texts: one to a few sentences each.
            options: as for the class.
        """
        # torch is loaded only where a model is passed
        from civilwar.inspector.of_model import of_model

        return cls(of_model(model, tokenizer, texts), **{"views": ("map", "pattern", "gain"), **options})

    @traitlets.validate("step", "layer", "query_head", "text", "query", "metric")
    def _within(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        meta = self._payload.meta
        if name == "metric":
            names = [measure["key"] for measure in meta["measures"]] + ["kind"] * bool(meta["kinds"])
            if value not in names:
                raise ValueError(f"metric = {value!r}: expected one of {', '.join(names)}.")
            return value
        longest = max((len(text["tokens"]) for text in meta["texts"]), default=1)
        low, high = {
            "step": (0, meta["last_step"]),
            "layer": (0, meta["n_layers"] - 1),
            "query_head": (0, meta["n_query_heads"] - 1),
            "text": (0, max(len(meta["texts"]) - 1, 0)),
            "query": (-1, longest - 1),
        }[name]
        if not low <= value <= high:
            raise ValueError(f"{name} = {value}: {meta['name']} has {low} to {high}.")
        return value

    def _answer(self, widget: Any, content: dict[str, Any], buffers: Sequence[Any]) -> None:
        """Send the patterns of a layer that a reader opened."""
        if content.get("kind") == "layer" and self._payload.patterns is not None:
            layer = min(max(int(content["layer"]), 0), self._payload.meta["n_layers"] - 1)
            self.send({"kind": "layer", "layer": layer}, [self._payload.layer(layer)])

    def still(self) -> "Figure":
        """A still picture of the present state."""
        return picture.still(self._payload, self.views, self.step, self.layer, self.query_head, self.metric)

    def description(self) -> str:
        """The still picture in words."""
        return picture.describe(self._payload, self.views, self.step, self.layer, self.query_head, self.metric)

    def to_html(self, still: str = "") -> str:
        """The same inspector in the same state for a page without a kernel; ``still`` stands there without JavaScript."""
        state = {page: getattr(self, trait) for trait, page in PAGE_NAMES.items()}
        return static.element(self._payload.meta["name"], state, self.views, still)
