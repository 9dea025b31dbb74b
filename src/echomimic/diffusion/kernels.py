"""Interchangeable kernels for the layers of the networks, and the choice of the quickest ones by measuring."""

import math
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from hashlib import sha256
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from echomimic import __version__
from echomimic.files import user_cache, write_once

ROWS = 256
"""Queries in a slice of attention, so that its weights stay in the processor's cache."""
MLP_ROWS = 2048
"""Tokens that go through an MLP at a time on a CPU, so that the values inside stay in the processor's cache."""
CLEARLY = 0.95
"""A kernel is only chosen if it takes at most this fraction of the time of the usual one."""
HAS_ONEDNN = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")
PortraitAttention = Literal["joined", "frames", "parts"]


@dataclass(frozen=True)
class Kernels:
    """The kernels of one device for one number format.

    `onednn`: linear layers in float32 on a CPU use oneDNN instead of PyTorch's default library. `gelu`: gated linear
    layers on a CPU are one product of oneDNN with its activation. `slices`: attention in bfloat16 on a CPU is computed
    as matrix products over slices of the queries. `portrait`: attention to the portrait uses keys that are concatenated
    for all frames (`joined`) or for one frame at a time (`frames`), or two attentions that are merged (`parts`).
    """

    onednn: bool = HAS_ONEDNN
    gelu: bool = False
    slices: bool = True
    portrait: PortraitAttention = "frames"


USUAL = Kernels()
PLAIN = Kernels(onednn=False, slices=False, portrait="joined")
"""PyTorch's default kernels only."""


def on_eager_cpu(x: Tensor) -> bool:
    """Whether the kernels for CPUs apply: neither training, being compiled, nor under autocast."""
    if x.device.type not in ("cpu", "meta") or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return not torch.is_autocast_enabled("cpu")


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str = "none") -> Tensor:
    """A linear layer with its activation ("none" or "gelu") as one product of oneDNN."""
    return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "none"))


def onednn_gated(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The half of a linear layer's outputs multiplied by the GELU of the other half."""
    (values, gates), (value_bias, gate_bias) = weight.chunk(2), bias.chunk(2)
    gate = onednn_linear(x, gates, gate_bias, "gelu")
    return cast(Tensor, torch.ops.mkldnn._linear_pointwise.binary(x, gate, values, value_bias, "mul"))


def gated(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same with PyTorch's default kernels."""
    value, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
    return value * F.gelu(gate)


def attend_in_slices(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Scaled dot-product attention over (n, heads, tokens, channels) in plain products over slices of the queries."""
    out = torch.empty_like(queries)
    queries = queries * queries.shape[-1] ** -0.5
    for i, (query, key, value) in enumerate(zip(queries, keys, values, strict=True)):
        key, value = key.contiguous().transpose(-1, -2), value.contiguous()  # once, not for every slice
        for start in range(0, query.shape[1], ROWS):
            weights = torch.softmax(query[:, start : start + ROWS] @ key, dim=-1)
            torch.matmul(weights, value, out=out[i, :, start : start + ROWS])
    return out


def attend(queries: Tensor, keys: Tensor, values: Tensor, kernels: Kernels = USUAL) -> Tensor:
    """Scaled dot-product attention over (n, heads, tokens, channels)."""
    long = queries.dtype == torch.bfloat16 and queries.shape[2] >= ROWS // 4
    if kernels.slices and long and on_eager_cpu(queries):
        return attend_in_slices(queries, keys, values)
    return F.scaled_dot_product_attention(queries, keys, values)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(n, tokens, heads · channels) to (n, heads, tokens, channels)."""
    return x.view(*x.shape[:-1], heads, x.shape[-1] // heads).transpose(1, 2)


def attend_tokens(queries: Tensor, keys: Tensor, values: Tensor, heads: int, kernels: Kernels) -> Tensor:
    """Multi-head attention over (n, tokens, channels)."""
    split = [split_heads(x, heads) for x in (queries, keys, values)]
    return attend(split[0], split[1], split[2], kernels).transpose(1, 2).flatten(2)


def attend_with_portrait(
    queries: Tensor, keys: Tensor, values: Tensor, portrait: tuple[Tensor, Tensor], heads: int, kernels: Kernels
) -> Tensor:
    """Multi-head attention over (frames, tokens, channels) to the frame itself and to the portrait's (1, tokens, …)."""
    kernel, shared = kernels.portrait, len(portrait[0]) == 1
    if kernel == "parts" and shared and not torch.is_grad_enabled():
        return _in_parts(queries, keys, values, portrait, heads)
    if kernel == "frames" and shared and not torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return _by_frames(queries, keys, values, portrait, heads, kernels)
    keys, values = (
        torch.cat([own, theirs.expand(len(own), -1, -1)], dim=1)
        for own, theirs in zip((keys, values), portrait, strict=True)
    )
    return attend_tokens(queries, keys, values, heads, kernels)


def _by_frames(
    queries: Tensor, keys: Tensor, values: Tensor, portrait: tuple[Tensor, Tensor], heads: int, kernels: Kernels
) -> Tensor:
    """One frame after the other, with keys of one frame behind which those of the portrait stay."""
    tokens, out = keys.shape[1], torch.empty_like(queries)
    joined = [torch.cat([own[:1], theirs], dim=1) for own, theirs in zip((keys, values), portrait, strict=True)]
    for i in range(len(queries)):
        for both, own in zip(joined, (keys, values), strict=True):
            both[:, :tokens] = own[i]
        out[i] = attend_tokens(queries[i : i + 1], joined[0], joined[1], heads, kernels)[0]
    return out


def _in_parts(queries: Tensor, keys: Tensor, values: Tensor, portrait: tuple[Tensor, Tensor], heads: int) -> Tensor:
    """Attention to the frame and to the portrait, merged by the sums of their weights (log-sum-exp)."""
    query = split_heads(queries, heads)
    found, size = _with_sum(query, split_heads(keys, heads), split_heads(values, heads))
    theirs = [split_heads(x, heads).expand(len(queries), -1, -1, -1) for x in portrait]
    other, other_size = _with_sum(query, theirs[0], theirs[1])
    share = torch.sigmoid(other_size - size).to(found.dtype)[..., None]
    return found.lerp_(other, share).transpose(1, 2).flatten(2)


def _with_sum(queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Attention over (n, heads, tokens, channels), and the logarithm of the sum of its weights (n, heads, tokens).

    Raises RuntimeError where PyTorch has no kernel that gives both.
    """
    if queries.device.type in ("cpu", "meta"):
        return cast(
            tuple[Tensor, Tensor], torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(queries, keys, values)
        )
    if queries.dtype == torch.float32:
        efficient = torch.ops.aten._scaled_dot_product_efficient_attention(queries, keys, values, None, True)
        return efficient[0], efficient[1][..., : queries.shape[2]]
    flash = torch.ops.aten._scaled_dot_product_flash_attention(queries, keys, values)
    return flash[0], flash[1]


@contextmanager
def _one_generator(device: torch.device) -> Iterator[Callable[..., Tensor]]:
    """Random tensors of a fixed seed, without a change of the global generator."""
    generator = torch.Generator(device).manual_seed(0)
    with torch.inference_mode():
        yield partial(torch.randn, generator=generator, device=device)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    began = time.perf_counter()
    work()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - began


def quickest(kernels: Sequence[Callable[[], object]], device: torch.device, rounds: int = 3) -> int:
    """The index of the kernel that takes the least time; 0 unless another is clearly quicker.

    A kernel that this build of PyTorch lacks is left out.
    """
    times = [math.inf] * len(kernels)
    for _ in range(rounds + 1):  # the first round warms up; the minimum drops it
        for i, kernel in enumerate(kernels):
            try:
                times[i] = min(times[i], seconds_of(kernel, device))
            except (RuntimeError, NotImplementedError):
                times[i] = math.inf
    best = min(range(len(kernels)), key=times.__getitem__)
    return best if times[best] < CLEARLY * times[0] else 0


@cache
def choose_kernels(device: torch.device, dtype: torch.dtype) -> Kernels:
    """The kernels that were the quickest on this machine when they were first measured.

    The choice is stored in the user's cache, since a render that is continued, or computed by several processes, must
    not change its kernels: their results differ in the last bits.
    """
    name_of = getattr(torch.get_device_module(device), "get_device_name", str)
    processor = torch.backends.cpu.get_cpu_capability()
    facts = f"{platform.node()} {processor} {device.type} {name_of(device)} {dtype} {torch.__version__} {__version__}"
    path = user_cache("kernels") / f"{sha256(facts.encode()).hexdigest()[:16]}.json"
    stored = TypeAdapter(Kernels)
    with suppress(OSError, ValidationError):
        return stored.validate_json(path.read_bytes())
    measured = measure_kernels(device, dtype)
    with suppress(OSError, ValidationError):
        return stored.validate_json(write_once(path, stored.dump_json(measured).decode()))
    return measured


def measure_kernels(device: torch.device, dtype: torch.dtype, size: int = 640) -> Kernels:
    """The quickest kernels of this device in this format: about a second on a CPU core, for layers of `size`."""
    chosen = USUAL
    with _one_generator(device) as randn:
        x, weight, bias = (randn(*shape).to(dtype) for shape in ((1024, size), (8 * size, size), (8 * size,)))
        if device.type == "cpu" and HAS_ONEDNN:
            if dtype == torch.float32:
                products = (lambda: F.linear(x, weight, bias), lambda: onednn_linear(x, weight, bias))
                chosen = replace(chosen, onednn=quickest(products, device) == 1)
            gates = (lambda: gated(x, weight, bias), lambda: onednn_gated(x, weight, bias))
            chosen = replace(chosen, gelu=quickest(gates, device) == 1)
        frames = 2 if device.type == "cpu" else 12  # an accelerator computes a window of frames at once
        own, theirs = randn(frames, 1024, size).to(dtype), randn(1, 1024, size).to(dtype)
        attention = [replace(chosen, slices=False)]
        if device.type == "cpu" and dtype == torch.bfloat16:
            attention.append(replace(chosen, slices=True))
        attention.append(replace(chosen, slices=False, portrait="parts"))
        calls = [partial(attend_with_portrait, own, own, own, (theirs, theirs), 8, each) for each in attention]
        return attention[quickest(calls, device)]
