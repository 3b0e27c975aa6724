"""The ways in which a run is computed: chosen by measuring, kept, followed; compiled, the same numbers but for rounding."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from civilwar import paths
from civilwar.errors import RunMismatch
from civilwar.model.ways import Ways
from civilwar.recipe.config import RunConfig, make_config
from civilwar.runs.reader import Run
from civilwar.training import choice, loop
from civilwar.training.choice import BadSetting, Choice, choose, follow
from civilwar.training.loop import train

CPU = torch.device("cpu")
LAPTOP = make_config("laptop")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What is measured meanwhile, with a made-up result: blocks are faster, convolutions are not."""
    calls: list[str] = []
    monkeypatch.setenv("CIVILWAR_CACHE", str(tmp_path / "cache"))
    for name, faster in (("_attention_in_blocks", True), ("_probe_by_convolution", False)):
        monkeypatch.setattr(choice, name, lambda *shape, name=name, faster=faster: calls.append(name) or faster)
    return calls


# ---------------------------------------------------------------- chosen


def test_what_is_faster_is_measured_once_for_a_machine(measured: list[str]) -> None:
    first, again = (choose(LAPTOP, CPU, 2048) for _ in range(2))
    assert first == again == Choice(Ways(False, True, False), "not compiled, since CIVILWAR_COMPILE is 0")
    assert measured == ["_attention_in_blocks", "_probe_by_convolution"]
    longer = dataclasses.replace(LAPTOP, model=dataclasses.replace(LAPTOP.model, context=1024))
    choose(longer, CPU, 2048)
    assert len(measured) == 4
    # a file that cannot be read, of a disk that was full
    for file in paths.cache().glob("speed-*.json"):
        file.write_text("{", encoding="utf-8")
    assert choose(LAPTOP, CPU, 2048) == first
    assert len(measured) == 6


def test_short_and_very_long_texts_and_float32_are_left_to_the_library(measured: list[str]) -> None:
    def in_blocks(context: int, precision: str = "bf16-autocast") -> bool:
        model = dataclasses.replace(LAPTOP.model, context=context)
        train = dataclasses.replace(LAPTOP.train, precision=precision)
        return choose(dataclasses.replace(LAPTOP, model=model, train=train), CPU, 2048).ways.attention_in_blocks

    assert [in_blocks(context) for context in (128, 512, 4095, 4096)] == [True, True, True, False]
    assert not in_blocks(512, "float32")


def test_a_measurement_tells_the_faster_from_the_slower() -> None:
    small, large = torch.randn(10, 10), torch.randn(600, 600)
    assert choice._faster(lambda: small @ small, lambda: large @ large)
    assert not choice._faster(lambda: large @ large, lambda: small @ small)
    assert torch.get_num_threads() == 1


def test_without_a_compiler_a_run_is_computed_as_it_is_written_and_says_so(
    measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "cannot_compile", lambda: "compiling does not work (no g++)")
    monkeypatch.setenv("CIVILWAR_COMPILE", "auto")
    found = choose(LAPTOP, CPU, 2048)
    assert not found.ways.compiled
    assert found.facts()["because"] == "not compiled, since compiling does not work (no g++)"
    monkeypatch.setenv("CIVILWAR_COMPILE", "1")
    with pytest.raises(BadSetting, match=r"CIVILWAR_COMPILE=1, but compiling does not work \(no g\+\+\)"):
        choose(LAPTOP, CPU, 2048)


def test_long_runs_are_compiled_and_short_ones_only_where_asked_for(
    measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "cannot_compile", lambda: None)
    smoke = make_config("smoke")
    for asked, compiled in (("0", [False, False]), ("auto", [False, True]), ("1", [True, True])):
        monkeypatch.setenv("CIVILWAR_COMPILE", asked)
        assert [choose(config, CPU, 2048).ways.compiled for config in (smoke, LAPTOP)] == compiled
    monkeypatch.setenv("CIVILWAR_COMPILE", "yes")
    with pytest.raises(BadSetting, match="'yes': expected 0, 1 or auto"):
        choose(smoke, CPU, 2048)


# ---------------------------------------------------------------- followed


def test_a_resumed_run_goes_on_in_the_ways_it_was_begun_in(
    smoke_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(smoke_config, train=dataclasses.replace(smoke_config.train, steps=4))
    begun = Choice(Ways(probe_by_convolution=True), "it was faster that day")

    def stop(session: loop.Session) -> None:
        if session.n_updates == 2:
            raise KeyboardInterrupt
        update(session)

    update = loop.Session.update
    with monkeypatch.context() as patch:
        patch.setattr(choice, "choose", lambda *arguments: begun)
        whole = train(config, "in-one-way", device="cpu", progress=False)
        patch.setattr(loop.Session, "update", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, "two-sittings", device="cpu", progress=False)
    halves = train(config, "two-sittings", device="cpu", progress=False)
    first, second = (sitting["ways"] for sitting in halves.sittings)
    assert (first, second) == (begun.facts(), begun.facts() | {"because": "as the run was begun"})
    assert halves.manifest["ways"] == first
    assert _sums(halves) == _sums(whole)


def _sums(run: Run) -> dict[str, str]:
    return dict(run.manifest["files"])


def test_a_compiled_run_does_not_go_on_where_nothing_can_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = Choice(Ways(compiled=True), "compiled").facts()
    monkeypatch.setattr(choice, "cannot_compile", lambda: None)
    assert follow(stored, "a-run").ways == Ways(compiled=True)
    monkeypatch.setattr(choice, "cannot_compile", lambda: "compiling does not work (no g++)")
    with pytest.raises(RunMismatch, match=r"a-run was begun with compiled code.* Install a C"):
        follow(stored, "a-run")
    assert follow(Choice(Ways(), "").facts(), "a-run").ways == Ways()


# ---------------------------------------------------------------- compiled


def test_compiled_steps_have_the_numbers_of_plain_ones_for_any_number_of_threads_and_resume_to_the_same_bits(
    smoke_corpus: str, shared: Path
) -> None:
    # where the machine keeps compiled code of other sessions, it is taken from there
    environment = {"TORCHINDUCTOR_CACHE_DIR": str(shared / "compiled")} | os.environ | {"CIVILWAR_COMPILE": "1"}
    script = Path(__file__).with_name("compiled.py")
    done = subprocess.run(
        [sys.executable, str(script), smoke_corpus], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    if found.get("trouble"):
        pytest.skip(f"nothing can be compiled here: {found['trouble']}")
    # bfloat16 products, rounded at other places
    assert 0 < found["blocks_apart"] < 0.03
    assert 0 < found["compiled_apart"] < 0.03
    assert found["compiled_is_something_else"]
    assert found["again_the_same"]
    assert found["two_threads_the_same"]
    # a hook that came later is heard
    assert found["hooks_heard"] == [0]
    assert found["resumed_the_same"]
    assert found["resumed_at"] == [3]
    assert [ways["compiled"] for ways in found["ways"]] == [True, True]
