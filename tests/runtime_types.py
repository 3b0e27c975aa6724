"""The type checker that conftest.py switches on for every annotation in civilwar while tests run."""

from beartype import BeartypeConf, beartype

#: As in PEP 484 and mypy, an int will do where a float is asked for.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
