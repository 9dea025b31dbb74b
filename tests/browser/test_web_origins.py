"""Who may use the server, in a real browser: pages of other sites, local ports and names may not."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the page needs the serve extra")
pytest.importorskip("playwright", reason="the browser is driven by playwright")
from helpers.rest_server import serving
from helpers.web_browser import CHROMIUM, Tab, jobs_of

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
READ = """async (address) => {
    try {
        const answer = await fetch(address, { credentials: 'include' })
        return answer.ok ? (await answer.text()).slice(0, 100) : `refused ${answer.status}`
    } catch (error) { return 'blocked' }
}"""
SEND = """async (address) => {
    try {
        const data = new FormData()
        data.append('portrait', new Blob(['x']), 'x.png')
        data.append('speech', new Blob(['x']), 'x.wav')
        const answer = await fetch(address, { method: 'POST', body: data, mode: 'no-cors' })
        return answer.type
    } catch (error) { return 'blocked' }
}"""


class _OtherSite(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>another site</title>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def other_port() -> Iterator[int]:
    """Another site on another port of this machine."""
    site = ThreadingHTTPServer(("127.0.0.1", 0), _OtherSite)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    yield site.server_address[1]
    site.shutdown()


@pytest.fixture(scope="module")
def web_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the settings of one that listens on every address of the machine, and is called 'talking.test'."""
    public: dict[str, Any] = {"host": "0.0.0.0", "no_key": True, "allow_host": ("talking.test",)}
    with serving(tmp_path_factory.mktemp("public"), **public) as server:
        yield f"http://127.0.0.1:{server.port}"


def test_a_page_of_another_origin_can_neither_read_nor_send(tab: Tab, web_server: str, other_port: int) -> None:
    page = tab.context.new_page()
    for host in ("127.0.0.1", "localhost", "evil.test"):
        page.goto(f"http://{host}:{other_port}/")
        for path in ("/v1/animations", "/ui/config", "/editor/sessions/none", "/metrics"):
            assert page.evaluate(READ, web_server + path) == "blocked", (host, path)
        page.evaluate(SEND, f"{web_server}/v1/animations")  # it would become a job
        assert jobs_of(web_server) == [], host
    home = tab.open("/")
    home.evaluate(SEND, f"{web_server}/v1/animations")
    assert len(jobs_of(web_server)) == 1  # as it does from the page itself


def test_a_name_that_was_bound_to_this_machine_is_refused(tab: Tab, web_server: str) -> None:
    """DNS rebinding: the page is of the same origin for the browser, but the Host header names the attacker's site."""
    port = web_server.rsplit(":", 1)[1]
    page = tab.context.new_page()
    assert page.goto(f"http://evil.test:{port}/").status == 421
    assert page.evaluate(READ, f"http://evil.test:{port}/v1/animations") == "refused 421"
    assert page.goto(f"http://talking.test:{port}/").status == 200
    page.wait_for_selector("#generate")
    assert page.evaluate(READ, f"http://talking.test:{port}/v1/animations").startswith("{")


def test_another_site_can_neither_frame_the_page_nor_load_its_pictures(
    tab: Tab, web_server: str, other_port: int
) -> None:
    page = tab.context.new_page()
    page.goto(f"http://localhost:{other_port}/")
    shown = page.evaluate(
        """async (address) => {
            const image = new Image()
            image.src = address + '/ui/example/portrait'
            return image.decode().then(() => 'shown', () => 'refused')
        }""",
        web_server,
    )
    assert shown == "refused"
    headers = tab.page.goto(web_server).headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers
