"""Which problems a route can answer, read from its code: what its handler calls is followed, whoever implements it.

It follows names to what they stand for, attributes to the types that annotations and constructors give them, and a
Protocol to every class of the service that has its methods. What is caught and not raised again does not count, nor
does a code of which only the text is taken. What it can't follow it leaves out: the warning of an undeclared problem
(`declared_problems.check_declared`) covers that, wherever a test gets there.
"""

import ast
import inspect
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel

from cpro_contracts.problems import ProblemCode
from cpro_platform.auth import AccessRule
from cpro_platform.errors import RefusedError

_REPOSITORY = Path(__file__).parents[4]


def raised_by(route: APIRoute) -> set[ProblemCode]:
    """The codes that the route's handler, dependencies and bodies lead to."""
    found = _Followed()
    for call in _calls(route.dependant):
        found.function(call)
    if route.body_field is not None:
        for validator in _validators(route.body_field.field_info.annotation, set()):
            found.function(validator)
    return found.codes


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    if dependant.call is not None and not isinstance(dependant.call, AccessRule):
        yield dependant.call
    for nested in dependant.dependencies:
        yield from _calls(nested)


def _validators(annotation: Any, seen: set[Any]) -> Iterator[Callable[..., Any]]:
    """The functions that check the fields of a model, and those of the models within."""
    for part in typing.get_args(annotation):
        yield from _validators(part, seen)
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel) and annotation not in seen:
        seen.add(annotation)
        for declared in annotation.model_fields.values():
            yield from (one.func for one in declared.metadata if isinstance(one, AfterValidator))
            yield from _validators(declared.annotation, seen)


@dataclass
class _Followed:
    codes: set[ProblemCode] = field(default_factory=set)
    _seen: set[Any] = field(default_factory=set)

    def function(self, called: Any) -> None:
        """Follow a function, a method, or the making of an instance."""
        called = inspect.unwrap(called) if callable(called) else called
        if not _is_ours(called) or called in self._seen:
            return
        self._seen.add(called)
        _Body(self, called).visit(_tree(called))


class _Body(ast.NodeVisitor):
    """The body of one function."""

    def __init__(self, followed: _Followed, function: FunctionType) -> None:
        self._followed = followed
        self._names = dict(function.__globals__)
        self._types = _parameter_types(function)
        self._made: dict[str, list[type]] = {}

    def visit_Assign(self, node: ast.Assign) -> None:
        if isinstance(node.targets[0], ast.Name):
            self._made[node.targets[0].id] = self._holders(node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._made[node.target.id] = _implementations(self._value(node.annotation))
        self.generic_visit(node)

    def visit_Try(self, node: ast.Try) -> None:
        if not any(self._swallows(handler) for handler in node.handlers):
            self.generic_visit(node)
            return
        for part in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(part)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr == "code" and isinstance(self._value(node.value), ProblemCode):
            return  # only its text
        self._note(self._value(node))
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        self._note(self._value(node))

    def visit_Call(self, node: ast.Call) -> None:
        for called in self._called(node.func):
            self._followed.function(called)
        self.generic_visit(node)

    def _note(self, value: Any) -> None:
        if isinstance(value, ProblemCode):
            self._followed.codes.add(value)
        elif isinstance(value, Mapping):
            for one in value.values():
                for part in one if isinstance(one, tuple) else (one,):
                    if isinstance(part, ProblemCode):
                        self._note(part)

    def _swallows(self, handler: ast.ExceptHandler) -> bool:
        caught = ast.walk(handler.type) if handler.type else ()
        names = [self._value(one) for one in caught if isinstance(one, ast.Name | ast.Attribute)]
        return RefusedError in names and not any(isinstance(one, ast.Raise) for one in ast.walk(handler))

    def _value(self, node: ast.expr) -> Any:
        """What a global name stands for, or an attribute of a module or class."""
        if isinstance(node, ast.Name) and node.id not in self._types:
            return self._names.get(node.id)
        if isinstance(node, ast.Attribute):
            holder = self._value(node.value)
            if isinstance(holder, ModuleType) or inspect.isclass(holder):
                return getattr(holder, node.attr, None)
        return None

    def _called(self, node: ast.expr) -> Iterator[Any]:
        value = self._value(node)
        if inspect.isclass(value):
            yield vars(value).get("__init__")
        elif value is not None:
            yield getattr(value, "__func__", value)
        elif isinstance(node, ast.Attribute):
            for holder in self._holders(node.value):
                found = getattr(holder, node.attr, None)
                yield getattr(found, "__func__", found)
        elif isinstance(node, ast.Name):
            for holder in self._holders(node):
                yield vars(holder).get("__call__")

    def _holders(self, node: ast.expr) -> list[type]:
        """The classes that an expression may be an instance of."""
        if isinstance(node, ast.Name):
            return self._made.get(node.id) or _implementations(self._types.get(node.id))
        if isinstance(node, ast.Attribute):
            return [
                one
                for holder in self._holders(node.value)
                for one in _implementations(_attribute_types(holder).get(node.attr))
            ]
        if isinstance(node, ast.Call) and inspect.isclass(made := self._value(node.func)):
            return [made]
        return []


def _is_ours(value: Any) -> bool:
    """A function of this repository with a source; those that `dataclass` makes have none."""
    if not isinstance(value, FunctionType):
        return False
    file = Path(value.__code__.co_filename)
    return file.is_relative_to(_REPOSITORY) and "site-packages" not in file.parts


@cache
def _tree(function: FunctionType) -> ast.AST:
    """Its body alone: what its decorators declare is not what it does."""
    (parsed,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(parsed, ast.FunctionDef | ast.AsyncFunctionDef)
    return ast.Module(parsed.body, type_ignores=[])


def _parameter_types(function: FunctionType) -> dict[str, Any]:
    types = typing.get_type_hints(function)
    types.pop("return", None)
    owner = getattr(sys.modules[function.__module__], function.__qualname__.partition(".")[0], None)
    if inspect.isclass(owner):
        types["self"] = owner
    return types


@cache
def _attribute_types(holder: type) -> dict[str, Any]:
    """The types of an instance's attributes: annotated, or made or taken by its methods."""
    found: dict[str, Any] = dict(typing.get_type_hints(holder))
    for method in filter(_is_ours, vars(holder).values()):
        parameters, names = _parameter_types(method), method.__globals__
        for node in ast.walk(_tree(method)):
            if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Attribute):
                continue
            made = node.value
            if isinstance(made, ast.Call) and isinstance(made.func, ast.Name):
                found.setdefault(node.targets[0].attr, names.get(made.func.id))
            elif isinstance(made, ast.Name) and made.id in parameters:
                found.setdefault(node.targets[0].attr, parameters[made.id])
    return found


def _implementations(annotation: Any) -> list[type]:
    """A class itself; of a Protocol all classes of its service that have its methods."""
    if not inspect.isclass(annotation):
        return []
    if not getattr(annotation, "_is_protocol", False):
        return [annotation]
    wanted = {name for name, value in vars(annotation).items() if isinstance(value, FunctionType)} - {"__init__"}
    service = annotation.__module__.partition(".")[0]
    modules = [module for name, module in list(sys.modules.items()) if name.startswith(f"{service}.")]
    return [
        one
        for module in modules
        for one in vars(module).values()
        if inspect.isclass(one)
        and one.__module__ == module.__name__
        and not getattr(one, "_is_protocol", False)
        and wanted <= set(dir(one))
    ]
