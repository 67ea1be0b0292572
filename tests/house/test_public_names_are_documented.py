"""Every module, class and function that another may use says what it promises."""

import ast

import pytest

from tests.house.source import MODULES, PACKAGE, tree

Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_public(node):
    return not node.name.startswith("_")


def declared(node):
    """Whether a decorator's own text documents it: an instruction's encoding and syntax."""
    return any(
        isinstance(mark, ast.Call) and mark.args and isinstance(mark.args[0], ast.Constant)
        for mark in node.decorator_list
    )


# A method may leave its contract to the class or protocol that first promised it.
PROMISED = {
    method.name
    for path in MODULES
    for owner in ast.walk(tree(path))
    if isinstance(owner, ast.ClassDef)
    for method in owner.body
    if isinstance(method, Function) and ast.get_docstring(method)
}


def undocumented(path):
    module = tree(path)
    if not ast.get_docstring(module):
        yield 1, path.name
    for node in module.body:
        if not isinstance(node, Function | ast.ClassDef) or not is_public(node):
            continue
        if not ast.get_docstring(node) and not declared(node):
            yield node.lineno, node.name
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, Function) and is_public(method):
                    if not ast.get_docstring(method) and method.name not in PROMISED:
                        yield method.lineno, f"{node.name}.{method.name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_names_are_documented(path):
    silent = [f"{path}:{line}: {name}" for line, name in undocumented(path)]
    assert not silent, "say in one sentence what a caller may rely on: " + ", ".join(silent)
