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

from civilwar.errors import RunError
from civilwar.files import atomic_path
from civilwar.inspector import bundle, picture, static
from civilwar.inspector.of_run import payload_of_run
from civilwar.inspector.payload import Payload
from civilwar.inspector.state import COMPARE, TRAITS, VIEWS, State, asked, starts
from civilwar.runs.reader import Run
from civilwar.runs.schema import WEIGHTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from civilwar.inspector.text_of_ones_own import Model


class HeadInspector(State, anywidget.AnyWidget):
    """Linked views of a run's heads: map, time, attention pattern, norm against entropy, gain.

    Traits, all synced both ways: ``step`` (training step; views use the last recorded one at or before it), ``layer``,
    ``query_head`` (numbered within the layer), ``metric`` (a key of `civilwar.names.measures.MEASURES`, or ``kind``),
    ``text`` (which short probe text) and ``query`` (token of that text, -1 for the last). ``compare`` is empty, ``beside`` or
    ``difference``; ``other_run``, ``other_layer``, ``other_query_head`` and ``other_step`` are the other side of it, where
    they are not left open ("" and -1).
    """

    _esm = bundle.module()
    _css = bundle.style()
    core = traitlets.Bytes().tag(sync=True)
    views = traitlets.List(traitlets.Unicode()).tag(sync=True)
    others = traitlets.List(traitlets.Unicode()).tag(sync=True)
    live = traitlets.Bool().tag(sync=True)
    takes_text = traitlets.Bool().tag(sync=True)

    def __init__(
        self,
        run: Run | Payload,
        *,
        views: Sequence[str] = VIEWS,
        others: Sequence[Run | Payload] = (),
        reader: "Model | None" = None,
        **state: int | str,
    ) -> None:
        """Opens in ``state``, traits by name; those left out begin at layer, query head and text 0, the last step and token.

        ``others`` are runs that a reader can compare it with; each is read once it is asked for. ``reader`` puts texts that a
        reader writes through a model; a run that has its weights brings its own. A run that is training is followed: its
        views are drawn anew whenever it has recorded more (`refresh`).

        Raises ValueError for a layer, head, step, metric, text or view that the run does not have, naming those it has, and
        TypeError for a trait that there is none of.
        """
        self._payload = payload_of_run(run) if isinstance(run, Run) else run
        self._run = run if isinstance(run, Run) else None
        self._reader = reader
        # token counts of the texts that readers wrote
        self._own: list[int] = []
        self._others: dict[str, Run | Payload] = {other.name: other for other in others}
        if odd := sorted(set(state) - set(TRAITS)):
            raise TypeError(f"{', '.join(odd)}: expected views, {', '.join(TRAITS)}.")
        unknown = [view for view in views if view not in VIEWS]
        if unknown or not views:
            raise ValueError(f"views = {list(views)}: expected some of {', '.join(VIEWS)}.")
        begun = starts(self._payload) | state
        super().__init__(core=self._payload.core, views=list(views), others=list(self._others), **begun)
        self.live = self._payload.status == "running"
        self.takes_text = reader is not None or (self._run is not None and _has_weights(self._run))
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
        from civilwar.inspector.text_of_ones_own import Model

        payload = payload_of_model(model, tokenizer, texts)
        has = {"pattern": payload.patterns is not None, "gain": bool(np.isfinite(payload.gain.energy).any())}
        views = [view for view in ("map", "pattern", "gain") if has.get(view, True)]
        options = {"reader": Model(model, tokenizer) if payload.patterns is not None else None, **options}
        return cls(payload, **{"views": views, **options})

    @traitlets.validate(*TRAITS)
    def _within(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        payload = self._payload
        if name == "metric":
            if value not in payload.metrics:
                raise ValueError(f"metric = {value!r}: expected one of {', '.join(payload.metrics)}.")
            return value
        words = {"compare": COMPARE, "other_run": ("", *self._others)}
        if name in words:
            if value not in words[name]:
                raise ValueError(f"{name} = {value!r}: expected one of {', '.join(map(repr, words[name]))}.")
            return value
        longest = max([*(len(text.tokens) for text in payload.texts), *self._own], default=1)
        low, high = {
            "step": (0, payload.last_step),
            "layer": (0, payload.n_layers - 1),
            "query_head": (0, payload.n_query_heads - 1),
            "text": (0, max(len(payload.texts) + len(self._own) - 1, 0)),
            "query": (-1, longest - 1),
            "other_layer": (-1, payload.n_layers - 1),
            "other_query_head": (-1, payload.n_query_heads - 1),
            "other_step": (-1, payload.last_step),
        }[name]
        if not low <= value <= high:
            raise ValueError(f"{name} = {value}: {payload.name} has {low} to {high}.")
        return value

    def _answer(self, widget: Any, content: dict[str, Any], buffers: Sequence[Any]) -> None:
        """Say that a kernel is there; send what a reader opened: another run, the patterns of a layer, or a text's."""
        if content.get("kind") == "hello":
            self.send({"kind": "hello"})
        if content.get("kind") == "newer":
            self.refresh()
        if content.get("kind") == "text":
            self._answer_text(str(content["text"]))
        if content.get("kind") == "block":
            run, block = str(content["run"]), str(content["block"])
            payload = self._payload_of(run)
            if payload is None:
                return
            if block == "core":
                self.send({"kind": "block", "run": run, "block": block}, [payload.core])
            elif payload.patterns is not None:
                layer = min(max(int(block.removeprefix("layer-")), 0), payload.n_layers - 1)
                self.send({"kind": "block", "run": run, "block": block}, [payload.layer(layer)])

    def _answer_text(self, text: str) -> None:
        """Send a reader's text with the model's attention on it, or one sentence on why there is none."""
        # torch is loaded only where a text is asked for
        from civilwar.inspector.text_of_ones_own import trained

        try:
            if self._reader is None:
                if self._run is None:
                    raise ValueError("there is no model here to put a text through.")
                self._reader = trained(self._run)
            block, n_tokens = self._reader.look(text)
        except (ValueError, RunError) as error:
            self.send({"kind": "text", "error": str(error)})
            return
        self._own.append(n_tokens)
        self.send({"kind": "text"}, [block])

    def refresh(self) -> bool:
        """Read the run again, and show what it has recorded since; whether there was anything new.

        A reader who looks at the last step goes on with the run. Raises RunError where the run is damaged; False for a model
        without a run.
        """
        if self._run is None:
            return False
        now = Run(self._run.path)
        if (now.manifest["status"], now.last_step) == (self._payload.status, self._payload.last_step):
            return False
        self._run, self._payload = now, payload_of_run(now)
        self._own.clear()
        self.live = self._payload.status == "running"
        self.core = self._payload.core
        return True

    def _payload_of(self, name: str) -> Payload | None:
        """The run itself by an empty name, another one by its own; None for one that is not offered."""
        found = self._others.get(name) if name else self._payload
        if isinstance(found, Run):
            found = self._others[name] = payload_of_run(found)
        return found

    def save_html(self, file: Path | str) -> Path:
        """Write this inspector, in its present state, as one HTML file that needs no network and no kernel.

        Raises OSError where it cannot be written.
        """
        target = Path(file)
        others = [payload for name in self.others if (payload := self._payload_of(name)) is not None]
        with atomic_path(target) as temporary:
            temporary.write_text(static.page(self._payload, self.to_html(), others), encoding="utf-8")
        return target

    def still(self) -> "Figure":
        """A still picture of the present state."""
        return picture.still(self._payload, self.views, self.step, self.layer, self.query_head, self.metric)

    def description(self) -> str:
        """The still picture in words."""
        return picture.describe(self._payload, self.views, self.step, self.layer, self.query_head, self.metric)

    def to_html(self, still: str = "") -> str:
        """The same inspector in the same state for a page without a kernel; ``still`` stands there without JavaScript."""
        state = asked({trait: getattr(self, trait) for trait in TRAITS})
        return static.element(self._payload.name, state, self.views, still, self.others)


def _has_weights(run: Run) -> bool:
    """Whether a run of this package's own decoder brings its trained weights."""
    return run.complete and not run.watched and WEIGHTS in run.manifest["files"]
