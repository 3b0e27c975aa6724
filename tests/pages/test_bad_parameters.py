"""A notebook's parameters, when they are wrong: one sentence that begins with the parameter, before anything is trained."""

import ast
import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
import nbformat
import papermill
import pytest
from hypothesis import given
from hypothesis import strategies as st

from civilwar.names.variants import VARIANTS
from civilwar.pages import door
from civilwar.pages.publish import phase_notebooks
from civilwar.recipe.config import PRESETS, ConfigError

SOURCES = phase_notebooks()
PARAMETERS = ["run", "preset", "variant", "seed", "corpus", "device"]

#: Of no type that a parameter has; all of them can come out of a YAML file of parameters.
NO_TYPE: list[Any] = [None, True, 1.5, math.nan, math.inf, [], ["smoke"], {}, {"smoke": 1}, [[None]]]
TEXT = st.text(st.characters(codec="utf-8"))
HALF_A_CHARACTER = "\udcff"
#: Wrong values of every parameter.
WRONG: dict[str, st.SearchStrategy[Any]] = {
    "run": st.sampled_from([*NO_TYPE, 5, "", ".", "..", ".hidden", "a/b", "../a", "a\\b", "a\0b", "é" * 128])
    | st.just(HALF_A_CHARACTER),
    "preset": TEXT.filter(lambda text: text not in PRESETS) | st.sampled_from([*NO_TYPE, 5, HALF_A_CHARACTER]),
    "variant": TEXT.filter(lambda text: text not in VARIANTS) | st.sampled_from([*NO_TYPE, 5, HALF_A_CHARACTER]),
    "seed": st.integers(max_value=-1) | st.integers(min_value=2**31) | st.sampled_from([*NO_TYPE, "0", "", "one", 0.0]),
    "corpus": st.sampled_from([*NO_TYPE, 5, "", " ", "\n", "path:" + HALF_A_CHARACTER]),
    "device": TEXT.filter(lambda text: text not in ("auto", "cpu", "cuda", "mps"))
    | st.sampled_from([*NO_TYPE, 5, "CPU", "cpu:banana", "cuda:", "cuda:99", "cuda:-1", "auto:0", "cpu\n", "gpu"]),
}


def assert_one_sentence(message: str, parameter: str) -> None:
    assert message.startswith(f"{parameter} = "), message
    assert ": expected " in message
    assert message.endswith(".")
    assert "\n" not in message


def test_every_parameter_has_wrong_values() -> None:
    assert list(WRONG) == PARAMETERS


@pytest.mark.parametrize("parameter", PARAMETERS)
@given(data=st.data())
def test_a_wrong_parameter_is_refused_in_one_sentence_that_names_it(
    parameter: str, data: st.DataObject, runs_dir: Path
) -> None:
    before = set(runs_dir.iterdir())
    wrong = {"run": "never-made", "preset": "smoke"} | {parameter: data.draw(WRONG[parameter])}
    with mpl.rc_context(), pytest.raises(ConfigError) as caught:
        door.open_phase(**wrong)
    assert_one_sentence(str(caught.value), parameter)
    assert set(runs_dir.iterdir()) == before


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:1"])
def test_a_right_device_is_let_through(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the test above would be content with a door that is shut."""
    asked: list[str] = []
    monkeypatch.setattr("civilwar.training.loop.train", lambda config, name, device: asked.append(device))
    with mpl.rc_context():
        door.open_phase("never-made", "smoke", device=device)
    assert asked == [device]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.stem)
def test_every_notebook_hands_all_its_parameters_to_the_door(file: Path) -> None:
    code = [cell.source for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]
    calls = [
        [argument.id for argument in node.args if isinstance(argument, ast.Name)]
        for node in ast.walk(ast.parse("\n".join(code)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open_phase"
    ]
    assert calls == [PARAMETERS]


@pytest.mark.parametrize(
    ("number", "parameter", "value"),
    [
        (1, "preset", ["smoke"]),
        (4, "run", 5),
        # papermill writes it into a cell, where it has to stay text
        (7, "variant", 'baseline"\nraise SystemExit("ran")  # \\'),
    ],
)
def test_papermill_gives_the_same_sentence(number: int, parameter: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(papermill.PapermillExecutionError) as failure:
        run_first_cells(number, {parameter: value}, tmp_path)
    assert failure.value.ename == "ConfigError"
    assert_one_sentence(failure.value.evalue, parameter)
    assert repr(value) in failure.value.evalue
    assert failure.value.exec_count == 3  # parameters, injected parameters, and the cell that opens the run


def run_first_cells(number: int, parameters: dict[str, Any], tmp_path: Path) -> None:
    """A notebook under papermill, which stops at its first error."""
    papermill.execute_notebook(str(SOURCES[number - 1]), str(tmp_path / "out.ipynb"), parameters, progress_bar=False)


def test_papermill_hands_over_no_parameter_that_a_notebook_lacks(tmp_path: Path) -> None:
    """Its own warning is easily missed, and the page would be of another run than its reader thinks."""
    with pytest.raises(papermill.PapermillExecutionError) as failure:
        run_first_cells(1, {"preset": "smoke", "varaint": "no_gain_decay"}, tmp_path)
    assert failure.value.ename == "ConfigError"
    assert_one_sentence(failure.value.evalue, "varaint")
    assert failure.value.evalue.endswith("run, preset, variant, seed, corpus, device.")
