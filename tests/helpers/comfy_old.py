"""Workflows as the releases of ComfyUI_EchoMimic saved them, with a value other than the default in every widget."""

from typing import Any

from echomimic.apps.comfy.old_layouts import LAYOUTS, Layout

ODD: dict[str, Any] = {
    "vae": "sd-vae-ft-mse.safetensors",
    "denoising": False,
    "infer_mode": "pose_acc",
    "pose_mode": "turbo",
    "use_pose": True,
    "draw_mouse": True,
    "motion_sync": True,
    "motion_sync_": True,
    "lowvram": True,
    "version": "V2",
    "use_mmgp": "None",
    "lora": "None",
    "teacache_offload": False,
    "block_offload": False,
    "audio": "C:\\voices\\mine.wav",
    "video_files": "driver.mp4",
    "pose_dir": "mine",
    "seeds": 77,
    "seed": 77,
    "control_after_generate": "increment",
    "cfg": 1.7,
    "steps": 9,
    "fps": 30,
    "sample_rate": 22000,
    "facemask_ratio": 0.3,
    "facecrop_ratio": 0.6,
    "context_frames": 16,
    "context_overlap": 5,
    "crop_face": True,
    "length": 300,
    "width": 640,
    "height": 384,
    "audio_form_video": False,
    "save_video": True,
    "prompt": "hello",
    "negative_prompt": "",
    "partial_video_length": 97,
}
"""A value for every widget, other than its default."""
LOADER = ("vae", "denoising", "infer_mode", "draw_mouse", "motion_sync", "lowvram", "version")
SAMPLER = (
    *("pose_dir", "seed", "control_after_generate", "cfg", "steps", "fps", "sample_rate", "facemask_ratio"),
    *("facecrop_ratio", "context_frames", "context_overlap", "length", "width", "height", "save_video"),
)
"""The widgets of the published page in the order of its files."""


def layouts(node: str) -> list[Layout]:
    return [each for each in LAYOUTS if each.node == node]


def node(number: int, layout: Layout | None, kind: str, inputs: dict[str, int], outputs: str) -> dict[str, Any]:
    values = [ODD[name] for name in layout.widgets] if layout else []
    entries = [{"name": name, "type": "*", "link": link} for name, link in inputs.items()]
    ends = [{"name": name, "type": name.upper(), "links": []} for name in outputs.split()]
    made = {"id": number, "type": kind, "pos": [0, 0], "inputs": entries, "outputs": ends, "widgets_values": values}
    return made | {"properties": {}}


def two_nodes(loader: Layout, sampler: Layout) -> dict[str, Any]:
    """A workflow of a release with two nodes: a picture and a voice into the sampler, its frames into a third node."""
    model = "model" if "model" in sampler.links or "seed" in sampler.widgets else "pipe"
    inputs = {"image": 1, "audio": 2, model: 3, "face_detector": 4, "visualizer": 5}
    if "audio" in sampler.widgets:
        del inputs["audio"]
    nodes = [
        node(1, None, "LoadImage", {}, "image mask"),
        node(2, None, "LoadAudio", {}, "audio"),
        node(3, loader, "Echo_LoadModel", {}, "model face_detector visualizer"),
        node(4, sampler, "Echo_Sampler", inputs, "image audio frame_rate"),
        node(5, None, "VHS_VideoCombine", {"images": 6, "frame_rate": 7}, ""),
    ]
    links = [[1, 1, 0, 4, 0, "IMAGE"], [2, 2, 0, 4, 1, "AUDIO"], [3, 3, 0, 4, 2, "MODEL"], [4, 3, 1, 4, 3, "MODEL"]]
    links += [[5, 3, 2, 4, 4, "MODEL"], [6, 4, 0, 5, 0, "IMAGE"], [7, 4, 2, 5, 1, "FLOAT"]]
    return saved(nodes, links)


def three_nodes(loader: Layout) -> dict[str, Any]:
    predata = layouts("Echo_Predata")[0]
    nodes = [
        node(1, None, "LoadImage", {}, "image mask"),
        node(2, None, "LoadAudio", {}, "audio"),
        node(3, loader, "Echo_LoadModel", {}, "model info"),
        node(4, predata, "Echo_Predata", {"info": 1, "image": 2, "audio": 3, "clip": None}, "emb"),  # type: ignore[dict-item]
        node(5, layouts("Echo_Sampler")[-1], "Echo_Sampler", {"model": 4, "emb": 5}, "image frame_rate"),
        node(6, None, "VHS_VideoCombine", {"images": 6, "frame_rate": 7}, ""),
    ]
    links = [[1, 3, 1, 4, 0, "MODEL_INFO_E"], [2, 1, 0, 4, 1, "IMAGE"], [3, 2, 0, 4, 2, "AUDIO"]]
    links += [[4, 3, 0, 5, 0, "MODEL_PIPE_E"], [5, 4, 0, 5, 1, "MODEL_EMB_E"]]
    links += [[6, 5, 0, 6, 0, "IMAGE"], [7, 5, 1, 6, 1, "FLOAT"]]
    return saved(nodes, links)


def saved(nodes: list[dict[str, Any]], links: list[list[Any]]) -> dict[str, Any]:
    """The file's content; every output knows the links that it feeds."""
    for number, origin, output, *_ in links:
        nodes[origin - 1]["outputs"][output]["links"].append(number)
    return {"nodes": nodes, "links": links, "last_node_id": len(nodes), "last_link_id": len(links), "version": 0.4}
