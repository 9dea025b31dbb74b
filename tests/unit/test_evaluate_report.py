"""Settings, tables, manifests, comparisons and warnings of reports."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echomimic.errors import InputError, OptionError
from echomimic.evaluate.catalogue import PLAIN, QUICK, make_settings, metrics, table
from echomimic.evaluate.landmarks import Faces, HandDetections, face_metrics, hand_metrics
from echomimic.evaluate.manifest import ClipSource, pick_shard, read_sources
from echomimic.evaluate.picture import PictureStatistics
from echomimic.evaluate.quality_check import warn
from echomimic.evaluate.report import Report, bootstrap, compare, contact_sheet, read_report, summarize
from echomimic.evaluate.sync import closure_metrics
from echomimic.landmarks.topology import EYES
from echomimic.mesh.expected_mouth import ExpectedMouth
from echomimic.motion.lags import scan_lags, without_drift
from echomimic.types import Curves, LandmarkTrack

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_has_the_table_of_the_catalogue() -> None:
    assert table() in (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8"), (
        "docs/evaluation.md: replace the table by catalogue.table()"
    )


def test_every_metric_says_what_it_is() -> None:
    for metric in metrics().values():
        assert all((metric.unit, metric.better, metric.range, metric.formula, metric.blind, metric.source))
        assert metric.better in ("higher", "lower", "0", "as real", "-")


def test_metrics_are_chosen_by_words() -> None:
    assert make_settings("default").groups == PLAIN
    assert make_settings("quick").groups == QUICK and make_settings("quick").hand_rate == 5
    assert make_settings("hands, sync").groups == ("sync", "hands")
    assert make_settings("sync", {"fid": Path("x")}).groups == ("sync", "fid")
    with pytest.raises(OptionError, match="unknown metrics 'smile'"):
        make_settings("smile")


def test_manifests_of_all_kinds(tmp_path: Path) -> None:
    (tmp_path / "b.mp4").touch()
    (tmp_path / "a.MOV").touch()
    assert [source.name for source in read_sources(tmp_path)] == ["a.MOV", "b.mp4"]
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"path": "b.mp4", "portrait": "p.png"}) + "\n\n", encoding="utf-8")
    assert read_sources(rows) == [ClipSource("b.mp4", tmp_path / "b.mp4", None, tmp_path / "p.png")]
    lines = tmp_path / "lines.txt"
    lines.write_text("b.mp4\n\n", encoding="utf-8")
    assert read_sources(lines) == [ClipSource("b.mp4", tmp_path / "b.mp4")]
    lone = read_sources(tmp_path / "b.mp4", tmp_path / "a.MOV")
    assert lone == [ClipSource("b.mp4", tmp_path / "b.mp4", tmp_path / "a.MOV")]
    with pytest.raises(OptionError, match="--reference"):
        read_sources(lines, tmp_path / "a.MOV")
    for name, text in (("bad.csv", "clip\nx.mp4\n"), ("bad.jsonl", "{"), ("none.txt", "\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match="expected a video"):
            read_sources(tmp_path / name)


def test_shards_are_all_jobs_once() -> None:
    sources = list(range(10))
    assert sorted(source for shard in ("1/4", "2/4", "3/4", "4/4") for source in pick_shard(sources, shard)) == sources
    for wrong in ("0/4", "5/4", "1", "a/b"):
        with pytest.raises(OptionError, match="expected i/n"):
            pick_shard(sources, wrong)


def test_lags_of_curves_are_found_and_signed() -> None:
    random = np.random.default_rng(3)
    curve = np.convolve(random.normal(size=240), np.ones(5), "valid").astype(np.float32)
    for late in (-15, -4, 0, 7, 15):
        expected = np.roll(curve, late) + random.normal(0, 0.5, len(curve)).astype(np.float32)
        sync = scan_lags(curve, expected, 25, 15)
        assert sync is not None and sync.offset == late
    assert scan_lags(curve, np.zeros_like(curve), 25, 15) is None
    assert scan_lags(curve[:3], curve[:3], 25, 15) is None
    assert np.abs(without_drift(np.linspace(0, 9, 200).astype(np.float32), 25)[15:-15]).max() < 1e-6


def test_closures_count_where_lips_shut() -> None:
    seen = np.full(100, 0.3, np.float32)
    seen[20:23] = seen[60:63] = 0.0
    expected = ExpectedMouth(seen, ((0.82, 0.9), (2.42, 2.5), (3.2, 3.3), (4.5, 4.6)))
    found = closure_metrics(seen, expected, 25, 0.0)
    assert found["closure_count"] == 3
    assert found["closure_hits"] == pytest.approx(2 / 3, rel=1e-6)
    assert found["closure_chance"] < 0.2  # type: ignore[operator]
    late = ExpectedMouth(seen, tuple((a + 0.4, b + 0.4) for a, b in expected.closures[:2]))
    assert closure_metrics(seen, late, 25, 0.4)["closure_hits"] == 1
    assert closure_metrics(seen, late, 25, 0.0)["closure_hits"] == 0


def test_hands_have_the_figures_that_their_definitions_give() -> None:
    points = np.zeros((4, 2, 21, 2), np.float32)
    points[:, :, 9, 1] = 10
    points[:, 0, :, 0] += np.array([0, 10, 0, 10])[:, None]
    points[2:, 1] = np.nan
    scores = np.array([[0.8, 1], [1, 0.6], [0.8, 0], [1, 0]], np.float32)
    found = hand_metrics(HandDetections(points, scores))
    assert found["hands_found"] == 1
    assert found["hands_lost"] == pytest.approx(0.25)
    assert found["hkc"] == pytest.approx(5.2 / 6)
    assert found["hkc_missing_as_zero"] == pytest.approx(5.2 / 8)
    assert found["hkv"] == pytest.approx((0.25 + 0) / 2)
    none = hand_metrics(HandDetections(points, np.zeros((4, 2), np.float32)))
    assert none["hands_found"] == 0 and none["hkc"] is None and none["hkv"] is None


def reports(change: float, names: str = "abcdefgh") -> Report:
    """A report with flicker that differs between clips, plus a change."""
    return {"clips": [{"path": name, "metrics": {"flicker": n + change}} for n, name in enumerate(names)]}


def test_a_change_of_every_clip_is_certain_and_one_of_none_is_not() -> None:
    (row,) = compare(reports(0), reports(0.5))
    assert (row.difference, row.low, row.high, row.paired, row.better) == (0.5, 0.5, 0.5, True, "A")
    (same,) = compare(reports(0), reports(0))
    assert same.low == same.high == 0 and same.better == "–"
    (apart,) = compare(reports(0), reports(0.5, "stuvwxyz"))
    assert not apart.paired and apart.low < 0 < apart.high and apart.better == "–"  # type: ignore[operator]
    assert compare(reports(0), reports(0.5, "stuvwxyz")) == [apart]
    with pytest.raises(InputError, match="no metric in common"):
        compare(reports(0), {"clips": []})


def test_the_bootstrap_is_about_as_wide_as_theory_has_it() -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(0, 1, 400), random.normal(0, 1, 400)
    low, high = bootstrap(one, other, False, 0)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(2 / 400), rel=0.15)


def test_summaries_leave_out_what_is_missing() -> None:
    clips: list[dict[str, Any]] = [
        {"metrics": {"flicker": 1.0, "hkc": None}},
        {"metrics": {"flicker": 3.0}},
        {"error": "x", "metrics": {}},
    ]
    assert summarize(clips) == {"flicker": {"clips": 2, "mean": 2, "spread": 1, "least": 1, "most": 3}}


def test_a_folder_that_is_not_a_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no report"):
        read_report(tmp_path)


def test_warnings_are_plain_text() -> None:
    assert warn({"sync_offset_frames": 3, "sync_confidence": 0.9}) == ["lips early by 3 frames"]
    assert warn({"sync_offset_frames": -3, "sync_confidence": 0.9}) == ["lips late by 3 frames"]
    assert warn({"sync_offset_frames": -3, "sync_confidence": 0.1}) == []
    assert warn({"hands_lost": 0.12, "flicker": 2.0}) == [
        "flicker above usual (2 grey values)",
        "hands lost in 12% of frames",
    ]
    assert warn({"face_found": 0.5, "length_difference_seconds": None}) == ["no face in 50% of frames"]


def test_a_contact_sheet_has_rows_of_six() -> None:
    thumbs = [np.full((4, 3, 3), n, np.uint8) for n in range(8)]
    sheet = contact_sheet(thumbs)
    assert sheet.shape == (8, 18, 3)
    assert sheet[4, 0, 0] == 6 and sheet[7, 17, 0] == 255
    assert contact_sheet(thumbs[:2]).shape == (4, 6, 3)


def test_a_blink_is_measured_against_three_seconds() -> None:
    still = np.zeros((100, 478, 3), np.float32)
    still[:, EYES[1].outer, 0] = 2
    for eye in EYES:
        still[:, eye.inner, 0] = 1
        still[:, eye.lower_middle, 1] = 0.3
        still[40:50, eye.lower_middle, 1] = 0.05  # 0.4 s: most of half a second
    faces = Faces(LandmarkTrack(still, (64, 64), 25.0, np.ones(100, bool)), still, Curves.rest(100, 25.0))
    unknown = np.full((100, 3), np.nan, np.float32)
    found = face_metrics(faces, PictureStatistics(unknown, unknown, unknown, unknown, unknown))
    assert found["blink_rate"] == pytest.approx(15) and found["blink_seconds"] == pytest.approx(0.4)
