"""The imports point one way, and the code keeps its proportions (docs/architecture.md)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "echomimic"
FILES = sorted(SOURCE.rglob("*.py"))

# from the ground up: a module imports from its own storey and from those below
STOREYS: tuple[frozenset[str], ...] = (
    frozenset({"data", "errors", "installation", "notes", "options", "signals", "types"}),
    frozenset({"checkpoints", "landmarks", "media", "motion"}),
    frozenset({"presets", "engines", "mesh", "diffusion"}),
    frozenset({"api", "editing"}),
    frozenset({"apps", "client", "evaluate", "train"}),
)
STOREY = {name: number for number, names in enumerate(STOREYS) for name in names}
# neighbours that must not know each other
APART = {("mesh", "diffusion"), ("diffusion", "mesh"), ("train", "api")}
APART |= {(one, other) for one in STOREYS[-1] for other in STOREYS[-1] if one != other}
APART -= {("apps", "evaluate")}  # the command line is its front door
FRONT = ("__init__", "__main__")


def part(path: Path) -> str:
    """The first name under the package: `mesh` for mesh/warp.py, `api` for api.py."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported(path: Path) -> Iterator[str]:
    """The modules of this package that a file imports, anywhere in it, as names under the package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield "relative import"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "echomimic":
            under = (node.module or "").split(".")[1:]
            yield from [".".join(under)] if under else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("echomimic."):
                    yield alias.name.removeprefix("echomimic.")


def faults(path: Path) -> Iterator[str]:
    """What is wrong with the imports of a file."""
    here = part(path)
    if here in FRONT:
        return
    if here not in STOREY:
        yield f"{here} stands on no storey: add it to STOREYS"
        return
    for name in imported(path):
        there = name.split(".")[0]
        if there == "__version__":
            continue
        if there not in STOREY:
            yield f"imports {name}: a relative import, or a module on no storey"
        elif STOREY[there] > STOREY[here] or (here, there) in APART:
            yield f"{here} must not import {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    assert list(faults(path)) == []


def test_parts_import_each_other_in_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path in FILES:
        if part(path) not in FRONT:
            graph.setdefault(part(path), set()).update(name.split(".")[0] for name in imported(path))
    while graph:
        free = {name for name, needs in graph.items() if not (needs & graph.keys()) - {name}}
        assert free, f"a circle of imports among {sorted(graph)}"
        for name in free:
            del graph[name]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno - node.lineno >= 50
    ]
    assert len(text.splitlines()) <= 600
    assert long == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_print_and_no_device_by_name(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print")
        assert not (isinstance(node, ast.Constant) and node.value == "cuda"), "devices come in from outside"


def test_the_test_finds_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_layers.SOURCE", tmp_path)
    wrong = tmp_path / "media.py"
    wrong.write_text("from echomimic import api\nfrom echomimic.types import Clip\nfrom . import face\n")
    assert list(faults(wrong)) == [
        "media must not import api",
        "imports relative import: a relative import, or a module on no storey",
    ]
