"""The checkers that hold source code to the tables of `house_tables.py`.

`test_architecture.py` runs every checker on this repository and proves on made-up trees that each can fail. A checker
takes a `Tree` and gives sentences; none means the law holds. Nothing is imported, only parsed.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.house_tables import (
    CLOCK_CALLS,
    CLOCK_DOORS,
    CLOCK_MODULES,
    DOORS,
    FILE_LINES_MAX,
    FLOORS,
    FUNCTION_LINES_MAX,
    NAMES_FORBIDDEN,
    PERMITS,
    PRODUCT,
    ROOMS,
    SIZED,
    SQL,
    SQL_DOORS,
    WORDS,
)


@dataclass(frozen=True)
class Module:
    """One parsed source file."""

    path: str
    """Relative to the tree, with slashes."""
    name: str
    """Dotted; a package's `__init__` has the package's name."""
    tree: ast.Module
    lines: int

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Import:
    """One imported module (dotted, as far as it is known) and where it is."""

    target: str
    line: int
    at_module_level: bool


@dataclass(frozen=True)
class Tree:
    """All source files below some root."""

    modules: tuple[Module, ...]

    def named(self) -> dict[str, Module]:
        return {module.name: module for module in self.modules}

    def product(self) -> Iterator[Module]:
        return (module for module in self.modules if module.top in PRODUCT)


def load(root: Path) -> Tree:
    """Parse every source file in the known top folders below `root`."""
    modules = []
    for top in SIZED:
        for path in sorted((root / top).rglob("*.py")):
            relative = path.relative_to(root)
            parts = relative.with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = path.read_text("utf-8")
            modules.append(Module(relative.as_posix(), name, ast.parse(text, str(relative)), len(text.splitlines())))
    return Tree(tuple(modules))


def _type_checking_lines(tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for inner in node.body:
                lines.update(range(inner.lineno, (inner.end_lineno or inner.lineno) + 1))
    return lines


def imports(module: Module, known: dict[str, Module]) -> list[Import]:
    """Everything a module imports; `from package import name` is resolved to a module where there is one."""
    deferred = _type_checking_lines(module.tree)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            deferred.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                own = module.name.split(".") if module.path.endswith("__init__.py") else module.name.split(".")[:-1]
                base = ".".join([*own[: len(own) - node.level + 1], *([base] if base else [])])
            targets = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names]
        else:
            continue
        found += [Import(target, node.lineno, node.lineno not in deferred) for target in dict.fromkeys(targets)]
    return found


def floors(tree: Tree) -> list[str]:
    """Imports only go down; the ground floor stands on the standard library alone."""
    known = tree.named()
    wrong = []
    for module in tree.modules:
        if module.top not in FLOORS:
            continue
        for item in imports(module, known):
            top = item.target.partition(".")[0]
            if top == module.top or top in FLOORS[module.top]:
                continue
            if top in FLOORS or top == "tests":
                wrong.append(f"{module.path}:{item.line} {module.top} may not import {item.target}")
            elif module.top == "gridmodel" and top not in sys.stdlib_module_names:
                wrong.append(f"{module.path}:{item.line} gridmodel is standard library only, not {item.target}")
    return wrong


def rooms(tree: Tree) -> list[str]:
    """Rooms over a store are strangers; modbus, dlms and sync are strangers; faces and wiring stand above."""
    known = tree.named()
    wrong = []
    for module in tree.modules:
        allowed = ROOMS.get(module.top, {}).get(([*module.name.split("."), ""])[1])
        if allowed is None:
            continue
        own = module.name.split(".")[1]
        for item in imports(module, known):
            parts = item.target.split(".")
            if parts[0] == module.top and len(parts) > 1 and parts[1] != own and parts[1] not in allowed:
                wrong.append(f"{module.path}:{item.line} {module.top}/{own} may not import {item.target}")
    return wrong


def circles(tree: Tree) -> list[str]:
    """No circle of imports at module level."""
    known = tree.named()
    graph = {
        module.name: sorted({i.target for i in imports(module, known) if i.at_module_level and i.target in known})
        for module in tree.modules
    }
    done: set[str] = set()
    wrong = []
    for start in sorted(graph):
        trail: list[str] = []
        stack: list[tuple[str, Iterator[str]]] = []
        if start not in done:
            trail, stack = [start], [(start, iter(graph[start]))]
        while stack:
            name, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                stack.pop()
                done.add(trail.pop())
            elif following in trail and following != name:
                wrong.append("circle: " + " -> ".join([*trail[trail.index(following) :], following]))
            elif following not in done and following != name:
                trail.append(following)
                stack.append((following, iter(graph[following])))
    return wrong


def doors(tree: Tree) -> list[str]:
    """Each outside library is imported behind its own door only."""
    known = tree.named()
    return [
        f"{module.path}:{item.line} {item.target} belongs behind {', '.join(DOORS[item.target.partition('.')[0]])}"
        for module in tree.product()
        for item in imports(module, known)
        if item.target.partition(".")[0] in DOORS and not module.path.startswith(DOORS[item.target.partition(".")[0]])
    ]


def permits(tree: Tree) -> list[str]:
    """What lets a driver write to a meter is minted behind its own door only."""
    return [
        f"{module.path}:{node.lineno} {name} is minted in {', '.join(PERMITS[name])} alone"
        for module in tree.product()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and (name := ast.unparse(node.func).rpartition(".")[2]) in PERMITS
        and module.path not in PERMITS[name]
    ]


def _docstrings(tree: ast.Module) -> set[int]:
    return {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def sql(tree: Tree) -> list[str]:
    """SQL is written in the stores only."""
    wrong = []
    for module in tree.product():
        if module.path.startswith(SQL_DOORS):
            continue
        prose = _docstrings(module.tree)
        wrong += [
            f"{module.path}:{node.lineno} SQL outside a store: {node.value[:40]!r}"
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in prose
            and SQL.match(node.value)
        ]
    return wrong


def _aliases(tree: ast.Module) -> dict[str, str]:
    """What a bare name stands for, e.g. {'dt': 'datetime.datetime'}."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value, names)
        return f"{base}.{node.attr}" if base else ""
    return ""


def clocks(tree: Tree) -> list[str]:
    """No look at a clock and no throw of dice in the product, outside the one door and the programs' entrances."""
    wrong = []
    for module in tree.product():
        if module.path.startswith(CLOCK_DOORS[0]) or module.path.endswith("/" + CLOCK_DOORS[1]):
            continue
        names = _aliases(module.tree)
        for node in ast.walk(module.tree):
            reached = ""
            if isinstance(node, ast.Import):
                reached = next((a.name for a in node.names if a.name.partition(".")[0] in CLOCK_MODULES), "")
            elif isinstance(node, ast.ImportFrom) and not node.level:
                full = [f"{node.module}.{alias.name}" for alias in node.names]
                reached = (
                    node.module or ""
                    if (node.module or "").partition(".")[0] in CLOCK_MODULES
                    else next((name for name in full if name in CLOCK_CALLS), "")
                )
            elif isinstance(node, ast.Attribute):
                dotted = _dotted(node, names)
                reached = dotted if dotted in CLOCK_CALLS else ""
            if not reached and isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = ast.unparse(node.func.value)
                if node.func.attr == "time" and ("loop" in owner.lower()):
                    reached = f"{owner}.time"
            if reached:
                wrong.append(f"{module.path}:{getattr(node, 'lineno', 0)} {reached}: time and chance are arguments")
    return wrong


def sizes(tree: Tree) -> list[str]:
    """Files and functions stay small enough to be read at once."""
    wrong = []
    for module in tree.modules:
        if module.lines > FILE_LINES_MAX:
            wrong.append(f"{module.path} has {module.lines} lines, more than {FILE_LINES_MAX}")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    wrong.append(f"{module.path}:{node.lineno} {node.name} has {length} lines")
    return wrong


def folder_names(tree: Tree) -> list[str]:
    """No folder or module is named after nothing in particular."""
    return [
        f"{module.path}: a name must say what is inside"
        for module in tree.modules
        if NAMES_FORBIDDEN & set(module.name.split("."))
    ]


def _identifiers(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


def words(tree: Tree) -> list[str]:
    """One meaning per word."""
    return [
        f"{module.path}:{line} {identifier}: {why}"
        for module in tree.modules
        if module.top != "tests"
        for identifier, line in _identifiers(module.tree)
        for beginning, pattern, why in WORDS
        if module.path.startswith(beginning) and pattern.search(identifier)
    ]


CHECKERS = (floors, rooms, circles, doors, permits, sql, clocks, sizes, folder_names, words)
