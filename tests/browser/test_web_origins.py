"""Who may use the server, in a real browser: pages of other sites, local ports and names may not."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the page needs the serve extra")
pytest.importorskip("playwright", reason="the browser is driven by playwright")
from helpers.web_browser import CHROMIUM, FLAGS, Tab, delete_jobs, jobs_of, running_server

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
def public_server() -> Iterator[str]:
    """A server that listens on every address of the machine and is called 'talking.test'."""
    with running_server("--host", "0.0.0.0", "--no-key", "--allow-host", "talking.test") as address:
        yield address.replace("0.0.0.0", "127.0.0.1")


@pytest.fixture(scope="module")
def resolving_browser(public_server: str) -> Iterator[Any]:
    """A browser for which two names point at this machine, as an attacker's DNS server can arrange."""
    from playwright.sync_api import sync_playwright

    rules = "--host-resolver-rules=MAP evil.test 127.0.0.1,MAP talking.test 127.0.0.1"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, rules])
        yield browser
        browser.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "evil.test"])
def test_a_page_of_another_origin_can_neither_read_nor_send(
    resolving_browser: Any, public_server: str, other_port: int, host: str
) -> None:
    tab = Tab(resolving_browser, public_server)
    page = tab.context.new_page()
    page.goto(f"http://{host}:{other_port}/")
    for path in ("/v1/animations", "/ui/config", "/editor/sessions/none", "/metrics"):
        assert page.evaluate(READ, public_server + path) == "blocked"
    page.evaluate(SEND, f"{public_server}/v1/animations")  # it would become a job
    assert jobs_of(public_server) == []
    home = tab.open("/")
    home.evaluate(SEND, f"{public_server}/v1/animations")
    assert len(jobs_of(public_server)) == 1  # as it does from the page itself
    delete_jobs(public_server)
    tab.context.close()


def test_a_name_that_was_bound_to_this_machine_is_refused(resolving_browser: Any, public_server: str) -> None:
    """DNS rebinding: the page is of the same origin for the browser, but the Host header names the attacker's site."""
    port = public_server.rsplit(":", 1)[1]
    tab = Tab(resolving_browser, public_server)
    page = tab.context.new_page()
    assert page.goto(f"http://evil.test:{port}/").status == 421
    assert page.evaluate(READ, f"http://evil.test:{port}/v1/animations") == "refused 421"
    assert page.goto(f"http://talking.test:{port}/").status == 200
    page.wait_for_selector("#generate")
    assert page.evaluate(READ, f"http://talking.test:{port}/v1/animations").startswith("{")
    tab.context.close()


def test_another_site_can_neither_frame_the_page_nor_load_its_pictures(
    resolving_browser: Any, public_server: str, other_port: int
) -> None:
    tab = Tab(resolving_browser, public_server)
    page = tab.context.new_page()
    page.goto(f"http://localhost:{other_port}/")
    shown = page.evaluate(
        """async (address) => {
            const image = new Image()
            image.src = address + '/ui/example/portrait'
            return image.decode().then(() => 'shown', () => 'refused')
        }""",
        public_server,
    )
    assert shown == "refused"
    headers = tab.page.goto(public_server).headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers
    tab.context.close()
