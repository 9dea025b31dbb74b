"""The nodes of ComfyUI on a stand-in for it: the published interface, running, stopping, errors."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from echomimic.apps.comfy import legacy_schema
from echomimic.apps.comfy.convert import box_of
from echomimic.errors import DeviceError, FaceError, MotionError, OptionError, WeightsError
from echomimic.options import OPTION_NAMES
from echomimic.presets import PRESETS
from helpers import comfy_standin
from helpers.comfy_standin import Host, Interrupted, executed, load_nodes
from helpers.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_networks: None) -> Iterator[Host]:
    yield from comfy_standin.installed(tmp_path, monkeypatch)


@pytest.fixture
def nodes(host: Host) -> dict[str, Any]:
    return load_nodes()


@pytest.fixture
def image(head_file: Path) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(head_file).convert("RGB"), np.float32) / 255)[None]


@pytest.fixture
def audio() -> dict[str, Any]:
    time = np.arange(24_000) / 48_000
    tone = 0.3 * np.sin(2 * np.pi * 150 * time) * np.sin(np.pi * 5 * time) ** 2
    return {"waveform": torch.from_numpy(np.stack([tone, tone]).astype(np.float32))[None], "sample_rate": 48_000}


def defaults(node: Any, **changed: Any) -> dict[str, Any]:
    inputs = {each.id: each.more["default"] for each in node.define_schema().inputs if "default" in each.more}
    return {**inputs, **changed}


FROZEN_LOADER = [
    ("vae", "STRING", "stabilityai/sd-vae-ft-mse"),
    ("denoising", "BOOLEAN", True),
    ("infer_mode", "COMBO", ["audio_drived", "audio_drived_acc", "pose_normal", "pose_acc"]),
    ("draw_mouse", "BOOLEAN", False),
    ("motion_sync", "BOOLEAN", False),
    ("lowvram", "BOOLEAN", False),
    ("version", "COMBO", ["V2", "V1"]),
]
FROZEN_SAMPLER = [
    ("image", "IMAGE", None),
    ("audio", "AUDIO", None),
    ("model", "MODEL_PIPE_E", None),
    ("face_detector", "MODEL_FACE_E", None),
    ("pose_dir", "COMBO", ["none"]),
    ("seed", "INT", (0, 0, 2147483647, None, None)),
    ("cfg", "FLOAT", (2.5, 0.0, 10.0, 0.1, 0.01)),
    ("steps", "INT", (30, 1, 100, None, None)),
    ("fps", "INT", (25, 5, 100, None, None)),
    ("sample_rate", "INT", (16000, 8000, 48000, 1000, None)),
    ("facemask_ratio", "FLOAT", (0.1, 0.0, 1.0, 0.1, 0.01)),
    ("facecrop_ratio", "FLOAT", (0.8, 0.0, 1.0, 0.1, 0.01)),
    ("context_frames", "INT", (12, 0, 50, None, None)),
    ("context_overlap", "INT", (3, 0, 10, None, None)),
    ("length", "INT", (120, 50, 5000, 1, None)),
    ("width", "INT", (512, 128, 1024, 64, None)),
    ("height", "INT", (512, 128, 1024, 64, None)),
    ("save_video", "BOOLEAN", False),
    ("visualizer", "MODEL_VISUAL_E", None),
    ("video_images", "IMAGE", None),
]


def shown(each: Any) -> tuple[str, str, object]:
    """An input as the frozen lists have it."""
    more = each.more
    if each.io_type == "COMBO":
        return each.id, each.io_type, more["options"]
    if each.io_type in ("INT", "FLOAT"):
        assert set(more) <= {"default", "min", "max", "step", "round", "tooltip"}
        return each.id, each.io_type, tuple(more.get(key) for key in ("default", "min", "max", "step", "round"))
    return each.id, each.io_type, more.get("default")


def test_the_published_loader_is_as_published(nodes: dict[str, Any]) -> None:
    schema = nodes["Echo_LoadModel"].define_schema()
    assert (schema.node_id, schema.display_name, schema.category) == ("Echo_LoadModel", "Echo_LoadModel", "EchoMimic")
    assert [shown(each) for each in schema.inputs] == FROZEN_LOADER
    assert [each.more["default"] for each in schema.inputs if each.io_type == "COMBO"] == ["audio_drived", "V2"]
    outputs = [("model", "MODEL_PIPE_E"), ("face_detector", "MODEL_FACE_E"), ("visualizer", "MODEL_VISUAL_E")]
    assert [(each.name, each.io_type) for each in schema.outputs] == outputs


def test_the_published_sampler_is_as_published(nodes: dict[str, Any]) -> None:
    schema = nodes["Echo_Sampler"].define_schema()
    assert [shown(each) for each in schema.inputs] == FROZEN_SAMPLER
    assert [each.id for each in schema.inputs if each.optional] == ["visualizer", "video_images"]
    outputs = [("image", "IMAGE"), ("audio", "AUDIO"), ("frame_rate", "FLOAT"), ("video", "VIDEO")]
    assert [(each.name, each.io_type) for each in schema.outputs] == outputs


def test_pose_dir_lists_the_folders_of_tensorrt_lite(host: Host) -> None:
    (host.root / "input" / "tensorrt_lite" / "my_pose").mkdir(parents=True)
    schema = load_nodes()["Echo_Sampler"].define_schema()
    assert next(each for each in schema.inputs if each.id == "pose_dir").more["options"] == ["none", "my_pose"]


@pytest.mark.parametrize(
    ("folder", "ours"),
    [("ComfyUI_EchoMimic", False), ("comfyui_echomimic-main", False), ("ComfyUI_EchoMimic.disabled", True)],
)
def test_the_original_pack_keeps_its_names(host: Host, folder: str, ours: bool) -> None:
    (host.root / "custom_nodes" / folder).mkdir()
    names = load_nodes()
    assert ("Echo_Sampler" in names) == ours and "EchoMimicSampler" in names


def test_the_native_nodes_have_every_option(nodes: dict[str, Any]) -> None:
    inside = [each.id for each in nodes["EchoMimicSampler"].define_schema().inputs]
    for option in nodes["EchoMimicLoad"].define_schema().inputs[0].more["options"]:
        inside += [each.id for each in option.inputs]
    renamed = {"guidance": "guidance_scale"}  # saved workflows have the old name
    missing = set(OPTION_NAMES) - {renamed.get(name, name) for name in inside}
    assert missing == {"device", "mark"}  # the host has a device, and nodes return frames, not files


def test_nothing_heavy_loads_with_the_pack(tmp_path: Path) -> None:
    script = f"""
import sys, json, types
from types import SimpleNamespace
sys.path.insert(0, {str(ROOT / "tests")!r})
class Hollow(types.ModuleType):
    def __getattr__(self, name): return Hollow(name)
    def __call__(self, *a, **k): return self
    def __mro_entries__(self, bases): return ()
for name in ("comfy_api", "comfy_api.latest"): sys.modules[name] = Hollow(name)
before = set(sys.modules)
from echomimic.apps.comfy import nodes, legacy_nodes
print(json.dumps(sorted({{name.split(".")[0] for name in set(sys.modules) - before}})))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert "echomimic" in loaded
    assert not loaded & {"torch", "av", "cv2", "mediapipe", "PIL", "diffusers", "transformers", "scipy", "safetensors"}


def test_a_voice_without_weights(nodes: dict[str, Any], host: Host, image: torch.Tensor, audio: dict[str, Any]) -> None:
    (model,) = nodes["EchoMimicLoad"].execute({"version": "mesh", "workers": 1}).result
    values = defaults(nodes["EchoMimicSampler"])
    out = nodes["EchoMimicSampler"].execute(model=model, image=image, audio=audio, **values)
    video, report, voice = out.result
    assert Path(video.path).parent == host.root / "temp"
    assert report.startswith("12 frames, 0.48 s at 25 fps: the whole voice\n256x256, preset mesh, seed 0")
    assert voice["waveform"].shape == (1, 2, 23_040) and voice["sample_rate"] == 48_000
    assert host.reported[-1][:2] == (12, 12)
    assert [reported for reported in host.reported if reported[2]]  # previews
    assert list((host.root / "input").iterdir()) == []


def test_the_same_seed_makes_the_same_video(nodes: dict[str, Any], image: torch.Tensor, audio: dict[str, Any]) -> None:
    talk = nodes["EchoMimicTalk"]
    values = defaults(talk, preset="tiny", frames=2)
    one, other = (Path(executed("EchoMimicTalk", image=image, audio=audio, **values)[0].path) for _ in range(2))
    assert one != other and one.read_bytes() == other.read_bytes()


def test_auto_reports_the_chosen_preset(nodes: dict[str, Any], image: torch.Tensor, audio: dict[str, Any]) -> None:
    talk = nodes["EchoMimicTalk"]
    _, report = executed("EchoMimicTalk", image=image, audio=audio, **defaults(talk, frames=3))
    assert "3 frames" in report and "as many as were asked for; the voice lasts 12" in report
    assert "preset mesh: no checkpoints" in report


@pytest.mark.parametrize("preset", PRESETS)
def test_talk_loads_the_requested_preset(
    nodes: dict[str, Any], image: torch.Tensor, audio: dict[str, Any], preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, preset, replace(PRESETS[preset], files={}))
    talk = nodes["EchoMimicTalk"]
    first, other = (
        talk.execute(image=image, audio=audio, **defaults(talk, preset=preset, seed=seed)).expand for seed in (1, 2)
    )
    load, sampler = first.values()
    assert load == next(iter(other.values()))  # so the host need not load again
    assert executed("EchoMimicLoad", **load["inputs"])[0].preset.name == preset
    links = {"motion", "bounding_box", "face_mask"}
    wanted = {slot.id for slot in nodes["EchoMimicSampler"].define_schema().inputs} - links
    assert set(sampler["inputs"]) == wanted and sampler["inputs"]["seed"] == 1


@pytest.mark.parametrize("version", ["auto", {"version": "auto"}])
def test_auto_is_resolved_again_when_weights_may_have_been_added(nodes: dict[str, Any], version: object) -> None:
    assert nodes["EchoMimicLoad"].fingerprint_inputs(version) == "mesh"
    assert nodes["EchoMimicLoad"].fingerprint_inputs({"version": "V1"}) == ""


@pytest.mark.parametrize("version", ["mesh", "tiny"])
def test_a_run_stops_within_a_step_and_leaves_nothing(
    nodes: dict[str, Any], host: Host, image: torch.Tensor, audio: dict[str, Any], version: str
) -> None:
    model = nodes["EchoMimicLoad"].execute({"version": version}).result[0]
    values = defaults(nodes["EchoMimicSampler"], frames=6, steps=3)
    host.stop_after = 2
    with pytest.raises(Interrupted):
        nodes["EchoMimicSampler"].execute(model=model, image=image, audio=audio, **values)
    assert len(host.reported) == 2
    assert list((host.root / "temp").iterdir()) == []
    _, report, _ = nodes["EchoMimicSampler"].execute(model=model, image=image, audio=audio, **values).result
    assert report.startswith("6 frames")


def test_the_networks_are_registered_with_the_host_once(
    nodes: dict[str, Any], host: Host, image: torch.Tensor, audio: dict[str, Any]
) -> None:
    model = nodes["EchoMimicLoad"].execute({"version": "tiny"}).result[0]
    for _ in range(2):
        values = defaults(nodes["EchoMimicSampler"], frames=2, steps=1)
        nodes["EchoMimicSampler"].execute(model=model, image=image, audio=audio, **values)
    first, second = host.loaded
    assert first is second
    assert sum(weights.numel() for weights in first.parameters()) > 10_000


def test_out_of_memory_says_what_to_lower(
    nodes: dict[str, Any], image: torch.Tensor, audio: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nodes["EchoMimicLoad"].execute({"version": "mesh"}).result[0]

    def prepare(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(model.engine, "prepare", prepare)
    with pytest.raises(DeviceError, match="lower context_frames"):
        nodes["EchoMimicSampler"].execute(model=model, image=image, audio=audio, **defaults(nodes["EchoMimicSampler"]))


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_missing_weights_are_named_with_folder_and_command(nodes: dict[str, Any], host: Host, version: str) -> None:
    (host.root / "models" / "echomimic").mkdir()
    loader = nodes["Echo_LoadModel"]
    with pytest.raises(WeightsError) as error:
        loader.execute(**defaults(loader, version=version, infer_mode="pose_acc"))
    preset = legacy_schema.PRESET_OF[version, "pose_acc"]
    words = str(error.value)
    assert f"echomimic weights fetch {preset} --to {host.root / 'models' / 'echomimic'}" in words
    assert f"huggingface.co/BadToBest/EchoMimic{'V2' if version == 'V2' else ' '}" in words
    assert f"{version.lower()}/reference_unet" in words and "vae" in words and "version mesh" in words


def fetching(monkeypatch: pytest.MonkeyPatch, nodes: dict[str, Any], fetch: Any) -> None:
    monkeypatch.setattr("echomimic.apps.comfy.host.fetch", fetch)
    nodes["EchoMimicLoad"].hidden = SimpleNamespace(unique_id="3")
    nodes["EchoMimicLoad"].execute({"version": "V2", "speed": "fast", "fetch": True})


def test_the_loader_fetches_weights_on_request(
    nodes: dict[str, Any], host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(files: Any, folder: Path, say: Any, progress: Any) -> None:
        asked.append((folder, [file.name for file in files]))
        say("https://huggingface.co/BadToBest/EchoMimicV2  licence: apache-2.0")
        progress(5, 10)

    with pytest.raises(WeightsError, match="fetch on"):  # nothing came
        fetching(monkeypatch, nodes, fetch)
    assert asked[0][0] == host.root / "models" / "echomimic" and "v2/denoising_unet_acc" in asked[0][1]
    assert ("3", "https://huggingface.co/BadToBest/EchoMimicV2  licence: apache-2.0") in host.texts
    assert (5, 10) in [(done, total) for done, total, _ in host.reported]


def test_a_fetch_is_stopped(nodes: dict[str, Any], host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = Event()

    def fetch(files: Any, folder: Path, say: Any, progress: Any) -> None:
        try:
            while True:
                progress(1, 10)
                time.sleep(0.01)
        finally:
            ended.set()

    host.stop_after = 1
    with pytest.raises(Interrupted):
        fetching(monkeypatch, nodes, fetch)
    assert ended.wait(PATIENCE), "the download ends too"


def test_another_vae_is_refused(nodes: dict[str, Any]) -> None:
    loader = nodes["Echo_LoadModel"]
    with pytest.raises(WeightsError, match="models/vae"):
        loader.execute(**defaults(loader, vae="some/other-vae"))


def test_a_wrong_option_is_one_line(nodes: dict[str, Any], image: torch.Tensor, audio: dict[str, Any]) -> None:
    model = nodes["EchoMimicLoad"].execute({"version": "mesh"}).result[0]
    values = defaults(nodes["EchoMimicSampler"], face_box="1,2,3")
    with pytest.raises(OptionError, match="face_box"):
        nodes["EchoMimicSampler"].execute(model=model, image=image, audio=audio, **values)


def test_two_sources_of_motion_are_refused(nodes: dict[str, Any]) -> None:
    found = SimpleNamespace()
    with pytest.raises(MotionError, match="one source"):
        nodes["EchoMimicMotion"].execute("none", "face", 25.0, True, video=found, pose_keypoints=[found])


def test_key_points_of_core_nodes_are_motion(nodes: dict[str, Any]) -> None:
    person = {
        "pose_keypoints_2d": [100.0, 120.0, 0.9] * 18,
        "face_keypoints_2d": [100.0, 100.0, 0.9] * 70,
        "hand_left_keypoints_2d": [90.0, 200.0, 0.9] * 21,
        "hand_right_keypoints_2d": [110.0, 200.0, 0.9] * 21,
    }
    frames = [{"canvas_width": 256, "canvas_height": 256, "people": [person]}] * 3
    _, report = nodes["EchoMimicMotion"].execute("none", "body", 10.0, True, pose_keypoints=frames).result
    assert report.splitlines()[0] == "hands and body: 3 frames, 0.30 s at 10 fps"


def test_face_landmarks_of_core_nodes_are_motion(nodes: dict[str, Any]) -> None:
    points = np.random.default_rng(0).random((478, 3)).astype(np.float32)
    face = {"landmarks_xy": points[:, :2] * 200, "landmarks_3d": points}
    found = {"frames": [[face], [], [face]], "canvas": (240, 320)}
    driver, _ = nodes["EchoMimicMotion"].execute("none", "face", 25.0, True, face_landmarks=found).result
    motion = driver.motion
    assert motion.image_size == (320, 240) and motion.valid.tolist() == [True, False, True]
    assert np.allclose(motion.points[0, :, :2], points[:, :2] * 200)


def box(left: float, side: float) -> dict[str, Any]:
    return {"x": left, "y": 5.0, "width": side, "height": side, "label": "face"}


@pytest.mark.parametrize(
    ("found", "number", "left"),
    [
        (box(9, 4), 0, 9),
        ([box(9, 4), box(2, 3)], 0, 9),
        ([[box(9, 4), box(2, 3)], []], 1, 2),
        ([[box(9, 4), box(2, 3)]], 2, 9),
    ],
)
def test_bounding_boxes_of_core_nodes_say_where_the_face_is(found: Any, number: int, left: float) -> None:
    assert box_of(found, number) == (left, 5.0, 4.0 if left == 9 else 3.0, 4.0 if left == 9 else 3.0)


def test_a_mask_says_where_the_face_is(nodes: dict[str, Any], image: torch.Tensor) -> None:
    """And the node gives the face as a mask of its crop and as a box of the picture."""
    portrait, mask = nodes["EchoMimicPortrait"], torch.zeros((1, 128, 128))
    mask[0, 30:90, 40:100] = 1  # half the size of the picture
    values = defaults(portrait, size=64)
    one = portrait.execute(image=image, face_mask=mask, **values).result
    found = [{"x": 80.0, "y": 60.0, "width": 120.0, "height": 120.0}]
    other = portrait.execute(image=image, bounding_box=found, **values).result
    assert one[1].crop == other[1].crop
    face, place = one[3], one[4]
    assert face.shape == (1, 64, 64) and face[0, 32, 32] == 1 and face[0, 0, 0] == 0
    assert set(place) == {"x", "y", "width", "height"} and 40 < place["x"] < 120
    with pytest.raises(FaceError, match="black everywhere"):
        portrait.execute(image=image, face_mask=torch.zeros((1, 64, 64)), **values)
    with pytest.raises(OptionError, match="a bounding box and a mask are given"):
        portrait.execute(image=image, face_mask=mask, bounding_box=found, **values)


def test_a_missing_box_is_refused(nodes: dict[str, Any]) -> None:
    for found, number in (([], 0), ([[]], 0), ([box(1, 2)], 2)):
        with pytest.raises(FaceError, match="one around the face"):
            box_of(found, number)


def test_the_linked_box_is_where_the_portrait_is_cropped(nodes: dict[str, Any], image: torch.Tensor) -> None:
    portrait = nodes["EchoMimicPortrait"]
    values = defaults(portrait, size=64)
    found = portrait.execute(image=image, **values).result[1].crop
    square = {"x": 40.0, "y": 40.0, "width": 150.0, "height": 170.0}
    linked = portrait.execute(image=image, bounding_box=[[square]], **values).result[1].crop
    assert abs(linked.left + linked.source_width / 2 - found.left - found.source_width / 2) < 40
    with pytest.raises(OptionError, match="face_box and a bounding box are given"):
        portrait.execute(image=image, bounding_box=square, **{**values, "face_box": "1,2,30,40"})


@pytest.mark.parametrize(("node", "under"), [("EchoMimicMotion", ""), ("Echo_Sampler", "tensorrt_lite")])
def test_a_folder_is_read_again_when_it_changes(nodes: dict[str, Any], host: Host, node: str, under: str) -> None:
    folder = host.root / "input" / under / "mine"
    folder.mkdir(parents=True)
    before = nodes[node].fingerprint_inputs("mine", fps=25)
    (folder / "0.npy").write_bytes(b"")
    assert nodes[node].fingerprint_inputs("mine", fps=25) != before
    assert nodes[node].fingerprint_inputs("none", fps=25) == []


def test_without_a_motion_the_voice_drives(nodes: dict[str, Any]) -> None:
    assert nodes["EchoMimicMotion"].execute("none", "face", 25.0, True).result == (None, "generated from the voice")
