"""The imports point one way, files and functions are small, names are standard terms (docs/architecture.md)."""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from conftest import garbage_kept

SOURCE = Path(__file__).resolve().parents[2] / "src" / "echomimic"
FILES = sorted(SOURCE.rglob("*.py"))

# from the bottom up: a module imports from its own layer and from those below
LAYERS: tuple[frozenset[str], ...] = (
    frozenset(
        {"cancellation", "data", "errors", "files", "installation", "memory", "notes", "options", "signals", "types"}
    ),
    frozenset({"checkpoints", "landmarks", "media", "motion", "parallel", "provenance", "work"}),
    frozenset({"presets", "engines", "mesh", "diffusion"}),
    frozenset({"api", "editing", "inputs", "replay", "streaming"}),
    frozenset({"apps", "client", "evaluate", "train"}),
)
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}
# modules of one layer that must not import each other
APART = {("mesh", "diffusion"), ("diffusion", "mesh"), ("train", "api"), ("evaluate", "api")}
APART |= {(one, other) for one in LAYERS[-1] for other in LAYERS[-1] if one != other}
APART -= {("apps", "evaluate"), ("apps", "train")}  # the command line runs evaluation and training
# what the front ends may import besides themselves: functions and values of the API, public packages, a few modules
FOR_APPS = (
    {"apps", "evaluate", "train"}
    | {"api", "editing", "engines", "inputs", "presets", "replay", "streaming"}
    | LAYERS[0]
    | {"media", "motion", "checkpoints", "parallel", "provenance", "work"}
)
FOR_APPS_MODULES = {
    "landmarks.face",
    "landmarks.body",
    "landmarks.crop",
    "landmarks.networks.files",
}
EXCEPTIONS = {
    ("apps/cli/weights.py", "diffusion.networks"),  # checks files against the shapes of the networks
    ("apps/comfy/host.py", "diffusion.device"),  # ComfyUI moves the networks itself
}
WITHOUT_LAYER = ("__init__", "__main__")
PRIVATE_WORDS = frozenset(
    {
        *("bell", "board", "desk", "door", "intake", "look", "looks", "mend", "mends", "paper", "seat"),
        *("shot", "stand", "studio", "told", "wish", "wishes"),
    }
)


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    """The nodes of the syntax tree of a file."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@pytest.fixture(scope="module", autouse=True)
def trees() -> Iterator[None]:
    """The trees are made quickly, and forgotten with the last test."""
    with garbage_kept():
        yield
    nodes_of.cache_clear()


def faults_by_file(find: Callable[[Path], Iterator[str]]) -> dict[str, list[str]]:
    """What is wrong in each file; those in which nothing is are left out."""
    found = {str(path.relative_to(SOURCE)): list(find(path)) for path in FILES}
    return {name: wrong for name, wrong in found.items() if wrong}


def part(path: Path) -> str:
    """The first name under the package: `mesh` for mesh/warp.py, `api` for api.py."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported(path: Path) -> Iterator[str]:
    """The modules of this package that a file imports, anywhere in it, as names under the package."""
    for node in nodes_of(path):
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
    if here in WITHOUT_LAYER:
        return
    if here not in LAYER:
        yield f"{here} belongs to no layer: add it to LAYERS"
        return
    for name in imported(path):
        there = name.split(".")[0]
        if there == "__version__":
            continue
        if there not in LAYER:
            yield f"imports {name}: a relative import, or a module of no layer"
        elif LAYER[there] > LAYER[here] or (here, there) in APART:
            yield f"{here} must not import {name}"
        elif here == "apps" and not is_public(path, name):
            yield f"apps must not import {name}: see FOR_APPS"


def is_public(path: Path, name: str) -> bool:
    """Whether a front end may import this module: whole packages by their public names only, not their modules."""
    package, _, module = name.partition(".")
    if package in FOR_APPS:
        return not module or package not in ("media", "motion", "checkpoints", "parallel", "provenance")
    return name in FOR_APPS_MODULES or (path.relative_to(SOURCE).as_posix(), name) in EXCEPTIONS


def test_imports_point_one_way() -> None:
    assert faults_by_file(faults) == {}


def test_parts_import_each_other_in_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path in FILES:
        if part(path) not in WITHOUT_LAYER:
            graph.setdefault(part(path), set()).update(name.split(".")[0] for name in imported(path))
    while graph:
        free = {name for name, needs in graph.items() if not (needs & graph.keys()) - {name}}
        assert free, f"a circle of imports among {sorted(graph)}"
        for name in free:
            del graph[name]


def lines_of(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def too_long(path: Path) -> Iterator[str]:
    """A file of more than 600 lines, and functions of more than 50."""
    if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 600:
        yield f"{lines} lines"
    for node in nodes_of(path):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and lines_of(node) > 50:
            yield f"{node.name}: {lines_of(node)} lines"


def test_files_and_functions_are_small() -> None:
    assert faults_by_file(too_long) == {}


def prints_and_devices(path: Path) -> Iterator[str]:
    """Calls of print, and devices by name: those come in from outside."""
    for node in nodes_of(path):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"print in line {node.lineno}"
        if isinstance(node, ast.Constant) and node.value == "cuda":
            yield f"a device in line {node.lineno}"


def test_no_print_and_no_device_by_name() -> None:
    assert faults_by_file(prints_and_devices) == {}


def identifiers(path: Path) -> Iterator[str]:
    """The names that a file defines."""
    for node in nodes_of(path):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr


def private_names(path: Path) -> Iterator[str]:
    """Names with a word that is not a term of the field."""
    for name in sorted({path.stem, *identifiers(path)}):
        if {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)} & PRIVATE_WORDS:
            yield name


def test_names_use_the_standard_terms() -> None:
    assert faults_by_file(private_names) == {}


def test_the_page_names_every_part() -> None:
    page = (SOURCE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    missing = [name for name in LAYER if f"`{name}" not in page]
    assert missing == []


def test_the_test_finds_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_layers.SOURCE", tmp_path)
    wrong = tmp_path / "media.py"
    wrong.write_text("from echomimic import api\nfrom echomimic.types import Clip\nfrom . import face\n")
    assert list(faults(wrong)) == [
        "media must not import api",
        "imports relative import: a relative import, or a module of no layer",
    ]
    front_end = tmp_path / "apps" / "cli" / "main.py"
    front_end.parent.mkdir(parents=True)
    front_end.write_text(
        "from echomimic import api, motion\nfrom echomimic.motion.files import x\nimport echomimic.mesh"
    )
    assert list(faults(front_end)) == [
        "apps must not import motion.files: see FOR_APPS",
        "apps must not import mesh: see FOR_APPS",
    ]
