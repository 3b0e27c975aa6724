"""Training: it learns, repeats itself bit for bit, and survives being killed at any moment."""

import dataclasses
import errno
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_tensors

from civilwar import cli
from civilwar.corpus.corpus import CorpusError, load_corpus
from civilwar.corpus.identity import checksum_here
from civilwar.errors import RunDamaged, RunError, RunMismatch, RunNotWritten, Terminated
from civilwar.files import sha256
from civilwar.names.variants import VARIANTS
from civilwar.recipe.config import RunConfig, make_config
from civilwar.runs.manifest import read_manifest, write_manifest
from civilwar.runs.reader import Run, open_run
from civilwar.runs.records import Records
from civilwar.runs.schema import ARRAYS, OWN_TABLES, WEIGHTS
from civilwar.training import loop as training
from civilwar.training import machine
from civilwar.training.finite import TrainingDiverged, first_bad_step
from civilwar.training.loop import train


def assert_same_run(run: Run, expected: Run) -> None:
    """Tables, arrays, probe and weights are equal bit for bit, and are what the manifest says."""
    assert run.complete
    assert run.manifest["files"] == expected.manifest["files"]
    names = {f"tables/{name}.parquet" for name in OWN_TABLES} | {f"arrays/{name}.safetensors" for name in ARRAYS}
    assert names | {WEIGHTS, "probe.json"} == set(run.manifest["files"])
    for file, checksum in run.manifest["files"].items():
        assert sha256(run.path / file) == checksum, file
    for name in OWN_TABLES:
        ours, theirs = run.table(name), expected.table(name)
        assert list(ours) == list(theirs)
        for column in ours:
            if not pd.api.types.is_numeric_dtype(ours[column]):  # words: their bytes would be addresses
                assert ours[column].tolist() == theirs[column].tolist(), (name, column)
            else:
                assert ours[column].to_numpy().tobytes() == theirs[column].to_numpy().tobytes(), (name, column)
    # nothing is left over
    assert {path.name for path in run.path.iterdir()} == {path.name for path in expected.path.iterdir()}


def shortened(config: RunConfig, steps: int = 4, **changes: Any) -> RunConfig:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, steps=steps, **changes))


# ---------------------------------------------------------------- learning


def test_training_learns_more_than_how_often_each_token_occurs(smoke_run: Run, smoke_config: RunConfig) -> None:
    loss = smoke_run.table("train").loss
    assert loss[0] == pytest.approx(math.log(512), abs=0.1)
    corpus = load_corpus(smoke_config.corpus, 512)
    share = np.bincount(corpus.train.ids, minlength=512) / len(corpus.train.ids)
    unigram = -(share[share > 0] * np.log(share[share > 0])).sum()
    assert loss[20:].mean() < unigram
    held_out = smoke_run.table("probe_loss").groupby("step").loss.mean()
    assert held_out.loc[24] < held_out.loc[0] - 0.5
    # a head start would mean that probe or targets are wrong
    assert held_out.loc[0] == pytest.approx(math.log(512), abs=0.1)


def test_the_recorded_loss_of_a_step_is_that_of_its_state(smoke_run: Run, smoke_config: RunConfig) -> None:
    from civilwar.model.decoder import Decoder
    from civilwar.model.loss import next_token_loss

    model = Decoder(smoke_config.model)
    model.load_state_dict(load_tensors(smoke_run.path / WEIGHTS))
    corpus = load_corpus(smoke_config.corpus, 512)
    inputs, targets = corpus.training_batches(0, 4, 64, 24).batch(24)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        loss = next_token_loss(model(inputs), targets).mean()
    assert smoke_run.table("train").loss.iloc[24] == loss.item()
    np.testing.assert_array_equal(
        smoke_run.array("gain")["k_gain"][24],
        torch.stack([block.attention.k_norm.weight.detach() for block in model.blocks]),
    )


def test_a_step_in_several_passes_is_the_step_in_one(
    smoke_run: Run, smoke_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # three texts and one: two passes of different size
    monkeypatch.setattr(training, "TOKENS_PER_PASS", 3 * 64 + 5)
    run = train(smoke_config, "two-passes", device="cpu", progress=False)
    for table in ("train", "step_kv_heads", "step_query_heads", "step_layers"):
        one, two = (r.table(table).query("step < 4") for r in (smoke_run, run))
        pd.testing.assert_frame_equal(one.query("step == 0"), two.query("step == 0"), rtol=1e-5, atol=1e-6)
        # later, gradients have been added up in another order, in a model that computes in bfloat16
        pd.testing.assert_frame_equal(one, two, rtol=0.01, atol=1e-3)
    assert not smoke_run.table("train").equals(run.table("train"))


def test_the_gains_and_the_weights_move(smoke_run: Run, smoke_config: RunConfig) -> None:
    from civilwar.model.decoder import Decoder

    initial, final = Decoder(smoke_config.model, 0).state_dict(), load_file(smoke_run.path / WEIGHTS)
    assert set(initial) == set(final)
    for name, value in initial.items():
        assert np.abs(value.numpy() - final[name]).mean() > 1e-3, name


def test_the_manifest_says_what_was_run_and_how(smoke_run: Run, smoke_config: RunConfig) -> None:
    manifest = smoke_run.manifest
    assert manifest["status"] == "complete"
    assert RunConfig.from_dict(manifest["config"]) == smoke_config
    assert manifest["config_hash"] == smoke_config.hash
    assert manifest["seed"] == 0
    assert manifest["n_parameters"] == smoke_config.model.n_parameters
    assert manifest["device"]["type"] == "cpu"
    assert manifest["device"]["threads"] == 1
    assert manifest["dtype_policy"] == {
        "parameters": "float32",
        "compute": "bfloat16",
        "precision": "bf16-autocast",
        "metrics": "float32",
    }
    assert manifest["versions"]["torch"] == torch.__version__
    assert {"python", "numpy", "tokenizers", "civilwar"} <= set(manifest["versions"])
    corpus = load_corpus(smoke_config.corpus, 512)
    assert manifest["corpus"] == corpus.facts()
    assert manifest["corpus"]["checksum"] == corpus.checksum
    assert manifest["resumed_at"] == []
    assert {"wall_seconds", "snapshot_seconds", "experiment_seconds", "tokens_per_second"} == set(manifest["timings"])
    assert {"commit", "dirty", "started", "finished"} <= set(manifest)
    assert manifest["ways"]["because"] == "not compiled, since CIVILWAR_COMPILE is 0"
    (sitting,) = (dict(sitting) for sitting in manifest["sittings"])
    assert sitting.pop("from_step") == 0
    assert sitting == {name: manifest[name] for name in ("commit", "dirty", "device", "started", "versions", "ways")}


def test_probe_texts_are_recorded_as_strings(smoke_run: Run) -> None:
    short, long = smoke_run.probe["short_texts"], smoke_run.probe["texts"]
    assert [len(text["tokens"]) for text in short] == [len(text["separator"]) for text in short] == [16, 16]
    assert [len(text["tokens"]) for text in long] == [64] * 3
    assert all(isinstance(token, str) for text in short + long for token in text["tokens"])
    flags = [flag for text in long for flag in text["separator"]]
    assert 0 < sum(flags) < len(flags)
    assert smoke_run.probe["uniform_attention"]["entropy"] == pytest.approx(math.lgamma(65) / 64)


# ---------------------------------------------------------------- repetition


def test_the_same_seed_gives_the_same_run_bit_for_bit(smoke_run: Run, smoke_config: RunConfig) -> None:
    # with other checkpoints, which change nothing that is recorded
    again = train(smoke_config, "again", device="cpu", checkpoint_every=7, progress=False)
    assert again.path != smoke_run.path
    assert_same_run(again, smoke_run)


def test_another_seed_gives_another_run_on_the_same_probe(smoke_run: Run, smoke_config: RunConfig) -> None:
    other = train(dataclasses.replace(smoke_config, seed=1), "other-seed", device="cpu", progress=False)
    files, expected = other.manifest["files"], smoke_run.manifest["files"]
    assert set(files) == set(expected)
    assert {file for file in files if files[file] == expected[file]} == {"probe.json"}
    assert abs(other.table("train").loss - smoke_run.table("train").loss).min() > 0


def test_a_complete_run_is_opened_not_trained(
    smoke_run: Run, smoke_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "load_corpus", lambda *args: pytest.fail("nothing is to be trained"))
    assert train(smoke_config, "smoke-run", device="cpu", progress=False).manifest == smoke_run.manifest


def test_another_configuration_or_a_bad_name_is_refused_before_any_work(
    smoke_run: Run, smoke_config: RunConfig, runs_dir: Path
) -> None:
    before = sorted(runs_dir.parent.rglob("*"))
    with pytest.raises(RunMismatch, match="seed: 0 there, 9 asked for"):
        train(dataclasses.replace(smoke_config, seed=9), "smoke-run", device="cpu", progress=False)
    for name in ("../elsewhere", "a/b", ".hidden"):
        with pytest.raises(RunError, match="cannot name a run"):
            train(smoke_config, name, device="cpu", progress=False)
    assert sorted(runs_dir.parent.rglob("*")) == before


# ---------------------------------------------------------------- variants


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains(variant: str, smoke_corpus: str) -> None:
    config = shortened(make_config("smoke", variant, corpus=smoke_corpus))
    run = train(config, f"variant-{variant}", device="cpu", progress=False)
    weights = load_tensors(run.path / WEIGHTS)
    gain = run.array("gain")["k_gain"]
    assert np.isfinite(run.table("train").loss).all()
    assert run.table("train").loss.iloc[-1] < 6.2
    if variant == "frozen_gain":
        assert (gain == 1).all()
    elif variant == "no_qk_norm":
        assert np.isnan(gain).all()
        assert run.table("step_layers").k_gain_rms.isna().all()
        assert run.table("step_kv_heads").norm_mean.notna().all()
    else:
        assert (gain[0] == 1).all()
        assert (gain[-1] != 1).any()
    dtype = torch.bfloat16 if variant == "pure_bf16" else torch.float32
    assert {value.dtype for value in weights.values()} == {dtype}
    assert run.manifest["dtype_policy"]["parameters"] == str(dtype).removeprefix("torch.")


@pytest.mark.cuda
def test_a_run_on_cuda_records_the_same_rows(smoke_run: Run, smoke_config: RunConfig) -> None:
    run = train(smoke_config, "on-cuda", device="cuda", checkpoint_every=5, progress=False)
    assert run.manifest["device"]["type"] == "cuda"
    for name in OWN_TABLES:
        axes = run.table(name).select_dtypes("int32")
        assert axes.equals(smoke_run.table(name).select_dtypes("int32"))
    np.testing.assert_allclose(run.table("train").loss, smoke_run.table("train").loss, atol=0.1)


def test_progress_shows_loss_and_tokens(smoke_config: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
    train(shortened(smoke_config, 5), "with-progress", device="cpu")
    shown = capsys.readouterr().err
    assert "with-progress: 100%" in shown
    assert "loss=" in shown
    assert "tok/s" in shown


# ---------------------------------------------------------------- interruptions


def train_counting_events(config: RunConfig, name: str) -> tuple[Run, int]:
    """A run, and how often it touched its folder, by the same rule as kill_driver.py."""
    count, watching = 0, True
    folder = str(training.paths.runs() / name)

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if watching and any(isinstance(a, str | Path) and str(a).startswith(folder) for a in arguments):
            count += 1

    # cannot be taken away again, so it is switched off
    sys.addaudithook(watch)
    run = train(config, name, device="cpu", checkpoint_every=3, progress=False)
    watching = False
    return run, count


def test_a_killed_run_resumes_to_the_same_bits(smoke_config: RunConfig, tmp_path: Path) -> None:
    config = shortened(smoke_config, 13)
    uninterrupted, n_events = train_counting_events(config, "uninterrupted")
    assert n_events > 200
    draw = random.Random(0)
    # anywhere; twice; among the last, when tables are joined and files thrown away; and from outside
    plans = [(f"killed-{n}", [("event", draw.randrange(20, n_events))]) for n in range(2)]
    plans += [("killed-2", [("event", n_events // 2), ("event", n_events // 3)])]
    plans += [(f"killed-{3 + n}", [("event", n_events - draw.randrange(35 * n, 35 * n + 35))]) for n in range(3)]
    plans += [("killed-6", [("checkpoints", 1), ("checkpoints", 3)])]
    for file, content in (("config.json", config.as_dict()), ("plans.json", plans)):
        (tmp_path / file).write_text(json.dumps(content))
    driver = Path(__file__).parents[1] / "kill_driver.py"
    done = subprocess.run(
        [sys.executable, driver, tmp_path / "config.json", tmp_path / "plans.json"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[-signal.SIGKILL] * len(kills) for _, kills in plans], done.stderr
    resumed = []
    for name, _ in plans:
        run = train(config, name, device="cpu", checkpoint_every=3, progress=False)
        assert_same_run(run, uninterrupted)
        resumed.append(run.manifest["resumed_at"])
    # most of them from a checkpoint, not from the start; the one that was killed twice, twice
    assert sum(bool(steps) for steps in resumed) >= 4, resumed
    assert len(resumed[-1]) == 2


@pytest.fixture(scope="module")
def stopped_by_ctrl_c(runs_dir: Path, smoke_config: RunConfig) -> Path:
    """A run stopped by Ctrl-C in the middle of step 17, with checkpoints of steps 14 and, taken by then, 16."""
    path = runs_dir / "stopped"
    original = training.Session.update

    def update(session: Any) -> None:
        if session.n_updates == 17:
            signal.raise_signal(signal.SIGINT)
        original(session)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Session, "update", update)
        with pytest.raises(KeyboardInterrupt, match=r"^stopped was interrupted; .* from the checkpoint of step 16\.$"):
            train(smoke_config, path.name, device="cpu", checkpoint_every=5, progress=False)
    assert sorted(folder.name for folder in (path / "checkpoints").iterdir()) == ["000014", "000016"]
    return path


@pytest.fixture
def interrupted(stopped_by_ctrl_c: Path, tmp_path: Path) -> Path:
    """A copy of that run for one test, named like the test."""
    copy = stopped_by_ctrl_c.with_name(f"interrupted-{tmp_path.name}")
    return Path(shutil.copytree(stopped_by_ctrl_c, copy))


def test_ctrl_c_leaves_a_run_that_can_be_read_and_resumed(
    interrupted: Path, smoke_run: Run, smoke_config: RunConfig
) -> None:
    half = open_run(interrupted.name)
    assert half.manifest["status"] == "running"
    assert half.table("train").step.tolist() == list(range(17))
    assert half.table("train").equals(smoke_run.table("train")[:17])
    run = train(smoke_config, interrupted.name, device="cpu", progress=False)
    assert_same_run(run, smoke_run)
    assert run.manifest["resumed_at"] == [17]
    assert run.manifest["started"] == half.manifest["started"]


@pytest.mark.parametrize("damage", ["cut", "altered", "missing", "sidecar"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_serves(
    interrupted: Path, smoke_run: Run, smoke_config: RunConfig, damage: str
) -> None:
    newest = interrupted / "checkpoints" / "000016"
    state = newest / "state.pt"
    if damage == "cut":
        os.truncate(state, state.stat().st_size // 2)
    elif damage == "altered":
        content = bytearray(state.read_bytes())
        content[len(content) // 2] ^= 1
        state.write_bytes(bytes(content))
    elif damage == "missing":
        state.unlink()
    else:
        (newest / "checkpoint.json").write_text("{")
    with pytest.raises(RunDamaged, match=str(newest)) as caught:
        train(smoke_config, interrupted.name, device="cpu", progress=False)
    assert "go on from step 14" in str(caught.value)
    shutil.rmtree(newest)
    run = train(smoke_config, interrupted.name, device="cpu", progress=False)
    assert run.manifest["resumed_at"] == [15]
    assert_same_run(run, smoke_run)


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


PART_DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a removed part": (lambda parts: shutil.rmtree(parts / "000009"), "000009 is missing"),
    "a stray copy": (lambda parts: shutil.copytree(parts / "000004", parts / "000004 (copy)"), "is no part of a run"),
    "a copy named as a part": (
        lambda parts: shutil.copytree(parts / "000004", parts / "000006"),
        "is of no checkpoint",
    ),
    "no checksums": (lambda parts: (parts / "000009" / "checksums.json").unlink(), "has no checksums.json"),
    "a flipped checksum": (lambda parts: flipped(parts / "000009" / "checksums.json"), "differs from its checksum"),
    "a flipped table": (lambda parts: flipped(parts / "000009" / "tables" / "train.parquet"), "cut short or altered"),
}


@pytest.mark.parametrize("damage", PART_DAMAGES)
def test_a_damaged_part_is_one_sentence_and_status_1_when_the_run_is_resumed(
    interrupted: Path, smoke_config: RunConfig, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    harm, message = PART_DAMAGES[damage]
    harm(interrupted / "parts")
    before = {file: file.read_bytes() for file in interrupted.rglob("*") if file.is_file()}
    arguments = ["--preset", "smoke", "--corpus", smoke_config.corpus, "--device", "cpu", "--name", interrupted.name]
    assert cli.main(["train", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("civilwar: ")
    assert message in line
    assert {file: file.read_bytes() for file in interrupted.rglob("*") if file.is_file()} == before


def test_a_stray_copy_moved_away_as_told_leaves_the_same_bits(
    interrupted: Path, smoke_run: Run, smoke_config: RunConfig
) -> None:
    stray = interrupted / "parts" / "000004 (copy)"
    shutil.copytree(interrupted / "parts" / "000004", stray)
    with pytest.raises(RunDamaged, match="Move it away, and the same command goes on"):
        train(smoke_config, interrupted.name, device="cpu", progress=False)
    shutil.rmtree(stray)
    assert_same_run(train(smoke_config, interrupted.name, device="cpu", progress=False), smoke_run)


@pytest.mark.parametrize("moment", ["before the update", "after the update", "in the forward pass", "in the snapshot"])
def test_an_interruption_costs_at_most_the_step_in_hand(
    smoke_run: Run, smoke_config: RunConfig, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    name, number = f"stopped-{moment.replace(' ', '-')}", signal.SIGTERM if "update" in moment else signal.SIGINT
    part = {"in the forward pass": "loss", "in the snapshot": "snapshot"}.get(moment, "update")
    original = getattr(training.Session, part)

    def stopping(session: training.Session, *arguments: Any, **named: Any) -> Any:
        # step 16 is a snapshot's
        now = session.n_updates == 16
        if now and moment != "after the update":
            signal.raise_signal(number)
        result = original(session, *arguments, **named)
        if now and moment == "after the update":
            signal.raise_signal(number)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(training.Session, part, stopping)
        kind = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        last = 16 if moment == "after the update" else 15
        with pytest.raises(kind, match=rf"from the checkpoint of step {last}\.$"):
            train(smoke_config, name, device="cpu", progress=False)
    assert open_run(name).last_step == last
    run = train(smoke_config, name, device="cpu", progress=False)
    assert run.manifest["resumed_at"] == [last + 1]
    assert_same_run(run, smoke_run)


def test_an_interruption_before_the_first_update_leaves_nothing_to_go_on_from(
    smoke_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.Session, "loss", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match=r"from the start, since there is no checkpoint yet\.$"):
        train(smoke_config, "stopped-at-once", device="cpu", progress=False)
    assert not (training.paths.runs() / "stopped-at-once" / "checkpoints").exists()


# ---------------------------------------------------------------- provenance


@pytest.mark.parametrize("what", ["torch", "device"])
def test_another_machine_is_said_and_refused_unless_asked_for(
    interrupted: Path,
    smoke_config: RunConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    what: str,
) -> None:
    first = Run(interrupted).sittings
    here = machine.facts(torch.device("cpu"))
    there = {
        "torch": here | {"versions": here["versions"] | {"torch": "9.9"}},
        "device": here | {"device": here["device"] | {"name": "another"}},
    }[what]
    monkeypatch.setattr(machine, "facts", lambda device: there)
    before = {file: file.read_bytes() for file in interrupted.rglob("*") if file.is_file()}
    arguments = ["--preset", "smoke", "--corpus", smoke_config.corpus, "--device", "cpu", "--name", interrupted.name]
    assert cli.main(["train", *arguments]) == 1
    assert re.search(
        rf"another machine \({what}: .* before, .* now\).*--accept-another-machine", capsys.readouterr().err
    )
    assert {file: file.read_bytes() for file in interrupted.rglob("*") if file.is_file()} == before
    assert cli.main(["train", *arguments, "--accept-another-machine"]) == 0
    run = Run(interrupted)
    assert run.complete
    # each sitting has its own, and the first is not overwritten
    assert run.sittings[0] == first[0]
    assert [sitting["from_step"] for sitting in run.sittings] == [0, 17]
    assert {name: run.sittings[1][name] for name in there} == there
    assert {name: run.manifest[name] for name in ("versions", "device")} == {
        name: first[0][name] for name in ("versions", "device")
    }


def test_a_sitting_that_left_no_checkpoint_does_not_count_as_the_machine_before(
    interrupted: Path, smoke_run: Run, smoke_config: RunConfig
) -> None:
    entries = read_manifest(interrupted)
    elsewhere = entries["sittings"][0] | {"from_step": 17, "versions": {"torch": "9.9"}}
    write_manifest(interrupted, entries | {"sittings": [*entries["sittings"], elsewhere]})
    run = train(smoke_config, interrupted.name, device="cpu", progress=False)
    assert run.manifest["resumed_at"] == [17, 17]
    assert_same_run(run, smoke_run)


def test_a_complete_run_is_verified_before_it_is_called_that(smoke_run: Run, smoke_config: RunConfig) -> None:
    copy = Path(shutil.copytree(smoke_run.path, smoke_run.path.with_name("flipped")))
    flipped(copy / WEIGHTS)
    with pytest.raises(RunDamaged, match=r"weights\.safetensors differs from the checksum"):
        train(smoke_config, copy.name, device="cpu", progress=False)


def test_a_complete_run_opens_where_nobody_may_write(
    smoke_run: Run, smoke_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object, **named: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    assert train(smoke_config, "smoke-run", device="cpu", progress=False).manifest == smoke_run.manifest
    with pytest.raises(RunNotWritten, match=r"cannot be written \(Read-only file system\)"):
        train(smoke_config, "new-on-a-read-only-disk", device="cpu", progress=False)


# ---------------------------------------------------------------- the text


def write_text(file: Path, seed: int) -> None:
    draw = random.Random(seed)
    words = [f"{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(600)]
    file.write_text("\n\n".join(" ".join(draw.choices(words, k=60)) for _ in range(400)))


def test_another_text_under_the_same_name_is_refused_with_both_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "text.txt"
    write_text(file, 0)
    config = shortened(make_config("smoke", corpus=f"path:{file}"), 6)
    name, former = config.default_name, checksum_here(config.corpus)
    assert former is not None
    with monkeypatch.context() as patch:
        update = training.Session.update

        def stopping(session: training.Session) -> None:
            update(session)
            if session.n_updates == 3:
                raise KeyboardInterrupt

        patch.setattr(training.Session, "update", stopping)
        with pytest.raises(KeyboardInterrupt, match="from the checkpoint of step 2"):
            train(config, device="cpu", progress=False)
    content = file.read_bytes()
    write_text(file, 1)
    latter = checksum_here(config.corpus)
    assert latter is not None
    with pytest.raises(RunMismatch, match=rf"{name} was .*{former[:16]} there and has {latter[:16]} now"):
        train(config, device="cpu", progress=False)
    # nor does the checkpoint go with it where only the manifest was exchanged
    entries = read_manifest(open_run(name).path)
    write_manifest(open_run(name).path, entries | {"corpus": entries["corpus"] | {"checksum": latter}})
    with pytest.raises(RunMismatch, match=rf"{former[:16]} there and has {latter[:16]} now"):
        train(config, device="cpu", progress=False)
    write_manifest(open_run(name).path, entries)
    file.write_bytes(content)
    run = train(config, device="cpu", progress=False)
    assert run.manifest["resumed_at"] == [3]
    assert run.text_checksum == former
    # the same of a complete run, which opens all the same where there is no text any more
    write_text(file, 1)
    with pytest.raises(RunMismatch, match=rf"{former[:16]} there and has {latter[:16]} now"):
        train(config, device="cpu", progress=False)
    file.unlink()
    assert train(config, device="cpu", progress=False).manifest == run.manifest


def test_without_any_checkpoint_a_run_starts_again(interrupted: Path, smoke_run: Run, smoke_config: RunConfig) -> None:
    shutil.rmtree(interrupted / "checkpoints")
    run = train(smoke_config, interrupted.name, device="cpu", progress=False)
    assert run.manifest["resumed_at"] == []
    assert_same_run(run, smoke_run)


def test_a_corpus_too_small_for_the_last_experiment_is_refused_before_the_first_step(tmp_path: Path) -> None:
    draw = random.Random(0)
    words = [f"{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(600)]
    paragraphs = "\n\n".join(" ".join(draw.choices(words, k=40)) for _ in range(300))
    (tmp_path / "small.txt").write_text(paragraphs)
    config = make_config("smoke", corpus=f"path:{tmp_path / 'small.txt'}")
    with pytest.raises(CorpusError, match="validation"):
        train(config, "too-small", device="cpu", progress=False)
    assert not (training.paths.runs() / "too-small" / "manifest.json").exists()


LIMITED = """
import resource, sys
from civilwar.recipe.config import RunConfig
from civilwar import cli
from civilwar.commands import train as command
from civilwar.training import loop as train
import json

config, name, limit = RunConfig.from_dict(json.loads(sys.argv[1])), sys.argv[2], int(sys.argv[3])
command.run = lambda options: train.train(config, name, device="cpu", checkpoint_every=5, progress=False)
write = train.Session.checkpoint

def checkpoint(session, step):
    if step >= 14:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    write(session, step)

train.Session.checkpoint = checkpoint
sys.exit(cli.main(["train"]))
"""


@pytest.mark.parametrize("limit", [300, 20_000, 100_000], ids=["a table", "a larger table", "the state"])
def test_a_disk_that_refuses_to_write_costs_nothing_recorded(
    smoke_run: Run, smoke_config: RunConfig, limit: int
) -> None:
    # a limit on the size of any file, from the checkpoint of step 14 on, stands for a full disk
    name = f"full-{limit}"
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, json.dumps(smoke_config.as_dict()), name, str(limit)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(r"civilwar: .* could not be written: .* goes on from the checkpoint of step 9\.", line)
    # what the disk said, whoever was writing
    assert os.strerror(errno.EFBIG) in line
    half = open_run(name)
    assert not half.complete
    assert half.table("train").equals(smoke_run.table("train")[: half.last_step + 1])
    assert half.last_step in (9, 14)
    run = train(smoke_config, name, device="cpu", progress=False)
    assert run.manifest["resumed_at"] == [10]
    assert_same_run(run, smoke_run)


# ---------------------------------------------------------------- divergence


@pytest.mark.parametrize("first_bad_step", [3, 6, 24])
def test_a_diverging_run_stops_and_keeps_what_it_has(
    smoke_config: RunConfig, monkeypatch: pytest.MonkeyPatch, first_bad_step: int
) -> None:
    original, name = training.Session.update, f"diverged-{first_bad_step}"
    updates = 0

    def update(session: Any) -> None:
        nonlocal updates
        original(session)
        updates += 1
        if updates == first_bad_step:
            session.model.blocks[0].mlp.up.weight.data[:] = math.inf

    monkeypatch.setattr(training.Session, "update", update)
    with pytest.raises(
        TrainingDiverged, match=rf"the loss is nan at step {first_bad_step} of {name}\. Its tables.* step \d+;"
    ):
        train(smoke_config, name, device="cpu", checkpoint_every=2, progress=False)
    run = open_run(name)
    assert not run.complete
    assert run.manifest["status"] == "diverged"
    loss = run.table("train").loss
    assert loss[:first_bad_step].notna().all()
    assert loss[first_bad_step:].isna().all()
    assert first_bad_step <= run.last_step < first_bad_step + 4


def test_an_absurd_learning_rate_is_reported_as_divergence(smoke_config: RunConfig) -> None:
    config = shortened(smoke_config, 12, muon_lr=1e30)
    with pytest.raises(TrainingDiverged, match="lower the learning rate") as caught:
        train(config, "absurd", device="cpu", progress=False)
    run = open_run("absurd")
    assert run.table("train").loss[0] < 6.5
    # what is not there is not said to be kept
    assert "but no state: it came before the first checkpoint" in str(caught.value)
    assert not (run.path / "checkpoints").exists()


def test_an_overflow_that_ends_at_a_finite_loss_is_a_divergence(
    smoke_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, close = training.Session.update, training.StepTracker.close_step

    def update(session: training.Session) -> None:
        original(session)
        if session.n_updates == 6:
            session.model.blocks[0].attention.k_norm.weight.data[:] = math.nan

    def equal_logits(tracker: Any, step: int, loss: torch.Tensor) -> None:
        close(tracker, step, torch.tensor(math.log(512)) if step >= 6 else loss)

    monkeypatch.setattr(training.Session, "update", update)
    monkeypatch.setattr(training.StepTracker, "close_step", equal_logits)
    with pytest.raises(
        TrainingDiverged, match=r"the loss is 6\.238, but key norms are no numbers any more, at step 6 of"
    ):
        train(smoke_config, "overflow", device="cpu", progress=False)
    run = open_run("overflow")
    assert run.manifest["status"] == "diverged"
    assert run.table("train").loss.notna().all()
    assert 6 <= run.last_step < 10


def test_the_first_bad_step_is_the_first_of_either_kind() -> None:
    step = np.arange(5, dtype=np.int32)
    loss, norms = np.ones(5, np.float32), np.ones((5, 2), np.float32)

    def of(loss: np.ndarray, norms: np.ndarray) -> int | None:
        heads = pd.DataFrame({"step": step.repeat(2), "norm_mean": norms.ravel()})
        return first_bad_step(Records({"train": pd.DataFrame({"step": step, "loss": loss}), "step_kv_heads": heads}))

    assert of(loss, norms) is None
    assert first_bad_step(Records()) is None
    loss[3] = math.inf
    assert of(loss, norms) == 3
    norms[2, 1] = math.nan
    assert of(loss, norms) == 2
