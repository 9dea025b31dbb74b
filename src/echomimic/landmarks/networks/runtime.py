"""Run a TFLite network with ai-edge-litert, whole or a part of its operators."""

import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakSet

import numpy as np

from echomimic.errors import SetupError
from echomimic.installation import python
from echomimic.landmarks.networks.files import read_file
from echomimic.types import Floats


class Network:
    """A network of `files.FILES`: tensors in, tensors out. It is loaded when it is called, and can be released.

    Calls are serialized. With `outputs` (tensor numbers of the file) only the operators that lead from `inputs` to them
    are kept.
    """

    def __init__(self, name: str, inputs: Sequence[int] = (), outputs: Sequence[int] = ()) -> None:
        self.name, self._cut = name, (tuple(inputs), tuple(outputs))
        self._lock = threading.Lock()
        self._model: Any = None
        self._read: list[Callable[[], Floats]] = []
        self._write: list[Callable[[], Floats]] = []
        self._used = 0.0

    def __call__(self, *tensors: Floats) -> list[Floats]:
        """The output tensors, in the order of the file or of `outputs`; float32."""
        with self._lock:
            if self._model is None:
                self._load()
            for write, tensor in zip(self._write, tensors, strict=True):
                write()[...] = tensor
            self._model.invoke()
            self._used = time.monotonic()
            return [read().copy() for read in self._read]

    def release(self, unused: float) -> bool:
        """Free the memory of the network if it was not called for `unused` seconds; return whether it was freed."""
        with self._lock:
            is_idle = self._model is not None and time.monotonic() - self._used >= unused
            if is_idle:
                self._model, self._read, self._write = None, [], []
            return is_idle

    def _load(self) -> None:
        content = read_file(self.name)
        inputs, outputs = self._cut
        model = _interpreter(cut_network(content, inputs, outputs) if outputs else content)
        model.allocate_tensors()
        # the interpreter's lists are in the order of the file
        self._write = [model.tensor(detail["index"]) for detail in model.get_input_details()]
        self._read = [model.tensor(detail["index"]) for detail in model.get_output_details()]
        self._model = model
        _loaded.add(self)


_loaded: WeakSet[Network] = WeakSet()


def release_networks(unused: float = 0.0) -> int:
    """Free the memory of the networks that were not called for `unused` seconds, about 140 MB together.

    Gives how many were freed; each is loaded again at its next call.
    """
    return sum(each.release(unused) for each in list(_loaded))


@cache
def network(name: str) -> Network:
    """The whole network of that name, shared by all who use it."""
    return Network(name)


def load_runtime() -> Any:
    """The class of ai-edge-litert's interpreter. Raises SetupError if the package cannot be imported."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        fix = f"{python()} -m pip install ai-edge-litert"
        raise SetupError(f"ai-edge-litert cannot be loaded ({error}); install it: {fix}") from None
    return Interpreter


def _interpreter(content: bytes) -> Any:
    return load_runtime()(model_content=content, num_threads=1)


class Table:
    """A table of a FlatBuffer (https://flatbuffers.dev/internals): its fields are found through its vtable."""

    def __init__(self, data: bytearray | bytes, position: int) -> None:
        self.data, self.position = data, position

    @classmethod
    def root(cls, data: bytearray | bytes) -> "Table":
        """The buffer's root table."""
        return cls(data, _uint(data, 0))

    def field(self, number: int) -> int | None:
        """The position of a field's value; None if the table leaves it out."""
        vtable = self.position - struct.unpack_from("<i", self.data, self.position)[0]
        size = struct.unpack_from("<H", self.data, vtable)[0]
        if 4 + 2 * number >= size:
            return None
        offset = struct.unpack_from("<H", self.data, vtable + 4 + 2 * number)[0]
        return self.position + offset if offset else None

    def target(self, number: int) -> int | None:
        """The position that an offset field points to."""
        at = self.field(number)
        return None if at is None else at + _uint(self.data, at)

    def tables(self, number: int) -> list["Table"]:
        """The tables of a vector field."""
        at = self.target(number)
        if at is None:
            return []
        slots = range(at + 4, at + 4 + 4 * _uint(self.data, at), 4)
        return [Table(self.data, slot + _uint(self.data, slot)) for slot in slots]

    def integers(self, number: int) -> list[int]:
        """The numbers of a vector field of int32."""
        at = self.target(number)
        return [] if at is None else list(struct.unpack_from(f"<{_uint(self.data, at)}i", self.data, at + 4))

    def content(self, number: int) -> bytes:
        """The bytes of a string or of a vector field of ubyte."""
        at = self.target(number)
        return b"" if at is None else bytes(self.data[at + 4 : at + 4 + _uint(self.data, at)])


# field numbers of the TFLite schema
_MODEL_CODES, _MODEL_SUBGRAPHS = 1, 2
_CODE_CUSTOM = 1
_GRAPH_INPUTS, _GRAPH_OUTPUTS, _GRAPH_OPERATORS = 1, 2, 3
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS, _OPERATOR_OPTIONS = 0, 1, 2, 5


@dataclass(frozen=True)
class CustomOperator:
    """An operator that the runtime lacks: its name, its tensors' numbers, and its options, a FlexBuffer."""

    name: str
    inputs: list[int]
    outputs: list[int]
    options: bytes


def custom_operators(content: bytes) -> list[CustomOperator]:
    """The custom operators of a network, in order."""
    model = Table.root(content)
    names = [code.content(_CODE_CUSTOM).decode() for code in model.tables(_MODEL_CODES)]
    found = []
    for operator in model.tables(_MODEL_SUBGRAPHS)[0].tables(_GRAPH_OPERATORS):
        at = operator.field(_OPERATOR_CODE)
        name = names[0 if at is None else _uint(content, at)]
        if name:
            inputs, outputs = operator.integers(_OPERATOR_INPUTS), operator.integers(_OPERATOR_OUTPUTS)
            found.append(CustomOperator(name, inputs, outputs, operator.content(_OPERATOR_OPTIONS)))
    return found


def network_outputs(content: bytes) -> list[int]:
    """The numbers of a network's output tensors."""
    return Table.root(content).tables(_MODEL_SUBGRAPHS)[0].integers(_GRAPH_OUTPUTS)


def cut_network(content: bytes, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
    """A network with only the operators that lead from the tensors `inputs` to the tensors `outputs`.

    The file is edited in place: offsets of a FlatBuffer point forward, so the vector of operators can be shortened and
    its slots pointed to other operators, and new lists of inputs and outputs can stand at the end. Without `inputs`
    those of the file are kept.
    """
    data = bytearray(content)
    graph = Table.root(data).tables(_MODEL_SUBGRAPHS)[0]
    operators = graph.tables(_GRAPH_OPERATORS)
    needed, kept = set(outputs), []
    for operator in reversed(operators):
        made = operator.integers(_OPERATOR_OUTPUTS)
        if needed.intersection(made).difference(inputs):
            kept.append(operator)
            needed.update(operator.integers(_OPERATOR_INPUTS))
    vector = graph.target(_GRAPH_OPERATORS)
    assert vector is not None
    struct.pack_into("<I", data, vector, len(kept))
    for number, operator in enumerate(reversed(kept)):
        slot = vector + 4 + 4 * number
        struct.pack_into("<I", data, slot, operator.position - slot)
    for field, tensors in ((_GRAPH_INPUTS, inputs or graph.integers(_GRAPH_INPUTS)), (_GRAPH_OUTPUTS, outputs)):
        at = graph.field(field)
        assert at is not None
        data.extend(bytes(-len(data) % 4))
        struct.pack_into("<I", data, at, len(data) - at)
        data.extend(struct.pack(f"<{len(tensors) + 1}i", len(tensors), *tensors))
    return bytes(data)


def _uint(data: bytearray | bytes, position: int) -> int:
    value: int = struct.unpack_from("<I", data, position)[0]
    return value


def sigmoid(values: Floats) -> Floats:
    """The logistic function of float32 values, without overflow."""
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -80, 80))), np.float32)
