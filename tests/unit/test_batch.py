"""Batches: manifests and their faults, rows that fail, rows that are there already, processes that die."""

import json
from pathlib import Path

import pytest

from echomimic.apps.batch import (
    BatchRow,
    BatchStatus,
    gpus_of,
    pick_block,
    read_batch,
    run_batch,
)
from echomimic.apps.cli.main import run as run_command
from echomimic.data import demo_portrait, demo_voice
from echomimic.errors import InputError, SetupError
from echomimic.parallel import Runner, Worker, _blocks, connect, run_pool
from helpers.batch_workers import StubWorker

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with files that look like inputs, and a folder for outputs."""
    for name in ("a.png", "b.png", "bad.png", "odd.png", "deadly.png", "v.wav", "w.wav", "m.npz"):
        (tmp_path / name).touch()
    (tmp_path / "out").mkdir()
    return tmp_path


def csv(home: Path, *lines: str) -> Path:
    (home / "m.csv").write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return home / "m.csv"


def test_rows_of_csv_and_jsonl_are_the_same(home: Path) -> None:
    table = csv(home, "portrait; speech; output; size; mark", "a.png;v.wav;x.mp4;256;false", "", " b.png ;v.wav;;;")
    lines = home / "m.jsonl"
    first = {"portrait": "a.png", "speech": "v.wav", "output": "x.mp4", "size": 256, "mark": False}
    second = {"portrait": "b.png", "speech": "v.wav", "output": None}
    lines.write_text(f"{json.dumps(first)}\n\n{json.dumps(second)}\n")
    one, two = read_batch(table, home / "out", {"preset": "mesh", "size": "512", "seed": 3})
    assert (one.portrait, one.output, one.preset) == (str(home / "a.png"), "x.mp4", "mesh")
    assert one.options == {"size": "256", "seed": 3, "mark": "false"}
    assert two.output == "b-v.mp4" and two.options == {"size": "512", "seed": 3}
    again = read_batch(lines, home / "out", {"preset": "mesh", "size": "512", "seed": 3})
    assert [row.output for row in again] == ["x.mp4", "b-v.mp4"]
    assert [row.options["size"] for row in again] == [256, "512"]


FAULTS = {
    "a.png,v.wav,x.mp4,9,": "option `size` is 9; expected 64 to 4096",
    "a.png,v.wav,x.mp4,,V9": "unknown preset 'V9'",
    "none.png,v.wav,x.mp4,,": "portrait 'none.png' is not there",
    ",v.wav,x.mp4,,": "no portrait",
    "a.png,v.wav,ok.mp4,,": "output 'ok.mp4' is also that of row 1",
    "a.png,v.wav,OK.mp4/../ok.mp4,,": "output 'OK.mp4/../ok.mp4' is also that of row 1",
    "a.png,v.wav,../x.mp4,,": "is outside",
    "a.png,v.wav,x.avi,,": "not a known format",
    "a.png,v.wav,x.mp4,,,,": "more cells than columns",
}


def test_every_fault_is_one_line_with_its_row(home: Path) -> None:
    for line, expected in FAULTS.items():
        manifest = csv(home, "portrait,speech,output,size,preset", "b.png,v.wav,ok.mp4,,", line)
        with pytest.raises(InputError) as caught:
            read_batch(manifest, home / "out", {})
        assert str(caught.value).startswith(f"row 2 of {manifest}: ") and expected in str(caught.value)
        assert "\n" not in str(caught.value)
    further: list[str] = []
    with pytest.raises(InputError, match=r"row 1 .*unknown column 'voice'.*1 more fault"):
        manifest = csv(home, "portrait,speech,voice", "a.png,v.wav,1", "b.png,none.wav,")
        read_batch(manifest, home / "out", {}, further.append)
    assert [line.split(";")[0] for line in further] == ["row 2: speech 'none.wav' is not there"]
    with pytest.raises(InputError, match=r"its output is inside that of row 1"):
        read_batch(csv(home, "portrait,speech,output", "a.png,v.wav,x", "a.png,w.wav,x/y.mp4"), home / "out", {})
    with pytest.raises(InputError, match=r"'m\.npz' is also an input"):
        read_batch(csv(home, "portrait,speech,motion,save_motion", "a.png,v.wav,m.npz,m.npz"), home, {})
    for text, expected in (("", "names no clips"), ('{"portrait": 1', "row 1 .* not a JSON object")):
        (home / "n.jsonl").write_text(text)
        with pytest.raises(InputError, match=expected):
            read_batch(home / "n.jsonl", home / "out", {})


def rows_of(home: Path, *portraits: str) -> list[BatchRow]:
    return [
        BatchRow(number, str(home / f"{name}.png"), str(home / "v.wav"), f"{number}.mp4")
        for number, name in enumerate(portraits, 1)
    ]


@pytest.mark.parametrize("shard", [None, "1/3", "2/3", "3/3"])
def test_shards_are_all_rows_once_and_keep_portraits_together(home: Path, shard: str | None) -> None:
    rows = rows_of(home, *"ababababa")
    chosen = pick_block(rows, shard)
    assert len(chosen) == (3 if shard else 9)
    assert [row.number for row in pick_block(rows, None)] == [1, 3, 5, 7, 9, 2, 4, 6, 8]
    if shard in ("1/3", "3/3"):
        assert len({row.portrait for row in chosen}) == 1


def test_a_row_that_fails_is_a_line_of_the_report(home: Path) -> None:
    seen: list[BatchStatus] = []
    rows = rows_of(home, "odd", "a", "bad", "b")
    report = home / "out" / "report.jsonl"
    status = run_batch(
        rows, home / "out", Runner(0), report, on_result=lambda _, now: seen.append(now), worker=StubWorker
    )
    assert (status.made, status.failed, status.frames, status.video_seconds) == (2, 2, 100, 4.0)
    assert [now.done for now in seen] == [1, 2, 3, 4] and seen[1].left > 0
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [line["number"] for line in lines] == [1, 2, 3, 4]
    assert [line["status"] for line in lines] == ["failed", "made", "failed", "made"]
    assert lines[0]["error"] == "ValueError: a fault of two lines"
    assert (lines[2]["error"], lines[2]["code"]) == ("no face", "input_unusable")


def test_a_process_that_dies_costs_only_its_row(home: Path) -> None:
    rows = rows_of(home, "a", "deadly", "b", "a", "b")
    status = run_batch(rows, home / "out", Runner(2), home / "out" / "report.jsonl", worker=StubWorker)
    assert (status.made, status.failed) == (4, 1)
    lines = [json.loads(line) for line in (home / "out" / "report.jsonl").read_text().splitlines()]
    assert "died" in lines[1]["error"]
    assert not list((home / "out").glob(".*"))


class Stopping(Worker):
    """Is stopped by the user at the item "stop"."""

    def run(self, text: str) -> str:
        if text == "stop":
            raise KeyboardInterrupt
        return text

    def crashed(self, text: str) -> str:
        return text


def test_items_are_dealt_in_blocks_of_neighbours() -> None:
    assert [list(block) for block in _blocks("abcdefg", 3)] == [["a", "b"], ["c", "d"], ["e", "f", "g"]]
    outcomes = run_pool(Stopping, (), ["a", "stop"], 0)
    assert next(outcomes) == "a"
    with pytest.raises(KeyboardInterrupt):
        next(outcomes)


def test_gpus_follow_from_the_preset(home: Path) -> None:
    (row,) = rows_of(home, "a")
    wanted = {"mesh": 0, "tiny": 0, "auto": 0, "v1": 1, "v2-acc": 1}
    assert {name: gpus_of(BatchRow(1, row.portrait, row.speech, "o", preset=name)) for name in wanted} == wanted
    assert gpus_of(BatchRow(1, row.portrait, row.speech, "o", preset="v1", options={"device": "cpu"})) == 0


def test_a_ray_address_that_does_not_answer_is_one_line() -> None:
    pytest.importorskip("ray.data", reason="ray is not installed")
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        with (
            pytest.raises(SetupError, match=r"^no Ray cluster at '.*127\.0\.0\.1:1' \(.*\); expected its address"),
            connect(address),
        ):
            pass


def test_the_command_makes_clips_once_and_says_what_failed(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    manifest, out = tmp_path / "m.csv", tmp_path / "clips"
    head = "portrait,speech,output,frames,size"
    manifest.write_text(f"{head}\n{demo_portrait()},{demo_voice()},made/1.mp4,3,64\nbad.png,{demo_voice()},2.mp4,,\n")
    command = ["batch", str(manifest), "-o", str(out), "--preset", "mesh", "--workers", "0"]
    assert run_command(command) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("2 clips: 1 made, 0 known, 1 failed; ") and "row 2 failed: " in printed.err
    before = (out / "made" / "1.mp4").stat().st_mtime_ns
    manifest.write_text(manifest.read_text().replace("bad.png", str(demo_portrait())).replace("2.mp4,,", "2.mp4,2,64"))
    assert run_command([*command, "--json"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["event"], last["made"], last["known"], last["failed"], last["frames"]) == ("batch", 1, 1, 0, 2)
    assert (out / "made" / "1.mp4").stat().st_mtime_ns == before
    manifest.write_text(manifest.read_text().replace("1.mp4,3,", "1.mp4,4,"))
    assert run_command(command) == 0 and "1 made, 1 known" in capsys.readouterr().out
    assert run_command(["batch", str(manifest), "-o", str(manifest)]) == 2
    assert "is a file" in capsys.readouterr().err
