"""Writes the example workflows of ComfyUI in the form its HTTP interface takes: python tests/write_comfy_api.py."""

import json
import tempfile
from pathlib import Path

import pytest

from helpers import comfy_standin

FOLDER = comfy_standin.ROOT / "comfyui" / "example_workflows"
WRITTEN = FOLDER / "api"
"""The host lists only what lies in the folder above."""


def text(workflow: Path) -> str:
    """One workflow file in that form; needs the stand-in to be installed."""
    prompt = comfy_standin.prompt_of(json.loads(workflow.read_text(encoding="utf-8")))
    return json.dumps(prompt, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    WRITTEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        for _ in comfy_standin.installed(Path(root), patch):
            for workflow in sorted(FOLDER.glob("*.json")):
                (WRITTEN / workflow.name).write_text(text(workflow), encoding="utf-8")


if __name__ == "__main__":
    main()
