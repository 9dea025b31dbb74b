"""Migration of workflows of every release of ComfyUI_EchoMimic to the nodes of the published page, which are ours.

Values move by name, three nodes become two, and what has no counterpart is listed in plain text.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Any

from echomimic.apps.comfy.graph_files import Graph, Node, read_graphs
from echomimic.apps.comfy.legacy_schema import LATER_MODES, LOADER, SAMPLER, VAE, VAE_NAMES, Slot
from echomimic.apps.comfy.old_layouts import LAYOUTS, NODES, PAGE, WIDGETS, fits, recognize
from echomimic.errors import InputError

_POSE_MODES = {"none": "audio_drived", "normal": "pose_normal", "turbo": "pose_acc"}
_NO_EFFECT = {
    "lora": "LoRAs of other networks do not fit; `echomimic train export` makes fitting ones",
    "prompt": "the networks take no text",
    "negative_prompt": "the networks take no text",
    "partial_video_length": "long voices need no parts",
    "teacache_offload": "there is no such cache",
    "block_offload": "lowvram keeps weights off the device",
    "use_mmgp": "lowvram keeps weights off the device",
    "face_detection_model": "faces are not restored",
    "bg_upsampler": "the whole picture is upscaled",
    "face_upsample": "faces are not restored",
    "has_aligned": "faces are not restored",
    "bg_tile": "the host chooses tiles",
    "upscale": "the model decides the factor",
    "fidelity_weight": "faces are not restored",
    "only_center_face": "faces are not restored",
    "draw_box": "faces are not restored",
}
"""Widgets without a counterpart, and why."""
_UNSET = ("", "None", "none", None, False)


@dataclass
class Migration:
    """A migrated document. `changed` counts its nodes that are new or have other values, `notes` says what differs."""

    document: dict[str, Any]
    changed: int = 0
    notes: list[str] = field(default_factory=list)


def migrate(document: Any) -> Migration:
    """Move the nodes of ComfyUI_EchoMimic in a workflow, or in a prompt of the API, to ours of the same names.

    Raises InputError if the document is neither, or has no such nodes.
    """
    try:
        made, graphs = read_graphs(document)
        if not any(node.type in NODES for graph in graphs for node in graph.nodes.values()):
            raise InputError(
                "the workflow has no node of ComfyUI_EchoMimic; expected Echo_LoadModel, Echo_Sampler, Echo_Predata or "
                "Echo_VideoUpscale: choose a workflow of that pack"
            )
        migration = Migration(made)
        for graph in graphs:
            _Mover(graph, migration).run()
        return migration
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"the workflow is damaged ({error!r}); expected the .json as ComfyUI saves it") from error


class _Mover:
    """Migrates one graph."""

    def __init__(self, graph: Graph, migration: Migration) -> None:
        self.graph, self.migration = graph, migration
        self.old: dict[Any, dict[str, Any]] = {}
        self.current = True
        """Whether every node has the layout of the page."""

    def run(self) -> None:
        nodes = [node for node in self.graph.nodes.values() if node.type in NODES]
        for node in nodes:
            self.old[node.id] = self._read(node)
        if self.current:
            return
        samplers = list(self._of("Echo_Sampler"))
        for node in samplers:
            predata = self._source(node, "emb", "Echo_Predata")
            if predata is not None:
                self._join(node, predata)
        for node in list(self._of("Echo_LoadModel")):
            self._load(node)
        for node in samplers:
            self._sample(node)
        for node in list(self._of("Echo_Predata")):
            self._remove(node)
        self._upscale()
        self.graph.format.write(self.graph)

    def _of(self, kind: str) -> Iterator[Node]:
        return (node for node in self.graph.nodes.values() if node.type == kind)

    def _source(self, node: Node, name: str, kind: str) -> Node | None:
        """The node of that type which feeds an input, directly or through reroutes."""
        links, seen = node.links.get(name), set[Any]()
        while links is not None and links[0] not in seen:
            seen.add(links[0])
            found = self.graph.nodes.get(links[0])
            if found is not None and found.type == kind:
                return found
            reroutes = found is not None and found.type == "Reroute"
            links = next(iter(found.links.values()), None) if found is not None and reroutes else None
        return None

    def _note(self, node: Node, text: str) -> None:
        self.migration.notes.append(f"{node.type} {node.id}: {text}")

    def _read(self, node: Node) -> dict[str, Any]:
        """The values of a node by the names that its release gave them."""
        stored = self.graph.format.stored(node)
        if isinstance(stored, Mapping):
            widgets = {*PAGE.get(node.type, LAYOUTS[0]).widgets, *node.links} - {"control_after_generate"}
            named, of_page = stored, stored.keys() | node.links.keys() >= widgets >= stored.keys()
        else:
            layout = recognize(node.type, stored, node.links)
            named = {} if layout is None else dict(zip(layout.widgets, stored, strict=True))
            of_page = layout is not None and layout == PAGE.get(node.type)
            if layout is None:
                self._note(node, f"its {len(stored)} values fit no release: the defaults are used")
        values = {name: value for name, value in named.items() if name in WIDGETS and fits(name, value)}
        for name in named:
            if name in WIDGETS and name not in values and name not in _NO_EFFECT:
                self._note(node, f"{name} holds {named[name]!r}, which it cannot: the default is used")
        old = (
            node.type not in PAGE or {"pipe", "emb"} & node.links.keys() or str(values.get("version")).startswith("V3")
        )
        self.current = self.current and of_page and not old and len(values) == len(named)
        return values

    def _join(self, node: Node, predata: Node) -> None:
        """Give a sampler what its Echo_Predata has, and the loader the two switches of it."""
        values = dict(self.old[predata.id])
        self.old[node.id] = {**values, **self.old[node.id]}
        for name, source in predata.links.items():
            if name not in ("info", "clip", "clip_vision"):
                node.links.setdefault(name, source)
        del node.links["emb"]
        self.graph.reroute((node.id, 1), (node.id, 2))  # frame_rate: there is a voice before it
        loader = self._source(node, "model", "Echo_LoadModel")
        if loader is not None:
            node.links["face_detector"] = (loader.id, 1)
            switches = {"draw_mouse": values.get("draw_mouse"), "motion_sync": values.get("motion_sync_")}
            self.old[loader.id] |= {name: value for name, value in switches.items() if value is not None}

    def _load(self, node: Node) -> None:
        old, values = self.old[node.id], _defaults(LOADER)
        values |= {name: old[name] for name in values if name in old}
        values["version"] = old.get("version", "V1")
        if "pose_mode" in old:
            values["infer_mode"] = _POSE_MODES[old["pose_mode"]]
        elif "use_pose" in old:
            values["infer_mode"] = "pose_normal" if old["use_pose"] else "audio_drived"
        values["infer_mode"] = LATER_MODES.get(values["infer_mode"], values["infer_mode"])
        if values["version"].startswith("V3"):
            self._note(node, f"version {values['version']}: these networks are not supported, V2 is used")
            values["version"] = "V2"
        if values["vae"] != VAE and PureWindowsPath(values["vae"]).stem not in VAE_NAMES:
            self._note(node, f"vae {values['vae']} is not used: every EchoMimic was trained with sd-vae-ft-mse")
            values["vae"] = VAE
        self._note_unused(node, old)
        self._finish(node, values, LOADER)

    def _sample(self, node: Node) -> None:
        old, values = self.old[node.id], _defaults(SAMPLER)
        for new, name in (("model", "pipe"), ("seed", "seeds")):
            if name in node.links:
                node.links[new] = node.links.pop(name)
        old.setdefault("seed", old.get("seeds", 0))
        values |= {name: old[name] for name in values if name in old}
        values["control_after_generate"] = old.get("control_after_generate", "fixed")
        if old.get("crop_face") is False:
            values["facecrop_ratio"] = 1.0
            self._note(node, "crop_face off became facecrop_ratio 1: the largest square of the picture")
        self._files(node, old)
        for slot in SAMPLER:
            self._limit(node, slot, values)
        self._note_unused(node, old)
        self._finish(node, values, SAMPLER)

    def _files(self, node: Node, old: Mapping[str, Any]) -> None:
        """Files that early releases named in a widget come from nodes of the core now."""
        path = old.get("audio")
        if path and "audio" not in node.links:
            name = PureWindowsPath(path).name
            node.links["audio"] = (self.graph.add("LoadAudio", {"audio": name}, {}, node).id, 0)
            self._note(node, f"the voice {path} is read by Load Audio: put {name} into the input folder")
        video = old.get("video_files", "none")
        if video in _UNSET:
            return
        frames = self._video(node, video)
        node.links["video_images"] = (frames.id, 0)
        if old.get("audio_form_video"):
            node.links["audio"] = (frames.id, 1)
        self._note(node, f"the video {video} is read by Load Video: put it into the input folder")

    def _video(self, node: Node, name: str) -> Node:
        film = self.graph.add("LoadVideo", {"file": name}, {}, node)
        return self.graph.add("GetVideoComponents", {}, {"video": (film.id, 0)}, node)

    def _limit(self, node: Node, slot: Slot, values: dict[str, Any]) -> None:
        """A number as its widget holds it: of its type, inside of its range."""
        value = values.get(slot.name)
        if slot.low is None or slot.high is None or value is None:
            return
        kept = min(max(value, slot.low), slot.high)
        kept = round(kept) if slot.kind == "INT" else float(kept)
        if kept != value:
            self._note(node, f"{slot.name} {value:g} became {kept:g}: the widget takes {slot.low:g} to {slot.high:g}")
        values[slot.name] = kept

    def _note_unused(self, node: Node, old: Mapping[str, Any]) -> None:
        for name, why in _NO_EFFECT.items():
            if old.get(name) not in _UNSET:
                text = str(old[name])
                shown = text if len(text) <= 40 else text[:40] + "…"
                self._note(node, f"{name} ({shown}) has no counterpart: {why}")

    def _finish(self, node: Node, values: dict[str, Any], slots: tuple[Slot, ...]) -> None:
        """Set the values, and drop links to inputs that the node no longer has."""
        names = {slot.name for slot in slots}
        for name in [name for name in node.links if name not in names]:
            del node.links[name]
            self._note(node, f"the link to {name} is dropped: this input is gone")
        node.values = values
        self.migration.changed += 1

    def _remove(self, node: Node) -> None:
        del self.graph.nodes[node.id]
        self.graph.reroute((node.id, 0), None)
        self.migration.changed += 1

    def _upscale(self) -> None:
        """The nodes that upscaled become the core's; sound and frame rate pass by."""
        for node in list(self._of("Echo_Upscaleloader")):
            self._note_unused(node, self.old[node.id])
            self._rewrite(node, "UpscaleModelLoader", {"model_name": self.old[node.id].get("realesrgan", "")}, {})
        for node in list(self._of("Echo_VideoUpscale")):
            old, links = self.old[node.id], dict(node.links)
            self._note_unused(node, old)
            if "image" not in links and old.get("video_path", "none") not in _UNSET:
                frames = self._video(node, old["video_path"])
                links |= {"image": (frames.id, 0), "audio": (frames.id, 1), "frame_rate": (frames.id, 2)}
                self._note(node, f"the video {old['video_path']} is read by Load Video: put it into the input folder")
            for output, name in ((1, "audio"), (2, "frame_rate")):
                if self.graph.reroute((node.id, output), links.get(name)) and name not in links:
                    self._note(node, f"its output {name} is gone: link it from the sampler")
            fed = {"upscale_model": links.get("model"), "image": links.get("image")}
            kept = {name: source for name, source in fed.items() if source is not None}
            self._rewrite(node, "ImageUpscaleWithModel", {}, kept)

    def _rewrite(self, node: Node, kind: str, values: dict[str, Any], links: dict[str, Any]) -> None:
        node.type, node.values, node.links = kind, values, links
        self.migration.changed += 1


def _defaults(slots: tuple[Slot, ...]) -> dict[str, Any]:
    return {slot.name: slot.default for slot in slots if slot.default is not None}
