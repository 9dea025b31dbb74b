"""The words of the page: complete in both languages, and every code of docs/messages.md has words in Chinese."""

import json
import re
from pathlib import Path

import pytest

from echomimic.options import GROUPS, OPTION_NAMES
from echomimic.presets import PRESETS

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "src/echomimic/apps/server"
WORDS: dict[str, dict[str, str]] = {
    name: json.loads((SERVER / "locales" / f"{name}.json").read_text(encoding="utf-8")) for name in ("en", "zh")
}
SERVERS_OWN = ("help.", "note.")
"""English words that the server sends itself: the help of options and the lines of notes."""
PLACEHOLDER = re.compile(r"\{(\w+)")
PROBLEM = re.compile(r'Problem\(\s*\d+,\s*"([a-z_]+)"')
ERRORS, _, NOTES = (ROOT / "docs/messages.md").read_text(encoding="utf-8").partition("## Notes")


def placeholders(text: str) -> set[str]:
    return set(PLACEHOLDER.findall(text))


def test_both_languages_have_the_same_words() -> None:
    translated = {key for key in WORDS["zh"] if not key.startswith(SERVERS_OWN)}
    assert set(WORDS["en"]) == translated
    for key in WORDS["en"]:
        assert WORDS["en"][key] and WORDS["zh"][key]
        assert placeholders(WORDS["en"][key]) == placeholders(WORDS["zh"][key]), key


def test_every_option_group_and_preset_has_words() -> None:
    for language, words in WORDS.items():
        assert {key[7:] for key in words if key.startswith("option.")} == set(OPTION_NAMES), language
        assert {key[6:] for key in words if key.startswith("group.")} == set(GROUPS.values())
        offered = {name for name, preset in PRESETS.items() if preset.files or preset.engine == "mesh"}
        assert {key[7:] for key in words if key.startswith("preset.")} == offered
    assert {key[5:] for key in WORDS["zh"] if key.startswith("help.")} == set(OPTION_NAMES)


def test_every_code_has_words() -> None:
    errors = re.findall(r"^\| `([a-z_0-9]+)`", ERRORS, re.MULTILINE)
    assert len(errors) > 20
    problems = {code for path in SERVER.rglob("*.py") for code in PROBLEM.findall(path.read_text(encoding="utf-8"))}
    assert {"bad_offer", "no_such_address", "too_many_streams"} <= problems
    errors += sorted(problems)
    missing = [code for code in errors for words in WORDS.values() if f"error.{code}" not in words]
    assert missing == []
    notes = re.findall(r"^\| `([a-z_0-9]+)` \| (.*) \|$", NOTES, re.MULTILINE)
    assert len(notes) > 40
    for code, text in notes:
        assert f"note.{code}" in WORDS["zh"], code
        assert placeholders(WORDS["zh"][f"note.{code}"]) <= placeholders(text), code


@pytest.mark.parametrize("page", ["index.html", "editor.html", "live.html"])
def test_pages_have_no_inline_code_and_only_known_words(page: str) -> None:
    html = (SERVER / "static" / page).read_text(encoding="utf-8")
    assert not re.search(r"<style|style=|<script(?![^>]*src=)|\son\w+=", html)
    assert set(re.findall(r'data-word="([^"]+)"', html)) <= set(WORDS["en"])


def test_scripts_use_only_known_words() -> None:
    used: set[str] = set()
    for path in (SERVER / "static").rglob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert text.startswith("// @ts-check"), path
        used |= set(re.findall(r'\bword\(\s*"([^"]+)"', text))
    assert used <= set(WORDS["en"])


def modules(script: Path, found: frozenset[Path] = frozenset()) -> frozenset[Path]:
    """The modules that a script imports, and those that they import."""
    for name in re.findall(r'^(?:import[^"]*|\} from |export[^"]*from )"(\.[^"]+)"', script.read_text("utf-8"), re.M):
        module = (script.parent / name).resolve()
        if module not in found:
            found = modules(module, found | {module})
    return found


@pytest.mark.parametrize("page", ["index.html", "editor.html"])
def test_pages_preload_their_modules(page: str) -> None:
    html = (SERVER / "static" / page).read_text(encoding="utf-8")
    script = re.findall(r'<script type="module" src="/([^"]+)"', html)[0]
    preloaded = re.findall(r'modulepreload" href="/([^"]+)"', html)
    assert {SERVER / name for name in preloaded} == modules(SERVER / script)
