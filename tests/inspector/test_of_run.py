"""A run as the inspector's data: the numbers that were recorded, heads told apart, and nothing where nothing is."""

from pathlib import Path

import numpy as np
import pytest
from synthetic import Truth, flat_norm, keys_like, make_synthetic_config, write_run

from civilwar.analysis import taxonomy
from civilwar.files import sha256, write_json
from civilwar.inspector.of_run import payload_of_run, permuted_gain_band
from civilwar.inspector.pack import unpack
from civilwar.inspector.payload import Payload
from civilwar.inspector.widget import HeadInspector
from civilwar.names.measures import DEFAULT, MEASURES
from civilwar.recipe.config import RunConfig
from civilwar.runs.manifest import write_manifest
from civilwar.runs.parts import up_to
from civilwar.runs.reader import Run
from civilwar.runs.recording import LEFT_OUT, thinned
from civilwar.runs.records import Records
from civilwar.runs.schema import ARRAYS, OWN_TABLES, PROBE
from civilwar.runs.writer import RunWriter

LAST = 40


def truth_of(config: RunConfig) -> Truth:
    random = np.random.default_rng(0)
    n, model = len(config.snapshot_steps()), config.model
    growth = np.linspace(0, 1, LAST + 1)[:, None, None]
    return Truth(
        gain=1 + growth * random.uniform(-0.4, 0.6, size=(model.n_layers, model.d_head)),
        energy=keys_like(random, (LAST + 1, model.n_layers, model.n_kv_heads, model.d_head)),
        entropy_normalised=random.uniform(0.2, 0.9, size=(n, 4, model.n_layers, model.n_query_heads)),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = make_synthetic_config(n_layers=3, steps=LAST)
    return write_run(tmp_path_factory.mktemp("runs") / "synthetic", config, truth_of(config))


@pytest.fixture(scope="module")
def payload(run: Run) -> Payload:
    return payload_of_run(run)


def test_every_measure_is_there_with_its_null(payload: Payload) -> None:
    assert [measure.key for measure in payload.measures] == [key for key, one in MEASURES.items() if not one.watched]
    assert payload.default == DEFAULT
    for measure in payload.measures:
        assert measure.null is not None
        assert measure.null.band.shape == (len(measure.null.steps), 3, 2)
        assert (measure.null.band[..., 0] <= measure.null.band[..., 1]).all()


def test_values_are_the_recorded_ones_by_head(run: Run, payload: Payload) -> None:
    norms = run.table("step_kv_heads").set_index(["step", "layer", "kv_head"])["norm_mean"]
    for step, layer, kv_head in ((0, 0, 0), (17, 2, 3), (LAST, 1, 2)):
        assert payload.by_key["norm_mean"].values[step, layer, kv_head] == pytest.approx(norms[step, layer, kv_head])
    entropy = run.table("probe_query_heads").groupby(["step", "layer", "query_head"])["entropy_normalised"].mean()
    snapshots = run.config.snapshot_steps()
    shown = payload.by_key["entropy_normalised"]
    assert shown.steps == tuple(snapshots)
    assert shown.values.shape == (len(snapshots), 3, 8)
    assert shown.values[4, 2, 7] == pytest.approx(entropy[snapshots[4], 2, 7])


def test_kinds_are_the_taxonomy_s(run: Run, payload: Payload) -> None:
    labelled = taxonomy.labels(run).set_index(["layer", "query_head"])
    assert payload.kinds is not None
    for layer, head in np.ndindex(3, 8):
        assert taxonomy.KINDS[payload.kinds.codes[-1, layer, head]] == labelled["kind"][layer, head]


def test_the_norm_s_null_holds_heads_that_are_not_aligned(run: Run) -> None:
    steps, band = permuted_gain_band(run)
    norms = run.table("step_kv_heads").pivot(index="step", columns=["layer", "kv_head"], values="norm_mean")
    inside = [
        (low <= norms.loc[step, layer]) & (norms.loc[step, layer] <= high)
        for step, rows in zip(steps, band, strict=True)
        for layer, (low, high) in enumerate(rows)
        if step > 0
    ]
    # energies are drawn without regard to the gain, so about 95% of heads lie in the band
    assert 0.85 < np.mean(inside) < 1


def test_a_flat_gain_leaves_a_norm_no_room(run: Run) -> None:
    steps, band = permuted_gain_band(run)
    assert steps[0] == 0
    assert band[0] == pytest.approx(flat_norm(run.config), rel=1e-5)


def test_what_travels_is_what_was_gathered(payload: Payload) -> None:
    meta, arrays = unpack(payload.core)
    for entry, measure in zip(meta["measures"], payload.measures, strict=True):
        assert (entry["key"], entry["owner"], entry["says"]) == (measure.key, measure.owner, measure.says)
        assert tuple(meta["clocks"][entry["clock"]]) == measure.steps
        half = np.ptp(measure.values) / 65534 / 2
        np.testing.assert_allclose(arrays[measure.key], measure.values, atol=half + 1e-5)
        assert measure.null is not None
        assert tuple(meta["clocks"][entry["null"]["clock"]]) == measure.null.steps
    assert len(set(map(tuple, meta["clocks"]))) == len(meta["clocks"])
    np.testing.assert_allclose(arrays["wavelength"], payload.gain.wavelength, rtol=1e-6)
    assert payload.patterns is not None
    _, layer = unpack(payload.layer(2))
    assert (layer["pattern"] == payload.patterns.weights[:, :, 2]).all()


def test_a_slim_run_has_no_patterns_and_fewer_moments(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "slim"
    folder.mkdir()
    kept: Records = thinned(run, "slim")
    kept.write(folder)
    (folder / "probe.json").write_text((run.path / "probe.json").read_text())
    files = {file.relative_to(folder).as_posix(): sha256(file) for file in sorted(folder.rglob("*.*"))}
    write_manifest(folder, run.manifest | {"left_out": LEFT_OUT["slim"], "files": files})
    thin = payload_of_run(Run(folder))
    assert thin.patterns is None
    assert unpack(thin.core)[0]["pattern_clock"] is None
    assert thin.kinds is not None
    assert len(thin.kinds.steps) == len(set(run.config.moments().values()))
    with pytest.raises(ValueError, match="slim"):
        thin.layer(0)


@pytest.mark.parametrize("variant", ["frozen", "none"])
def test_a_model_without_a_learned_gain_has_nothing_golden(tmp_path: Path, variant: str) -> None:
    config = make_synthetic_config(n_layers=3, steps=LAST, qk_norm=variant)
    shape = (LAST + 1, 3, config.model.d_head)
    gain = np.full(shape, np.nan) if variant == "none" else np.ones(shape)
    norms = np.full((LAST + 1, 3, 4), 4.0)
    payload = payload_of_run(write_run(tmp_path / variant, config, Truth(gain=gain, norms=norms)))
    assert payload.gain.golden.sum() == 0
    assert (payload.by_key["norm_mean"].null is None) == (variant == "none")
    assert ("null_norm_mean" in unpack(payload.core)[1]) == (variant != "none")


def test_a_run_that_stopped_is_shown_as_far_as_it_came(tmp_path: Path, run: Run) -> None:
    """A run that failed is the one to look at."""
    config = run.config
    stopped = 17
    steps_only = [name for name in OWN_TABLES if name.startswith(("train", "step_", "probe_"))]
    tables = {name: run.table(name) for name in steps_only}
    with RunWriter(tmp_path / "stopped", config) as writer:
        writer.write_manifest(status="diverged")
        write_json(tmp_path / "stopped" / PROBE, run.probe)
        writer.write_part(stopped, up_to(Records(tables, {name: run.array(name) for name in ARRAYS}), stopped))
    payload = payload_of_run(Run(tmp_path / "stopped"))
    assert payload.last_step == stopped
    steps = [measure.steps for measure in payload.measures] + [m.null.steps for m in payload.measures if m.null]
    assert max(map(max, steps)) == stopped
    assert [(alarm.step, alarm.says.split(":")[0]) for alarm in payload.alarms] == [(stopped, "diverged")]
    assert {curve.key: curve.steps[-1] for curve in payload.curves} == {"train": stopped, "probe_loss": 16}
    assert HeadInspector(Run(tmp_path / "stopped"), step=8).step == 8


def test_a_run_that_lacks_the_gain_of_some_snapshots_opens(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a run does that was cut short, or recorded slim before it was whole."""
    read = Run.array

    def lacking(self: Run, name: str) -> dict[str, np.ndarray]:
        group = read(self, name)
        kept = ~np.isin(group["step"], (8, 24)) if name == "gain" else np.ones(len(group["step"]), dtype=bool)
        return {key: values[kept] for key, values in group.items()}

    monkeypatch.setattr(Run, "array", lacking)
    payload = payload_of_run(run)
    assert not {8, 24} & set(payload.gain.steps)
    null = payload.by_key["effective_rank"].null
    assert null is not None
    assert np.isfinite(null.band).all()
    assert payload.last_step == LAST


def test_a_run_that_trains_is_read_again_when_it_has_recorded_more(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "running"
    names = [name for name in OWN_TABLES if name.startswith(("train", "step_", "probe_"))]
    every = Records({name: run.table(name) for name in names}, {name: run.array(name) for name in ARRAYS})
    early = up_to(every, 8)
    further = up_to(every, 17)
    later = Records(
        {name: table[table["step"] > 8] for name, table in further.tables.items()},
        {
            name: {key: values[group["step"] > 8] for key, values in group.items()}
            for name, group in further.arrays.items()
        },
    )
    with RunWriter(folder, run.config) as writer:
        writer.write_manifest(status="running")
        write_json(folder / PROBE, run.probe)
        writer.write_part(8, early)
        inspector = HeadInspector(Run(folder))
        assert inspector.live
        assert not inspector.takes_text
        before = inspector.core
        assert not inspector.refresh()
        writer.write_part(17, later)
        assert inspector.refresh()
        assert inspector.core != before
        inspector.step = 17
        writer.write_manifest(status="diverged")
        assert inspector.refresh()
        assert not inspector.live
