"""Runs become preset files, LoRA files and cards: from `train run` to the engine, and every bad input in one line."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from echomimic.apps.cli.main import run
from echomimic.checkpoints import FILES, LoraFile, read_geometry, read_lora_metadata
from echomimic.data import demo_portrait
from echomimic.diffusion.engine import DiffusionEngine
from echomimic.diffusion.networks import MismatchError, Networks, expected_shapes, load_networks
from echomimic.errors import EchoMimicError, OutputError
from echomimic.media import read_picture, speech_from_samples
from echomimic.options import make_options
from echomimic.presets import find_preset, resolve_preset
from echomimic.train.diffusion.checkpoints import list_checkpoints
from echomimic.train.diffusion.export import (
    card_of_run,
    check_tensors,
    expected_parts,
    export_networks,
    export_run,
    put_average,
)
from echomimic.train.diffusion.run_folder import read_run_settings
from echomimic.train.diffusion.starts import load_start
from echomimic.types import Picture
from helpers.training_data import ONE_LEVEL, make_data, make_start, run_arguments

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, start weights, and three finished runs: plain, lora, fast."""
    folder = tmp_path_factory.mktemp("training")
    data, start = make_data(folder / "data"), make_start(folder / "start", geometry=ONE_LEVEL)
    once = ("--set", "run.checkpoint_every=4")
    assert run(run_arguments(data, start, folder / "plain")) == 0
    lora = (*once, "--set", "model.lora_rank=2", "--set", "model.subject=aa01", "--set", "model.trained=all")
    assert run(run_arguments(data, start, folder / "lora", *lora)) == 0
    fast = (*once, "--set", "distil.kind=consistency", "--set", "model.trained=denoising")
    assert run(run_arguments(data, start, folder / "fast", *fast)) == 0
    return folder


def render(engine: DiffusionEngine, seed: int = 1) -> list[Picture]:
    options = make_options(
        {
            "seed": seed,
            "size": 64,
            "steps": 2,
            "frames": 2,
            "context_frames": 2,
            "context_overlap": 0,
            "dtype": "float32",
            "framing": "crop",
            "fps": 24.0,
        }
    )
    voice = np.sin(np.arange(8000) / 7).astype(np.float32) / 4
    speech = speech_from_samples(voice, 16_000)
    return list(engine.prepare(read_picture(demo_portrait()), speech, None, options).frames())


def live_engine(run_folder: Path, preset: str) -> DiffusionEngine:
    """The engine on the averaged weights of a run, without any file of an export."""
    settings = read_run_settings(run_folder)
    start = load_start(settings)
    average = load_file(list_checkpoints(run_folder)[-1] / "ema.safetensors")
    put_average(start.trainee, settings, average, run_folder)
    start.trainee.eval()
    networks = Networks(
        start.trainee.denoising, start.trainee.reference, start.trainee.condition, start.vae, start.speech
    )
    return DiffusionEngine(find_preset(preset), networks=networks)


@pytest.mark.parametrize(
    ("name", "merge", "preset"), [("plain", False, "v1"), ("lora", True, "v1"), ("fast", False, "v1-acc")]
)
def test_an_exported_run_gives_the_frames_of_the_live_average(
    place: Path, tmp_path: Path, name: str, merge: bool, preset: str
) -> None:
    extra = ["--merge"] if merge else []
    assert run(["train", "export", str(place / name), "-o", str(tmp_path / "out"), *extra]) == 0
    exported = DiffusionEngine(find_preset(preset), weights=tmp_path / "out")
    for ours, theirs in zip(render(exported), render(live_engine(place / name, preset)), strict=True):
        assert int(np.abs(ours.astype(int) - theirs).max()) <= 1 and np.mean(ours != theirs) < 1e-3  # rounding


def test_the_names_of_the_files_are_the_published_ones(place: Path, tmp_path: Path) -> None:
    export_run(place / "fast", tmp_path / "out")
    names = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert names == {
        *(f"v1/{stem}.safetensors" for stem in ("denoising_unet_acc", "motion_module_acc")),
        *(f"v1/{stem}.safetensors" for stem in ("reference_unet", "face_locator")),
        *("v1/networks.json", "vae.safetensors", "whisper.safetensors", "card.md"),
    }
    geometry = read_geometry(tmp_path / "out" / "v1" / "denoising_unet_acc.safetensors")
    assert geometry is not None and (geometry.defaults.steps, geometry.defaults.guidance_scale) == (6, 1.0)
    defaults = resolve_preset("v1-acc", weights=tmp_path / "out")[0].defaults
    assert (defaults["steps"], defaults["guidance_scale"]) == (6, 1.0)


@pytest.mark.parametrize("preset", ["v1-landmarks-acc", "v2"])
def test_the_parts_of_an_export_are_those_of_the_published_files(preset: str) -> None:
    found = find_preset(preset)
    for part, shapes in expected_parts(found).items():
        assert shapes == expected_shapes(FILES[found.files[part]]), part


def test_tensors_of_other_networks_are_not_exported(place: Path, tmp_path: Path) -> None:
    start = load_start(read_run_settings(place / "plain"))
    with pytest.raises(MismatchError, match="the exported denoising"):
        export_networks(start.trainee, {}, find_preset("v1"), tmp_path / "out")
    with pytest.raises(MismatchError, match=r"the exported condition.*1 of another shape"):
        export_networks(start.trainee, {}, find_preset("v2"), tmp_path / "out", geometry=start.geometry)
    with pytest.raises(MismatchError, match="1 unexpected"):
        more = {**start.trainee.reference.state_dict(), "new": torch.zeros(1)}
        check_tensors({"reference": more}, find_preset("v1"), start.geometry)
    assert not list(tmp_path.iterdir())


def test_a_lora_file_gives_the_networks_of_the_merged_export(place: Path, tmp_path: Path) -> None:
    (path,) = export_run(place / "lora", tmp_path / "lora")
    assert path.name == "aa01.safetensors"
    metadata = read_lora_metadata(path)
    assert (metadata.preset, metadata.rank, metadata.subject, metadata.consent) == ("v1", 2, "aa01", "written")
    export_run(place / "lora", tmp_path / "merged", merge=True)
    merged = load_networks(find_preset("v1"), [tmp_path / "merged"], torch.float32, CPU)
    adapted = DiffusionEngine(find_preset("v1"), weights=place / "start", lora=LoraFile(path))
    ours = adapted.networks(CPU, torch.float32).denoising.state_dict()
    theirs = merged.denoising.state_dict()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) < 1e-6
    base = load_networks(find_preset("v1"), [place / "start"], torch.float32, CPU).denoising.state_dict()
    assert any(not torch.equal(base[name], theirs[name]) for name in base)


def test_the_card_states_data_rights_settings_and_figures_but_no_folders(place: Path, tmp_path: Path) -> None:
    export_run(place / "plain", tmp_path / "out")
    card = (tmp_path / "out" / "card.md").read_text(encoding="utf-8")
    for words in ("| CC0-1.0 | written |", "3 clips", "Training loss", "4 steps of 2 samples", "rate = 0.001"):
        assert words in card, words
    for words in ("## Intended use", "## Limits", "Validation was not run", "face_locator.safetensors", "torch "):
        assert words in card, words
    assert str(place) not in card
    lora_card = "".join(path.read_text() for path in [*_export(place / "lora", tmp_path / "lora")])
    assert "The person shown, aa01: consent written." in lora_card


def _export(run_folder: Path, folder: Path) -> list[Path]:
    export_run(run_folder, folder)
    return [folder / "card.md"]


def test_figures_of_validation_are_the_last_ones_and_means_over_clips(place: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(place / "plain", tmp_path / "run")
    with (folder / "log.jsonl").open("a") as file:
        for line in (
            '{"step": 2, "audio_gain": 0.01}',
            '{"step": 4, "audio_gain": 0.25}',
            '{"step": 4, "clip": "a", "sync_r": 0.5}',
            '{"step": 4, "clip": "b", "sync_r": 0.7}',
            '{"step": 9, "audio_gain": 0.99}',
        ):
            file.write(line + "\n")
    card = card_of_run(folder)
    assert "| audio_gain | 4 | 0.25 |" in card and "| sync_r, mean of 2 clips | 4 | 0.6 |" in card
    assert "| 0.99 |" not in card and "| audio_gain | 2 | 0.01 |" in card_of_run(folder, 2)


def _no_run(run_folder: Path) -> None:
    shutil.rmtree(run_folder)


def _no_checkpoint(run_folder: Path) -> None:
    shutil.rmtree(run_folder / "steps")


def _only_a_part(run_folder: Path) -> None:
    newest = list_checkpoints(run_folder)[-1]
    shutil.rmtree(run_folder / "steps" / "00000002")
    newest.rename(newest.with_name(newest.name + ".part"))


def _other_settings(run_folder: Path) -> None:
    path = run_folder / "settings.toml"
    path.write_text(path.read_text().replace("rate = 0.001", "rate = 0.5"))


def _broken_average(run_folder: Path) -> None:
    path = list_checkpoints(run_folder)[-1] / "ema.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def _other_average(run_folder: Path) -> None:
    path = list_checkpoints(run_folder)[-1] / "ema.safetensors"
    save_file({"denoising.conv_in.weight": torch.zeros(1)}, path)


def _no_data(run_folder: Path) -> None:
    (run_folder / "data.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "extra", "message"),
    [
        (_no_run, [], "is not there; expected a folder that `echomimic train run` wrote"),
        (_no_checkpoint, [], "holds no whole checkpoint"),
        (_only_a_part, [], "holds no whole checkpoint"),
        (_other_settings, [], "was made with other settings"),
        (_broken_average, [], "cannot be read; expected a whole checkpoint"),
        (_other_average, [], "tensors are not those of this network"),
        (_no_data, [], r"data\.json cannot be read"),
        (lambda path: None, ["--step", "3"], "has no checkpoint of step 3; expected one of 2, 4"),
        (lambda path: None, ["--merge"], "trains no LoRA"),
    ],
)
def test_bad_runs_are_one_line_and_leave_nothing(  # type: ignore[no-untyped-def]
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil, extra: list[str], message: str
) -> None:
    folder = shutil.copytree(place / "plain", tmp_path / "run")
    spoil(folder)
    assert run(["train", "export", str(folder), "-o", str(tmp_path / "out"), *extra]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(message, line), line
    assert {path.name for path in tmp_path.iterdir()} <= {"run"}


def test_a_folder_that_is_not_empty_is_left_alone(place: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty"):
        export_run(place / "plain", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    export_run(place / "plain", tmp_path / "empty")
    with pytest.raises(OutputError, match="does not exist"):
        export_run(place / "plain", tmp_path / "no" / "out")


def test_a_full_disk_leaves_no_file(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from echomimic.train.diffusion import export

    def full(tensors: object, path: Path, **more: object) -> None:
        if "reference" in path.name:
            raise OSError(28, "No space left on device")
        path.write_bytes(b"x")

    monkeypatch.setattr(export, "save_file", full)
    with pytest.raises(OutputError, match="No space left on device"):
        export_run(place / "plain", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_few_step_lora_is_merged_only(place: Path, tmp_path: Path) -> None:
    data, start = place / "data", place / "start"
    sets = ("distil.kind=consistency", "model.trained=denoising", "model.lora_rank=2", "model.subject=aa01")
    arguments = [part for value in sets for part in ("--set", value)]
    assert run(run_arguments(data, start, tmp_path / "run", *arguments)) == 0
    with pytest.raises(EchoMimicError, match="expected --merge"):
        export_run(tmp_path / "run", tmp_path / "out")
    paths = export_run(tmp_path / "run", tmp_path / "out", merge=True)
    assert "denoising_unet_acc.safetensors" in {path.name for path in paths}


def test_a_lora_of_single_frames_is_merged_with_the_motion_of_the_start(place: Path, tmp_path: Path) -> None:
    sets = ("model.lora_rank=2", "model.trained=picture", "data.frames=1", "model.subject=aa01")
    arguments = [part for value in sets for part in ("--set", value)]
    assert run(run_arguments(place / "data", place / "start", tmp_path / "run", *arguments)) == 0
    export_run(tmp_path / "run", tmp_path / "out", merge=True)
    ours, theirs = (
        load_file(folder / "v1" / "motion_module.safetensors") for folder in (tmp_path / "out", place / "start")
    )
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_lora_without_consent_is_neither_trained_nor_exported(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_data(tmp_path / "data", ("aa01", "bb02"), consent="public-figure-licence")
    lora = ("--set", "model.lora_rank=2", "--set", "model.subject=aa01")
    assert run(run_arguments(data, place / "start", tmp_path / "run", *lora)) == 2
    assert "needs written consent" in capsys.readouterr().err
    folder = shutil.copytree(place / "lora", tmp_path / "other")
    text = (folder / "data.json").read_text()
    (folder / "data.json").write_text(text.replace('"subject_consent": "written"', '"subject_consent": "none-stated"'))
    with pytest.raises(EchoMimicError, match="needs written consent"):
        export_run(folder, tmp_path / "out")
    with pytest.raises(EchoMimicError, match="needs written consent"):
        export_run(folder, tmp_path / "out", merge=True)
