"""Checkpoint files: every published name and shape, where files are found, what is refused and in which words."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from echomimic import checkpoints as weights
from echomimic.apps.cli.weights import app
from echomimic.checkpoints import FILES, convert_file, fetch, locate, read_tensors, require
from echomimic.checkpoints.registry import Hub, Published, Report
from echomimic.diffusion.condition_encoder import ConditionEncoder
from echomimic.diffusion.networks import (
    MismatchError,
    check_file,
    expected_shapes,
    fill_by_rule,
    load_strictly,
    on_meta,
)
from echomimic.errors import WeightsError
from echomimic.presets import PRESETS

LOCATOR = FILES["v1/face_locator"]


def condition_file(path: Path, channels: int = 1) -> Path:
    """A checkpoint of a condition encoder of the published size."""
    encoder = ConditionEncoder(channels)
    fill_by_rule(encoder)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(encoder.state_dict(), path)
    else:
        torch.save(encoder.state_dict(), path)
    return path


def test_presets_name_files_that_are_published() -> None:
    for preset in PRESETS.values():
        assert all(name in FILES for name in preset.files.values())
        assert not preset.files or set(preset.files) == {
            "denoising",
            "motion",
            "reference",
            "condition",
            "vae",
            "speech",
        }


@pytest.mark.shared
@pytest.mark.parametrize("family", ["v1", "v2"])
def test_every_published_name_and_shape_is_ours(family, shared) -> None:
    published = json.loads((shared / "spec" / f"{family}_keys.json").read_text())
    tensors = {name: entry.get("tensors", entry) if family == "v1" else entry for name, entry in published.items()}
    for file in FILES.values():
        if file.family != family:
            continue
        entry = tensors[file.path]
        entry = tensors[entry["same_keys_and_shapes_as"]] if "same_keys_and_shapes_as" in entry else entry
        theirs = {name: tuple(shape) for name, shape in shapes_in(entry).items()}
        assert expected_shapes(file) == theirs, file.name
        assert sum(torch.Size(shape).numel() for shape in theirs.values()) == file.elements


def shapes_in(entry: dict) -> dict:
    """The names and shapes of an entry, which may stand one level down."""
    if all(isinstance(value, list) for value in entry.values()):
        return entry
    return next(value for value in entry.values() if isinstance(value, dict))


@pytest.mark.shared
def test_autoencoder_and_speech_files_are_ours(shared) -> None:
    published = json.loads((shared / "spec" / "v1_keys.json").read_text())
    vae = shapes_in(published["sd-vae-ft-mse"])
    from echomimic.diffusion.vae import modern_names

    assert expected_shapes(FILES["vae"]) == {modern_names(name): tuple(shape) for name, shape in vae.items()}
    whisper = shapes_in(published["audio_processor/whisper_tiny.pt[model_state_dict]"])
    heard = {name[8:]: tuple(shape) for name, shape in whisper.items() if name.startswith("encoder.")}
    assert expected_shapes(FILES["whisper"]) == heard


@pytest.mark.parametrize(
    "place",
    [
        "v1/face_locator.safetensors",
        "v1/face_locator.pth",
        "face_locator.pth",
        "pretrained_weights/face_locator.pth",
        "models/echo_mimic/face_locator.pth",
        "models/echo_mimic/v1/face_locator.safetensors",
        "EchoMimic/face_locator.pth",
        "face_locator/diffusion_pytorch_model.safetensors",
    ],
)
def test_files_are_found_in_every_layout(tmp_path, place) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert locate(LOCATOR, [tmp_path / "nothing", tmp_path]) == path


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("vae", "sd-vae-ft-mse/diffusion_pytorch_model.bin"),
        ("vae", "vae/diffusion_pytorch_model.safetensors"),
        ("whisper", "audio_processor/whisper_tiny.pt"),
        ("whisper", "whisper/audio_processor/whisper_tiny.pt"),
        ("whisper", "pretrained_weights/audio_processor/tiny.pt"),
    ],
)
def test_shared_files_are_found(tmp_path, name, place) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.touch()
    assert locate(FILES[name], [tmp_path]) == path


def test_safetensors_are_preferred(tmp_path) -> None:
    for ending in (".pth", ".safetensors"):
        (tmp_path / f"face_locator{ending}").touch()
    found = locate(LOCATOR, [tmp_path])
    assert found is not None and found.suffix == ".safetensors"


def test_v2_files_are_not_taken_for_v1(tmp_path) -> None:
    for stem in ("pose_encoder", "denoising_unet"):
        (tmp_path / f"{stem}.pth").touch()
    with pytest.raises(WeightsError, match=r"holds files of V2; preset v1 needs .*: echomimic weights fetch v1$"):
        require(FILES["v1/denoising_unet"], [tmp_path], "v1")
    assert locate(FILES["v2/denoising_unet"], [tmp_path]) is not None


def test_a_missing_file_is_named_with_the_command(tmp_path) -> None:
    with pytest.raises(
        WeightsError, match=r"v1/face_locator is not in .*; preset v1 needs it: echomimic weights fetch v1"
    ):
        require(LOCATOR, [tmp_path], "v1")


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_tensors_come_back_exactly(tmp_path, ending) -> None:
    path = condition_file(tmp_path / f"face_locator{ending}")
    loaded = load_strictly(on_meta(lambda: ConditionEncoder(1)), read_tensors(path), str(path))
    expected = ConditionEncoder(1)
    fill_by_rule(expected)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), expected.parameters(), strict=True))
    assert check_file(LOCATOR, path).endswith("16 tensors, float32")


class Hostile:
    def __reduce__(self):
        return print, ("this must never be printed",)


def write_bad(folder: Path, kind: str) -> Path:
    path = folder / ("face_locator.safetensors" if "safetensors" in kind else "face_locator.pth")
    whole = condition_file(folder / f"whole{path.suffix}").read_bytes()
    contents = {
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "truncated": whole[: len(whole) // 2],
        "truncated safetensors": whole[: len(whole) // 2],
        "noise safetensors": b"\xff" * 300,
        "noise": bytes(range(7, 207)),
        "empty": b"",
        "html": b"<!DOCTYPE html><html>",
        "hostile": pickle.dumps({"a": Hostile()}),
        "number": pickle.dumps(5),
    }
    path.write_bytes(contents[kind])
    if kind == "hostile zip":
        torch.save({"a": Hostile()}, path)
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("pointer", "is a Git LFS pointer of"),
        ("truncated", "is truncated or not a checkpoint"),
        ("truncated safetensors", "is truncated or not a safetensors file"),
        ("noise safetensors", "is truncated or not a safetensors file"),
        ("noise", "face_locator.pth is"),
        ("empty", "is empty"),
        ("html", "is a web page"),
        ("hostile", "face_locator.pth is"),
        ("number", "face_locator.pth"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path, kind, words, capsys) -> None:
    path = write_bad(tmp_path, kind)
    with pytest.raises(WeightsError) as raised:
        read_tensors(path)
    text = str(raised.value)
    assert str(path) in text
    assert words in text
    assert "\n" not in text
    assert "echomimic weights fetch" in text
    assert "never" not in capsys.readouterr().out


def test_code_in_a_new_style_pickle_is_refused(tmp_path, capsys) -> None:
    path = tmp_path / "face_locator.pth"
    torch.save({"a": Hostile()}, path)
    with pytest.raises(WeightsError, match="asks for more than tensors"):
        read_tensors(path)
    assert "never" not in capsys.readouterr().out


def test_the_wrong_network_is_named_with_all_its_keys(tmp_path) -> None:
    path = condition_file(tmp_path / "face_locator.pth", channels=3)
    with pytest.raises(MismatchError, match=r"conv_in.weight \[16, 3, 3, 3\] instead of \[16, 1, 3, 3\]"):
        check_file(LOCATOR, path)
    with pytest.raises(MismatchError) as raised:
        load_strictly(nn.Linear(2, 3), {"weight": torch.zeros(3, 2), "more": torch.zeros(1)}, "file.pth")
    assert (raised.value.missing, raised.value.unexpected) == (["bias"], ["more"])
    assert str(raised.value) == (
        "file.pth: tensors are not those of this network: 1 missing (bias), 1 unexpected (more); "
        "expected the published file"
    )


def test_convert_halves_a_file_and_drops_what_no_tensor_uses(tmp_path) -> None:
    buffer = torch.zeros(5_000_000, dtype=torch.float16)
    encoder, start = ConditionEncoder(3), 0
    views = {}
    for name, tensor in encoder.state_dict().items():
        views[name] = buffer[start : start + tensor.numel()].view(tensor.shape)
        start += tensor.numel()
    source = tmp_path / "pose_encoder.pth"
    torch.save(views, source)
    assert source.stat().st_size > 9_000_000
    path = convert_file(FILES["v2/pose_encoder"], source, tmp_path / "out", "bfloat16")
    assert path == tmp_path / "out/v2/pose_encoder.safetensors"
    assert path.stat().st_size < 2_200_000
    assert {tensor.dtype for tensor in read_tensors(path).values()} == {torch.bfloat16}
    assert check_file(FILES["v2/pose_encoder"], path)
    with pytest.raises(WeightsError, match="overwrite itself"):
        convert_file(FILES["v2/pose_encoder"], path, tmp_path / "out")


class ShelfHub(Hub):
    """A hub that has one file."""

    def __init__(self, source: Path, sha256: str | None = None, size: int | None = None) -> None:
        self.source, self.downloads = source, 0
        self.published = Published(size or source.stat().st_size, sha256 or weights.checksum(source))

    def licence(self, repository: str) -> str:
        return "apache-2.0"

    def describe(self, repository: str, path: str) -> Published:
        return self.published

    def download(self, repository: str, path: str, folder: Path, report: Report | None) -> Path:
        self.downloads += 1
        if report is not None:
            report(self.published.size // 2)
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.source.read_bytes())
        return target


def test_fetch_shows_licences_checks_and_does_not_fetch_twice(tmp_path) -> None:
    hub = ShelfHub(condition_file(tmp_path / "theirs.pth"))
    said: list[str] = []
    counted: list[tuple[int, int]] = []
    for _ in range(2):
        (path,) = fetch([LOCATOR], tmp_path / "here", said.append, hub, lambda *count: counted.append(count))
    assert counted == [(hub.published.size // 2, hub.published.size)]
    assert hub.downloads == 1
    assert locate(LOCATOR, [tmp_path / "here"]) == path
    assert said[0] == "https://huggingface.co/BadToBest/EchoMimic  licence: apache-2.0"
    assert "already present" in said[-1]


def test_fetch_refuses_what_was_not_published(tmp_path) -> None:
    theirs = condition_file(tmp_path / "theirs.pth")
    with pytest.raises(WeightsError, match="another SHA-256"):
        fetch([LOCATOR], tmp_path / "here", lambda _: None, ShelfHub(theirs, sha256="0" * 64))
    assert locate(LOCATOR, [tmp_path / "here"]) is None
    with pytest.raises(WeightsError, match="bytes, the published file 9"):
        fetch([LOCATOR], tmp_path / "here", lambda _: None, ShelfHub(theirs, size=9))


def test_no_network_is_one_line(tmp_path) -> None:
    class Offline(ShelfHub):
        def licence(self, repository: str) -> str:
            raise ConnectionError("no route\nto host")

    with pytest.raises(WeightsError, match=r"BadToBest/EchoMimic did not answer \(no route\); check the network"):
        fetch([LOCATOR], tmp_path, lambda _: None, Offline(condition_file(tmp_path / "theirs.pth")))


def test_command_line(tmp_path) -> None:
    condition_file(tmp_path / "v1/face_locator.pth")
    run = CliRunner().invoke
    listed = run(app, ["list", "--weights", str(tmp_path)])
    assert listed.exit_code == 0
    assert any("v1/face_locator " in line and " here " in line for line in listed.output.splitlines())
    assert str(tmp_path / "v1/face_locator.pth") in run(app, ["where", "--weights", str(tmp_path)]).output
    checked = run(app, ["check", "v1", "--weights", str(tmp_path)])
    assert str(checked.exception).startswith("5 of 6 files are missing or wrong")
    assert "ok      v1/face_locator" in checked.output
    assert "FAULT   v1/denoising_unet" in checked.output
    assert "preset mesh needs no weights" in str(run(app, ["fetch", "mesh"]).exception)
    assert "is not a folder" in str(run(app, ["check", "--weights", str(tmp_path / "none")]).exception)
    out = str(tmp_path / "out")
    assert isinstance(run(app, ["convert", "v1", "--weights", str(tmp_path), "--to", out]).exception, WeightsError)
