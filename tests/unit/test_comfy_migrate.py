"""Workflows of every release of the original pack: each value arrives at its name, the rest is listed."""

import asyncio
import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from echomimic.apps.cli.main import run
from echomimic.apps.comfy.migrate import Migration, migrate
from echomimic.apps.comfy.old_layouts import Layout
from echomimic.errors import InputError
from helpers import comfy_standin
from helpers.comfy_old import LOADER, ODD, SAMPLER, layouts, node, three_nodes, two_nodes
from helpers.comfy_standin import Host, load_nodes


def values(migration: Migration, kind: str, names: tuple[str, ...]) -> dict[str, Any]:
    (found,) = (each for each in migration.document["nodes"] if each["type"] == kind)
    return dict(zip(names, found["widgets_values"], strict=True))


def sources(migration: Migration, kind: str) -> dict[str, tuple[str, int]]:
    """The links of a node: input name to the type of the node it comes from, and the output's number."""
    document = migration.document
    kinds = {each["id"]: each["type"] for each in document["nodes"]}
    links = {each[0]: each for each in document["links"]}
    assert len(links) == len(document["links"])
    found = {}
    for each in document["nodes"]:
        for place, entry in enumerate(each["inputs"]):
            if entry["link"] is not None:
                _, origin, output, target, slot, _ = links[entry["link"]]
                assert (target, slot) == (each["id"], place)
                assert (
                    entry["link"] in next(n for n in document["nodes"] if n["id"] == origin)["outputs"][output]["links"]
                )
                if each["type"] == kind:
                    found[entry["name"]] = (kinds[origin], output)
    return found


@pytest.mark.parametrize("layout", layouts("Echo_LoadModel"), ids=lambda each: f"{each.since}-{len(each.widgets)}")
def test_every_release_of_the_loader_is_migrated(layout: Layout) -> None:
    late = "teacache_offload" in layout.widgets
    made = migrate(three_nodes(layout) if late else two_nodes(layout, layouts("Echo_Sampler")[1]))
    found = values(made, "Echo_LoadModel", LOADER)
    wanted = {name: ODD[name] for name in ("vae", "denoising")}
    wanted |= {name: ODD[name] for name in ("draw_mouse", "motion_sync") if name in layout.widgets or late}
    wanted |= {name: ODD[name] for name in ("lowvram", "version") if name in layout.widgets}
    mode = "pose_normal" if "use_pose" in layout.widgets else "pose_acc"
    assert found == {"draw_mouse": False, "motion_sync": False, "lowvram": False, "version": "V1"} | wanted | {
        "infer_mode": mode
    }


@pytest.mark.parametrize("layout", layouts("Echo_Sampler")[:-1], ids=lambda each: each.since)
def test_every_release_of_the_two_node_sampler_is_migrated(layout: Layout) -> None:
    document = two_nodes(layouts("Echo_LoadModel")[5], layout)
    before = copy.deepcopy(document)
    made = migrate(document)
    assert document == before
    wanted = {name: ODD[name] for name in SAMPLER if name in layout.widgets} | {"seed": 77}
    assert values(made, "Echo_Sampler", SAMPLER) == {"pose_dir": "none", "control_after_generate": "fixed"} | wanted
    links = sources(made, "Echo_Sampler")
    assert links["model"] == ("Echo_LoadModel", 0) and links["face_detector"] == ("Echo_LoadModel", 1)
    assert links["image"] == ("LoadImage", 0) and links["audio"] == ("LoadAudio", 0)
    assert ("video_images" in links) == ("video_files" in layout.widgets)
    assert sources(made, "VHS_VideoCombine") == {"images": ("Echo_Sampler", 0), "frame_rate": ("Echo_Sampler", 2)}
    assert migrate(made.document).changed == 0  # once is enough


def test_the_page_s_own_workflow_is_left_alone() -> None:
    document = two_nodes(layouts("Echo_LoadModel")[5], layouts("Echo_Sampler")[5])
    made = migrate(document)
    assert (made.document, made.changed, made.notes) == (document, 0, [])


@pytest.mark.parametrize("loader", layouts("Echo_LoadModel")[-3:], ids=lambda each: each.since)
def test_three_nodes_become_two(loader: Layout) -> None:
    made = migrate(three_nodes(loader))
    assert values(made, "Echo_Sampler", SAMPLER) == {name: ODD[name] for name in SAMPLER}
    links = sources(made, "Echo_Sampler")
    assert links["image"] == ("LoadImage", 0) and links["audio"] == ("LoadAudio", 0)
    assert links["model"] == ("Echo_LoadModel", 0) and links["face_detector"] == ("Echo_LoadModel", 1)
    assert sources(made, "VHS_VideoCombine") == {"images": ("Echo_Sampler", 0), "frame_rate": ("Echo_Sampler", 2)}
    assert not any(each["type"] == "Echo_Predata" for each in made.document["nodes"])
    assert [line for line in made.notes if "prompt (hello)" in line and "take no text" in line]


def test_reroutes_are_followed() -> None:
    document = three_nodes(layouts("Echo_LoadModel")[-1])
    document["nodes"].append(node(7, None, "Reroute", {"": 4}, "any"))
    document["links"][3] = [4, 3, 0, 7, 0, "MODEL_PIPE_E"]
    document["links"].append([8, 7, 0, 5, 0, "MODEL_PIPE_E"])
    document["nodes"][4]["inputs"][0]["link"] = 8
    document["nodes"][6]["outputs"][0]["links"] = [8]
    made = migrate(document)
    assert sources(made, "Echo_Sampler")["model"] == ("Reroute", 0)
    assert sources(made, "Echo_Sampler")["face_detector"] == ("Echo_LoadModel", 1)


def test_a_prompt_of_the_api() -> None:
    names = {"Echo_LoadModel": layouts("Echo_LoadModel")[-1], "Echo_Predata": layouts("Echo_Predata")[0]}
    inputs = {kind: {name: ODD[name] for name in layout.widgets} for kind, layout in names.items()}
    sampler = {"model": ["3", 0], "emb": ["4", 0], "seed": 5, "cfg": 1.0, "steps": 6}
    prompt = {
        "3": {"class_type": "Echo_LoadModel", "inputs": inputs["Echo_LoadModel"] | {"version": "V3_flash"}},
        "4": {"class_type": "Echo_Predata", "inputs": inputs["Echo_Predata"] | {"info": ["3", 1], "image": ["1", 0]}},
        "5": {"class_type": "Echo_Sampler", "inputs": sampler},
        "6": {"class_type": "VHS_VideoCombine", "inputs": {"images": ["5", 0], "frame_rate": ["5", 1]}},
    }
    made = migrate(prompt)
    assert list(made.document) == ["3", "5", "6"]
    found = made.document["5"]["inputs"]
    assert found["image"] == ["1", 0] and found["face_detector"] == ["3", 1] and "emb" not in found
    assert (found["seed"], found["steps"], found["width"], found["context_frames"]) == (5, 6, 640, 12)
    assert made.document["6"]["inputs"] == {"images": ["5", 0], "frame_rate": ["5", 2]}
    assert made.document["3"]["inputs"]["version"] == "V2"
    assert "Echo_LoadModel 3: version V3_flash: these networks are not supported, V2 is used" in made.notes


def test_widgets_that_a_prompt_lacks_get_their_defaults() -> None:
    prompt = {"1": {"class_type": "Echo_Sampler", "inputs": {"seed": 3, "model": ["2", 0]}}}
    found = migrate(prompt).document["1"]["inputs"]
    assert (found["seed"], found["pose_dir"], found["steps"], found["model"]) == (3, "none", 30, ["2", 0])


def test_upscaling_is_the_core_s() -> None:
    loader, upscale = layouts("Echo_Upscaleloader")[0], layouts("Echo_VideoUpscale")[1]
    document = two_nodes(layouts("Echo_LoadModel")[5], layouts("Echo_Sampler")[5])
    stored = {"realesrgan": "x2.pth", "face_detection_model": "none", "bg_upsampler": "none", "face_upsample": False}
    stored |= {"has_aligned": False, "bg_tile": 400, "upscale": 2, "video_path": "none", "fidelity_weight": 0.5}
    stored |= {"only_center_face": False, "draw_box": False, "save_video": False, "frame_rate": 0.5, "path": ""}
    inputs = {"model": 8, "image": 9, "audio": 10, "frame_rate": 11}
    for number, layout, links in ((6, loader, {}), (7, upscale, inputs)):
        made = node(number, None, layout.node, links, "image audio frame_rate")
        document["nodes"].append(made | {"widgets_values": [stored[name] for name in layout.widgets]})
    document["links"] += [[8, 6, 0, 7, 0, "M"], [9, 4, 0, 7, 1, "IMAGE"], [10, 2, 0, 7, 2, "A"], [11, 4, 2, 7, 3, "F"]]
    document["nodes"][4]["inputs"][1]["link"] = 7
    document["links"][6] = [7, 7, 2, 5, 1, "FLOAT"]  # the frame rate passed through
    migrated = migrate(document)
    assert sources(migrated, "ImageUpscaleWithModel") == {
        "upscale_model": ("UpscaleModelLoader", 0),
        "image": ("Echo_Sampler", 0),
    }
    assert sources(migrated, "VHS_VideoCombine")["frame_rate"] == ("Echo_Sampler", 2)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ([], "no workflow of ComfyUI"),
        ({"nodes": 3}, "no workflow of ComfyUI"),
        ({"nodes": []}, "no node of ComfyUI_EchoMimic"),
        ({"nodes": [{"type": "Echo_Sampler"}]}, "damaged"),
        ({"nodes": [{"id": 1, "type": "Echo_Sampler", "inputs": 5}]}, "damaged"),
        ({"nodes": [{"id": 1, "type": "Echo_Sampler", "inputs": [{"link": 1}]}], "links": [[1]]}, "damaged"),
        ({"1": {"class_type": "KSampler", "inputs": {}}}, "no node of ComfyUI_EchoMimic"),
    ],
)
def test_other_documents_are_refused_in_one_line(document: Any, why: str) -> None:
    with pytest.raises(InputError, match=why) as error:
        migrate(document)
    assert "\n" not in str(error.value)


def test_values_that_fit_no_release_become_defaults_and_are_listed() -> None:
    document = two_nodes(layouts("Echo_LoadModel")[5], layouts("Echo_Sampler")[5])
    document["nodes"][3]["widgets_values"] = [1, 2, 3]
    made = migrate(document)
    assert values(made, "Echo_Sampler", SAMPLER)["steps"] == 30
    assert made.notes == ["Echo_Sampler 4: its 3 values fit no release: the defaults are used"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps(three_nodes(layouts("Echo_LoadModel")[-1])))
    assert run(["comfy", "migrate", str(old), str(new)]) == 0
    assert "3 nodes of ComfyUI_EchoMimic converted" in capsys.readouterr().out
    assert run(["comfy", "migrate", str(new), str(tmp_path / "again.json")]) == 0
    assert "unchanged" in capsys.readouterr().out
    old.write_text("{")
    assert run(["comfy", "migrate", str(old), str(new)]) == 2
    assert "cannot be read as JSON" in capsys.readouterr().err


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    web = ModuleType("aiohttp.web")
    vars(web).update(json_response=lambda content: content)
    monkeypatch.setitem(sys.modules, "aiohttp", ModuleType("aiohttp"))
    monkeypatch.setitem(sys.modules, "aiohttp.web", web)
    yield from comfy_standin.installed(tmp_path, monkeypatch)


def test_the_page_and_the_api_migrate_by_themselves(host: Host) -> None:
    host.mapping |= load_nodes()

    async def content() -> Any:
        return three_nodes(layouts("Echo_LoadModel")[-1])

    answer = asyncio.run(host.routes["/echomimic/migrate"](SimpleNamespace(json=content)))
    assert len(answer["workflow"]["nodes"]) == 5 and answer["notes"]
    prompt = {"1": {"class_type": "Echo_Sampler", "inputs": {"seed": 3}}}
    (handler,) = host.prompt_handlers
    assert handler({"prompt": prompt, "client_id": "x"})["prompt"]["1"]["inputs"]["steps"] == 30
    other = {"prompt": {"1": {"class_type": "KSampler", "inputs": {}}}}
    assert handler(other) is other


def test_an_original_pack_that_fails_to_import_is_replaced(host: Host) -> None:
    (host.root / "custom_nodes" / "ComfyUI_EchoMimic").mkdir()
    host.mapping |= load_nodes()
    assert "Echo_Sampler" not in host.mapping
    for each in host.startup:
        asyncio.run(each(None))
    assert host.mapping["Echo_Sampler"].__name__ == "EchoSampler"


def test_an_original_pack_keeps_its_names(host: Host) -> None:
    (host.root / "custom_nodes" / "ComfyUI_EchoMimic").mkdir()
    theirs = object()
    host.mapping |= load_nodes() | {"Echo_LoadModel": theirs, "Echo_Sampler": theirs}
    for each in host.startup:
        asyncio.run(each(None))
    assert host.mapping["Echo_Sampler"] is theirs
    data = {"prompt": {"1": {"class_type": "Echo_Sampler", "inputs": {"seed": 3}}}}
    assert host.prompt_handlers[0](data) is data
