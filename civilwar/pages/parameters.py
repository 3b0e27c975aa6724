"""Which parameters papermill handed to a notebook that has none of that name: a slip would pass with only a warning."""

import ast
from collections.abc import Sequence

#: How the cell begins that papermill puts below a notebook's own parameters.
INJECTED = "# Parameters\n"


def unknown_parameters(cells: Sequence[str]) -> dict[str, str]:
    """Name and value, as source, of what papermill's cell sets and no cell before it does.

    Args:
        cells: source of the cells in the order in which they were executed, as IPython's ``In`` keeps them.
    """
    known: set[str] = set()
    unknown: dict[str, str] = {}
    for cell in cells:
        values = _assigned(cell)
        if cell.startswith(INJECTED):
            unknown |= {name: value for name, value in values.items() if name not in known}
        known |= values.keys()
    return unknown


def _assigned(cell: str) -> dict[str, str]:
    """What a cell sets at its top level by ``name = value``. Nothing where it holds more than Python, such as magics."""
    try:
        statements = ast.parse(cell).body
    except (SyntaxError, ValueError):
        return {}
    return {
        target.id: ast.unparse(statement.value)
        for statement in statements
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
