"""The rules of the test suite itself: what CI installed may not be skipped."""

from collections import Counter

import pytest

from conftest import missing_requirements

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
