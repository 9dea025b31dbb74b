"""Live sessions over HTTP: a WebRTC peer on this machine, sound by WebSocket, access and limits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aioice.ice
import httpx
import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from av import AudioFrame
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from echomimic.apps.server import live, live_sessions
from echomimic.apps.server.app import create_app
from echomimic.apps.server.settings import Settings
from echomimic.data import demo_portrait
from helpers.waiting import PATIENCE

KEY = "0123456789abcdef"
PORTRAIT = {"portrait": ("a.png", demo_portrait().read_bytes())}


def settings(folder: Path, **changes) -> Settings:
    return Settings(data=folder / "jobs", live=True, **changes)


class Voice(MediaStreamTrack):  # type: ignore[misc]
    """A microphone that hears a loud tone."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._at = 0

    async def recv(self) -> AudioFrame:
        await asyncio.sleep(0.02)
        tone = (np.sin(np.arange(self._at, self._at + 960) / 20) * 9000).astype(np.int16)
        frame = AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48_000, self._at
        self._at += 960
        return frame


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple]:
    app = create_app(settings(folder, live_sessions=1))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        yield client, app.state.live


async def until(done) -> None:
    while not done():
        await asyncio.sleep(0.02)


def vanish(peer: RTCPeerConnection) -> None:
    """Nothing that the peer sends arrives any more, its goodbye neither."""
    for ice in {each.sender.transport.transport for each in peer.getTransceivers()}:
        protocols: list[Any] = ice._connection._protocols
        for protocol in protocols:
            protocol.transport = SimpleNamespace(sendto=lambda *_: None, close=protocol.transport.close)


async def _story(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(folder) as (client, sessions):
        opened = await client.post("/v1/live", files=PORTRAIT, data={"size": "64", "overflow": "drop", "mark": "false"})
        assert opened.status_code == 201, opened.text
        session = opened.json()
        assert session["width"] == session["height"] == 64 and 0.3 < session["delay"] < 0.5
        full = await client.post("/v1/live", files=PORTRAIT)
        assert (full.status_code, full.json()["code"]) == (429, "too_many_sessions")
        assert (await client.post(session["links"]["whep"], content=b"x")).status_code == 415

        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        tracks: dict = {}
        peer.on("track", lambda track: tracks.__setitem__(track.kind, track))
        peer.addTransceiver("video", direction="recvonly")
        peer.addTrack(Voice())
        await peer.setLocalDescription(await peer.createOffer())
        headers = {"Content-Type": "application/sdp"}
        bad = await client.post(session["links"]["whep"], content="v=0", headers=headers)
        assert (bad.status_code, bad.json()["code"]) == (422, "bad_offer")
        offer = peer.localDescription.sdp
        answer = await client.post(session["links"]["whep"], content=offer, headers=headers)
        assert answer.status_code == 201 and answer.headers["location"] == session["links"]["whep"]
        await peer.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        pictures = [await tracks["video"].recv() for _ in range(3)]
        assert {(f.width, f.height) for f in pictures} == {(64, 64)}
        loud = 0.0
        while loud < 1000:
            loud = float(np.abs((await tracks["audio"].recv()).to_ndarray()).max())
        state = (await client.get(session["links"]["self"])).json()
        assert state["state"] == "connected" and state["statistics"]["frames"] > 3
        assert (await client.post(session["links"]["clear"])).status_code == 204
        vanish(peer)
        monkeypatch.setattr(live, "GONE_SECONDS", 0.5)
        await asyncio.wait_for(until(lambda: not sessions.sessions), PATIENCE)
        assert (await client.get(session["links"]["self"])).status_code == 404
        again = await client.post("/v1/live", files=PORTRAIT, data={"size": "64"})
        assert again.status_code == 201, "the server continues"
        await peer.close()


def test_a_client_sends_its_voice_gets_the_face_and_its_session_is_closed_when_it_disappears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert live.GONE_SECONDS + live_sessions._WATCH_SECONDS < 10
    monkeypatch.setattr(live_sessions, "_WATCH_SECONDS", 0.1)
    monkeypatch.setattr(live, "GONE_SECONDS", PATIENCE)  # a busy machine may be silent for some seconds
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda *_, **__: ["127.0.0.1"])  # machines without a network
    asyncio.run(_story(tmp_path, monkeypatch))


def test_sound_by_websocket_needs_the_key_and_an_own_origin(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path, api_keys=(KEY,)))
    key = {"X-API-Key": KEY}
    with TestClient(app, base_url="http://127.0.0.1") as client:
        session = client.post("/v1/live", files=PORTRAIT, data={"size": "64"}, headers=key).json()
        path = session["links"]["sound"] + "?rate=16000"
        address = f"ws://127.0.0.1{path}"
        refused: list[tuple[str, dict[str, str]]] = [
            (address, {}),
            (address, {"X-API-Key": KEY + "0"}),
            (address, {**key, "Origin": "http://evil.example"}),
            (f"ws://evil.example{path}", key),
            ("ws://127.0.0.1/v1/other", key),
            (address.replace(session["id"], "0" * 32), key),
            (address.replace("16000", "1"), key),
        ]
        for where, headers in refused:
            with pytest.raises(WebSocketDisconnect), client.websocket_connect(where, headers=headers):
                pass
        stream = app.state.live.find(session["id"], next(iter(app.state.live.sessions.values())).owner).stream
        with client.websocket_connect(address, headers=key) as socket:
            socket.send_bytes(np.full(16_000, 1000, "<i2").tobytes())
            socket.send_json({"type": "end"})
            socket.send_bytes(np.full(16_000, 1000, "<i2").tobytes())
            socket.send_bytes(b"odd")
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_text()
        assert closed.value.code == 1003
        assert 1.9 < stream.queued < 2.1
        with client.websocket_connect(address, headers=key) as socket:
            socket.send_json({"type": "clear"})
            socket.send_json({"type": "unknown"})
            with pytest.raises(WebSocketDisconnect):
                socket.receive_text()
        assert stream.queued == 0
        assert client.delete(session["links"]["self"], headers=key).status_code == 204
        assert client.get(session["links"]["self"], headers=key).status_code == 404


def test_a_server_that_offers_no_live_sessions_has_none(tmp_path: Path) -> None:
    with TestClient(create_app(Settings(data=tmp_path / "jobs")), base_url="http://127.0.0.1") as client:
        assert client.post("/v1/live", files=PORTRAIT).status_code == 404
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("ws://127.0.0.1/v1/live/x/sound"):
            pass
