"""The nodes in a real ComfyUI: set COMFYUI_DIR to a checkout, and COMFYUI_PYTHON to a Python that can run it."""

import io
import json
import os
import shutil
import subprocess
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echomimic.media import read_video, write_clip
from helpers.comfy_old import ODD, layouts, three_nodes, two_nodes
from helpers.comfy_server import CHECKOUT, PYTHON, ROOT, Server, defaults, graph, running_comfyui, saved, write_voice
from helpers.comfy_socket import Listener, listening
from helpers.web_browser import CHROMIUM, running_browser
from helpers.write_blueprints import BLUEPRINTS
from helpers.write_comfy_api import with_examples

FRAMES = int(os.environ.get("COMFYUI_FRAMES", "200"))
pytestmark = pytest.mark.skipif(not CHECKOUT, reason="no ComfyUI: set COMFYUI_DIR to a checkout of it")
EXAMPLES = sorted((ROOT / "comfyui" / "example_workflows").glob("*.json"))

IN_PROCESS = """
import asyncio, json, sys, time
sys.path.insert(0, sys.argv[1])
sys.argv = sys.argv[:1]
from comfy.cli_args import args
args.cpu = True
import comfy_api.latest, folder_paths, nodes, server
from types import SimpleNamespace
server.PromptServer.instance = SimpleNamespace(
    app=SimpleNamespace(on_startup=[]),
    routes=SimpleNamespace(post=lambda path: lambda handler: handler),
    add_on_prompt_handler=lambda handler: None,
)
before, began = set(sys.modules), time.perf_counter()
from echomimic.apps.comfy import extension
made = extension()
asyncio.run(made.on_load())
listed = asyncio.run(made.get_node_list())
took, new = time.perf_counter() - began, {name.split(".")[0] for name in set(sys.modules) - before}
types = {node.GET_SCHEMA().node_id: node.INPUT_TYPES() for node in listed}
model = listed[0].execute(version={"version": "tiny"}).result[0]
import torch
time_axis = torch.arange(16000) / 16000
audio = {"waveform": (torch.sin(time_axis * 900) * 0.3)[None, None], "sample_rate": 16000}
import numpy as np
from PIL import Image
pixels = np.asarray(Image.open(sys.stdin.readline().strip()).convert("RGB"), np.float32) / 255
sampler = next(node for node in listed if node.GET_SCHEMA().node_id == "EchoMimicSampler")
values = {name: entry[1]["default"] for name, entry in types["EchoMimicSampler"]["required"].items()
          if "default" in entry[1]}
values.update(frames=3, steps=1)
with torch.inference_mode():
    out = sampler.execute(model=model, image=torch.from_numpy(pixels)[None], audio=audio, **values).result
print("RESULT" + json.dumps({"took": took, "new": sorted(new), "types": list(types), "report": out[1],
    "size": out[0].get_dimensions(), "order": list(types["Echo_Sampler"]["required"])}, default=str))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, portrait_file: Path, head_file: Path) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("comfy")
    (base / "input").mkdir()
    shutil.copy(portrait_file, base / "input" / "portrait.png")
    shutil.copy(head_file, base / "input" / "head.png")
    still = np.asarray(Image.open(portrait_file).convert("RGB"), np.uint8)
    write_clip(base / "input" / "driver.mp4", iter([still] * 5), 25, None, {})
    write_voice(base / "input" / "voice.wav", 1)
    write_voice(base / "input" / "long.wav", FRAMES / 25)
    with running_comfyui(base) as made:
        yield made


def test_in_process(portrait_file: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [PYTHON, "-c", IN_PROCESS, CHECKOUT],
        input=f"{portrait_file}\n",
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        check=False,
    )
    assert "RESULT" in done.stdout, done.stderr[-2000:]
    found = json.loads(done.stdout.split("RESULT")[1])
    print(found)
    assert found["report"].startswith("3 frames") and found["size"] == [64, 64]
    assert not set(found["new"]) & {"cv2", "mediapipe", "diffusers", "skimage"}
    assert found["order"][:4] == ["image", "audio", "model", "face_detector"]


def test_the_server_knows_the_nodes_and_the_examples(server: Server) -> None:
    known = server.ask("/object_info")
    names = {"EchoMimicLoad", "EchoMimicPortrait", "EchoMimicPasteBack", "EchoMimicMotion", "EchoMimicSampler"}
    assert names | {"EchoMimicTalk", "Echo_LoadModel", "Echo_Sampler"} <= set(known)
    templates = server.ask("/workflow_templates")["echomimic"]
    assert set(templates) == {path.stem for path in (ROOT / "comfyui" / "example_workflows").glob("*.json")}
    assert set(server.ask("/i18n")["zh"]["nodeDefs"]) >= names
    lines = (server.base / "log.txt").read_text().splitlines()
    print(next(line for line in lines if line.endswith("custom_nodes/echomimic")))


@pytest.mark.parametrize("version", ["mesh", "tiny"])
def test_a_voice_to_a_video(server: Server, version: str) -> None:
    options = {**defaults(server, "EchoMimicSampler"), "frames": 5, "steps": 1}
    prompt = graph(version, **options)
    if version == "tiny":
        del prompt["3"]["inputs"]["version.workers"]
    history = server.wait(server.queue(prompt))
    assert history["status"]["status_str"] == "success", history["status"]
    assert read_video(saved(server, history)).count == 5
    print(history["outputs"]["4"]["text"])


def test_a_bounding_box_of_a_core_node_is_used(server: Server) -> None:
    prompt = graph("mesh", **{**defaults(server, "EchoMimicSampler"), "frames": 2, "framing": "crop"})
    sides = {"x": 60, "y": 60, "width": 140, "height": 150}
    prompt["6"] = {"class_type": "PrimitiveBoundingBox", "inputs": sides}
    prompt["4"]["inputs"]["bounding_box"] = ["6", 0]
    history = server.wait(server.queue(prompt))
    assert history["status"]["status_str"] == "success", history["status"]


def test_a_wrong_value_is_refused_before_anything_runs(server: Server) -> None:
    options = {**defaults(server, "EchoMimicSampler"), "steps": 5000}
    with pytest.raises(urllib.error.HTTPError) as error:
        server.queue(graph("mesh", **options))
    assert error.value.code == 400 and b"value_bigger_than_max" in error.value.read()


def test_talk_keeps_its_model_for_the_next_run(server: Server) -> None:
    """And hands it back where the host frees memory."""
    log = server.base / "log.txt"
    values = {**defaults(server, "EchoMimicTalk"), "preset": "tiny", "frames": 2}

    def loads(seed: int) -> int:
        prompt = graph("mesh")
        del prompt["3"]
        links = {"image": ["1", 0], "audio": ["2", 0]}
        prompt["4"] = {"class_type": "EchoMimicTalk", "inputs": {**values, "seed": seed, **links}}
        before = log.read_text().count("preset tiny is loaded")
        history = server.wait(server.queue(prompt))
        assert history["status"]["status_str"] == "success", history["status"]
        assert read_video(saved(server, history)).count == 2
        return log.read_text().count("preset tiny is loaded") - before

    def free() -> None:
        server.ask("/free", {"unload_models": True, "free_memory": True})
        time.sleep(2)

    free()  # the host shares a model between all prompts that load the same
    assert [loads(1), loads(2), loads(3)] == [1, 0, 0]
    free()
    assert loads(4) == 1


def test_a_prompt_of_three_nodes_runs_on_two(server: Server) -> None:
    """It gets as far as the weights: every value is at its name."""
    loader = {"vae": "sd-vae-ft-mse.safetensors", "lora": "None", "denoising": True, "infer_mode": "pose_normal_dwpose"}
    loader |= {"lowvram": True, "teacache_offload": True, "block_offload": True, "use_mmgp": "None", "version": "V2"}
    prompt = graph("mesh")
    prompt["3"] = {"class_type": "Echo_LoadModel", "inputs": loader}
    prompt["6"] = {"class_type": "Echo_Predata", "inputs": {"info": ["3", 1], "image": ["1", 0], "audio": ["2", 0]}}
    prompt["4"] = {"class_type": "Echo_Sampler", "inputs": {"model": ["3", 0], "emb": ["6", 0], "seed": 5}}
    prompt["5"]["inputs"]["video"] = ["4", 3]
    history = server.wait(server.queue(prompt))
    assert "echomimic weights fetch v2 --to" in json.dumps(history["status"]["messages"])
    assert history["prompt"][2]["4"]["inputs"]["seed"] == 5


def test_missing_weights_are_reported_to_the_user(server: Server) -> None:
    page = {**defaults(server, "Echo_Sampler"), "image": ["1", 0], "audio": ["2", 0]}
    page.update({"model": ["3", 0], "face_detector": ["3", 1], "visualizer": ["3", 2]})
    prompt = graph("mesh")
    prompt["3"] = {"class_type": "Echo_LoadModel", "inputs": defaults(server, "Echo_LoadModel")}
    prompt["4"] = {"class_type": "Echo_Sampler", "inputs": page}
    prompt["5"]["inputs"]["video"] = ["4", 3]
    history = server.wait(server.queue(prompt))
    words = json.dumps(history["status"]["messages"])
    print(next(each[1]["exception_message"] for each in history["status"]["messages"] if each[0] == "execution_error"))
    assert "echomimic weights fetch v2 --to" in words and "models/echomimic" in words


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_accepted(server: Server, path: Path) -> None:
    prompt = json.loads((path.parent / "api" / path.name).read_text(encoding="utf-8"))
    needs = {str(each["inputs"].get("version", "")) for each in prompt.values()} & {"V1", "V2"}
    for each in prompt.values():
        if each["class_type"] == "EchoMimicSampler" or each["class_type"] == "EchoMimicTalk":
            each["inputs"].update(frames=5, size=256)
    history = server.wait(server.queue(prompt))
    words = json.dumps(history["status"]["messages"])
    assert history["status"]["status_str"] == ("error" if needs else "success"), words
    assert not needs or "echomimic weights fetch" in words


def test_a_run_is_interrupted_within_a_step_and_leaves_nothing(server: Server) -> None:
    """And seen before that: a preview of what is not yet denoised."""
    options = {**defaults(server, "EchoMimicSampler"), "frames": 100, "steps": 1000, "framing": "crop"}
    prompt = graph("tiny", audio="voice.wav", **options)
    del prompt["3"]["inputs"]["version.workers"]
    with listening(server.url.removeprefix("http://"), "listener") as listener:
        job = str(server.ask("/prompt", {"prompt": prompt, "client_id": "listener"})["prompt_id"])
        (preview,) = listener.previews(1)
        one, other = (_later(listener) for _ in range(2))
        server.ask("/interrupt", {"prompt_id": job})
        began = time.monotonic()
        listener.until("execution_interrupted")
        took = time.monotonic() - began
    done, total = other["value"], other["max"]
    each = (other["at"] - one["at"]) / max(1, done - one["value"])
    step = each * (total - 100) / 1000
    print(f"interrupted at {done:.0f} of {total:.0f}; stopped after {took:.3f} s; a step takes {step:.2f} s")
    with Image.open(io.BytesIO(preview)) as picture:
        assert picture.format == "JPEG" and picture.width == picture.height
    assert done < total - 100 and took < max(step, 1)
    assert not list((server.base / "temp").glob("*echomimic*part*"))
    prompt["4"]["inputs"].update(frames=2, steps=1)
    assert server.wait(server.queue(prompt))["status"]["status_str"] == "success"


def _later(listener: Listener) -> dict[str, float]:
    """The progress that is reported next, and when."""
    return {**listener.until("progress")["data"], "at": time.monotonic()}


def test_a_long_video_takes_little_memory(server: Server) -> None:
    options = defaults(server, "EchoMimicSampler")
    idle = server.megabytes("VmRSS")
    server.wait(server.queue(graph("mesh", **{**options, "frames": 10})))
    server.forget_peak()
    before = server.megabytes("VmRSS")
    began = time.monotonic()
    history = server.wait(server.queue(graph("mesh", audio="long.wav", **options)))
    assert read_video(saved(server, history)).count == FRAMES
    more = server.megabytes("VmHWM") - before
    took = time.monotonic() - began
    print(f"{FRAMES} frames at 256x256 in {took:.0f} s: {idle:.0f} MB idle, {before:.0f} after 10 frames, +{more:.1f}")
    assert more <= 50


@pytest.mark.skipif(not CHROMIUM, reason="no browser: install chromium, or set ECHOMIMIC_CHROMIUM")
def test_the_page_opens_every_example_as_it_is_written(server: Server) -> None:
    """What the page would send for a workflow file is what the file for scripts holds; no node is red; in Chinese."""
    with running_browser() as browser:
        page = browser.new_context(locale="zh-CN").new_page()
        page.goto(server.url, wait_until="domcontentloaded")
        page.wait_for_function("window.app?.graph && window.app.extensionManager", timeout=120_000)
        for path in EXAMPLES:
            page.evaluate(
                "document => window.app.loadGraphData(document)", json.loads(path.read_text(encoding="utf-8"))
            )
            opened = page.evaluate(
                "async () => [(await window.app.graphToPrompt()).output,"
                " window.app.graph.nodes.filter(each => each.has_errors).map(each => each.title),"
                " window.app.graph.nodes.map(each => each.title)]"
            )
            sent, red, titles = opened
            ours = [title for title in titles if title.startswith("EchoMimic")]
            assert red == [] and not any(title.isascii() for title in ours), titles
            sent = with_examples(sent)
            wanted = json.loads((path.parent / "api" / path.name).read_text(encoding="utf-8"))
            assert set(sent) == set(wanted)
            for key, node in wanted.items():
                assert sent[key]["class_type"] == node["class_type"]
                if node["class_type"].startswith("Echo"):
                    assert sent[key]["inputs"] == node["inputs"], path.stem


@pytest.mark.skipif(not CHROMIUM, reason="no browser: install chromium, or set ECHOMIMIC_CHROMIUM")
def test_the_page_moves_the_values_of_old_workflows(server: Server) -> None:
    """A value that is not at its name would be refused, or would change the video in silence."""
    old = {each.since: two_nodes(layouts("Echo_LoadModel")[4], each) for each in layouts("Echo_Sampler")[1:5]}
    old["August 2025"] = three_nodes(layouts("Echo_LoadModel")[-1])
    with running_browser() as browser:
        page = browser.new_page()
        page.goto(server.url, wait_until="domcontentloaded")
        page.wait_for_function("window.app?.graph && window.app.extensionManager", timeout=120_000)
        for since, document in old.items():
            page.evaluate("document => window.app.loadGraphData(document)", document)
            sent = page.evaluate("async () => (await window.app.graphToPrompt()).output")
            (sampler,) = (each["inputs"] for each in sent.values() if each["class_type"] == "Echo_Sampler")
            named = {name: sampler[name] for name in ("cfg", "steps", "facecrop_ratio", "length", "width", "height")}
            assert named == {name: ODD[name] for name in named}, since
            assert sampler["seed"] == 77
        page.wait_for_selector(".p-toast-message >> text=moved to their names")
        if "ECHOMIMIC_PICTURES" in os.environ:
            page.screenshot(path=Path(os.environ["ECHOMIMIC_PICTURES"]) / "comfyui-migrated.png")


@pytest.mark.skipif(not CHROMIUM, reason="no browser: install chromium, or set ECHOMIMIC_CHROMIUM")
def test_the_page_opens_every_blueprint(server: Server) -> None:
    listed = {each["name"] for each in server.ask("/global_subgraphs").values()}
    assert set(BLUEPRINTS) <= listed
    with running_browser() as browser:
        page = browser.new_page()
        page.goto(server.url, wait_until="domcontentloaded")
        page.wait_for_function("window.app?.graph && window.app.extensionManager", timeout=120_000)
        for name, blueprint in BLUEPRINTS.items():
            document = json.loads((ROOT / "comfyui" / "subgraphs" / f"{name}.json").read_text(encoding="utf-8"))
            page.evaluate("document => window.app.loadGraphData(document)", document)
            sent = page.evaluate("async () => (await window.app.graphToPrompt()).output")
            assert sorted(each["class_type"] for each in sent.values()) == sorted(blueprint.nodes.values())
            (sampler,) = (each["inputs"] for each in sent.values() if each["class_type"] == "EchoMimicSampler")
            assert isinstance(sampler["model"], list) and sampler["seed"] == 0 and sampler["fps"] == 0
