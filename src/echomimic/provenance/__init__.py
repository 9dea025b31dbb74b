"""Where a video comes from: the record of how it was made, its signature, and an imperceptible mark in its frames."""

from echomimic.provenance.mark import MarkResult, find_mark, mark_frames
from echomimic.provenance.record import (
    TAG,
    RenderedPart,
    RenderRecord,
    differing_inputs,
    differing_versions,
    digest,
    new_record,
    read_record,
)
from echomimic.provenance.signing import (
    SIGNED_SUFFIXES,
    Credentials,
    SigningKey,
    check_signing,
    make_test_keys,
    read_credentials,
    sign_in_place,
)

__all__ = [
    "SIGNED_SUFFIXES",
    "TAG",
    "Credentials",
    "MarkResult",
    "RenderRecord",
    "RenderedPart",
    "SigningKey",
    "check_signing",
    "differing_inputs",
    "differing_versions",
    "digest",
    "find_mark",
    "make_test_keys",
    "mark_frames",
    "new_record",
    "read_credentials",
    "read_record",
    "sign_in_place",
]
