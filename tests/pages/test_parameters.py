"""Parameters that a notebook does not have."""

from civilwar.pages.parameters import INJECTED, unknown_parameters

OWN = '# name of a run\nrun = "auto"\nseed = 0\n'


def test_papermill_may_set_what_the_notebook_sets() -> None:
    assert unknown_parameters(["", OWN, f"{INJECTED}seed = 3\n", "run = open_phase(run, seed)"]) == {}
    assert unknown_parameters([]) == {}


def test_a_slip_is_found_with_its_value() -> None:
    cells = ["", OWN, f'{INJECTED}sead = 3\nruns = ["a", "b"]\nrun = "x"\n']
    assert unknown_parameters(cells) == {"sead": "3", "runs": "['a', 'b']"}


def test_what_a_reader_sets_in_a_cell_of_their_own_is_no_parameter() -> None:
    assert unknown_parameters(["", OWN, "sead = 3", "# My Parameters\nn = 4"]) == {}


def test_a_parameter_added_above_is_known_and_one_set_only_below_is_not() -> None:
    assert unknown_parameters([OWN, "mine = 1", f"{INJECTED}mine = 2\n"]) == {}
    assert unknown_parameters([OWN, f"{INJECTED}mine = 2\n", "mine = 1"]) == {"mine": "2"}


def test_cells_that_are_more_than_python_are_passed_over() -> None:
    assert unknown_parameters(["%matplotlib inline", "!ls", OWN, f"{INJECTED}seed = 1\n"]) == {}
