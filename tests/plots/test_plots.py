"""Figures: they draw on the axes they get, show their null, can be told apart by everyone, and travel safely in a page."""

import io
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb, to_rgba
from matplotlib.patches import Rectangle
from synthetic import Truth, ablation_table, keys_like, make_synthetic_config, write_run

from civilwar.analysis import capacity, controls, divergence, focus, gain, kinds, rank, roles, taxonomy
from civilwar.inspector import bundle
from civilwar.names.kinds import KINDS, kind_of_score
from civilwar.names.variants import LABELS, VARIANTS
from civilwar.names.verdicts import PENDING, VERDICTS, color_of
from civilwar.pages import show as to_page
from civilwar.plots import capacity as draw_capacity
from civilwar.plots import controls as draw_controls
from civilwar.plots import divergence as draw_divergence
from civilwar.plots import focus as draw_focus
from civilwar.plots import gain as draw_gain
from civilwar.plots import kinds as draw_kinds
from civilwar.plots import rank as draw_rank
from civilwar.plots import roles as draw_roles
from civilwar.plots import style
from civilwar.runs.collection import Sweep
from civilwar.runs.reader import Run

LAST = 40
KIND_COLORS, VARIANT_COLORS = (tuple(record.color for record in names.values()) for names in (KINDS, VARIANTS))
VERDICT_COLORS = [color_of(label) for label in (*VERDICTS, PENDING.label)]


@pytest.fixture(autouse=True)
def clean_figures() -> Iterator[None]:
    with mpl.rc_context():
        style.use_style()
        yield
    plt.close("all")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    random = np.random.default_rng(0)
    config = make_synthetic_config(n_layers=3, steps=LAST)
    n = len(config.snapshot_steps())
    gains = 1 + np.linspace(0, 1, LAST + 1)[:, None, None] * random.uniform(-0.4, 0.6, size=(3, 16))
    truth = Truth(
        gain=gains,
        energy=keys_like(random, (LAST + 1, 3, 4, 16)),
        entropy_normalised=random.uniform(0.2, 0.9, size=(n, 4, 3, 8)),
        entropy_report=random.uniform(3, 4, size=(n, 4, 3, 8)),
        entropy_rescaled=random.uniform(0.2, 0.9, size=(n, 4, 3, 8)),
        ranks=random.uniform(4, 12, size=(n, 4, 3, 4, 4)),
        separator_mass=rising(random, n, 0.25, 0.6),
        nearby_mass=rising(random, n, 0.2, 0.6),
        previous_token_score=rising(random, n, 0.08, 0.3),
        key_energy=keys_like(random, (3, 4, 3, 16)),
        accuracy=random.uniform(0.5, 0.8, size=(3, 8, 2)),
        shuffled={"nearby_mass": random.uniform(0.1, 0.6, size=(4, 3, 8))},
    )
    return write_run(tmp_path_factory.mktemp("plots") / "run", config, truth)


def rising(random: np.random.Generator, n: int, start: float, end: float) -> np.ndarray:
    """A score [snapshot, 1, layer, query_head] that some heads raise and others do not; texts differ a little."""
    share = np.linspace(0, 1, n)[:, None, None, None]
    level = start + (end - start) * share * random.uniform(0, 1, size=(1, 1, 3, 8))
    return level + share * random.normal(0, 0.02, size=(n, 4, 3, 8))


def of_layer(table: pd.DataFrame, layer: int = 0) -> pd.DataFrame:
    return table[table["layer"] == layer]


def draw_head_norms(run: Run, ax: Axes) -> object:
    bounds = of_layer(divergence.gain_bounds(run))
    norms = of_layer(divergence.key_norms(run))
    return draw_divergence.head_norms(norms, divergence.decay_only_curve(run), ax, bounds)


def draw_dip(run: Run, ax: Axes) -> object:
    means = divergence.key_norms(run).groupby(["layer", "step"], as_index=False)["norm"].mean()
    return draw_divergence.dip(means, divergence.decay_only_curve(run), divergence.dips(run), ax)


def draw_spread(run: Run, ax: Axes) -> object:
    aligned = divergence.alignment(run, draws=49)
    return draw_divergence.spread(of_layer(divergence.spreads(run)), of_layer(aligned), 8.0, ax)


def draw_cloud(run: Run, ax: Axes) -> object:
    points = focus.at_moments(run, focus.head_points(run))
    return draw_focus.cloud(points[points["moment"] == "late"], "entropy_normalised", ax, 3)


def draw_correlation(run: Run, ax: Axes) -> object:
    return draw_focus.correlation_over_time(focus.correlations_over_time(run, draws=49), ax)


def draw_correlation_per_layer(run: Run, ax: Axes) -> object:
    return draw_focus.correlation_per_layer(focus.correlations_per_layer(run, LAST), ax)


def draw_over_time(run: Run, ax: Axes) -> object:
    means, null = (
        rank.select_measure(t, "participation_ratio") for t in (rank.layer_means(run), rank.null_over_time(run))
    )
    return draw_rank.over_time(means, null, 12.8, ax, 3)


def draw_by_layer(run: Run, ax: Axes) -> object:
    heads = rank.select_measure(rank.ranks_over_time(run), "effective_rank")
    return draw_rank.by_layer(heads[heads["step"] == LAST], rank.select_measure(rank.ends(run), "effective_rank"), ax)


def draw_profile(run: Run, ax: Axes) -> object:
    return draw_gain.frequency_profile(gain.pair_gains(run), 64, ax)


def draw_settling(run: Run, ax: Axes) -> object:
    return draw_gain.settling(gain.settling(run), gain.SETTLED, ax)


def draw_likeness(run: Run, ax: Axes) -> object:
    return draw_gain.likeness(gain.likeness(run), gain.likeness_null(run, draws=49)["centred_high"], ax)


def draw_map(run: Run, ax: Axes) -> object:
    return draw_kinds.kinds_map(taxonomy.labels(run, draws=9), ax)


def draw_scores(run: Run, ax: Axes) -> object:
    return draw_kinds.score_strips(kinds.scores_beside_null(run), ax)


def draw_sinks(run: Run, ax: Axes) -> object:
    table = kinds.sink_sweep(run)
    return draw_kinds.sink_sweep(table[table["position"] == 1], taxonomy.SINK_EPSILON, ax)


def draw_kinds_over_time(run: Run, ax: Axes) -> object:
    return draw_kinds.kinds_over_time(kinds.counts(kinds.labels_over_time(run), "step"), ax)


def draw_persistence(run: Run, ax: Axes) -> object:
    return draw_kinds.persistence(kinds.persistence(kinds.labels_over_time(run)), ax)


def draw_kinds_over_seeds(run: Run, ax: Axes) -> object:
    return draw_kinds.kinds_over_seeds(kinds.counts(kinds.labels_over_seeds([run]), "seed"), ax)


def draw_agreement(run: Run, ax: Axes) -> object:
    return draw_kinds.agreement({"same": 0.7, "dealt": 0.5, "low": 0.4, "high": 0.6, "p": 0.01, "n_seeds": 3}, ax)


def draw_shuffled(run: Run, ax: Axes) -> object:
    table = roles.on_shuffled_text(run, taxonomy.labels(run, draws=0))
    return draw_roles.shuffled(table[table["score"] == "nearby"], ax)


def draw_golden_targets(run: Run, ax: Axes) -> object:
    return draw_roles.golden_targets(roles.golden_energy_at_targets(run), 1.25, ax)


def draw_golden_breadth(run: Run, ax: Axes) -> object:
    return draw_roles.golden_breadth(roles.golden_energy_by_breadth(run), 3, 0.8, ax)


def draw_matches(run: Run, ax: Axes) -> object:
    return draw_roles.match_scores(kinds.scores_beside_null(run), 0.02, ax)


def draw_contrast(run: Run, ax: Axes) -> object:
    table = roles.contrasts(run)
    return draw_roles.contrast(table, table["query_head"] == 1, 2.0, ax)


def draw_content(run: Run, ax: Axes) -> object:
    table = roles.content_by_kind(run, taxonomy.labels(run, draws=0), draws=49)
    return draw_roles.content(table[table["property"] == "brackets"], ax)


def draw_ablation(run: Run, ax: Axes) -> object:
    by_kind = roles.ablation_by_kind(run, taxonomy.labels(run, draws=0))
    return draw_roles.ablation(by_kind, roles.ablation_changes(run), "loss", ax)


def small_sweep(run: Run) -> Sweep:
    """The run as two seeds of the baseline and of two controls: what is drawn, not what it says."""
    return Sweep({variant: {1: run, 2: run} for variant in ("baseline", "no_gain_decay", "shuffled_rope")}, ())


def draw_control_norms(run: Run, ax: Axes) -> object:
    sweep = small_sweep(run)
    table = controls.measure_over_seeds(controls.curves(sweep), "norm")
    drawn = draw_controls.norms(table, controls.decay_only(sweep), ax)
    draw_controls.name_lines(table, ax)
    return drawn


def draw_control_heads(run: Run, ax: Axes) -> object:
    return draw_controls.lines(controls.measure_over_seeds(controls.curves(small_sweep(run)), "spread"), ax)


def draw_control_focus(run: Run, ax: Axes) -> object:
    sweep = small_sweep(run)
    table = controls.measure_over_seeds(controls.curves(sweep), "focus")
    return draw_controls.focus(table, controls.focus_null(sweep), ax)


def draw_control_frequency(run: Run, ax: Axes) -> object:
    profiles = controls.gain_profiles(small_sweep(run), "shuffled_rope")
    return draw_controls.profile(profiles, controls.mean_profile(profiles, "rank"), "rank", ax)


def control_changes(sizes: dict[str, float] | None = None) -> pd.DataFrame:
    """Changes of three controls; ``sizes`` in deviations, by phenomenon. The last one's are undefined."""
    sizes = sizes or {"fall": -12.0, "norm": 5.0, "loss": 1.0}
    rows = [
        {"variant": variant, "phenomenon": p, "change": d / 10, "low": d / 10 - 0.2, "high": d / 10 + 0.2, "n": 4}
        | {"baseline": 1.0, "deviations": d, "clear": abs(d) > 2}
        for variant in ("no_gain_decay", "shuffled_rope", "frozen_gain")
        for p in controls.PHENOMENA
        for d in [np.nan if variant == "frozen_gain" and p != "loss" else sizes.get(p, 0.0)]
    ]
    return pd.DataFrame(rows)


def draw_loss_over_time(run: Run, ax: Axes) -> object:
    # the same run twice would pair four times
    curves = controls.curves(small_sweep(run)).drop_duplicates()
    return draw_controls.loss_over_time(controls.mean_and_range(controls.less_baseline(curves, "loss")), ax)


def draw_loss_changes(run: Run, ax: Axes) -> object:
    paired = pd.DataFrame({"variant": "no_gain_decay", "seed": [1, 2], "step": LAST, "value": [0.1, 0.2]})
    return draw_controls.loss_changes(paired, control_changes(), ax)


def draw_knobs(run: Run, ax: Axes) -> object:
    return draw_controls.knobs(control_changes(), ax)


def capacity_curves(run: Run) -> pd.DataFrame:
    return capacity.curves([run]).assign(
        kept=lambda table: table["rank"] / 16, excess=lambda table: 1 - table["rank"] / 16
    )


def draw_kept(run: Run, ax: Axes) -> object:
    curves = capacity_curves(run)
    return draw_capacity.kept(capacity.over_seeds(curves, "kept"), curves, ax, run.config, 0.95)


def draw_excess(run: Run, ax: Axes) -> object:
    curves = capacity_curves(run)
    return draw_capacity.excess(capacity.over_seeds(curves, "excess"), curves, ax, run.config)


#: A cloud of dots has no null of its own: the correlation beside it has.
WITH_NULL = [
    draw_head_norms,
    draw_dip,
    draw_spread,
    draw_correlation,
    draw_correlation_per_layer,
    draw_over_time,
    draw_by_layer,
    draw_profile,
    draw_settling,
    draw_likeness,
    draw_scores,
    draw_sinks,
    draw_persistence,
    draw_agreement,
    draw_shuffled,
    draw_golden_targets,
    draw_golden_breadth,
    draw_matches,
    draw_contrast,
    draw_content,
    draw_ablation,
    draw_control_norms,
    draw_control_focus,
    draw_control_frequency,
    draw_loss_over_time,
    draw_loss_changes,
    draw_kept,
    draw_excess,
]
#: Labels and how many there are of each: the scores, the persistence and the agreement beside them have the null.
#: What the controls follow has its null in its own phase; which knob moves what is bold where 0 is ruled out.
WITHOUT_NULL = [draw_cloud, draw_map, draw_kinds_over_time, draw_kinds_over_seeds, draw_control_heads, draw_knobs]
Draw = Callable[[Run, Axes], object]


def visible_colors(ax: Axes) -> set[str]:
    colors = {to_hex(line.get_color()) for line in ax.lines}
    for artist in [*ax.collections, *ax.patches]:
        colors |= {to_hex(color) for color in np.atleast_2d(artist.get_facecolor())}
    return colors


@pytest.mark.parametrize("draw", [*WITH_NULL, *WITHOUT_NULL])
def test_a_figure_is_drawn_on_the_axes_it_gets_with_its_null(run: Run, draw: Draw) -> None:
    _, (ax, other) = plt.subplots(1, 2)
    before = len(plt.get_fignums())
    assert draw(run, ax) is ax
    assert ax.has_data()
    assert not other.has_data()
    assert len(plt.get_fignums()) == before
    if draw in WITH_NULL:
        assert style.NULL in visible_colors(ax)


def test_a_figure_is_drawn_where_there_is_no_gain(tmp_path: Path) -> None:
    """Bounds, band and decay curve are null there, and nothing warns."""
    config = make_synthetic_config(n_layers=2, steps=LAST, qk_norm="none")
    random = np.random.default_rng(1)
    norms = 4 + random.standard_normal((LAST + 1, 2, 4))
    absent = write_run(tmp_path / "run", config, Truth(gain=np.full((LAST + 1, 2, 16), np.nan), norms=norms))
    draws = (draw_head_norms, draw_dip, draw_spread, draw_over_time, draw_by_layer, draw_cloud, draw_map, draw_contrast)
    figure, axes = plt.subplots(1, len(draws), figsize=(12, 2))
    for draw, ax in zip(draws, axes, strict=True):
        draw(absent, ax)
        assert ax.has_data()
    figure.canvas.draw()


def test_the_heat_map_is_centred_on_1_and_shared_between_layers(run: Run) -> None:
    _, ax = plt.subplots()
    image = draw_gain.heat(gain.heat(run, 1, True), {1, 5}, ax, 0.4)
    assert image in ax.images
    assert to_hex(image.to_rgba(1.0)) == to_hex(style.GAIN_CMAP(0.5))
    assert image.norm(1.4) == pytest.approx(1)
    assert image.norm(0.6) == pytest.approx(0)


def test_a_kv_head_has_the_same_color_everywhere(run: Run) -> None:
    _, (norms, ranks) = plt.subplots(1, 2)
    draw_head_norms(run, norms)
    draw_by_layer(run, ranks)
    for kv_head in range(4):
        label = f"KV head {kv_head}"
        (line,) = (line for line in norms.lines if line.get_label() == label)
        (dots,) = (dots for dots in ranks.collections if dots.get_label() == label)
        assert to_hex(line.get_color()) == to_hex(dots.get_facecolor()[0]) == style.kv_head_color(kv_head)
    assert style.kv_head_color(9) == style.kv_head_color(1)


def test_a_layer_has_the_same_color_in_every_figure(run: Run) -> None:
    expected = [to_hex(color) for color in style.layer_colors(3)]
    _, axes = plt.subplots(1, 4)
    for draw, ax in zip((draw_dip, draw_over_time, draw_profile, draw_settling), axes, strict=True):
        draw(run, ax)
        solid = [line for line in ax.lines if to_hex(line.get_color()) != style.NULL]
        assert [to_hex(line.get_color()) for line in solid] == expected


def test_a_measure_of_entropy_has_the_same_color_in_both_figures(run: Run) -> None:
    _, axes = plt.subplots(1, 2)
    for draw, ax in zip((draw_correlation, draw_correlation_per_layer), axes, strict=True):
        draw(run, ax)
        by_name = {line.get_label(): to_hex(line.get_color()) for line in ax.lines}
        for measure, name in draw_focus.MEASURE_NAMES.items():
            assert by_name[name] == draw_focus.MEASURE_COLORS[measure]


def test_the_map_says_every_kind_in_letters_and_color(run: Run) -> None:
    labelled = taxonomy.labels(run, draws=9).assign(certainty=1.0)
    labelled.loc[5, "certainty"] = 0.5
    _, ax = plt.subplots()
    draw_kinds.kinds_map(labelled, ax)
    cells = {cell.get_xy(): to_rgba(cell.get_facecolor()) for cell in ax.patches if isinstance(cell, Rectangle)}
    letters = [text for text in ax.texts if not text.get_text().startswith("KV")]
    assert len(cells) == len(letters) == len(labelled)
    assert [text.get_text() for text in letters] == [KINDS[kind].code for kind in labelled["kind"]]
    colors = [
        to_rgba(KINDS[kind].color, 1 if sure == 1 else draw_kinds.PALE)
        for kind, sure in labelled[["kind", "certainty"]].to_numpy()
    ]
    assert list(cells.values()) == colors
    # heads of one KV head stand together, those of two apart
    x = sorted({round(place, 3) for place, _ in cells})
    assert np.diff(x) == pytest.approx([1, 1.35] * 3 + [1])
    assert [text.get_text() for text in ax.texts if text.get_text().startswith("KV")] == [f"KV {i}" for i in range(4)]
    key = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sum(int(re.findall(r"\((\d+)\)", line)[0]) for line in key) == len(labelled)


def test_every_kind_and_score_has_a_name_and_a_color() -> None:
    assert list(KINDS) == list(taxonomy.KINDS)
    assert all(kind_of_score(score).score for score in (*taxonomy.FOCUSED, "broad"))
    assert set(draw_roles.LOSS_NAMES) == set(roles.LOSSES)


def test_a_kind_has_the_same_color_in_every_figure(run: Run) -> None:
    present = {to_hex(KINDS[kind].color) for kind in taxonomy.labels(run, draws=0)["kind"]}
    assert len(present) > 2
    _, axes = plt.subplots(1, 4)
    for draw, ax in zip((draw_kinds_over_seeds, draw_kinds_over_time, draw_shuffled, draw_ablation), axes, strict=True):
        draw(run, ax)
        of_kinds = visible_colors(ax) & {kind.color for kind in KINDS.values()}
        assert of_kinds
        # other kinds occur only where earlier steps are shown, or where another table says so
        assert draw in (draw_kinds_over_time, draw_ablation) or of_kinds == present


def test_a_kind_that_fills_its_layers_is_said_to_have_no_comparison(tmp_path: Path) -> None:
    plain = write_run(tmp_path / "run", make_synthetic_config(n_layers=2, steps=LAST))
    kind = taxonomy.labels(plain, draws=0)["kind"].iloc[0]
    table = ablation_table(plain.config, {kind: 16})
    full = write_run(tmp_path / "full", plain.config, Truth(tables={"ablation": table}))
    for draw in (draw_ablation, draw_content):
        _, ax = plt.subplots()
        draw(full, ax)
        assert any("no comparison" in text.get_text() for text in ax.texts)


def test_every_variant_and_phenomenon_has_a_name_and_a_color() -> None:
    assert list(draw_controls.PHENOMENON_NAMES) == list(controls.PHENOMENA)
    assert set(draw_controls.MEASURE_NAMES) == set(controls.MEASURES)
    assert set(draw_capacity.NAMES) == set(draw_capacity.LOOKS) == set(capacity.ORIGIN)


def test_a_variant_has_the_same_color_in_every_figure(run: Run) -> None:
    _, axes = plt.subplots(1, 3)
    for draw, ax in zip((draw_control_norms, draw_control_heads, draw_control_focus), axes, strict=True):
        draw(run, ax)
        by_name = {line.get_label(): to_hex(line.get_color()) for line in ax.lines}
        for variant in ("baseline", "no_gain_decay", "shuffled_rope"):
            assert by_name[LABELS[variant]] == VARIANTS[variant].color
    assert VARIANTS["shuffled_rope"].color in {label.get_color() for label in axes[0].texts}


def test_names_at_the_lines_ends_do_not_overlap_and_keep_their_order() -> None:
    ends = {"baseline": 1.0, "pure_bf16": 1.01, "no_gain_decay": 1.02, "frozen_gain": 3.0}
    table = pd.DataFrame({"variant": list(ends), "step": LAST, "mean": list(ends.values())})
    _, ax = plt.subplots()
    ax.set_ylim(0, 4)
    draw_controls.name_lines(table, ax, gap=0.1)
    places = [text.xy[1] for text in ax.texts]
    assert [text.get_text() for text in ax.texts] == [LABELS[variant] for variant in ends]
    assert np.diff(places).min() >= 0.1 - 1e-9
    assert places[0] < 0.25 < places[2]


def test_the_knobs_say_how_large_how_sure_and_what_is_undefined() -> None:
    _, ax = plt.subplots()
    draw_controls.knobs(control_changes(), ax)
    texts = {text.get_position(): text for text in ax.texts}
    cells = {patch.get_xy(): patch for patch in ax.patches if isinstance(patch, Rectangle)}
    phenomena = list(controls.PHENOMENA)
    fall, norm, loss = (phenomena.index(name) for name in ("fall", "norm", "loss"))
    assert texts[0, fall].get_text() == "\N{MINUS SIGN}1.20"
    assert [texts[0, y].get_fontweight() for y in (fall, norm, loss)] == ["bold", "bold", "normal"]
    assert texts[2, fall].get_text() == "no value"
    assert (1.5, fall - 0.5) not in cells
    strength = {y: cells[-0.5, y - 0.5].get_alpha() for y in (fall, norm, loss)}
    assert strength[fall] == pytest.approx(2 * strength[norm])  # 12 deviations count as 10
    assert strength[norm] == pytest.approx(5 * strength[loss])
    assert to_hex(cells[-0.5, fall - 0.5].get_facecolor()) == style.LESS
    assert to_hex(cells[-0.5, norm - 0.5].get_facecolor()) == style.MORE


def test_the_loss_of_a_control_has_a_dot_per_seed_and_its_color(run: Run) -> None:
    _, ax = plt.subplots()
    draw_loss_changes(run, ax)
    names = [label.get_text() for label in ax.get_yticklabels()]
    at = names.index(LABELS["no_gain_decay"])
    assert ax.get_yticklabels()[at].get_color() == VARIANTS["no_gain_decay"].color
    dots = np.concatenate([np.asarray(c.get_offsets()) for c in ax.collections])
    assert sorted(dots.tolist()) == [[0.1, at], [0.2, at]]


def test_the_reports_share_is_marked_and_the_run_shown_is_hollow(run: Run) -> None:
    _, ax = plt.subplots()
    draw_kept(run, ax)
    rank_of_report = capacity.report_rank(run.config)
    assert any(list(line.get_xdata()) == [rank_of_report, rank_of_report] for line in ax.lines)
    assert any("the report's 15%" in text.get_text() for text in ax.texts)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == [*draw_capacity.NAMES.values(), "the run shown"]
    rings = [c for c in ax.collections if len(c.get_edgecolor()) and not len(c.get_facecolor())]
    assert {to_hex(c.get_edgecolor()[0]) for c in rings} >= {style.CAUSAL, style.REPORT}


def test_capacity_is_drawn_where_there_is_no_gain(tmp_path: Path) -> None:
    ungained = write_run(tmp_path / "run", make_synthetic_config(n_layers=2, steps=LAST, qk_norm="none"))
    curves = capacity_curves(ungained)
    assert "gains" not in set(curves["method"])
    _, ax = plt.subplots()
    draw_capacity.kept(capacity.over_seeds(curves.dropna(), "kept"), curves, ax, ungained.config, 0.95)
    assert draw_capacity.NAMES["gains"] not in [text.get_text() for text in ax.get_legend().get_texts()]


def test_labels_at_the_edge_do_not_overlap() -> None:
    assert draw_kinds._apart(np.array([1.0, 1.2, 1.3, 9.0]), 1.0) == pytest.approx([1, 2, 3, 9])


# ---------------------------------------------------------------- everyone can read them

#: Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
#: The page's background in the light theme, and in the dark one as in book.css.
WHITE, DARK = "#ffffff", "#141518"


def linear(color: object) -> np.ndarray:
    rgb = np.array(to_rgb(color))  # type: ignore[arg-type]
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(first: object, second: object) -> float:
    """WCAG 2.1: (L1 + 0.05) / (L2 + 0.05) of relative luminances."""
    dark, light = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (first, second))
    return (light + 0.05) / (dark + 0.05)


def lab(color: object, vision: str) -> np.ndarray:
    """CIE Lab under a D65 white of a colour as seen with one kind of vision."""
    seen = np.clip(VISION[vision] @ linear(color), 0, 1)
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = to_xyz @ seen / [0.95047, 1.0, 1.08883]
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_color_arithmetic_against_known_values() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert lab("#ff0000", "normal") == pytest.approx([53.24, 80.09, 67.20], abs=0.05)
    red, green = lab("#b84040", "deuteranopia"), lab("#6f7a2c", "deuteranopia")
    assert np.linalg.norm(red - green) < 0.4 * np.linalg.norm(lab("#b84040", "normal") - lab("#6f7a2c", "normal"))


def test_the_dark_background_is_the_books() -> None:
    css = (Path(__file__).parents[2] / "book" / "_static" / "book.css").read_text(encoding="utf8")
    assert f"--pst-color-background: {DARK};" in css


@pytest.mark.parametrize("background", [WHITE, DARK])
def test_what_the_inspector_s_style_paints_stands_out_too(background: str) -> None:
    """Its other colours come with the run, out of the palettes tested here."""
    rules = re.findall(r"([^{}]+)\{([^{}]*)\}", bundle.style())
    # letters on a cell stand on the cell's colour, not on the page
    painted = {c for name, body in rules if "cwi-code" not in name for c in re.findall(r"fill: (#[0-9a-f]{6})", body)}
    assert len(painted) >= 2
    assert not {color: contrast(color, background) for color in painted if contrast(color, background) < 3}


@pytest.mark.parametrize("background", [WHITE, DARK])
def test_lines_stand_out_from_both_backgrounds(background: str) -> None:
    colors = {*style.KV_HEADS, *KIND_COLORS, *VARIANT_COLORS, *VERDICT_COLORS, style.LESS, style.MORE}
    colors |= {style.REPORT, style.CAUSAL, style.RESCALED, style.NULL}
    colors |= {to_hex(color) for n in (6, 22) for color in style.layer_colors(n)}
    pale = {color: round(contrast(color, background), 2) for color in colors if contrast(color, background) < 3}
    assert not pale


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize(
    "palette",
    # layers are an ordered scale: its ends must differ
    [
        style.KV_HEADS[:4],
        (style.REPORT, style.CAUSAL, style.RESCALED),
        style.LAYER_ENDS[:: len(style.LAYER_ENDS) - 1],
        KIND_COLORS,
        VARIANT_COLORS,
        (style.LESS, style.MORE),
    ],
)
def test_colors_are_told_apart_with_every_kind_of_vision(palette: tuple[str, ...], vision: str) -> None:
    """A difference of 20 in Lab is far beyond the 2.3 that is just noticeable, for lines that do not touch.

    More than eight colours do not all keep that distance and stand out from both backgrounds: then 15.
    """
    near = {
        (to_hex(a), to_hex(b)): round(float(np.linalg.norm(lab(a, vision) - lab(b, vision))), 1)
        for a, b in itertools.combinations(palette, 2)
    }
    assert len(near) == len(palette) * (len(palette) - 1) / 2
    assert min(near.values()) >= (20 if len(palette) <= 8 else 15), near


def test_every_head_has_a_color_of_its_own() -> None:
    assert len({*style.KV_HEADS}) == len(style.KV_HEADS) == 8
    assert style.INK not in style.KV_HEADS


# ---------------------------------------------------------------- in a page


def shown(capture: list[object], **options: object) -> BeautifulSoup:
    figure, ax = style.single()
    ax.plot([0, 1], [0, 1], color=style.CAUSAL)
    ax.set(xlabel="step", ylabel="norm")
    defaults = {"data": pd.DataFrame({"step": [0, 1]}), "name": "figure", "title": "t", "alt": "a", "caption": "c"}
    defaults["runs"] = []
    to_page.show(figure, **(defaults | options))  # type: ignore[arg-type]
    assert not plt.get_fignums()
    return BeautifulSoup(capture[-1].data, "html.parser")  # type: ignore[attr-defined]


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    pages: list[object] = []
    monkeypatch.setattr(to_page, "myst_glue", lambda key, page, display: pages.append(page))
    return pages


def inline(draw: Draw, run: Run) -> str:
    figure, ax = style.single()
    draw(run, ax)
    svg = to_page.inline_svg(figure, "what it shows")
    plt.close(figure)
    return svg


@pytest.mark.parametrize("draw", [*WITH_NULL, *WITHOUT_NULL])
def test_inline_svg_speaks_takes_the_pages_ink_and_asks_no_host(run: Run, draw: Draw) -> None:
    svg = inline(draw, run)
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("role") == "img"
    assert root.get("aria-label") == "what it shows"
    assert "currentColor" in svg
    assert style.INK not in svg
    # text and axes are drawn in ink only: no black or grey that a dark page would swallow
    grey = {c for c in re.findall(r"#[0-9a-f]{6}", svg) if np.ptp(to_rgb(c)) < 0.03 and contrast(c, DARK) < 3}
    assert not grey
    links = re.findall(r"https?://[^\s\"'<]+", re.sub(r'xmlns(:\w+)?="[^"]*"', "", svg))
    assert not links
    references = re.findall(r'(?:href|src)="([^"]*)"', svg) + re.findall(r"url\(([^)]*)\)", svg)
    assert all(reference.startswith(("#", "data:")) for reference in references)
    assert "<text" in svg


def test_the_same_figure_gives_the_same_bytes(run: Run) -> None:
    first = inline(draw_profile, run)
    assert inline(draw_profile, run) == first
    assert inline(draw_settling, run) != first


HOSTILE = """<script>alert("1")</script> 'a' & "b" <img src=x onerror=y>"""


def test_hostile_text_stays_text(displayed: list[object]) -> None:
    page = shown(displayed, title=HOSTILE, alt=HOSTILE, caption=HOSTILE, name=HOSTILE, data={HOSTILE: pd.DataFrame()})
    assert not page.find_all(["script", "img"])
    assert page.find(class_="cw-title").get_text() == HOSTILE
    assert page.find("figcaption").get_text() == HOSTILE
    assert page.find("svg")["aria-label"] == HOSTILE
    assert page.find("figure")["id"] == HOSTILE
    assert page.find("a")["download"] == f"{HOSTILE}_{HOSTILE}.csv"
    assert HOSTILE in page.find("a").get_text()
    assert not [name for tag in page.find_all(True) for name in tag.attrs if name.startswith("on")]


def test_hostile_text_in_the_drawing_and_its_data_stays_text(displayed: list[object]) -> None:
    figure, ax = style.single()
    ax.set_title(HOSTILE)
    ax.plot([0, 1], [0, 1])
    table = pd.DataFrame({HOSTILE: [HOSTILE, "</a><script>"], "x": [1.0, 2.0]})
    to_page.show(figure, table, "name", "t", "a", runs=[])
    page = BeautifulSoup(displayed[-1].data, "html.parser")  # type: ignore[attr-defined]
    assert not page.find_all(["script", "img"])
    assert HOSTILE in page.find("svg").get_text()
    to_page.show_table(table, "name", HOSTILE)
    page = BeautifulSoup(displayed[-1].data, "html.parser")  # type: ignore[attr-defined]
    assert not page.find_all(["script", "img"])


def test_a_figure_says_what_runs_it_was_drawn_from(displayed: list[object], run: Run) -> None:
    assert not shown(displayed).select(".cw-runs")
    for runs in ([run], [run, Run(run.path)]):
        link = shown(displayed, runs=runs).select_one(".cw-links .cw-runs")
        assert link.get_text() == f"Run {run.name} · {run.config.hash[:8]}"
        assert link["href"].endswith("08_verdicts.html#runs")


def test_a_figure_of_several_runs_counts_them(displayed: list[object], run: Run, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", run.config)
    page = shown(displayed, runs=[run, other, run])
    assert page.select_one(".cw-runs").get_text() == "2 runs"


def test_a_table_has_minus_signs_and_dashes_and_its_data_are_as_they_were(displayed: list[object]) -> None:
    table = pd.DataFrame({"x": [-0.5, np.nan], "said": ["-1.5 to 2", "kill -9"]})
    for words, shown_text in ((False, "-1.5 to 2"), (True, "\N{MINUS SIGN}1.5 to 2")):
        to_page.show_table(table, "name", "t", 1, words=words)
        page = BeautifulSoup(displayed[-1].data, "html.parser")  # type: ignore[attr-defined]
        cells = [cell.get_text() for cell in page.select("td")]
        assert cells == ["\N{MINUS SIGN}0.5", shown_text, "\N{EN DASH}", "kill -9"]
        assert [cell.get_text() for cell in page.select("td.cw-text")] == [shown_text, "kill -9"]
        data = unquote(page.select_one("a[download]")["href"].partition(",")[2])
        assert data.splitlines() == ["x,said", "-0.5,-1.5 to 2", ",kill -9"]


def test_the_csv_link_holds_the_same_data(displayed: list[object], run: Run) -> None:
    tables = {"spread": divergence.spreads(run), "onset": divergence.onsets(run)}
    page = shown(displayed, data=tables, name="spread")
    links = page.select(".cw-links a[download]")
    assert [link["download"] for link in links] == ["spread_spread.csv", "spread_onset.csv"]
    for link, table in zip(links, tables.values(), strict=True):
        head, _, content = link["href"].partition(",")
        assert head == "data:text/csv;charset=utf-8"
        read = pd.read_csv(io.StringIO(unquote(content)))
        pd.testing.assert_frame_equal(read, table, check_dtype=False, rtol=1e-4)
    (only,) = shown(displayed, name="one").select(".cw-links a[download]")
    assert only["download"] == "one.csv"
    assert only.get_text() == "Data (CSV)"


def test_ids_in_a_page_of_two_figures_do_not_clash(displayed: list[object], run: Run) -> None:
    """An id that two figures share must mean the same thing in both, or one draws with the other's clips and markers."""
    pages = [BeautifulSoup(inline(draw, run), "html.parser") for draw in (draw_profile, draw_settling, draw_by_layer)]
    meaning: dict[str, str] = {}
    used = set()
    for page in pages:
        used |= set(re.findall(r"#([\w-]+)", " ".join(re.findall(r'(?:href="|url\()#[\w-]+', str(page)))))
        for tag in page.select("defs [id], clipPath[id], clippath[id]"):
            assert meaning.setdefault(tag["id"], str(tag)) == str(tag)
    assert used
    assert used <= set(meaning)
