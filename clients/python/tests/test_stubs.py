"""The API sheets say what is there: every class, method and keyword of the `.pyi` files exists, and nothing public is missing."""

import ast
import importlib
import inspect
import pathlib
import runpy
from typing import Any, Iterator, List, Tuple

import pytest

import natsbridge


def sheet(module: str) -> Tuple[Any, ast.Module]:
    folder = pathlib.Path(natsbridge.__file__).parent
    name = "__init__" if module == "natsbridge" else module.rpartition(".")[2]
    return importlib.import_module(module), ast.parse((folder / f"{name}.pyi").read_text(encoding="utf-8"))


def test_the_sheet_without_async_is_what_stubs_writes() -> None:
    written = runpy.run_path(str(pathlib.Path(__file__).parents[1] / "stubs.py"))["without_async"]
    folder = pathlib.Path(natsbridge.__file__).parent
    asynchronous, synchronous = ((folder / name).read_text(encoding="utf-8") for name in ("__init__.pyi", "sync.pyi"))
    assert written(asynchronous) == synchronous, "run stubs.py"


def parameters(node: Any) -> List[str]:
    names = [argument.arg for argument in node.args.args + node.args.kwonlyargs]
    return [name for name in names if name not in ("self", "cls")]


def functions(body: Any) -> Iterator[Any]:
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


@pytest.mark.parametrize("module", ["natsbridge", "natsbridge.sync", "natsbridge.testing"])
def test_sheets_name_what_exists(module: str) -> None:
    real, tree = sheet(module)
    seen = 0
    for node in functions(tree.body):
        assert node.name == "__getattr__" or ast.get_docstring(node), node.name
        known = inspect.signature(getattr(real, node.name))
        if node.args.kwarg is None:
            assert [name for name in known.parameters] == parameters(node), node.name
        assert inspect.iscoroutinefunction(getattr(real, node.name)) == isinstance(node, ast.AsyncFunctionDef), node.name
        seen += 1
    for klass in tree.body:
        if not isinstance(klass, ast.ClassDef) or any(isinstance(base, ast.Name) and base.id == "TypedDict" for base in klass.bases):
            continue
        if not hasattr(real, klass.name):
            assert klass.name in ("Envelope", "Received", "DeliverOptions", "RequestOptions"), klass.name
            continue
        made = getattr(real, klass.name)
        for node in functions(klass.body):
            if node.name.startswith("__") and node.name not in ("__init__", "__len__"):
                assert hasattr(made, node.name), (klass.name, node.name)
                continue
            member = inspect.getattr_static(made, node.name)
            if isinstance(member, property):
                seen += 1
                continue
            known = inspect.signature(getattr(made, node.name))
            names = [name for name, one in known.parameters.items() if name != "self" and one.kind is not one.VAR_KEYWORD]
            if node.args.kwarg is None and node.name != "__init__":
                assert names == parameters(node), (klass.name, node.name, names)
            seen += 1
    assert seen > 3


def test_every_public_name_is_on_the_sheet() -> None:
    for module in ("natsbridge", "natsbridge.sync", "natsbridge.testing"):
        real, tree = sheet(module)
        names = {node.name for node in ast.walk(tree) if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))}
        names |= {node.target.id for node in ast.walk(tree) if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
        names |= {alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert set(real.__all__) <= names, set(real.__all__) - names
        for name in real.__all__:
            assert hasattr(real, name)
            if inspect.isclass(getattr(real, name)) or inspect.isfunction(getattr(real, name)):
                assert getattr(real, name).__doc__, name
