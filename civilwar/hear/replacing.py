"""Put something else where a model's files look a name up, and take it away again when the last who needs it leaves."""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

_lock = threading.Lock()
#: How many need what stands at a place: (namespace, name).
_needed: Counter[tuple[int, str]] = Counter()


def spaces_of(root: nn.Module) -> list[dict[str, Any]]:
    """The namespaces of the files that the model's modules and their base classes are written in."""
    kinds = {kind for module in root.modules() for kind in type(module).__mro__}
    files = {kind.__module__ for kind in kinds} - {"builtins"}
    return [vars(sys.modules[name]) for name in sorted(files) if name in sys.modules]


@contextmanager
def replaced(
    spaces: list[dict[str, Any]], instead: Callable[[Any], Any], original: Callable[[Any], Any]
) -> Iterator[None]:
    """Replace every value for which ``instead`` has something.

    ``original``: what a replacement stands for, None where a value is none.
    """
    places = []
    with _lock:
        for space in spaces:
            for name, value in list(space.items()):
                if original(value) is not None:
                    places.append((space, name))
                elif (new := instead(value)) is not None:
                    space[name] = new
                    places.append((space, name))
        for space, name in places:
            _needed[id(space), name] += 1
    try:
        yield
    finally:
        with _lock:
            for space, name in places:
                _needed[id(space), name] -= 1
                if not _needed[id(space), name]:
                    space[name] = original(space[name])
