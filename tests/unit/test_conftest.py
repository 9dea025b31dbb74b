"""The rules of the test suite itself: what CI installed may not be skipped."""

from collections import Counter

import pytest

from conftest import missing_requirements, scope_of

REASONS = Counter({"chromium is not installed": 3, "root may read everything": 1, "no sample data: set X": 2})
REASONS.update({"could not import 'torch'": 1, "could not import 'torchao'": 1})


@pytest.mark.parametrize(
    ("required", "found"),
    [
        ("", []),
        ("browser", ["chromium is not installed"]),
        ("torch", ["could not import 'torch'"]),
        ("browser,shared", ["chromium is not installed", "no sample data: set X"]),
    ],
)
def test_skips_of_what_is_required_are_found(required: str, found: list[str]) -> None:
    assert missing_requirements(REASONS, required) == found


def test_an_unknown_requirement_is_an_error() -> None:
    with pytest.raises(KeyError):
        missing_requirements(REASONS, "gpus")


@pytest.mark.parametrize(
    ("nodeid", "scope"),
    [
        ("tests/browser/test_web_page.py::test_a[en]", "pages"),
        ("tests/unit/test_train_lora.py::test_a", "training"),
        ("tests/integration/test_gpu_benchmark.py::test_a", "training"),
        ("tests/integration/test_train_articulation.py::test_a", "tests/integration/test_train_articulation.py"),
        ("tests/unit/test_idle.py::test_a", "tests/unit/test_idle.py"),
    ],
)
def test_pages_and_training_run_in_one_process_each(nodeid: str, scope: str) -> None:
    assert scope_of(nodeid) == scope
