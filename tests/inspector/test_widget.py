"""`HeadInspector` in Python: its state cannot leave the run, and its page carries the state, whatever a run is called."""

from dataclasses import replace
from typing import Any

import matplotlib as mpl
import pytest
from bs4 import BeautifulSoup
from traitlets import TraitError

from civilwar.inspector import static
from civilwar.inspector.pack import unpack
from civilwar.inspector.state import VIEWS
from civilwar.inspector.widget import HeadInspector
from civilwar.runs.reader import Run


@pytest.fixture(scope="module")
def inspector(smoke_run: Run) -> HeadInspector:
    return HeadInspector(smoke_run, layer=1, query_head=2, step=3, metric="entropy_normalised")


def test_it_opens_where_it_was_told_to(inspector: HeadInspector, smoke_run: Run) -> None:
    state = (inspector.layer, inspector.query_head, inspector.step, inspector.metric, inspector.text, inspector.query)
    assert state == (1, 2, 3, "entropy_normalised", 0, -1)
    assert HeadInspector(smoke_run).step == smoke_run.config.train.steps


@pytest.mark.parametrize(
    ("trait", "value", "said"),
    [
        ("layer", 99, "0 to"),
        ("query_head", -1, "0 to"),
        ("step", 10**6, "0 to"),
        ("text", 7, "0 to 1"),
        ("query", -2, "-1 to"),
        ("metric", "loudness", "expected one of norm_mean"),
    ],
)
def test_a_state_outside_the_run_is_refused(inspector: HeadInspector, trait: str, value: Any, said: str) -> None:
    before = getattr(inspector, trait)
    with pytest.raises((ValueError, TraitError), match=said):
        setattr(inspector, trait, value)
    assert getattr(inspector, trait) == before
    with pytest.raises((ValueError, TraitError), match=said):
        HeadInspector(inspector._payload, **{trait: value})


def test_an_unknown_view_or_trait_is_refused(inspector: HeadInspector) -> None:
    with pytest.raises(ValueError, match=", ".join(VIEWS)):
        HeadInspector(inspector._payload, views=("map", "sound"))
    with pytest.raises(TypeError, match="head: expected views, layer, query_head, step, metric, text, query"):
        HeadInspector(inspector._payload, head=3)


def test_a_reader_gets_the_patterns_of_the_layer_asked_for(
    inspector: HeadInspector, smoke_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[dict[str, Any], list[bytes]]] = []
    monkeypatch.setattr(inspector, "send", lambda content, buffers: sent.append((content, buffers)))
    inspector._answer(inspector, {"kind": "block", "run": "", "block": "layer-1"}, [])
    inspector._answer(inspector, {"kind": "something else"}, [])
    [(content, [block])] = sent
    assert content == {"kind": "block", "run": "", "block": "layer-1"}
    _, arrays = unpack(block)
    assert (arrays["pattern"] == smoke_run.array("patterns")["pattern"][:, :, 1]).all()


def test_the_page_s_element_holds_the_state(inspector: HeadInspector) -> None:
    element = BeautifulSoup(inspector.to_html("<p>still</p>"), "html.parser").div
    assert element is not None
    data = {name: value for name, value in element.attrs.items() if name.startswith("data-")}
    assert data == {
        "data-run": "smoke-run",
        "data-views": " ".join(VIEWS),
        "data-step": "3",
        "data-layer": "1",
        "data-head": "2",
        "data-metric": "entropy_normalised",
        "data-text": "0",
        "data-query": "-1",
    }
    assert element.p is not None


def test_a_name_cannot_break_out_of_page_or_script(inspector: HeadInspector, tmp_path: Any) -> None:
    name = "a\"><script>alert(1)</script>'"
    page = BeautifulSoup(static.element(name, {"step": 0}), "html.parser")
    assert page.script is None
    assert page.div is not None
    assert page.div["data-run"] == name

    quoted = 'x"); alert(1); ("'
    renamed = replace(inspector._payload, name=quoted)
    files = static.write_scripts(renamed, tmp_path)
    assert {file.name for file in files} == {"core.js", *(f"layer-{i:02d}.js" for i in range(renamed.n_layers))}
    assert files[0].read_text().startswith('civilwarInspector("x\\"); alert(1); (\\"/core","')


@pytest.mark.parametrize("metric", ["norm_mean", "entropy_normalised", "kind"])
def test_the_still_picture_shows_the_same_state(smoke_run: Run, metric: str) -> None:
    inspector = HeadInspector(smoke_run, layer=1, query_head=2, step=3, metric=metric)
    left, right = inspector.still().axes
    # where the style in force puts titles
    left_title, right_title = (ax.get_title(loc=mpl.rcParams["axes.titlelocation"]) for ax in (left, right))
    assert "step 3" in left_title
    assert "layer 1, query head 2" in right_title
    assert [line.get_xdata()[0] for line in right.lines][-1] == 3
    # one cell a head, and the frame of the selected one
    model = smoke_run.config.model
    assert len(left.patches) == model.n_layers * model.n_query_heads + 1
    assert (left.patches[-1].get_x(), left.patches[-1].get_y()) == pytest.approx((2 - 0.47, 1 - 0.46))
    assert "layer 1, query head 2" in inspector.description()


def test_before_training_the_still_map_is_pale(smoke_run: Run) -> None:
    """Norm and null are alike there, and full colour is for the largest deviation of the whole run."""
    norms = HeadInspector(smoke_run, step=0).still().axes[0]
    assert max(patch.get_facecolor()[3] for patch in norms.patches[:-1]) < 0.2


def test_the_still_picture_shows_the_views_asked_for(smoke_run: Run) -> None:
    left, right = HeadInspector(smoke_run, views=("plane", "pattern", "gain")).still().axes
    assert "key norm" in left.get_xlabel()
    assert "RoPE" in right.get_xlabel()


def test_a_comparison_is_refused_with_what_is_not_offered(inspector: HeadInspector) -> None:
    for trait, value in {"compare": "above", "other_run": "elsewhere", "other_layer": -2, "other_step": 10**6}.items():
        with pytest.raises((ValueError, TraitError), match=trait):
            setattr(inspector, trait, value)


def test_another_run_is_sent_once_it_is_asked_for(smoke_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(HeadInspector(smoke_run)._payload, name="other")
    inspector = HeadInspector(smoke_run, others=[other], compare="beside", other_run="other")
    sent: list[Any] = []
    monkeypatch.setattr(inspector, "send", lambda content, buffers=(): sent.append((content, list(buffers))))
    for run in ("other", "elsewhere"):
        inspector._answer(inspector, {"kind": "block", "run": run, "block": "core"}, [])
    assert sent == [({"kind": "block", "run": "other", "block": "core"}, [other.core])]
    element = BeautifulSoup(inspector.to_html(), "html.parser").div
    assert element is not None
    assert (element["data-others"], element["data-run2"]) == ("other", "other")


def test_a_reader_s_text_goes_through_the_trained_model(smoke_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    inspector = HeadInspector(smoke_run)
    assert inspector.takes_text
    sent: list[Any] = []
    monkeypatch.setattr(inspector, "send", lambda content, buffers=(): sent.append((content, list(buffers))))
    for text in ("", "def answer(): return 42"):
        inspector._answer(inspector, {"kind": "text", "text": text}, [])
    (refused, _), (said, (block,)) = sent
    assert "two tokens" in refused["error"]
    assert said == {"kind": "text"}
    meta, arrays = unpack(block)
    model = smoke_run.config.model
    n = len(meta["tokens"])
    assert "".join(meta["tokens"]) == "def answer(): return 42"
    assert arrays["pattern"].shape == (model.n_layers, model.n_query_heads, n * (n + 1) // 2)
    # the first token has nothing but itself to look at
    assert (arrays["pattern"][..., 0] == 255).all()
    inspector.text = len(inspector._payload.texts)
