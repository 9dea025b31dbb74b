import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echomimic.data import demo_portrait, demo_voice
from echomimic.motion import load_motion, save_motion
from echomimic.types import Curves, LandmarkTrack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pytest.importorskip("mcp")
    shutil.copy(demo_portrait(), tmp_path / "portrait.png")
    shutil.copy(demo_voice(), tmp_path / "voice.flac")
    track = LandmarkTrack(np.zeros((50, 478, 3), np.float32), (64, 64), 25.0, np.ones(50, bool), Curves.rest(50, 25.0))
    save_motion(tmp_path / "motion.npz", track)
    return tmp_path


def calls(folder: Path, *asked: tuple[str, dict[str, Any]]) -> list[tuple[bool, Any]]:
    """Call tools over the package's own client; gives whether each failed, and its data or words."""
    from mcp import Client

    from echomimic.apps.mcp import make_server

    async def run() -> list[tuple[bool, Any]]:
        found: list[tuple[bool, Any]] = []
        async with Client(make_server([folder])) as client:
            tools = await client.list_tools()
            found.append((False, sorted(tool.name for tool in tools.tools)))
            for name, arguments in asked:
                result = await client.call_tool(name, arguments)
                text = getattr(result.content[0], "text", "") if result.content else ""
                found.append((bool(result.is_error), text if result.is_error else json.loads(text)))
        return found

    return asyncio.run(run())


def test_tools_work_inside_the_folder_only(folder: Path) -> None:
    inputs = {"portrait": "portrait.png", "speech": "voice.flac"}
    small = {"size": 64, "frames": 3}
    answers = calls(
        folder,
        ("plan", {**inputs, "options": small}),
        ("animate", {**inputs, "output": "out.mp4", "options": small}),
        ("verify", {"video": "out.mp4"}),
        ("edit_motion", {"motion": "motion.npz", "edits": [{"op": "trim", "start": 1}], "output": "short.npz"}),
        ("animate", {**inputs, "output": "out.mp4", "options": small}),
        ("plan", {**inputs, "portrait": "../portrait.png"}),
        ("plan", {**inputs, "portrait": "/etc/passwd"}),
        ("plan", {**inputs, "options": {"size": 1}}),
        ("edit_motion", {"motion": "motion.npz", "edits": [{"op": "trim"}], "output": "../short.npz"}),
    )
    assert answers[0][1] == ["animate", "edit_motion", "evaluate", "plan", "track", "verify"]
    failed = [bad for bad, _ in answers[1:]]
    assert failed == [False] * 4 + [True] * 5, answers
    plan, clip, verified, edited = (data for _, data in answers[1:5])
    assert plan["frames"] == clip["frames"] == 3 and Path(clip["path"]).exists()
    assert verified["record"]["preset"] == "mesh"
    assert edited["frames"] == len(load_motion(folder / "short.npz")) == 25
    words = [text for _, text in answers[5:]]
    assert "exists" in words[0] and "outside" in words[1] and "outside" in words[2] and "size" in words[3]
