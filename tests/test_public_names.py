"""``import civilwar`` is light, and every name it offers is where the stub says."""

import subprocess
import sys

import civilwar


def test_every_public_name_is_there_and_documented() -> None:
    assert {"HeadInspector", "Run", "make_config", "open_run", "record", "train"} <= set(civilwar.__all__)
    for name in civilwar.__all__:
        assert getattr(civilwar, name).__doc__, name


def test_importing_the_package_loads_none_of_it() -> None:
    code = (
        "import sys, civilwar; print(sorted(n for n in sys.modules if n.startswith(('civilwar.', 'torch', 'pandas'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_name_that_is_not_offered_is_an_attribute_error() -> None:
    assert not hasattr(civilwar, "prober")
