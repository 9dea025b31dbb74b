"""Writes the pack's subgraph blueprints from the schemas of its nodes: python tests/helpers/write_blueprints.py."""

import json
import sys
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers import comfy_standin

FOLDER = comfy_standin.ROOT / "comfyui" / "subgraphs"
INPUT, OUTPUT = -10, -20
"""Ids of a subgraph's own ends."""
_HOUSE = uuid.UUID("5f9a2c1e-7a30-4b52-9d6e-ec80a1b0c3d4")


@dataclass(frozen=True)
class Blueprint:
    """One subgraph: nodes by a short name, links between them, its ends, and the widgets that it shows.

    `links` are (node, output, node, input), where `in` and `out` are the ends; `set` holds values by node and widget.
    """

    description: str
    nodes: dict[str, str]
    links: tuple[tuple[str, str, str, str], ...]
    shown: tuple[tuple[str, str], ...]
    set: dict[tuple[str, str], Any] = field(default_factory=dict)


_SPEAKS = (
    *(("load", "model", "render", "model"), ("in", "image", "render", "image"), ("in", "audio", "render", "audio")),
    *(("render", "video", "out", "video"), ("render", "report", "out", "report")),
)
_SHOWN = (("load", "version"), ("render", "size"), ("render", "framing"), ("render", "seed"))
BLUEPRINTS = {
    "EchoMimic photo speaks": Blueprint(
        "A portrait photo and a voice become a video of that person speaking. Runs on any CPU without weights.",
        {"load": "EchoMimicLoad", "render": "EchoMimicSampler"},
        _SPEAKS,
        (*_SHOWN, ("render", "motion_strength"), ("render", "mouth_strength")),
    ),
    "EchoMimic photo follows a video": Blueprint(
        "A portrait moves as the person in a video does, and speaks with a voice.",
        {"load": "EchoMimicLoad", "follow": "EchoMimicMotion", "render": "EchoMimicSampler"},
        (*_SPEAKS, ("in", "video", "follow", "video"), ("follow", "motion", "render", "motion")),
        (*_SHOWN, ("follow", "align")),
    ),
    "EchoMimic half body with hands": Blueprint(
        "A half body speaks, and its hands gesture with the voice. Needs the weights of EchoMimic V2.",
        {"load": "EchoMimicLoad", "render": "EchoMimicSampler"},
        _SPEAKS,
        (*_SHOWN, ("render", "steps")),
        {("load", "version"): "V2", ("load", "speed"): "fast", ("render", "framing"): "full"},
    ),
    "EchoMimic edit the motion, then render": Blueprint(
        "Predict the motion of a voice, edit it, look at it as landmarks and curves, and render it.",
        {
            "load": "EchoMimicLoad",
            "predict": "EchoMimicPredictMotion",
            "edit": "EchoMimicEditMotion",
            "look": "EchoMimicPreviewMotion",
            "render": "EchoMimicSampler",
        },
        (
            *_SPEAKS,
            *(("load", "model", "predict", "model"), ("in", "image", "predict", "image")),
            *(("in", "audio", "predict", "audio"), ("predict", "motion", "edit", "motion")),
            *(("in", "drawn", "edit", "drawn"), ("edit", "motion", "render", "motion")),
            *(("edit", "motion", "look", "motion"), ("in", "image", "look", "image"), ("in", "audio", "look", "audio")),
            ("look", "video", "out", "preview"),
        ),
        (*_SHOWN, ("edit", "edits"), ("edit", "curve"), ("edit", "gain")),
    ),
}


def text(name: str) -> str:
    """The file of a blueprint; needs the stand-in to be installed."""
    return json.dumps(_document(name, BLUEPRINTS[name]), indent=1, ensure_ascii=False) + "\n"


def _document(name: str, made: Blueprint) -> dict[str, Any]:
    nodes = comfy_standin.load_nodes()
    schemas = {short: nodes[kind].define_schema() for short, kind in made.nodes.items()}
    graph = _Graph(name, made, schemas)
    kind = str(uuid.uuid5(_HOUSE, name))
    inner: dict[str, Any] = {
        "id": kind,
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": len(made.nodes), "lastLinkId": len(graph.links), "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": name,
        "inputNode": {"id": INPUT, "bounding": [-220, 60, 128, 100]},
        "outputNode": {"id": OUTPUT, "bounding": [420 * len(made.nodes), 60, 128, 100]},
        "inputs": graph.ends("in"),
        "outputs": graph.ends("out"),
        "widgets": [],
        "nodes": graph.nodes(),
        "groups": [],
        "links": graph.links,
        "extra": {},
        "category": "EchoMimic",
        "description": made.description,
    }
    outside = {
        "id": 1,
        "type": kind,
        "pos": [100, 100],
        "size": [340, 260],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [{"name": each["name"], "type": each["type"], "link": None} for each in inner["inputs"]],
        "outputs": [{"name": each["name"], "type": each["type"], "links": []} for each in inner["outputs"]],
        "properties": {"proxyWidgets": [[str(graph.ids[node]), widget] for node, widget in made.shown]},
        "widgets_values": [],
        "title": name,
    }
    whole = {"revision": 0, "last_node_id": 1, "last_link_id": 0, "nodes": [outside], "links": [], "version": 0.4}
    return {**whole, "definitions": {"subgraphs": [inner]}, "extra": {}}


class _Graph:
    """The inside of a blueprint in the form of the page."""

    def __init__(self, name: str, made: Blueprint, schemas: dict[str, Any]) -> None:
        self.name, self.made, self.schemas = name, made, schemas
        self.ids = {short: number for number, short in enumerate(made.nodes, start=1)}
        self._ends: dict[str, list[str]] = {"in": [], "out": []}
        self.links = [self._link(number, link) for number, link in enumerate(made.links, start=1)]

    def _link(self, number: int, link: tuple[str, str, str, str]) -> dict[str, Any]:
        origin, output, target, entry = link
        kind = self._type(origin, output, "outputs") if origin != "in" else self._type(target, entry, "inputs")
        return {
            "id": number,
            "origin_id": INPUT if origin == "in" else self.ids[origin],
            "origin_slot": self._end("in", output) if origin == "in" else self._place(origin, output),
            "target_id": OUTPUT if target == "out" else self.ids[target],
            "target_slot": self._end("out", entry) if target == "out" else self._sockets(target).index(entry),
            "type": kind,
        }

    def _end(self, side: str, name: str) -> int:
        if name not in self._ends[side]:
            self._ends[side].append(name)
        return self._ends[side].index(name)

    def _place(self, short: str, output: str) -> int:
        return [each.id for each in self.schemas[short].outputs].index(output)

    def _type(self, short: str, name: str, side: str) -> str:
        return next(str(each.io_type) for each in getattr(self.schemas[short], side) if each.id == name)

    def _sockets(self, short: str) -> list[str]:
        return [each.id for each in self.schemas[short].inputs if "default" not in each.more and each.id != "version"]

    def ends(self, side: str) -> list[dict[str, Any]]:
        """The subgraph's inputs or outputs."""
        mine, slot = (INPUT, "origin_slot") if side == "in" else (OUTPUT, "target_slot")
        end = "origin_id" if side == "in" else "target_id"
        found = []
        for place, name in enumerate(self._ends[side]):
            links = [each for each in self.links if each[end] == mine and each[slot] == place]
            known = str(uuid.uuid5(_HOUSE, f"{self.name} {side} {name}"))
            entry = {"id": known, "name": name, "type": links[0]["type"], "linkIds": [each["id"] for each in links]}
            found.append(entry | {"label": name, "pos": [0, 20 * place]})
        return found

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes with their widgets at the values of the blueprint."""
        return [self._node(short, kind) for short, kind in self.made.nodes.items()]

    def _node(self, short: str, kind: str) -> dict[str, Any]:
        schema, number = self.schemas[short], self.ids[short]
        into = {each["target_slot"]: each["id"] for each in self.links if each["target_id"] == number}
        out = {
            place: [each["id"] for each in self.links if (each["origin_id"], each["origin_slot"]) == (number, place)]
            for place in range(len(schema.outputs))
        }
        kinds = {each.id: each.io_type for each in schema.inputs}
        sockets = [
            {"name": name, "type": kinds[name], "link": into.get(place)}
            for place, name in enumerate(self._sockets(short))
        ]
        ends = [
            {"name": each.id, "type": each.io_type, "links": out[place]} for place, each in enumerate(schema.outputs)
        ]
        values = [value for each in schema.inputs for value in self._values(short, each)]
        place = {"pos": [420 * (number - 1), 60], "size": [330, 300], "flags": {}, "order": number - 1, "mode": 0}
        made = {"id": number, "type": kind, **place, "inputs": sockets, "outputs": ends}
        return made | {"properties": {"Node name for S&R": kind}, "widgets_values": values}

    def _values(self, short: str, each: Any) -> list[Any]:
        if each.io_type == "COMFY_DYNAMICCOMBO_V3":
            chosen = self.made.set.get((short, each.id), each.more["options"][0].key)
            option = next(one for one in each.more["options"] if one.key == chosen)
            return [chosen, *(value for inner in option.inputs for value in self._values(short, inner))]
        if "default" not in each.more:
            return []
        return [self.made.set.get((short, each.id), each.more["default"]), *(["fixed"] if each.id == "seed" else [])]


def main() -> None:
    """Write every file."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        for _ in comfy_standin.installed(Path(root), patch):
            for name in BLUEPRINTS:
                (FOLDER / f"{name}.json").write_text(text(name), encoding="utf-8")


if __name__ == "__main__":
    main()
