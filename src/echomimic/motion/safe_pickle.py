"""Read the data in a pickle without executing it.

V1 and V2 store motion as pickles, and Python's own reader calls whatever a pickle names. This reader interprets the
opcodes on a stack of its own: it knows lists, dicts, tuples, numbers, strings and the few calls that rebuild a numpy
array, for which it returns stand-ins. Any other name or opcode is refused, and nothing is imported or called.
"""

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from echomimic.errors import MotionError

MAX_BYTES = 64 << 20
MAX_STEPS = 1_000_000
_MAX_DEPTH = 12
_MARK = object()

_CORES = ("numpy.core", "numpy._core")
_NAMES = {
    **{(f"{core}.multiarray", "_reconstruct"): "array" for core in _CORES},
    **{(f"{core}.multiarray", "scalar"): "scalar" for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): "buffer" for core in _CORES},
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "bytes",
}


class _RefusedError(Exception):
    """The pickle holds something other than plain data."""


@dataclass
class _Name:
    """Our own name for a callable that the pickle names, never the callable itself."""

    what: str


@dataclass
class _Type:
    """The dtype of an array."""

    code: str
    order: str = "="

    def numpy(self) -> np.dtype[np.generic]:
        if self.code[:1] not in "fiub" or not self.code[1:].isdigit():
            raise _RefusedError(f"an array of the type {self.code!r}")
        try:
            return np.dtype(self.code).newbyteorder("=" if self.order == "|" else self.order)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise _RefusedError(f"an array of the type {self.code!r}") from None


@dataclass
class _Array:
    """An array: `values` once its state is known; a list if its items are objects."""

    values: Any = None


def read_pickle(data: bytes, where: str) -> Any:
    """The plain data in a pickle: dicts, lists, numbers, strings and numpy arrays.

    MotionError in one line if the pickle names anything else, is broken, or is larger than a frame could be. Nothing in
    it is executed.
    """
    if len(data) > MAX_BYTES:
        raise MotionError(f"{where} has {len(data) >> 20} MiB; expected a frame of a few KiB: it was not read")
    try:
        return _plain(_Machine().run(data), _Budget(), 0)
    except _RefusedError as refused:
        raise MotionError(
            f"{where} was refused: it holds {refused}; expected numpy arrays, lists and numbers"
        ) from None
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, UnicodeDecodeError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise MotionError(f"{where} is broken and was refused: {first}") from None


class _Machine:
    """A stack, a memo, and one function for each opcode that plain data needs."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count > MAX_STEPS:
                raise _RefusedError("more steps than a frame needs")
            name = opcode.name
            if name == "STOP":
                return self.stack.pop()
            if name in _PUSH:
                self.stack.append(_plain_argument(argument))
            elif name in _STEPS:
                _STEPS[name](self, argument)
            elif name not in ("PROTO", "FRAME"):
                raise _RefusedError(f"the opcode {name}")
        raise _RefusedError("no end")

    def top_items(self) -> list[Any]:
        """The items above the last mark; they and the mark are removed."""
        items: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def remember(self, key: Any) -> None:
        self.memo[len(self.memo) if key is None else key] = self.stack[-1]

    def recall(self, key: Any) -> None:
        self.stack.append(self.memo[key])

    def tuple_of(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        if len(items) < count:
            raise _RefusedError("a tuple of nothing")
        del self.stack[-count:]
        self.stack.append(items)

    def extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise _RefusedError("items for something that is not a list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or not all(isinstance(key, (str, int)) for key in items[::2]):
            raise _RefusedError("keys for something that is not a dict, or keys that are not strings")
        target.update(zip(items[::2], items[1::2], strict=True))

    def name(self, module: Any, name: Any) -> None:
        if (module, name) not in _NAMES:
            raise _RefusedError(f"the name {str(module)[:60]}.{str(name)[:60]}")
        self.stack.append(_Name(_NAMES[module, name]))

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise _RefusedError("a call of something that is not an array")
        self.stack.append(_call(function.what, arguments))

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _Type) and isinstance(state, tuple):
            target.order = _byte_order(state)
        elif isinstance(target, _Array) and isinstance(state, tuple) and len(state) == 5:
            target.values = _array(state[1], state[2], state[3], state[4])
        else:
            raise _RefusedError("a state for something that is not an array")


_PUSH = frozenset(
    {"INT", "LONG", "LONG1", "LONG4", "BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT"}
    | {"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"}
    | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
)
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": lambda m, _: m.stack.append(_MARK),
    "NONE": lambda m, _: m.stack.append(None),
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "EMPTY_TUPLE": lambda m, _: m.stack.append(()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.top_items())),
    "TUPLE1": lambda m, _: m.tuple_of(1),
    "TUPLE2": lambda m, _: m.tuple_of(2),
    "TUPLE3": lambda m, _: m.tuple_of(3),
    "LIST": lambda m, _: m.stack.append(m.top_items()),
    "APPEND": lambda m, _: m.extend([m.stack.pop()]),
    "APPENDS": lambda m, _: m.extend(m.top_items()),
    "DICT": lambda m, _: _dict_from_mark(m),
    "SETITEM": lambda m, _: m.set_items([m.stack.pop(-2), m.stack.pop()]),
    "SETITEMS": lambda m, _: m.set_items(m.top_items()),
    "PUT": lambda m, key: m.remember(key),
    "BINPUT": lambda m, key: m.remember(key),
    "LONG_BINPUT": lambda m, key: m.remember(key),
    "MEMOIZE": lambda m, _: m.remember(None),
    "GET": lambda m, key: m.recall(key),
    "BINGET": lambda m, key: m.recall(key),
    "LONG_BINGET": lambda m, key: m.recall(key),
    "GLOBAL": lambda m, names: m.name(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.name(m.stack.pop(-2), m.stack.pop()),
    "REDUCE": lambda m, _: m.call(),
    "BUILD": lambda m, _: m.build(),
}


def _dict_from_mark(machine: _Machine) -> None:
    items = machine.top_items()
    machine.stack.append({})
    machine.set_items(items)


def _plain_argument(argument: Any) -> Any:
    if isinstance(argument, int) and not -(2**63) <= argument < 2**63:
        raise _RefusedError("a number of more than 64 bits")
    return argument


def _call(what: str, arguments: tuple[Any, ...]) -> Any:
    """The result of one of the few admitted calls."""
    if what == "array":
        return _Array()
    if what == "dtype" and arguments and isinstance(arguments[0], str):
        return _Type(arguments[0])
    if what == "bytes" and len(arguments) == 2 and arguments[1] == "latin1" and isinstance(arguments[0], str):
        return arguments[0].encode("latin1")
    if what == "scalar" and len(arguments) == 2:
        return _array((), arguments[0], False, arguments[1])
    if what == "buffer" and len(arguments) == 4:
        return _Array(_array(arguments[2], arguments[1], arguments[3] == "F", bytes(arguments[0])))
    raise _RefusedError(f"a call of {what} that no array makes")


def _byte_order(state: tuple[Any, ...]) -> str:
    """The byte order in the state of a dtype; structured dtypes are refused."""
    if len(state) < 5 or state[1] not in ("<", ">", "=", "|") or any(part is not None for part in state[2:5]):
        raise _RefusedError("an array whose items have parts")
    return str(state[1])


def _array(shape: Any, kind: Any, fortran: Any, data: Any) -> Any:
    """The array of a stated shape and dtype over `data`; the plain list of items if they are objects."""
    if not isinstance(kind, _Type) or not isinstance(shape, tuple) or len(shape) > 8:
        raise _RefusedError("an array without a type or shape")
    if not all(type(side) is int and 0 <= side < 2**31 for side in shape):
        raise _RefusedError(f"an array of the shape {str(shape)[:60]}")
    if kind.code.startswith("O"):
        if not isinstance(data, list) or len(data) != math.prod(shape):
            raise _RefusedError("an array of objects without its objects")
        return data[0] if shape == () else data
    item = kind.numpy()
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(raw, (bytes, bytearray)) or len(raw) != math.prod(shape) * item.itemsize:
        raise _RefusedError(f"an array of the shape {shape} whose data are of another size")
    return np.frombuffer(bytes(raw), item).reshape(shape, order="F" if fortran else "C")


@dataclass
class _Budget:
    """The number of values that may still be copied, because a short pickle can refer to one list a billion times."""

    left: int = MAX_STEPS

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise _RefusedError("more values than a frame needs")


def _plain(value: Any, budget: _Budget, depth: int) -> Any:
    """The value with its stand-ins replaced by their data; anything else is refused."""
    budget.spend()
    if depth > _MAX_DEPTH:
        raise _RefusedError("values nested too deeply")
    if isinstance(value, _Array):
        return _plain(value.values, budget, depth + 1)
    if isinstance(value, dict):
        return {key: _plain(item, budget, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, budget, depth + 1) for item in value]
    if value is None or isinstance(value, (bool, int, float, str, np.ndarray)):
        return value
    raise _RefusedError(f"a {type(value).__name__.lstrip('_').lower()}")
