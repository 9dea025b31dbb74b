"""Writes the example workflows of ComfyUI in the form its HTTP interface takes: python tests/write_comfy_api.py."""

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from helpers import comfy_standin

FOLDER = comfy_standin.ROOT / "comfyui" / "example_workflows"
WRITTEN = FOLDER / "api"
"""The host lists only what lies in the folder above."""


def with_examples(prompt: dict[str, Any]) -> dict[str, Any]:
    """The prompt with the example's picture, voice and a video of both instead of files that nobody has."""
    made = copy.deepcopy(prompt)
    for key, node in prompt.items():
        if node["class_type"] in ("LoadImage", "LoadAudio"):
            made[key] = {"class_type": "EchoMimicExample", "inputs": {}}
        if node["class_type"] == "LoadVideo":
            inputs = {"image": ["example", 0], "audio": ["example", 1], "preset": "mesh", "size": 512, "frames": 50}
            made |= {key: {"class_type": "EchoMimicTalk", "inputs": inputs}}
            made["example"] = {"class_type": "EchoMimicExample", "inputs": {}}
    for node in made.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list) and prompt.get(str(value[0]), {}).get("class_type") == "LoadAudio":
                node["inputs"][name] = [value[0], 1]
    return made


def text(workflow: Path) -> str:
    """One workflow file in that form; needs the stand-in to be installed."""
    prompt = with_examples(comfy_standin.prompt_of(json.loads(workflow.read_text(encoding="utf-8"))))
    return json.dumps(prompt, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    WRITTEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        for _ in comfy_standin.installed(Path(root), patch):
            for workflow in sorted(FOLDER.glob("*.json")):
                (WRITTEN / workflow.name).write_text(text(workflow), encoding="utf-8")


if __name__ == "__main__":
    main()
