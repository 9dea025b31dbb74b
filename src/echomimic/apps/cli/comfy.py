"""The command `comfy migrate`: workflows of ComfyUI_EchoMimic for our nodes."""

import json
from pathlib import Path
from typing import Annotated

import typer

from echomimic.apps.cli.flags import Json, argument
from echomimic.apps.cli.reporter import print_json, print_line
from echomimic.errors import InputError

app = typer.Typer(help="Convert workflows of ComfyUI_EchoMimic to the nodes of this package.", no_args_is_help=True)

_Old = Annotated[Path, argument("OLD", "a workflow or an API prompt of ComfyUI, .json")]
_New = Annotated[Path, argument("NEW", "the migrated file")]


@app.callback()
def comfy() -> None:
    """Keep `migrate` a command of its own."""


@app.command("migrate")
def migrate_file(old: _Old, new: _New, as_json: Json = False) -> None:
    """Convert OLD, a workflow of any release of ComfyUI_EchoMimic, to the nodes of this package.

    Each value moves to the widget of its name; values without such a widget are listed.
    """
    from echomimic.apps.comfy.migrate import migrate
    from echomimic.media import write_file

    migration = migrate(_read(old))
    write_file(new, json.dumps(migration.document, ensure_ascii=False, indent=1))
    if as_json:
        print_json("migrate", path=str(new), nodes=migration.changed, notes=migration.notes)
        return
    for line in migration.notes:
        print_line(line)
    print_line(
        f"{new}: {migration.changed} nodes of ComfyUI_EchoMimic converted" if migration.changed else f"{new}: unchanged"
    )


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; expected a workflow of ComfyUI, .json: check the path") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); expected a workflow of ComfyUI") from None
