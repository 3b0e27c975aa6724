"""A training that is watched: every family's loop as people write it, harmless, honest, resumable, a run like any other."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign as models
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import civilwar as cw
from civilwar import cli
from civilwar.errors import RunLacks, RunMismatch
from civilwar.hear.heard import Heard
from civilwar.hear.hearing import Unheard
from civilwar.inspector.of_run import payload_of_run
from civilwar.runs import conform
from civilwar.runs.listing import list_folders
from civilwar.runs.reader import Run
from civilwar.runs.schema import ARRAYS, TABLES
from civilwar.watching.alarms import Alarm
from civilwar.watching.watch import Watch

STEPS = 5


def train(model: nn.Module, watch: Watch | None, first: int = 0, last: int = STEPS) -> list[float]:
    """A loop as people write it; the losses."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    losses = []
    for step, batch in enumerate(models.batches(last)):
        if step < first:
            continue
        if watch is None:
            loss = models.loss_of(model, batch)
        else:
            with watch.step(step):
                loss = models.loss_of(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def watched(model: nn.Module, out: Path, **options: Any) -> Watch:
    asked = {"every": 1, "full_every": 2, "snapshots": [0, 2]} | options
    return cw.watch(model, out=out, tokenizer=models.words(), texts=models.TEXTS, **asked)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of a model with norms on its keys. Read it, never write to it."""
    model = models.made("Qwen3").train()
    watch = watched(model, tmp_path_factory.mktemp("watched") / "qwen")
    train(model, watch)
    return watch.finish()


@pytest.mark.parametrize("family", models.FAMILIES)
def test_every_family_is_watched_by_the_same_lines_and_trains_the_same(family: str, tmp_path: Path) -> None:
    ours, theirs = (models.made(family).train() for _ in range(2))
    watch = watched(ours, tmp_path / "run")
    torch.manual_seed(3)
    losses = train(ours, watch)
    state = torch.random.get_rng_state()
    run = watch.finish()
    torch.manual_seed(3)
    assert train(theirs, None) == losses
    assert torch.equal(torch.random.get_rng_state(), state)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)
    np.testing.assert_allclose(run.table("train")["loss"][:STEPS], losses, rtol=1e-6)
    assert run.complete
    assert run.snapshots == [0, 2, STEPS]
    attention = run.table("step_attention")
    assert attention["max_logit"].notna().all()
    assert (attention["entropy"].notna() == attention["step"].isin([0, 2, 4, STEPS])).all()
    # the last moment is after the last backward pass
    assert (attention["query_gradient"].notna() == attention["step"].isin([0, 2, 4])).all()
    for name in TABLES:
        try:
            conform.check_table(name, run.table(name))
        except RunLacks:
            assert name not in ("train", "step_kv_heads", "step_attention", "probe_query_heads"), name
    for name in ARRAYS:
        try:
            conform.check_group(name, run.array(name))
        except RunLacks:
            assert name == "energy"
    assert payload_of_run(run).kinds is not None


def test_what_is_recorded_is_what_the_model_computes(tmp_path: Path) -> None:
    """Against nanoGPT's own weights in float64."""
    model = models.made("nanoGPT").eval()
    assert isinstance(model, models.NanoGPT)
    batch = models.batches(1)[0]
    watch = watched(model, tmp_path / "run", snapshots=None)
    with watch.step(0):
        loss = models.loss_of(model, batch)
    loss.backward()
    run = watch.finish()
    x = (model.wte(batch) + model.wpe(torch.arange(batch.shape[1]))).double()
    first = model.h[0].double()
    q, k, _ = (
        y.unflatten(-1, (4, -1)).transpose(1, 2) for y in first.attn.c_attn(first.ln_1(x)).split(x.shape[-1], -1)
    )
    logits = (q @ k.mT / 8**0.5).masked_fill(~torch.ones(24, 24, dtype=torch.bool).tril(), -torch.inf)
    weights = logits.softmax(-1)
    entropy = torch.special.entr(weights).sum(-1)
    at = run.table("step_attention").query("step == 0 and layer == 0")
    keys = run.table("step_kv_heads").query("step == 0 and layer == 0")

    def same(column: Any, expected: Tensor) -> None:
        np.testing.assert_allclose(column, expected.detach().numpy(), rtol=1e-5)

    same(at["max_logit"], logits.amax((0, 2, 3)))
    same(at["log_sum_exp_mean"], logits.logsumexp(-1).mean((0, 2)))
    same(at["entropy"], entropy.mean((0, 2)))
    same(at["entropy_normalised"], (entropy[..., 1:] / torch.arange(2, 25).log()).mean((0, 2)))
    same(at["first_mass"], weights[..., 0].mean((0, 2)))
    same(at["previous_mass"], weights.diagonal(-1, 2, 3).mean((0, 2)))
    same(keys["norm_mean"], k.norm(dim=-1).mean((0, 2)))
    same(keys["norm_std"], k.norm(dim=-1).transpose(0, 1).flatten(1).std(-1))
    exact = np.quantile(k.norm(dim=-1).transpose(0, 1).flatten(1).detach().numpy(), 0.5, axis=1)
    np.testing.assert_allclose(keys["norm_q50"], exact, rtol=0.1)


def test_gradients_at_queries_and_keys_are_those_of_the_loss(tmp_path: Path) -> None:
    model = models.made("nanoGPT").eval()
    watch = watched(model, tmp_path / "run", snapshots=None)
    seen: list[Tensor] = []
    module = model.get_submodule("h.1.attn.c_attn")
    handle = module.register_full_backward_hook(lambda m, into, out: seen.append(out[0]))
    with watch.step(0):
        loss = models.loss_of(model, models.batches(1)[0])
    loss.backward()
    handle.remove()
    run = watch.finish()
    dq, dk, _ = (y.unflatten(-1, (4, -1)) for y in seen[0].split(32, -1))
    for table, column, gradient in (
        ("step_attention", "query_gradient", dq),
        ("step_gradients", "key_gradient", dk),
    ):
        found = run.table(table).query("step == 0 and layer == 1")[column]
        np.testing.assert_allclose(found, gradient.square().sum((0, 1, 3)).sqrt().numpy(), rtol=1e-5)


def test_accumulated_batches_are_one_step_and_evaluation_counts_for_nothing(tmp_path: Path) -> None:
    tables = []
    for name, parts in (("one", 1), ("three", 3)):
        model = models.made("Llama").train()
        watch = watched(model, tmp_path / name, snapshots=None)
        with watch.step(0):
            for part in models.batches(1)[0].chunk(parts):
                (models.loss_of(model, part) / parts).backward()
                with torch.no_grad():
                    models.loss_of(model, part)
        tables.append(watch.finish().table("step_attention").query("step == 0"))
    one, three = tables
    for column in ("max_logit", "entropy", "first_mass", "query_gradient"):
        np.testing.assert_allclose(one[column], three[column], rtol=1e-4)


def test_a_killed_run_opens_up_to_its_last_flush_and_goes_on_at_any_step(tmp_path: Path) -> None:
    model = models.made("nanoGPT").train()
    watch = watched(model, tmp_path / "run", flush_every=2)
    train(model, watch, last=5)
    # as a kill leaves it: steps 0 to 3 are on disk, step 4 is not
    watch.close()
    begun = Run(tmp_path / "run")
    assert not begun.complete
    assert begun.table("train")["step"].tolist() == [0, 1, 2, 3]
    assert begun.snapshots == [0, 2]
    assert begun.last_step == 2
    assert {found.path.name: found.status for found in list_folders()}.get("run") is None
    payload = payload_of_run(begun)
    assert payload.last_step == 3
    # the training goes on from its own checkpoint, in the middle of a part
    again = watched(model, tmp_path / "run", flush_every=2)
    train(model, again, first=3, last=6)
    begun.refresh()
    assert begun.table("train")["step"].tolist() == [0, 1, 2, 3, 4]
    run = again.finish()
    assert run.table("train")["step"].tolist() == list(range(7))
    assert [sitting["from_step"] for sitting in run.sittings] == [0, 3]
    with pytest.raises(RunMismatch, match="is finished: give the new one another name"):
        watched(model, tmp_path / "run")


def test_another_model_or_other_texts_are_no_going_on(tmp_path: Path) -> None:
    watched(models.made("nanoGPT"), tmp_path / "run").close()
    with pytest.raises(RunMismatch, match=r"model.n_layers: 2 there, 3 asked for"):
        watched(models.NanoGPT(layers=3), tmp_path / "run")


def test_alarms_call_back_and_mark_their_steps(tmp_path: Path) -> None:
    told: list[Alarm] = []
    model = models.made("nanoGPT").train()
    limits = {"max_logit": 0.0, "entropy": 0.0, "sink_share": -0.1, "loss": 1.0}
    watch = watched(model, tmp_path / "run", alarms=limits, on_alarm=told.append)
    train(model, watch, last=2)
    run = watch.finish()
    table = run.table("alarms")
    assert len(table) == len(told) == len(watch.alarms)
    assert set(table["alarm"]) == {"max_logit", "sink_share", "loss"}
    logits = run.table("step_attention")
    assert (table["alarm"] == "max_logit").sum() == (logits["max_logit"] > 0).sum()
    assert "sink_share 0, over -0.1" in str(next(a for a in told if a.alarm == "sink_share"))
    with pytest.raises(ValueError, match="expected a number for one of max_logit, entropy, sink_share, loss"):
        watched(model, tmp_path / "other", alarms={"max_logits": 50})


# ---------------------------------------------------------------- what nobody told is lacking


def test_what_was_never_recorded_is_lacking_and_not_an_error_of_the_run(run: Run) -> None:
    for name in ("ablation", "capacity", "key_energy", "head_content"):
        with pytest.raises(RunLacks, match="watching recorded no"):
            run.table(name)
    with pytest.raises(RunLacks, match="nothing says what adamw lr"):
        _ = run.config.train.adamw_lr
    payload = payload_of_run(run)
    assert payload.by_key["norm_mean"].null is not None
    assert "max_logit" in payload.by_key
    assert cw.compare(run, run).summary()["mean_size"].max() == 0


def test_commands_list_and_show_it_with_a_dash_for_what_nobody_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CIVILWAR_RUNS", str(run.path.parent))
    monkeypatch.setenv("CIVILWAR_DATA", str(run.path.parent))
    cli.main(["list"])
    (line,) = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(f"{run.name} ")]
    assert line[1:4] == ["complete", str(run.last_recorded), "–"]
    assert line[5:8] == ["watched", "watched", "–"]
    assert cli.main(["show", run.name]) == 0
    assert "recipe       another program's: training was watched\n" in capsys.readouterr().out


def test_gains_are_measured(run: Run, tmp_path: Path) -> None:
    model = models.made("Qwen3")
    expected = [layer.self_attn.k_norm.weight for layer in model.get_submodule("model.layers")]
    np.testing.assert_allclose(run.array("gain")["k_gain"][0], torch.stack(expected).detach(), rtol=1e-3)
    # Gemma's norm applies one plus its weight
    gemma = models.made("Gemma 3")
    watch = watched(gemma, tmp_path / "run")
    train(gemma, watch, last=1)
    weights = torch.stack(
        [layer.self_attn.k_norm.weight for layer in models.made("Gemma 3").get_submodule("model.layers")]
    )
    np.testing.assert_allclose(watch.finish().array("gain")["k_gain"][0], 1 + weights.detach(), rtol=1e-3)
    # norm^2 = sum of g^2 E d_head, of keys before RoPE, which leaves lengths alone
    energy, gain = run.array("energy"), run.array("gain")
    length = np.sqrt((gain["k_gain"][0][:, None] ** 2 * energy["energy"][0]).sum(-1))
    heads = run.table("probe_kv_heads").query("step == 0").groupby(["layer", "kv_head"])["norm_mean"].mean()
    np.testing.assert_allclose(length.ravel(), heads, rtol=0.02)


def test_commands_know_watched_runs(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CIVILWAR_RUNS", str(run.path.parent))
    assert cli.main(["list"]) == 0
    assert re.search(r"qwen +complete +5 +– .* watched +watched +–", capsys.readouterr().out)
    assert cli.main(["show", "qwen"]) == 0
    assert "another program's: training was watched" in capsys.readouterr().out
    assert cli.main(["compare", "qwen", "qwen"]) == 0
    assert "step_attention.max_logit" in capsys.readouterr().out


# ---------------------------------------------------------------- refusals, each a sentence


class Silent(nn.Module):
    """Attention that nothing can hear, but for what it hands over."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.out = nn.Embedding(models.VOCABULARY, 16), nn.Linear(16, models.VOCABULARY)
        self.watch: Watch | None = None

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        q = x.unflatten(-1, (2, 8)).transpose(1, 2)
        if self.watch is not None:
            self.watch.observe(q, q, layer=0)
        logits = (q @ q.mT * 8**-0.5).masked_fill(~torch.ones(ids.shape[1], ids.shape[1]).tril().bool(), -torch.inf)
        y: Tensor = self.out((logits.softmax(-1) @ q).transpose(1, 2).flatten(2))
        return y


def test_a_model_that_is_not_heard_is_refused_and_observed_instead(tmp_path: Path) -> None:
    model = Silent()
    watch = watched(model, tmp_path / "silent", snapshots=None)
    with pytest.raises(Unheard, match=r"no attention was heard.*observe\(q, k, layer="), watch.step(0):
        model(models.batches(1)[0])
    watch.close()
    model.watch = watched(model, tmp_path / "observed", snapshots=None)
    for step, batch in enumerate(models.batches(3)):
        with model.watch.step(step):
            loss = model(batch).square().mean()
            model.watch.loss(loss)
        loss.backward()
    run = model.watch.finish()
    assert run.table("step_attention").query("step < 3")["max_logit"].notna().all()
    assert run.table("step_gradients")["key_gradient"].notna().all()
    assert run.table("train")["loss"].notna()[:3].all()
    with pytest.raises(ValueError, match=r"expected \[batch, query_head, query, d_head\]"):
        model.watch.observe(torch.zeros(1, 3, 8), torch.zeros(1, 3, 8), layer=0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"texts": models.TEXTS[0]}, "texts is one string: expected a list"),
        ({"texts": []}, "expected at least one text"),
        ({"texts": ["the"]}, "has 1 tokens: expected 2 or more"),
        ({"texts": [3]}, "text 0 is int: expected a string"),
        ({"tokenizer": None}, "there is no tokenizer: pass one"),
        ({"tokenizer": None, "texts": [[1, 99]]}, "has token 99, and the model's embedding knows 64"),
        ({"every": 0}, "every = 0: expected a number of steps"),
        ({"snapshots": "often"}, "snapshots = 'often': expected 'log'"),
        ({"flush_every": 0}, "flush_every = 0"),
    ],
)
def test_a_wrong_argument_is_refused_in_a_sentence(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    asked = {"model": models.made("nanoGPT"), "tokenizer": models.words(), "texts": models.TEXTS} | change
    with pytest.raises(ValueError, match=said):
        cw.watch(out=tmp_path / "run", **asked)
    assert not (tmp_path / "run").exists()


def test_steps_rise_and_weights_have_to_be_somewhere(tmp_path: Path) -> None:
    model = models.made("nanoGPT")
    watch = watched(model, tmp_path / "run", snapshots=None)
    train(model, watch, last=2)
    with pytest.raises(ValueError, match="step = 1: expected a whole number above the last step, which is 1"):
        watch.begin(1)
    watch.close()
    with torch.device("meta"):
        nowhere = models.NanoGPT()
    with pytest.raises(ValueError, match="meta device, so there is nothing to run: load them first"):
        watched(nowhere, tmp_path / "nowhere")


def test_padding_and_short_contexts(tmp_path: Path) -> None:
    tokenizer = models.words()
    tokenizer.enable_padding(length=32, pad_id=5)
    model = models.NanoGPT(context=10)
    run = watch_three(model, tokenizer, tmp_path / "run")
    assert run.config.model.context == 10
    assert len(run.probe["texts"][0]["tokens"]) == 10
    assert run.config.sink_horizon == 10


def watch_three(model: nn.Module, tokenizer: Any, out: Path) -> Run:
    watch = cw.watch(model, out, tokenizer, models.TEXTS, full_every=2)
    for step, batch in enumerate(models.batches(3, tokens=8)):
        with watch.step(step):
            models.loss_of(model, batch).backward()
    return watch.finish()


def test_attention_that_is_not_what_was_heard_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = Heard.dots
    monkeypatch.setattr(Heard, "dots", lambda heard, text, queries: 3 * whole(heard, text, queries))
    with pytest.raises(Unheard, match=r"h\.0\.attn: attention computed from its queries and keys gives an output"):
        watched(models.made("nanoGPT"), tmp_path / "run")


@pytest.fixture
def frozen() -> nn.Module:
    model = models.made("Llama").train()
    model.get_submodule("model.layers.0").eval()
    return model


def test_frozen_parts_keep_their_mode(frozen: nn.Module, tmp_path: Path) -> None:
    modes = [module.training for module in frozen.modules()]
    watch = watched(frozen, tmp_path / "run")
    train(frozen, watch, last=1)
    watch.finish()
    assert [module.training for module in frozen.modules()] == modes


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compiled": lambda model: torch.compile(model, backend="eager"),  # type: ignore[return-value]
    "DataParallel": nn.DataParallel,
}


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("wrap", WRAPPERS)
def test_wrappers_are_seen_through(wrap: str, tmp_path: Path) -> None:
    tables = []
    for name, dressed in (("wrapped", WRAPPERS[wrap]), ("plain", lambda model: model)):
        model = models.made("nanoGPT").eval()
        whole = dressed(model)
        watch = watched(whole, tmp_path / name, snapshots=None)
        with watch.step(0):
            loss = whole(models.batches(1)[0], models.batches(1)[0])[1]
        loss.backward()
        tables.append(watch.finish().table("step_attention"))
    np.testing.assert_allclose(tables[0]["max_logit"], tables[1]["max_logit"], rtol=1e-4)
