"""The error correction of the mark: 48 bits with a checksum, in a convolutional code that is decoded softly."""

import binascii
from functools import cache

import numpy as np
import numpy.typing as npt

PAYLOAD_BYTES = 6
_MEMORY = 6
_STATES = 1 << _MEMORY
_GENERATORS = (0o171, 0o133)
"""Generators of the usual code of rate 1/2 and constraint length 7."""
_MESSAGE_BITS = 8 * (PAYLOAD_BYTES + 2)
CODED_BITS = 2 * (_MESSAGE_BITS + _MEMORY)

Signs = npt.NDArray[np.float64]


def encode_payload(payload: bytes) -> Signs:
    """Coded bits (CODED_BITS,) of a payload of PAYLOAD_BYTES, as -1 and 1."""
    if len(payload) != PAYLOAD_BYTES:
        raise ValueError(f"a payload of {len(payload)} bytes; expected {PAYLOAD_BYTES}")
    message = payload + binascii.crc_hqx(payload, 0xFFFF).to_bytes(2, "big")
    bits = np.concatenate([np.unpackbits(np.frombuffer(message, np.uint8)), np.zeros(_MEMORY, np.uint8)])
    outputs, state = [], 0
    for bit in bits:
        outputs.append(_outputs()[state, bit])
        state = (state >> 1) | (int(bit) << (_MEMORY - 1))
    return np.concatenate(outputs)


def decode_payload(soft: Signs) -> bytes | None:
    """The payload of received values (CODED_BITS,), whose sign is the bit; None if its checksum is wrong."""
    branches = np.einsum("tk,sbk->tsb", soft.reshape(-1, 2), _outputs())
    score = np.full(_STATES, -np.inf)
    score[0] = 0
    choices = []
    states = np.arange(_STATES)
    bit = states >> (_MEMORY - 1)  # the bit that leads into a state
    before = np.stack([(states << 1) & (_STATES - 1), ((states << 1) & (_STATES - 1)) | 1])
    for branch in branches:
        reached = score[before] + branch[before, bit]
        choice = reached.argmax(0)
        choices.append(choice)
        score = reached[choice, states]
    return _check(_trace_back(choices, before))


def _trace_back(choices: list[npt.NDArray[np.intp]], before: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """The bits of the best path that ends in state 0."""
    bits, state = [], 0
    for choice in reversed(choices):
        bits.append(state >> (_MEMORY - 1))
        state = int(before[choice[state], state])
    return np.array(bits[::-1], np.uint8)


def _check(bits: npt.NDArray[np.uint8]) -> bytes | None:
    message = np.packbits(bits[:_MESSAGE_BITS]).tobytes()
    payload, checksum = message[:PAYLOAD_BYTES], message[PAYLOAD_BYTES:]
    return payload if binascii.crc_hqx(payload, 0xFFFF).to_bytes(2, "big") == checksum else None


@cache
def _outputs() -> Signs:
    """The two output bits, as -1 and 1, of every state and input bit: (states, 2, 2)."""
    table = np.zeros((_STATES, 2, 2))
    for state in range(_STATES):
        for bit in (0, 1):
            register = (bit << _MEMORY) | state
            table[state, bit] = [1 if (register & generator).bit_count() % 2 else -1 for generator in _GENERATORS]
    return table
