"""The faults that this folder answers for each have a test that says so by its mark."""

from __future__ import annotations

import ast
from pathlib import Path

ANSWERED_HERE = {1, 2, 4, 5, 6, 7, 8, 9, 11, 15, 16, 17, 18, *range(22, 48), 49, 55, 56, 57, 58, 59, 60, 61, 65, 66, 68}


def marked(path: Path) -> set[int]:
    """The numbers in `@pytest.mark.fault(...)` over the tests of a file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                    found |= {ast.literal_eval(number) for number in mark.args}
    return found


def test_every_fault_of_the_list_has_a_test():
    found = set().union(*(marked(path) for path in Path(__file__).parent.glob("test_*.py")))
    assert ANSWERED_HERE - found == set()
