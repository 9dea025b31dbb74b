"""The command that installs an extra fits the way in which the package was installed."""

import json
import re
from pathlib import Path

import pytest

from echomimic import installation

ROOT = Path(__file__).resolve().parents[2]


class Installed:
    """A distribution as importlib.metadata gives it."""

    def __init__(self, record: dict[str, object] | None) -> None:
        self.record = record
        self.requires = [
            "numpy>=1.26",
            "echomimic[serve]; extra == 'web'",
            "fastapi>=0.128; extra == 'serve'",
            'uvicorn>=0.34 ; extra == "serve"',
        ]

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self.record is None else json.dumps(self.record)


@pytest.mark.parametrize(
    ("record", "ends"),
    [
        ({"url": "file:///home/a%20b/echomimic", "dir_info": {"editable": True}}, "-e '/home/a b/echomimic[serve]'"),
        ({"url": "file:///home/me/echomimic", "dir_info": {}}, "'/home/me/echomimic[serve]'"),
        (
            {"url": "https://example.org/e.git", "vcs_info": {"vcs": "git", "commit_id": "1"}},
            "'echomimic[serve] @ git+https://example.org/e.git'",
        ),
        ({"url": "file:///tmp/e.whl", "archive_info": {}}, "'echomimic[serve] @ file:///tmp/e.whl'"),
        (None, "'fastapi>=0.128' 'uvicorn>=0.34'"),
    ],
)
def test_the_command_names_where_the_package_came_from(
    record: dict[str, object] | None, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "_distribution", lambda: Installed(record))
    monkeypatch.setattr(installation, "__file__", "/nowhere/lib/echomimic/installation.py")
    assert installation.install_command("serve") == f"{installation.python()} -m pip install {ends}"
    if record is None:
        assert installation.install_command("web") == installation.install_command("serve")
        assert installation.install_command().endswith("-m pip install 'numpy>=1.26'")


def test_a_checkout_that_is_not_installed_names_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "_distribution", lambda: None)
    root = Path(__file__).resolve().parents[2]
    monkeypatch.setattr(installation, "__file__", str(root / "src" / "echomimic" / "installation.py"))
    assert installation.install_command().endswith(f"-m pip install -e '{root}'")
    message = installation.missing_package("httpx", "client", "the client needs")
    assert message.startswith("the package httpx is missing, which the client needs; install it: ")


def test_no_message_and_no_page_asks_for_a_package_of_this_name_from_an_index() -> None:
    sources = [*Path(installation.__file__).parent.rglob("*"), *ROOT.glob("docs/**/*"), *ROOT.glob("*.md")]
    sources += [*ROOT.glob("integrations/**/*"), *ROOT.glob("benchmarks/*")]
    texts = [path for path in sources if path.suffix in (".py", ".json", ".js", ".html", ".md", ".toml")]
    assert len(texts) > 200
    assert not [path for path in texts if re.search(r"install ['\"]?echomimic", path.read_text(encoding="utf-8"))]
