"""Every example workflow loads against the schemas, and runs: with networks of random weights, or on mesh."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from echomimic import __version__
from echomimic.checkpoints import FILES, locate
from echomimic.media import read_video, write_clip
from echomimic.presets import PRESETS
from helpers import comfy_standin, write_blueprints, write_comfy_api
from helpers.comfy_standin import ROOT, Host, load_nodes

FOLDER = ROOT / "comfyui" / "example_workflows"
WORKFLOWS = sorted(FOLDER.glob("*.json"))
MODES = {"mesh", "V1", "V2", "page_v1", "page_v2"}
CORE_OUTPUTS = {
    "LoadImage": ["IMAGE", "MASK"],
    "LoadAudio": ["AUDIO"],
    "LoadVideo": ["VIDEO"],
    "GetVideoComponents": ["IMAGE", "AUDIO", "FLOAT"],
    "SaveVideo": [],
    "PreviewAny": [],
}
CORE_WIDGETS = {"LoadImage": "image", "LoadAudio": "audio", "LoadVideo": "file"}
SMALL = {
    "EchoMimicSampler": {"frames": 3, "size": 128, "steps": 1},
    "EchoMimicTalk": {"frames": 3, "size": 128},
    "EchoMimicPortrait": {"size": 128},
    "Echo_Sampler": {"length": 3, "width": 128, "height": 64, "steps": 1},
}


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


@pytest.fixture
def host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portrait_file: Path, voice_file: Path, kept_networks: None
) -> Iterator[Host]:
    for host in comfy_standin.installed(tmp_path, monkeypatch):
        shutil.copy(portrait_file, host.root / "input" / "portrait.png")
        shutil.copy(voice_file, host.root / "input" / "voice.wav")
        yield host


@pytest.fixture(scope="module")
def driver(portrait_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames of the demo's portrait."""
    path = tmp_path_factory.mktemp("driver") / "driver.mp4"
    frame = np.asarray(Image.open(portrait_file).convert("RGB"), np.uint8)
    write_clip(path, iter([frame] * 5), 25, None, {})
    return path


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_an_example_fits_the_schemas(host: Host, path: Path) -> None:
    nodes = load_nodes()
    document = read(path)
    outputs = {each["id"]: [out["type"] for out in each["outputs"]] for each in document["nodes"]}
    links = {link[0]: link for link in document["links"]}
    for each in document["nodes"]:
        if each["type"] in CORE_OUTPUTS:
            assert outputs[each["id"]] == CORE_OUTPUTS[each["type"]]
            continue
        schema = nodes[each["type"]].define_schema()
        assert [(out["name"], out["type"]) for out in each["outputs"]] == [(o.name, o.io_type) for o in schema.outputs]
        slots = {slot.id: slot for slot in schema.inputs}
        linked = {slot["name"] for slot in each["inputs"] if slot["link"] is not None}
        for slot in each["inputs"]:
            _, source, place, target, _, kind = links[slot["link"]]
            assert target == each["id"] and outputs[source][place] == kind == slots[slot["name"]].io_type
        values = comfy_standin.widgets(schema.inputs, each["widgets_values"])
        assert all(
            comfy_standin.fits(slots[name], value)
            for name, value in values.items()
            if name in slots and slots[name].io_type != "COMFY_DYNAMICCOMBO_V3"
        )
        lacking = {slot.id for slot in schema.inputs if not slot.optional} - linked - set(values)
        assert lacking == set()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_an_example_is_there_for_scripts_too(host: Host, path: Path) -> None:
    written = write_comfy_api.WRITTEN / path.name
    assert written.read_text(encoding="utf-8") == write_comfy_api.text(path), "python tests/write_comfy_api.py"
    prompt, nodes = read(written), load_nodes()
    for each in prompt.values():
        links = [value for value in each["inputs"].values() if isinstance(value, list)]
        assert all(source in prompt for source, _ in links)
        if each["class_type"] in nodes:
            slots = {slot.id: slot for slot in nodes[each["class_type"]].define_schema().inputs}
            assert {name.split(".")[0] for name in each["inputs"]} <= set(slots)
            assert {name for name, slot in slots.items() if not slot.optional} <= set(each["inputs"])


@pytest.mark.parametrize("name", write_blueprints.BLUEPRINTS)
def test_a_blueprint_is_as_the_nodes_are(host: Host, name: str) -> None:
    written = (write_blueprints.FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert written == write_blueprints.text(name), "python tests/helpers/write_blueprints.py"
    (inside,) = json.loads(written)["definitions"]["subgraphs"]
    known = {-10, -20, *(node["id"] for node in inside["nodes"])}
    assert {link[end] for link in inside["links"] for end in ("origin_id", "target_id")} <= known
    shown = json.loads(written)["nodes"][0]["properties"]["proxyWidgets"]
    kinds = {str(node["id"]): node["type"] for node in inside["nodes"]}
    for node, widget in shown:
        assert widget in {each.id for each in load_nodes()[kinds[node]].define_schema().inputs}


def test_every_example_has_its_picture_and_nothing_is_left_over() -> None:
    names = {path.stem for path in WORKFLOWS}
    pictures = {path.stem: path for path in FOLDER.glob("*.jpg")}
    assert set(pictures) == names == {path.stem for path in write_comfy_api.WRITTEN.iterdir()}
    for path in pictures.values():
        assert path.stat().st_size <= 30_000, f"{path.name} is large: python benchmarks/comfy_pictures.py"
        with Image.open(path) as picture:
            assert picture.format == "JPEG" and picture.size == (384, 384)


def run(host: Host, document: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Run a workflow, made small; the results by the type of the node."""
    nodes, core = load_nodes(), comfy_standin.core(host)
    links = {link[0]: (link[1], link[2]) for link in document["links"]}
    results: dict[int, tuple[Any, ...]] = {}
    by_type: dict[str, tuple[Any, ...]] = {}
    for each in document["nodes"]:  # stored in the order in which they run
        sources = {slot["name"]: links[slot["link"]] for slot in each["inputs"]}
        values = {name: results[source][place] for name, (source, place) in sources.items()}
        name = each["type"]
        if name in core:
            if name in CORE_WIDGETS:
                values[CORE_WIDGETS[name]] = each["widgets_values"][0]
            results[each["id"]] = core[name](**values)
        else:
            found = comfy_standin.widgets(nodes[name].define_schema().inputs, each["widgets_values"])
            results[each["id"]] = comfy_standin.executed(name, **values, **{**found, **SMALL.get(name, {})})
        by_type[name] = results[each["id"]]
    return by_type


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_an_example_runs(host: Host, driver: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(driver, host.root / "input" / "driver.mp4")
    for name, preset in PRESETS.items():  # a diffusion preset without files has small random weights
        monkeypatch.setitem(PRESETS, name, replace(preset, files={}))
    made = run(host, read(path))
    (video,) = made["SaveVideo"]
    film = read_video(video.path)
    assert film.count == 3
    if "Echo_Sampler" in made:
        image, audio, rate, _ = made["Echo_Sampler"]
        assert image.shape == (3, 64, 128, 3) and (film.width, film.height) == (128, 64)
        assert audio["waveform"].shape[-1] == 3 * audio["sample_rate"] // 25 and rate == 25
    elif "EchoMimicPasteBack" in made:
        assert (film.width, film.height) == (512, 512)
    else:
        assert max(film.width, film.height) == 128


def test_there_is_an_example_for_every_mode() -> None:
    found = set()
    for path in WORKFLOWS:
        for node in read(path)["nodes"]:
            if node["type"] == "EchoMimicLoad":
                found.add(node["widgets_values"][0])
            if node["type"] == "Echo_LoadModel":
                found.add(f"page_{node['widgets_values'][-1].lower()}")
    assert found == MODES


def test_the_translation_names_the_nodes(host: Host) -> None:
    words = read(ROOT / "comfyui" / "locales" / "zh" / "nodeDefs.json")
    nodes = load_nodes()
    assert set(words) == set(nodes)
    for name, entry in words.items():
        assert entry["display_name"] and entry["description"]
        if name.startswith("EchoMimic"):  # the published nodes keep the names that people follow
            schema = nodes[name].define_schema()
            assert set(entry["inputs"]) == set(keys(schema.inputs))
            assert set(entry["outputs"]) == {str(place) for place in range(len(schema.outputs))}


def keys(inputs: list[Any]) -> Iterator[str]:
    """What a translation calls the inputs; those that a choice reveals have its name before theirs."""
    for each in inputs:
        yield each.id
        if each.io_type == "COMFY_DYNAMICCOMBO_V3":
            yield from (f"{each.id}_{inner.id}" for option in each.more["options"] for inner in option.inputs)


def manifest() -> str:
    return (ROOT / "comfyui" / "pyproject.toml").read_text(encoding="utf-8")


def test_the_pack_pins_nothing() -> None:
    assert re.findall(r"^dependencies = (.*)$", manifest(), re.MULTILINE) == ['["echomimic"]']
    assert re.findall(r'^version = "(.*)"$', manifest(), re.MULTILINE) == [__version__]
    python = r'^requires-python = "(.*)"$'
    package = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(python, manifest(), re.MULTILINE) == re.findall(python, package, re.MULTILINE)


def test_the_registry_metadata_is_complete() -> None:
    text = manifest()
    for key in ("name", "description", "license", "Repository", "PublisherId", "DisplayName", "requires-comfyui"):
        assert re.search(rf"^{key} = ", text, re.MULTILINE), key
    for name in re.findall(r'^(?:Icon|Banner) = ".*/main/comfyui/(.*)"$', text, re.MULTILINE):
        assert (ROOT / "comfyui" / name).is_file()
    assert "*.safetensors" in (ROOT / "comfyui" / ".comfyignore").read_text(encoding="utf-8")


def test_checkpoints_are_found_where_the_registry_puts_them(tmp_path: Path) -> None:
    found = re.findall(r'^location = "(.*)"\nmodel_url = "(.*)"$', manifest(), re.MULTILINE)
    assert len(found) == len(FILES)
    for place, _ in found:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    addresses = {url: tmp_path / place for place, url in found}
    for file in FILES.values():
        place = addresses[f"https://huggingface.co/{file.repository}/resolve/main/{file.path}"]
        seen = locate(file, [tmp_path / "models" / "echomimic"])
        assert seen is not None and seen.samefile(place)


def test_the_rules_of_the_registry_hold() -> None:
    """Those of `comfy node validate`: no exec, no eval, one statement a line."""
    ruff = Path(sys.executable).with_name("ruff")
    command = [
        str(ruff) if ruff.is_file() else "ruff",
        "check",
        "--no-cache",
        "--isolated",
        "--select",
        "S102,S307,E702",
    ]
    done = subprocess.run([*command, "comfyui", "src"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
