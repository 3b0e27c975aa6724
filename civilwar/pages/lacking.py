"""Cells of a notebook that need what a run lacks: each says so in a line, and the notebook goes on.

A watched run has no ablations, and none of what rests on them. Once `say_what_is_lacking` was called, a cell that meets
`RunLacks` shows its sentence, and so does a cell that needs a name which an earlier such cell would have made.
"""

import ast
import sys

from IPython import get_ipython

from civilwar.errors import RunLacks
from civilwar.pages.prose import leave_out_what_is_lacking
from civilwar.pages.show import say

#: What cells that lacked something would have assigned.
_LOST: set[str] = set()
#: The name under which a wrapped cell finds what it asks for.
_HERE = "_civilwar_lacking"


class _Forgiving(ast.NodeTransformer):
    """Puts a cell into ``try``; ``from __future__`` and the like are left alone."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        if not node.body:
            return node
        names = sorted({n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)})
        frame = ast.parse(
            f"try:\n    pass\nexcept Exception as _civilwar_error:\n    {_HERE}.tell(_civilwar_error, {names!r})"
        ).body[0]
        assert isinstance(frame, ast.Try)
        frame.body = node.body
        node.body = [frame]
        return ast.fix_missing_locations(node)


def tell(error: Exception, names: list[str]) -> None:
    """Say in a line what a cell lacked that would have made ``names``. Raises ``error`` where it is another one."""
    if isinstance(error, RunLacks):
        _LOST.update(names)
        leave_out_what_is_lacking()
        say(f"Left out here: {error}")
    elif isinstance(error, NameError) and error.name in _LOST:
        _LOST.update(names)
        say("Left out here: it rests on what is left out above.")
    else:
        raise error


def say_what_is_lacking() -> None:
    """From the next cell of this notebook on, a cell that meets `RunLacks` says so in place of failing."""
    kernel = get_ipython()
    if kernel is None or any(isinstance(one, _Forgiving) for one in kernel.ast_transformers):
        return
    _LOST.clear()
    kernel.user_ns[_HERE] = sys.modules[__name__]
    kernel.ast_transformers.append(_Forgiving())
