"""`echomimic train run` as a user runs it: start, resume, kill, full disk, several processes, bad input."""

import json
import random
import signal
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from echomimic.apps.cli.main import run
from echomimic.train.diffusion import validate
from echomimic.train.diffusion.checkpoints import list_checkpoints
from echomimic.train.diffusion.manifest import read_manifest, write_rows
from echomimic.train.diffusion.run_folder import read_log
from helpers.training_data import ONE_LEVEL, make_data, make_row, make_start, run_arguments
from helpers.training_process import start_run, wait_for_runs
from helpers.waiting import wait_until

NAMES = ("model", "ema", "optimizer")
STEPS = 5
"""Steps of the run that two processes share."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set and start weights."""
    folder = tmp_path_factory.mktemp("train")
    return make_data(folder / "data"), make_start(folder / "start", geometry=ONE_LEVEL)


def assert_same_bits(one: Path, other: Path) -> None:
    assert one.name == other.name
    for name in NAMES:
        ours, theirs = (load_file(path / f"{name}.safetensors") for path in (one, other))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours), name


@pytest.fixture(scope="module")
def whole(made: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 steps, undisturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert run(run_arguments(*made, folder)) == 0
    return folder


def test_a_run_writes_its_settings_and_data(made: tuple[Path, Path], whole: Path) -> None:
    records = read_log(whole)
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    assert {"loss", "latent", "spatial", "norm", "rate", "seconds"} <= records[0].keys()
    assert [path.name for path in list_checkpoints(whole)] == ["00000002", "00000004"]
    facts = json.loads((whole / "data.json").read_text())
    assert facts["clips"] == 3 and facts["rights"][0]["consent"] == "written"
    assert "[optimizer]" in (whole / "settings.toml").read_text()
    trained = load_file(list_checkpoints(whole)[-1] / "model.safetensors")
    assert trained and all("motion_modules" in name or ".attn2." in name or ".norm2." in name for name in trained)


def test_a_resumed_run_has_the_same_bits_and_one_log(made: tuple[Path, Path], whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run(run_arguments(*made, folder)) == 0
    for path in (list_checkpoints(folder)[-1]).iterdir():
        path.unlink()
    list_checkpoints(folder)[-1].rmdir()
    assert run(run_arguments(*made, folder, "--resume")) == 0
    assert_same_bits(list_checkpoints(folder)[-1], list_checkpoints(whole)[-1])
    assert [record["step"] for record in read_log(folder)] == [1, 2, 3, 4]


def test_validation_measures_and_renders_with_the_averaged_weights(
    made: tuple[Path, Path], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validate, "STEPS", 2)
    monkeypatch.setattr(validate, "SECONDS", 0.5)
    extra = ("run.alarm_every=4", "run.validate_every=4", "run.validation_clips=1", "run.validation_samples=8")
    folder = tmp_path / "run"
    assert run([*run_arguments(*made, folder), *(part for value in extra for part in ("--set", value))]) == 0
    records = {key: record for record in read_log(folder) for key in record}
    assert -1 < records["audio_gain"]["audio_gain"] < 1 and "val_t0437" in records["val_loss"]
    clip = records["clip"]
    assert clip["clip"] == "cc03" and "psnr" in clip and "error" not in clip
    assert (folder / "validation" / "00000004" / "cc03.mp4").is_file()
    # measuring changes nothing
    assert_same_bits(list_checkpoints(folder)[-1], list_checkpoints(whole)[-1])


def test_killed_at_three_random_moments_and_resumed_gives_the_same_bits(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    """SIGKILL at random moments, in the middle of a step or of a checkpoint."""
    draw, steps = random.Random(7), 10
    sets = ["--set", f"run.steps={steps}", "--set", "run.checkpoint_every=1", "--set", "run.keep=2"]
    assert run([*run_arguments(*made, tmp_path / "whole"), *sets]) == 0
    folder = tmp_path / "cut"
    for kill_after in sorted(draw.sample(range(2, steps - 1), 3)):
        process = start_run([*run_arguments(*made, folder, "--resume"), *sets], tmp_path / "said")
        reached = partial(lambda least: any(each["step"] >= least for each in read_log(folder)), kill_after)
        wait_until(reached, "the step is logged")
        time.sleep(draw.random() * 0.2)
        process.kill()
        process.join()
        assert process.exitcode in (-signal.SIGKILL, 0)  # on a busy machine it may be ready before the signal
    assert run([*run_arguments(*made, folder, "--resume"), *sets]) == 0
    assert_same_bits(list_checkpoints(folder)[-1], list_checkpoints(tmp_path / "whole")[-1])
    assert [record["step"] for record in read_log(folder)] == [*range(1, steps + 1)]
    assert not list((folder / "steps").glob("*.part"))


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(made: tuple[Path, Path], tmp_path: Path) -> None:
    """No file may grow beyond half a megabyte: the optimizer's state does not fit."""
    folder, said = tmp_path / "run", tmp_path / "said"
    process = start_run(run_arguments(*made, folder), said, file_size=500_000)
    assert wait_for_runs([process]) == [2]
    last = said.read_text().strip().splitlines()[-1]
    assert last.startswith("error: the checkpoint of step 2 cannot be written") and "--resume" in last
    assert [*(folder / "steps").iterdir()] == []


def test_stage_two_and_the_landmarks_start_from_the_export_of_stage_one(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    """The commands of docs/training.md: single pictures, export, 12 frames with new motion modules, landmarks."""

    def stage(settings: str, start: Path, name: str, *sets: str) -> int:
        arguments = run_arguments(made[0], start, tmp_path / name, "--set", "run.steps=1", "--set", "loss.spatial=0")
        arguments[2] = settings
        return run([*arguments, *(part for value in sets for part in ("--set", value))])

    picture = ("data.frames=1", "data.reference_distance=12")
    assert stage("v1-stage1", made[1], "s1", *picture) == 0
    assert run(["train", "export", str(tmp_path / "s1"), "-o", str(tmp_path / "S1")]) == 0
    assert not list((tmp_path / "S1").rglob("motion_module*"))
    assert stage("v1-stage2", tmp_path / "S1", "s2", "model.motion_module=new") == 0
    assert run(["train", "export", str(tmp_path / "s2"), "-o", str(tmp_path / "S2")]) == 0
    assert list((tmp_path / "S2").rglob("motion_module*"))
    assert stage("v1-landmarks-stage1", tmp_path / "S1", "l1", *picture) == 0
    trained = load_file(list_checkpoints(tmp_path / "l1")[-1] / "model.safetensors")
    assert trained["condition.conv_in.weight"].shape[1] == 3


def test_two_processes_make_the_run_of_one(made: tuple[Path, Path], tmp_path: Path) -> None:
    """Two processes with the environment that torchrun sets (gloo), half the batch each: the same losses, one log."""
    values = ("optimizer.eps=1e-4", "model.trained=all", f"run.steps={STEPS}", f"run.checkpoint_every={STEPS}")
    sets = [part for value in values for part in ("--set", value)]
    start = make_start(tmp_path / "start")
    assert run([*run_arguments(made[0], start, tmp_path / "one"), *sets]) == 0
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    shared |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
    arguments, said = [*run_arguments(made[0], start, tmp_path / "two"), *sets], tmp_path / "said"
    processes = [start_run(arguments, said, {**shared, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]
    assert wait_for_runs(processes) == [0, 0], said.read_text()[-3000:]
    assert said.read_text().count("steps are done") == 1
    one, two = ([record["loss"] for record in read_log(tmp_path / name)] for name in ("one", "two"))
    assert len(one) == STEPS and two == pytest.approx(one, abs=1e-6)
    ours, theirs = (load_file(list_checkpoints(tmp_path / name)[-1] / "model.safetensors") for name in ("one", "two"))
    assert max(float((ours[key] - theirs[key]).abs().max()) for key in ours) < 1e-6


def test_a_loss_that_is_not_a_number_stops_the_run(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echomimic.train.diffusion.loop.MOST_SKIPPED", 5)
    start = make_start(tmp_path / "start", geometry=ONE_LEVEL)
    path = start / "v1" / "denoising_unet.safetensors"
    tensors = load_file(path)
    tensors["conv_in.bias"] = torch.full_like(tensors["conv_in.bias"], float("nan"))
    save_file(tensors, path)
    arguments = [*run_arguments(made[0], start, tmp_path / "run"), "--set", "run.steps=30"]
    assert run([*arguments, "--set", "run.checkpoint_every=100"]) == 1
    assert "the gradient was not finite in 5 steps in a row" in capsys.readouterr().err.splitlines()[-1]
    assert read_log(tmp_path / "run")[0]["loss"] is None and not list_checkpoints(tmp_path / "run")


def last_error(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    return error


def test_recordings_without_stated_consent_are_refused(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "clips").symlink_to(made[0] / "clips")
    write_rows(
        data / "manifest.jsonl", [make_row(data, row.id, consent="none-stated") for row in read_manifest(made[0])]
    )
    arguments = run_arguments(data, made[1], tmp_path / "run")
    assert run(arguments) == 2 and "--i-have-the-rights" in last_error(capsys)
    assert not (tmp_path / "run").exists()
    short = [*arguments, "--i-have-the-rights", "--set", "run.steps=1"]
    assert run(short) == 0 and "CC0-1.0, consent none-stated" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--set", "optimiser.rate=1"], "optimiser: Unexpected keyword argument; expected one of data, model"),
        (["--set", "optimizer.lr=1"], "optimizer.lr: Unexpected keyword argument; expected one of kind, rate"),
        (["--set", "data.path="], "data.path is empty"),
        (["--data", "/nowhere"], "/nowhere/manifest.jsonl cannot be read"),
        (["--set", "data.size=512"], "expected a longer side of 512"),
        (["--set", "model.start="], "a run needs start values"),
        (["--set", "model.start=/nowhere"], "/nowhere is not a folder"),
        (["--set", "model.variant=landmarks"], "v1/denoising_unet_pose is not in"),
        (["--set", "loss.perceptual=lpips"], "needs the package lpips"),
        (["--set", "optimizer.accumulate=3"], "optimizer.batch is 2; expected a multiple"),
        (["--set", "run.trackers=['wandb']"], "pip install wandb"),
        (["--set", "model.lora_rank=4", "--set", "model.subject=nobody"], "expected a subject of the data"),
    ],
)
def test_bad_input_is_one_line_and_starts_no_run(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str], message: str
) -> None:
    assert run([*run_arguments(*made, tmp_path / "run"), *extra]) == 2
    assert message in last_error(capsys)
    assert not (tmp_path / "run" / "steps").exists()


def test_a_run_of_other_settings_is_resumed_by_force_only(
    made: tuple[Path, Path], whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = run_arguments(*made, whole)
    assert run(arguments) == 2 and "holds a run already" in last_error(capsys)
    other = [*arguments, "--resume", "--set", "optimizer.rate=2e-3", "--set", "run.steps=5"]
    assert run(other) == 2
    assert "(optimizer.rate: 0.001, now 0.002; run.steps: 4, now 5)" in last_error(capsys)
    assert run([*other, "--force"]) == 0
    assert [record["step"] for record in read_log(whole)] == [1, 2, 3, 4, 5]


def test_all_settings_are_printed_as_toml(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["train", "run", "v1-stage1", "--set", "run.steps=9", "--print-settings"]) == 0
    text = capsys.readouterr().out
    (tmp_path / "mine.toml").write_text(text)
    assert run(["train", "run", str(tmp_path / "mine.toml"), "--print-settings"]) == 0
    assert capsys.readouterr().out == text and "steps = 9" in text and 'trained = "picture"' in text


def test_probe_prints_a_verdict(made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    sets = ["--set", "data.size=64", "--set", "data.frames=4", "--set", "data.reference_distance=4"]
    assert run(["train", "probe", str(made[0]), "--weights", str(made[1]), "--count", "2", *sets]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "linear" in lines[0] and "2 windows x 6 noise levels" in lines[-1]
