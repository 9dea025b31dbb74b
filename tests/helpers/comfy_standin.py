"""A small stand-in for the parts of ComfyUI that the nodes use: schemas, folders, progress, models, core nodes."""

import asyncio
import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


class Interrupted(BaseException):
    """The host's exception when the user has stopped a run."""


class Input:
    def __init__(self, id: str, optional: bool = False, **more: Any) -> None:  # noqa: A002
        self.id, self.optional = id, optional
        self.more = {name: value for name, value in more.items() if value is not None}


class Output:
    def __init__(self, id: str, display_name: str | None = None) -> None:  # noqa: A002
        self.id, self.name = id, display_name or id


def kind(name: str) -> Any:
    """A type of the schema: its inputs and outputs know its name."""
    made = SimpleNamespace()
    made.Input = type("Input", (Input,), {"io_type": name})
    made.Output = type("Output", (Output,), {"io_type": name})
    return made


class Option:
    def __init__(self, key: str, inputs: list[Input]) -> None:
        self.key, self.inputs = key, inputs


class NodeOutput:
    def __init__(self, *args: Any, ui: Any = None, expand: dict[str, Any] | None = None) -> None:
        self.result, self.ui, self.expand = args, ui, expand


class GraphBuilder:
    """Nodes that take the place of another."""

    def __init__(self) -> None:
        self.nodes: dict[str, Any] = {}

    def node(self, kind: str, **inputs: Any) -> Any:
        name = f"inner.{len(self.nodes)}"
        self.nodes[name] = {"class_type": kind, "inputs": inputs}
        return SimpleNamespace(out=lambda place: [name, place])

    def finalize(self) -> dict[str, Any]:
        return self.nodes


class Video:
    """A video in a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def save_to(self, path: str) -> None:
        shutil.copyfile(self.path, path)


class Host:
    """The state of the stand-in during a run, and its folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("input", "output", "models", "custom_nodes"):
            (root / name).mkdir(parents=True)
        self.places: dict[str, list[str]] = {"custom_nodes": [str(root / "custom_nodes")]}
        self.reported: list[tuple[int, int, Any]] = []
        self.loaded: list[Any] = []
        self.stop_after = -1
        self.startup: list[Any] = []
        self.routes: dict[str, Any] = {}
        self.prompt_handlers: list[Any] = []
        self.mapping: dict[str, Any] = {}
        self.texts: list[tuple[str, str]] = []

    def add(self, name: str, path: str) -> None:
        if path not in self.places.setdefault(name, []):
            self.places[name].append(path)

    def update(self, value: int, total: int, preview: Any = None) -> None:
        self.reported.append((value, total, preview))

    def text(self, text: str, node: str) -> None:
        self.texts.append((node, text))

    def server(self) -> SimpleNamespace:
        """The parts of the host's server that a pack uses."""
        return SimpleNamespace(
            send_progress_text=self.text,
            app=SimpleNamespace(on_startup=self.startup),
            routes=SimpleNamespace(post=lambda path: lambda handler: self.routes.update({path: handler})),
            add_on_prompt_handler=self.prompt_handlers.append,
        )

    def check(self) -> None:
        if 0 <= self.stop_after <= len(self.reported):
            self.stop_after = -1
            raise Interrupted


def modules(host: Host) -> dict[str, ModuleType]:
    """The host's modules by name."""
    plain = ("Image", "Audio", "Video", "String", "Int", "Float", "Boolean", "Combo", "Mask")
    io = SimpleNamespace(**{name: kind(name.upper()) for name in plain})
    io.Hidden = SimpleNamespace(unique_id="UNIQUE_ID")
    io.BoundingBox = kind("BOUNDING_BOX")
    io.Custom, io.NodeOutput = kind, NodeOutput
    io.DynamicCombo = kind("COMFY_DYNAMICCOMBO_V3")
    io.DynamicCombo.Option = Option
    io.Schema, io.ComfyNode = SimpleNamespace, type("ComfyNode", (), {})
    paths = {
        "models_dir": str(host.root / "models"),
        "get_input_directory": lambda: str(host.root / "input"),
        "get_output_directory": lambda: str(host.root / "output"),
        "get_temp_directory": lambda: str(host.root / "temp"),
        "get_folder_paths": lambda name: list(host.places[name]),
        "add_model_folder_path": host.add,
        "get_save_image_path": lambda prefix, folder: (folder, prefix, 1, "", prefix),
    }
    management = {
        "throw_exception_if_processing_interrupted": host.check,
        "get_torch_device": lambda: torch.device("cpu"),
        "unet_offload_device": lambda: torch.device("cpu"),
        "load_models_gpu": lambda models, memory_required: host.loaded.extend(models),
        "free_memory": lambda memory, device: None,
        "is_oom": lambda error: isinstance(error, MemoryError),
        "soft_empty_cache": lambda: None,
    }
    bar = type("ProgressBar", (), {"__init__": lambda self, total: None, "update_absolute": staticmethod(host.update)})
    latest = {
        "io": io,
        "ComfyExtension": type("ComfyExtension", (), {}),
        "InputImpl": SimpleNamespace(VideoFromFile=Video),
    }
    contents: dict[str, dict[str, Any]] = {
        "folder_paths": paths,
        "comfy": {},
        "comfy.utils": {"ProgressBar": bar},
        "comfy.model_management": management,
        "comfy.model_patcher": {"ModelPatcher": lambda parts, **devices: parts},
        "server": {"PromptServer": SimpleNamespace(instance=host.server())},
        "nodes": {"NODE_CLASS_MAPPINGS": host.mapping},
        "comfy_execution": {},
        "comfy_execution.graph_utils": {"GraphBuilder": GraphBuilder},
        "comfy_api": {},
        "comfy_api.latest": latest,
    }
    made = {}
    for name, content in contents.items():
        made[name] = ModuleType(name)
        vars(made[name]).update(content)
    return made


def forget_nodes() -> None:
    """Forget the modules that keep a host, so that they are imported again for the next one."""
    for name in ("nodes", "legacy_nodes", "motion_nodes"):
        sys.modules.pop(f"echomimic.apps.comfy.{name}", None)


def installed(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host whose modules can be imported for as long as the test runs."""
    made = Host(root / "ComfyUI")
    for name, module in modules(made).items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("ECHOMIMIC_WEIGHTS", str(root / "none"))
    forget_nodes()
    yield made
    forget_nodes()


def load_nodes() -> dict[str, Any]:
    """The nodes that the folder `comfyui` registers, by id."""
    spec = importlib.util.spec_from_file_location("comfyui_echomimic_pack", ROOT / "comfyui" / "__init__.py")
    assert spec and spec.loader
    pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    assert not hasattr(pack, "NODE_CLASS_MAPPINGS")
    extension = asyncio.run(pack.comfy_entrypoint())
    asyncio.run(extension.on_load())
    return {node.define_schema().node_id: node for node in asyncio.run(extension.get_node_list())}


def received(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    """Inputs as a node receives them: the version of Load and what it reveals are one dict."""
    if kind != "EchoMimicLoad" or isinstance(values["version"], dict):
        return values
    return {"version": {name.removeprefix("version."): value for name, value in values.items()}}


def executed(kind: str, **values: Any) -> tuple[Any, ...]:
    """The results of a node, with the nodes that take its place run as the host runs them."""
    nodes = load_nodes()
    out = nodes[kind].execute(**received(kind, values))
    if not out.expand:
        return tuple(out.result)
    done: dict[str, tuple[Any, ...]] = {}

    def linked(value: Any) -> Any:
        return done[value[0]][value[1]] if isinstance(value, list) and value and value[0] in out.expand else value

    for name, inner in out.expand.items():
        done[name] = executed(inner["class_type"], **{key: linked(value) for key, value in inner["inputs"].items()})
    return tuple(linked(value) for value in out.result)


def widgets(inputs: list[Any], values: list[Any]) -> dict[str, Any]:
    """The widgets' values of a workflow file by name, in the order of the schema, as the page of ComfyUI reads them."""
    left, found = list(values), {}

    def take(each: Any, prefix: str = "") -> None:
        if each.io_type == "COMFY_DYNAMICCOMBO_V3":
            found[each.id] = left.pop(0)
            chosen = next(option for option in each.more["options"] if option.key == found[each.id])
            for inner in chosen.inputs:
                take(inner, f"{each.id}.")
        elif each.io_type in ("STRING", "INT", "FLOAT", "BOOLEAN", "COMBO"):
            found[prefix + each.id] = left.pop(0)
            if each.id == "seed":
                assert left.pop(0) in ("fixed", "randomize", "increment", "decrement")

    for each in inputs:
        take(each)
    assert left == [], f"{left} is left over"
    return found


CORE_WIDGETS: dict[str, tuple[str, ...]] = {
    "LoadImage": ("image",),
    "LoadAudio": ("audio",),
    "LoadVideo": ("file",),
    "SaveVideo": ("filename_prefix", "format", "format.codec"),
}


def prompt_of(document: dict[str, Any]) -> dict[str, Any]:
    """A workflow file as the server takes it, by the schemas of our nodes."""
    nodes = load_nodes()
    links = {link[0]: [str(link[1]), link[2]] for link in document["links"]}
    prompt = {}
    for each in document["nodes"]:
        inputs: dict[str, Any] = {slot["name"]: links[slot["link"]] for slot in each["inputs"]}
        if each["type"] in nodes:
            inputs.update(widgets(nodes[each["type"]].define_schema().inputs, each["widgets_values"]))
        else:
            inputs.update(zip(CORE_WIDGETS.get(each["type"], ()), each["widgets_values"], strict=False))
        prompt[str(each["id"])] = {"class_type": each["type"], "inputs": inputs, "_meta": {"title": each["type"]}}
    return prompt


def fits(each: Any, value: Any) -> bool:
    """Whether a widget can hold a value."""
    if each.io_type == "COMBO":
        return value in each.more["options"]
    if each.io_type in ("INT", "FLOAT"):
        whole = each.io_type == "FLOAT" or isinstance(value, int)
        return whole and not isinstance(value, bool) and each.more["min"] <= value <= each.more["max"]
    return isinstance(value, {"BOOLEAN": bool, "STRING": str}[each.io_type])


def core(host: Host) -> dict[str, Callable[..., tuple[Any, ...]]]:
    """The nodes of ComfyUI itself that the examples use."""
    from echomimic.media import read_speech, read_video
    from echomimic.media.sound import speech_chunks

    def image(image: str, **_: Any) -> tuple[Any, ...]:
        pixels = np.asarray(Image.open(host.root / "input" / image).convert("RGB"), np.float32) / 255
        return torch.from_numpy(pixels)[None], None

    def audio(audio: str, **_: Any) -> tuple[Any, ...]:
        speech = read_speech(host.root / "input" / audio)
        wave = np.concatenate(list(speech_chunks(speech, speech.rate, speech.channels)))
        return ({"waveform": torch.from_numpy(wave.T.copy())[None], "sample_rate": speech.rate},)

    def parts(video: Video) -> tuple[Any, ...]:
        frames = [torch.from_numpy(frame.astype(np.float32) / 255) for _, frame in read_video(video.path).frames()]
        return torch.stack(frames), None, 25.0

    return {
        "LoadImage": image,
        "LoadAudio": audio,
        "LoadVideo": lambda file, **_: (Video(str(host.root / "input" / file)),),
        "GetVideoComponents": parts,
        "SaveVideo": lambda video, **_: (video,),
        "PreviewAny": lambda source: (source,),
    }
