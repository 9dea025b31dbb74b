"""Where a video comes from: the record of how it was made, its signature, and an imperceptible mark in its frames."""

from echomimic.provenance.mark import MarkResult as MarkResult
from echomimic.provenance.mark import find_mark as find_mark
from echomimic.provenance.mark import mark_frames as mark_frames
from echomimic.provenance.record import TAG as TAG
from echomimic.provenance.record import RenderedPart as RenderedPart
from echomimic.provenance.record import RenderRecord as RenderRecord
from echomimic.provenance.record import differing_inputs as differing_inputs
from echomimic.provenance.record import differing_versions as differing_versions
from echomimic.provenance.record import digest as digest
from echomimic.provenance.record import new_record as new_record
from echomimic.provenance.record import read_record as read_record
from echomimic.provenance.signing import SIGNED_SUFFIXES as SIGNED_SUFFIXES
from echomimic.provenance.signing import Credentials as Credentials
from echomimic.provenance.signing import SigningKey as SigningKey
from echomimic.provenance.signing import check_signing as check_signing
from echomimic.provenance.signing import make_test_keys as make_test_keys
from echomimic.provenance.signing import read_credentials as read_credentials
from echomimic.provenance.signing import sign_in_place as sign_in_place
