"""The live page in a real browser, whose microphone is a file; and the mouth's network for browsers, in one."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the page needs the serve extra")
pytest.importorskip("playwright", reason="the browser is driven by playwright")
pytest.importorskip("aiortc", reason="live sessions need the live extra")

import aioice.ice

from echomimic.apps.server import live
from echomimic.data import data_path, demo_voice
from echomimic.media import read_speech, sound_blocks
from echomimic.mesh.speech_to_face import SAMPLE_RATE, predict_mouth
from helpers.rest_server import serving
from helpers.waiting import PATIENCE, wait_until
from helpers.web_browser import CHROMIUM, Tab, ask, take_picture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
MODULE = Path(__file__).resolve().parents[2] / "integrations" / "web" / "articulation.js"
WEIGHTS = data_path("articulation.safetensors")
FRAMES = "document.querySelector('#face').getVideoPlaybackQuality().totalVideoFrames"
LOUDNESS = """() => {
    window.heard ??= 0
    const context = new AudioContext()
    const analyser = context.createAnalyser()
    context.createMediaStreamSource(document.querySelector("#face").srcObject).connect(analyser)
    const samples = new Float32Array(analyser.fftSize)
    const listen = () => {
        analyser.getFloatTimeDomainData(samples)
        window.heard = Math.max(window.heard, ...samples.map(Math.abs))
        requestAnimationFrame(listen)
    }
    listen()
}"""
MOUTH = """async (name) => {
    const { CURVES, loadNetwork, mouthCurves } = await import("/articulation.js")
    window.network ??= await loadNetwork("/articulation.safetensors")
    const sound = new Float32Array(await (await fetch(`/${name}.f32`)).arrayBuffer())
    const { curves } = mouthCurves(window.network, sound, 25)
    return JSON.stringify(curves.map((row) => CURVES.map((name) => row[name])))
}"""


@pytest.fixture(scope="module")
def web_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in this process that is reached by loopback: machines for tests may have no network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aioice.ice, "get_host_addresses", lambda *_, **__: ["127.0.0.1"])
        patch.setattr(live, "GONE_SECONDS", PATIENCE)  # a busy machine may be silent for some seconds
        with serving(tmp_path_factory.mktemp("live"), live=True) as server:
            yield f"http://127.0.0.1:{server.port}"


def is_open(address: str) -> bool:
    try:
        return bool(ask(address))
    except HTTPError as error:
        assert error.code == 404
        return False


def test_a_microphone_becomes_a_face_and_its_voice_until_stop(tab: Tab, head_file: Path) -> None:
    page = tab.open("/live")
    page.wait_for_selector("#home[href*=lang]")
    page.set_input_files("#portrait input", head_file)
    with page.expect_response(lambda answer: answer.url.endswith("/v1/live")) as opened:
        page.click("#start")
    session = tab.address + json.loads(opened.value.body())["links"]["self"]
    tab.until("document.querySelector('#face').videoWidth > 0")
    frames, time = page.evaluate(FRAMES), page.evaluate("document.querySelector('#face').currentTime")
    tab.until(f"{FRAMES} > {frames + 5} && document.querySelector('#face').currentTime > {time}")
    page.evaluate(LOUDNESS)
    tab.until("window.heard > 0.02")
    page.wait_for_selector("#numbers >> text=25 frames a second")
    take_picture(page, "live.png")
    assert is_open(session)
    page.click("#stop")
    tab.until("document.querySelector('#face').srcObject === null")
    wait_until(lambda: not is_open(session), "the session is closed")


def _fulfill(content: bytes, kind: str, route: Any) -> None:
    route.fulfill(body=content, content_type=kind)


def serve_file(tab: Tab, name: str, content: bytes) -> None:
    kind = "text/javascript" if name.endswith("js") else "application/octet-stream"
    tab.context.route(f"**/{name}", partial(_fulfill, content, kind))


def load_module(tab: Tab) -> None:
    serve_file(tab, MODULE.name, MODULE.read_bytes())
    serve_file(tab, WEIGHTS.name, WEIGHTS.read_bytes())
    tab.open("/healthz")  # any page of the server


def check_curves(tab: Tab, voice: Path, seconds: float) -> None:
    samples = np.concatenate(list(sound_blocks(read_speech(voice), SAMPLE_RATE)))[: round(seconds * SAMPLE_RATE)]
    expected = predict_mouth([samples], max(1, round(len(samples) * 25 / SAMPLE_RATE)), 25.0)
    assert expected[:, 0].max() > 0.3
    serve_file(tab, f"{voice.stem}.f32", samples.astype("<f4").tobytes())
    found = np.array(json.loads(tab.page.evaluate(MOUTH, voice.stem)))
    print(f"{voice.stem}: largest difference {np.abs(found - expected).max():.5f}")
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_module_for_browsers_gives_the_same_curves(tab: Tab) -> None:
    """Whoever changes the network's features or the mouth's shapes changes integrations/web/articulation.js too."""
    load_module(tab)
    check_curves(tab, demo_voice(), 2.52)
    assert WEIGHTS.stat().st_size < 1_000_000


@pytest.mark.shared
def test_the_module_for_browsers_gives_the_same_curves_for_the_sample_voices(tab: Tab, shared: Path) -> None:
    load_module(tab)
    for name in ("chunwang", "echomimic_en", "echomimic_en_girl", "good_zh", "movie_0_clip_0"):
        check_curves(tab, shared / "data" / "speech" / f"{name}.wav", 2)
