"""Size and shape of a source tree: lengths, parameters, types given up, and the rooms of its import graph.

python experiments/shape.py src/securetune
"""

import argparse
import ast
import functools
import statistics
from collections.abc import Iterator
from pathlib import Path


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="the folder of the package, with its __init__.py")
    root = parser.parse_args().package
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(root.rglob("*.py"))}
    lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in trees]
    print("| Measure | Value |\n|---|---|")
    print(f"| Files, lines | {len(lines)}, {sum(lines):,} |")
    print(f"| Lines of a file: median, 95 %, longest | {_spread(lines)} |")
    for name, value in [*_functions(trees), *_looseness(root, trees), *_import_graph(root, trees)]:
        print(f"| {name} | {value} |")


def _functions(trees: dict[Path, ast.Module]) -> Iterator[tuple[str, str]]:
    functions = [node for node in _nodes(trees) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = [node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno]
    named = [[*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs] for node in functions]
    parameters = [sum(parameter.arg not in ("self", "cls") for parameter in given) for given in named]
    yield "Functions", str(len(functions))
    yield "Lines of a function: median, 95 %, longest", _spread(lengths)
    yield "Functions of more than 50 lines", str(sum(length > 50 for length in lengths))
    yield "Parameters: median, 95 %, most", _spread(parameters)
    yield "Functions of 8 parameters or more", str(sum(count >= 8 for count in parameters))


def _looseness(root: Path, trees: dict[Path, ast.Module]) -> Iterator[tuple[str, str]]:
    report = [_subscripts(tree) for path, tree in trees.items() if "report" in path.relative_to(root).parts]
    yield "`Any` in signatures and fields", str(sum(_named(node, "Any") for node in _nodes(trees)))
    yield "String subscripts, in `report/` alone", f"{sum(map(_subscripts, trees.values()))}, {sum(report)}"
    stores = [sum(_named(node, "found", ast.Store) for node in ast.walk(tree)) for tree in trees.values()]
    yield "Assignments to `found`, in files", f"{sum(stores)}, {sum(count > 0 for count in stores)}"


def _import_graph(root: Path, trees: dict[Path, ast.Module]) -> Iterator[tuple[str, str]]:
    """A room is an entry of the package; a floor is the longest chain of imports below it."""
    package = root.resolve().name
    arrows = {(_room(path, root), target) for path, tree in trees.items() for target in _imported(tree, package)}
    arrows = {(room, target) for room, target in arrows if room != target and "__init__" not in (room, target)}

    @functools.cache
    def floor(room: str) -> int:
        return 1 + max((floor(target) for importer, target in arrows if importer == room), default=0)

    rooms = {_room(path, root) for path in trees} - {"__init__"}
    entries = [path for path in root.iterdir() if path.suffix == ".py" or (path.is_dir() and path.name[0] not in "_.")]
    files = sum(path.is_file() for path in entries)
    yield "Entries of the package: files, folders", f"{files}, {len(entries) - files}"
    yield "Rooms, floors, arrows of the import graph", f"{len(rooms)}, {max(map(floor, rooms))}, {len(arrows)}"


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (module.split(".")[1] for module in modules if module.startswith(f"{package}."))


def _room(path: Path, root: Path) -> str:
    return path.relative_to(root).parts[0].removesuffix(".py")


def _nodes(trees: dict[Path, ast.Module]) -> Iterator[ast.AST]:
    return (node for tree in trees.values() for node in ast.walk(tree))


def _named(node: ast.AST, name: str, context: type[ast.expr_context] = ast.Load) -> bool:
    return isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, context)


def _subscripts(tree: ast.Module) -> int:
    slices = [node.slice for node in ast.walk(tree) if isinstance(node, ast.Subscript)]
    return sum(isinstance(key, ast.Constant) and isinstance(key.value, str) for key in slices)


def _spread(values: list[int]) -> str:
    ranked = sorted(values)
    return f"{int(statistics.median(ranked))}, {ranked[int(0.95 * len(ranked))]}, {ranked[-1]}"


if __name__ == "__main__":
    main()
