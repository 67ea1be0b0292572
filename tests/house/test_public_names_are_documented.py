"""Every module, class and function that another may use says what it promises."""

import ast

import pytest

from tests.house.source import MODULES, PACKAGE, room, tree

Function = ast.FunctionDef | ast.AsyncFunctionDef


def definitions(node):
    """The functions and classes that a module or class defines; a function has none of its own."""
    if isinstance(node, ast.Module | ast.ClassDef):
        yield from (part for part in node.body if isinstance(part, Function | ast.ClassDef))


def is_public(node):
    return not node.name.startswith("_")


def declared(node):
    """Whether a decorator's own text documents it: an instruction's encoding and syntax."""
    return any(
        isinstance(mark, ast.Call) and mark.args and isinstance(mark.args[0], ast.Constant)
        for mark in node.decorator_list
    )


def speaks_for_itself(node):
    """One statement: name, types and body are the contract; not enough for what we promise."""
    return isinstance(node, Function) and len(node.body) == 1


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
    promised = room(path) == "api"
    if not ast.get_docstring(module):
        yield 1, path.name
    for node in filter(is_public, definitions(module)):
        if not ast.get_docstring(node) and not declared(node):
            if promised or not speaks_for_itself(node):
                yield node.lineno, node.name
        for method in filter(is_public, definitions(node)):
            if not ast.get_docstring(method) and method.name not in PROMISED:
                if promised or not speaks_for_itself(method):
                    yield method.lineno, f"{node.name}.{method.name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_names_are_documented(path):
    silent = [f"{path}:{line}: {name}" for line, name in undocumented(path)]
    assert not silent, "say in one sentence what a caller may rely on: " + ", ".join(silent)
