"""Metrics with networks: small random ones, and the arithmetic against other implementations."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from echomimic.checkpoints.registry import Hub, Published
from echomimic.errors import OptionError, WeightsError
from echomimic.evaluate import learned_metrics as learned
from echomimic.evaluate.catalogue import LEARNED, make_settings
from echomimic.evaluate.learned_metrics import Gaussian, fit_gaussian, frechet_distance
from echomimic.evaluate.manifest import ClipSource, file_digest
from echomimic.evaluate.measure import measure, round_digits, set_distance
from echomimic.evaluate.networks import MetricNetworks, load_networks, missing_network, parse_weights
from echomimic.evaluate.sync import LAG, SyncNet, cepstrum, sync_scores
from echomimic.landmarks.topology import FACE_CROP_POINTS
from echomimic.media import read_picture, speech_from_samples, write_clip
from echomimic.mesh.engine import MeshEngine
from echomimic.options import make_options
from echomimic.types import Floats

RANDOM = np.random.default_rng(7)


def small_network(width: int, seed: int = 0) -> learned.Network:
    """Means over 4 x 4 cells of the last two axes, times a random matrix, then a bend: rows do not mix."""

    def run(batch: Floats) -> Floats:
        flat = batch.reshape(len(batch), -1, *batch.shape[-2:])
        high, wide = (side // 4 * 4 for side in flat.shape[-2:])
        if high and wide:
            cells = flat[..., :high, :wide].reshape(*flat.shape[:2], 4, high // 4, 4, wide // 4).mean(axis=(3, 5))
        else:
            cells = flat
        rows = cells.reshape(len(batch), -1)
        matrix = np.random.default_rng(seed).normal(size=(rows.shape[1], width)).astype(np.float32)
        return np.stack([np.tanh(row / 100 @ matrix) for row in rows])

    return run


def test_frechet_distance_of_gaussians_in_closed_form() -> None:
    one = Gaussian(np.array([1.0, 2.0]), np.diag([4.0, 9.0]))
    other = Gaussian(np.array([4.0, 6.0]), np.diag([1.0, 25.0]))
    assert frechet_distance(one, other) == pytest.approx(3**2 + 4**2 + (2 - 1) ** 2 + (3 - 5) ** 2)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    point = Gaussian(np.zeros(2), np.zeros((2, 2)))
    assert frechet_distance(one, point) == pytest.approx(1 + 4 + 4 + 9)


def test_frechet_distance_of_turned_gaussians() -> None:
    turn = np.linalg.qr(RANDOM.normal(size=(5, 5)))[0]
    one = Gaussian(np.zeros(5), turn @ np.diag([1.0, 4, 9, 16, 25]) @ turn.T)
    other = Gaussian(np.zeros(5), turn @ np.diag([4.0, 4, 4, 4, 4]) @ turn.T)
    assert frechet_distance(one, other) == pytest.approx(1 + 0 + 1 + 4 + 9)


def test_frechet_distance_as_scipy_has_it() -> None:
    from scipy.linalg import sqrtm

    ours, theirs = RANDOM.normal(size=(200, 12)), RANDOM.normal(size=(150, 12)) @ RANDOM.normal(size=(12, 12)) + 1
    one, other = fit_gaussian(ours), fit_gaussian(theirs)
    c1, c2 = np.cov(ours, rowvar=False), np.cov(theirs, rowvar=False)
    wanted = ((ours.mean(0) - theirs.mean(0)) ** 2).sum() + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)
    assert frechet_distance(one, other) == pytest.approx(wanted, rel=1e-9)


def test_fewer_frames_than_dimensions_are_no_trouble() -> None:
    few = RANDOM.normal(size=(5, 30)).astype(np.float32)
    assert set_distance([(few, few)]) == pytest.approx(0, abs=1e-9)
    assert set_distance([(few, few + 1)]) == pytest.approx(30, rel=1e-5)
    assert set_distance([(few[:1], few)]) is None


def test_features_do_not_depend_on_batch_or_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from echomimic.evaluate.networks import torch_network

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2)).eval()
    network = torch_network(module, "cpu", {})
    frames = RANDOM.integers(0, 256, (13, 20, 20, 3)).astype(np.uint8)
    found, usual = [], torch.get_num_threads()
    try:
        for batch, threads in ((1, 1), (5, 2), (8, 4), (32, 1)):
            monkeypatch.setattr(learned, "BATCH", batch)
            torch.set_num_threads(threads)
            rows = learned.frame_features(network, frames)
            assert rows.shape == (13, 32)
            found.append(set_distance([(rows[:6], rows[6:])]))
    finally:
        torch.set_num_threads(usual)
    assert len(set(found)) == 1


def test_lpips_and_csim_as_torch_has_them() -> None:
    torch = pytest.importorskip("torch")
    network = small_network(6)
    frames = RANDOM.integers(0, 256, (4, 2, 16, 16, 3)).astype(np.uint8)
    rows = torch.from_numpy(network(frames.reshape(8, 16, 16, 3).transpose(0, 3, 1, 2).astype(np.float32)))
    wanted = (rows[0::2] - rows[1::2]).square().sum(dim=1).mean()
    assert learned.lpips(network, ((a, b) for a, b in frames)) == pytest.approx(float(wanted), rel=1e-5)
    crops = frames[:, 0]
    ours = learned.embeddings(network, crops)
    cosine = torch.nn.functional.cosine_similarity(rows[0::2], rows[0:1]).mean()
    assert learned.csim(ours, ours[:1]) == pytest.approx(float(cosine), rel=1e-5)


def test_windows_of_fvd_hold_sixteen_frames_each() -> None:
    seen: list[tuple[int, ...]] = []

    def network(batch: Floats) -> Floats:
        seen.append(batch.shape)
        return batch.reshape(len(batch), -1)[:, ::100000]

    frames = RANDOM.integers(0, 256, (40, 30, 50, 3)).astype(np.uint8)
    assert len(learned.window_features(network, frames)) == 2
    assert seen == [(learned.BATCH, 3, 16, 224, 224)]


def test_a_face_crop_puts_eyes_and_mouth_in_place() -> None:
    points = np.zeros((478, 3), np.float32)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]]) * 1.7
    for index, place in zip(FACE_CROP_POINTS, learned._CROP_PLACES, strict=True):
        points[index, :2] = turn @ place + (30, 40)
    picture = np.zeros((400, 400, 3), np.uint8)
    x, y = points[473, :2].round().astype(int)
    picture[y - 2 : y + 3, x - 2 : x + 3] = 255
    crop = learned.face_crop(picture, points, 112)
    brightest = np.unravel_index(crop[..., 0].argmax(), (112, 112))
    assert np.abs(np.array(brightest[::-1]) - learned._CROP_PLACES[1]).max() < 2.5


def test_sync_scores_as_torch_has_them() -> None:
    torch = pytest.importorskip("torch")
    lips = RANDOM.normal(size=(40, 16)).astype(np.float32)
    voice = np.roll(lips, 4, axis=0) + RANDOM.normal(0, 0.1, (40, 16)).astype(np.float32)
    padded = torch.nn.functional.pad(torch.from_numpy(voice), (0, 0, LAG, LAG))
    rows = [
        torch.nn.functional.pairwise_distance(
            torch.from_numpy(lips[[i]]).repeat(2 * LAG + 1, 1), padded[i : i + 2 * LAG + 1]
        )
        for i in range(len(lips))
    ]
    mean = torch.stack(rows).mean(dim=0)
    found = sync_scores(lips, voice, LAG)
    assert found["sync_d"] == pytest.approx(float(mean.min()), rel=1e-5)
    assert found["sync_c"] == pytest.approx(float(mean.median() - mean.min()), rel=1e-5)
    assert found["syncnet_offset_frames"] == 4


def test_the_cepstrum_is_the_usual_one() -> None:
    """Every step again, in loops, with scipy's cosine transform."""
    from scipy.fft import dct

    samples = (RANDOM.normal(size=1500) * 3000).astype(np.float32)
    sound = np.append(samples[0], samples[1:] - 0.97 * samples[:-1]).astype(np.float64)
    sound = np.append(sound, np.zeros(7 * 160 + 400 - 1500))
    hz = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28) / 2595) - 1)
    bins = np.floor(513 * hz / 16000).astype(int)
    bank = np.zeros((26, 257))
    for band in range(26):
        for at in range(bins[band], bins[band + 1]):
            bank[band, at] = (at - bins[band]) / (bins[band + 1] - bins[band])
        for at in range(bins[band + 1], bins[band + 2]):
            bank[band, at] = (bins[band + 2] - at) / (bins[band + 2] - bins[band + 1])
    rows = []
    for start in range(0, 8 * 160, 160):
        power = np.abs(np.fft.rfft(sound[start : start + 400], 512)) ** 2 / 512
        row = dct(np.log(bank @ power), type=2, norm="ortho")[:13] * (1 + 11 * np.sin(np.pi * np.arange(13) / 22))
        rows.append([np.log(power.sum()), *row[1:]])
    assert np.allclose(cepstrum(samples), rows, atol=1e-3)


def test_syncnet_has_the_published_layers() -> None:
    torch = pytest.importorskip("torch")
    from echomimic.evaluate.syncnet_model import SyncNetModel, load_syncnet

    torch.manual_seed(0)
    tensors = SyncNetModel().state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert shapes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert shapes["netcnnlip.0.weight"] == (96, 3, 5, 7, 7)
    assert shapes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert shapes["netfclip.3.weight"] == shapes["netfcaud.3.weight"] == (1024, 512)
    model = load_syncnet(tensors, torch.device("cpu"))
    with torch.inference_mode():
        assert model.lips(torch.zeros(1, 3, 5, 224, 224)).shape == (1, 1024)
        assert model.voice(torch.zeros(1, 1, 13, 20)).shape == (1, 1024)


def test_weights_are_named_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "odd@name.pt"
    path.write_bytes(b"no network")
    digest = file_digest(path)
    assert parse_weights([f"fid={path}@{digest}", "csim=a.onnx"]) == {
        "fid": (path, digest),
        "csim": (Path("a.onnx"), None),
    }
    with pytest.raises(OptionError, match="NAME=FILE"):
        parse_weights(["inception=x.pt"])
    with pytest.raises(WeightsError, match="expected 0000"):
        load_networks({"fid": (path, "0" * 64)})
    with pytest.raises(WeightsError, match="cannot be read"):
        load_networks({"fid": (tmp_path / "none.pt", None)})
    with pytest.raises(WeightsError, match="not a TorchScript"):
        load_networks({"fid": (path, None)})
    with pytest.raises(WeightsError, match="SyncNet"):
        load_networks({"syncnet": (path, None)})
    with pytest.raises(WeightsError, match="ONNX"):
        load_networks({"csim": (path.rename(tmp_path / "face.onnx"), None)})


def test_weights_are_fetched_from_the_hub_where_that_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    content = b"a face network"

    class OneFile(Hub):
        def licence(self, repository: str) -> str:
            return "apache-2.0"

        def describe(self, repository: str, path: str) -> Published:
            return Published(len(content), hashlib.sha256(content).hexdigest())

        def download(self, repository: str, path: str, folder: Path, report: object) -> Path:
            assert (repository, path) == ("opencv/faces", "sub/face.onnx")
            (folder / "sub").mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
            return folder / path

    wanted = parse_weights(["csim=hub:opencv/faces/sub/face.onnx"], OneFile())
    assert wanted["csim"][0].read_bytes() == content
    with pytest.raises(OptionError, match="hub:OWNER/REPOSITORY/FILE"):
        parse_weights(["csim=hub:opencv/faces"], OneFile())


def test_a_torchscript_file_becomes_a_network(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Mean(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, batch, return_features: bool = False):
            return batch.mean(dim=(2, 3)) if return_features else batch

    torch.jit.script(Mean()).save(str(tmp_path / "mean.pt"))
    networks = load_networks({"fid": (tmp_path / "mean.pt", None)})
    frames = RANDOM.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    assert np.allclose(learned.frame_features(networks.plain["fid"], frames), frames.mean(axis=(1, 2)))
    assert networks.digests["fid"] == file_digest(tmp_path / "mean.pt")


@pytest.mark.slow
def test_every_weighed_group_measures_a_clip(head_file: Path, tmp_path: Path) -> None:
    voice = speech_from_samples(RANDOM.normal(0, 0.1, 24000).astype(np.float32), 16000)
    options = make_options({"size": 128, "workers": 1})
    path = tmp_path / "clip.mp4"
    write_clip(path, MeshEngine().prepare(read_picture(head_file), voice, None, options).frames(), 25.0, voice, {})
    plain = {name: small_network(5) for name in LEARNED if name != "syncnet"}
    networks = MetricNetworks(plain, SyncNet(small_network(5), small_network(5)))
    source = ClipSource("clip", path, path, head_file)
    found = measure(source, make_settings(",".join(LEARNED)), networks)
    assert found.notes == ()
    assert all(found.metrics[name] == 0 for name in ("fid", "fvd", "lpips", "efid"))
    assert 0.9 < found.metrics["csim"] <= 1  # type: ignore[operator]
    assert found.metrics["sync_d"] > 0  # type: ignore[operator]
    nothing = measure(source, make_settings("fid,syncnet"), MetricNetworks())
    assert nothing.metrics == {}
    assert nothing.notes == (missing_network("fid"), missing_network("syncnet"))
    assert "inception-2015-12-05.pt" in nothing.notes[0]


def test_figures_have_six_digits() -> None:
    assert round_digits(1234.56789) == 1234.57
    assert round_digits(float("nan")) is None and round_digits(None) is None
