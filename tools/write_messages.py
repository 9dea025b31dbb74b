"""Write docs/messages.md: every error class and every code of an error or a note that the source uses."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "messages.md"
HEAD = """# Messages and their codes

Every error and every note is one line of English and has a code that does not change between releases. Programs should
test the code, not the text. Python has it as `error.code` and `note.code` (a note is a `str` with `code` and `values`).
`python tools/write_messages.py` writes this page from the source.

## Errors

| code | class | exit code |
|---|---|---|
"""
MORE = """
Narrower codes, which replace the default of the class:

| code | raised in |
|---|---|
"""
NOTES = """
## Notes

A value in braces comes with the note.

| code | text |
|---|---|
"""
CODE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
NOTE_CALLS = ("note", "Note.make")


@cache
def sources() -> list[tuple[str, ast.Module]]:
    """Every file of the package: its path under src/echomimic, and its tree."""
    package = ROOT / "src" / "echomimic"
    paths = sorted(package.rglob("*.py"), key=lambda path: (path.name != "errors.py", path))
    return [(str(path.relative_to(package)), ast.parse(path.read_text(encoding="utf-8"))) for path in paths]


def text_of(node: ast.expr | None) -> str | None:
    """The value of a string literal."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def error_classes() -> Iterator[tuple[str, str, int]]:
    """(code, class, exit code) of every class that sets a code."""
    exits: dict[str, int] = {}
    for _, tree in sources():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef):
                continue
            fields = {
                target.id: line.value
                for line in node.body
                if isinstance(line, ast.Assign)
                for target in line.targets
                if isinstance(target, ast.Name)
            }
            own = fields.get("exit_code")
            above = [exits[ast.unparse(base)] for base in node.bases if ast.unparse(base) in exits]
            exits[node.name] = own.value if isinstance(own, ast.Constant) else (above or [1])[0]  # type: ignore[assignment]
            code = text_of(fields.get("code"))
            if code:
                yield code, node.name, exits[node.name]


def calls() -> Iterator[tuple[str, str, str | None]]:
    """(code, file, template or None) of every note and of every `code="…"` in a call."""
    for path, tree in sources():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            named = {keyword.arg: text_of(keyword.value) for keyword in node.keywords}
            first = text_of(node.args[0]) if len(node.args) >= 2 else None
            is_note = first is not None and ast.unparse(node.func) in NOTE_CALLS
            code = first if is_note else named.get("code")
            if code and CODE.fullmatch(code):
                yield code, path, text_of(node.args[1]) if is_note else named.get("template")


def page() -> str:
    """The whole page."""
    found = list(calls())
    errors = sorted({f"| `{code}` | `{name}` | {exit_code} |" for code, name, exit_code in error_classes()})
    places: dict[str, set[str]] = {}
    for code, path, template in found:
        if template is None:
            places.setdefault(code, set()).add(f"`{path}`")
    narrow = [f"| `{code}` | {', '.join(sorted(paths))} |" for code, paths in sorted(places.items())]
    notes = sorted({f"| `{code}` | {template.replace('|', '/')} |" for code, _, template in found if template})
    return "".join(
        (HEAD, "\n".join(errors), "\n", MORE, "\n".join(narrow), "\n", NOTES, "\n".join(notes), "\n"),
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.relative_to(ROOT)} written\n")
