"""The network of SyncNet (Chung and Zisserman 2016), with the names of its published weights."""

import torch
from torch import Tensor, nn

_AUDIO: tuple[tuple[int, ...], ...] = ((1, 64), (64, 192), (192, 384), (384, 256), (256, 256))
_WIDTH, _EMBEDDING = 512, 1024


class SyncNetModel(nn.Module):
    """Two towers that meet in one space; inputs and outputs are those of `syncnet.SyncNet`."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(*_audio_layers())
        self.netfcaud = _head()
        self.netfclip = _head()
        self.netcnnlip = nn.Sequential(*_lip_layers())

    def voice(self, cepstra: Tensor) -> Tensor:
        """(n, 1, 13, 20) to (n, 1024)."""
        return self.netfcaud(self.netcnnaud(cepstra).flatten(1))

    def lips(self, frames: Tensor) -> Tensor:
        """(n, 3, 5, 224, 224) BGR 0..255 to (n, 1024)."""
        return self.netfclip(self.netcnnlip(frames).flatten(1))


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(_WIDTH, _WIDTH), nn.BatchNorm1d(_WIDTH), nn.ReLU(), nn.Linear(_WIDTH, _EMBEDDING))


def _audio_layers() -> list[nn.Module]:
    pools = {0: nn.MaxPool2d(1, 1), 1: nn.MaxPool2d(3, (1, 2)), 4: nn.MaxPool2d(3, 2)}
    layers: list[nn.Module] = []
    for place, (wide, wider) in enumerate(_AUDIO):
        layers += [nn.Conv2d(wide, wider, 3, padding=1), nn.BatchNorm2d(wider), nn.ReLU()]
        layers += [pools[place]] if place in pools else []
    return [*layers, nn.Conv2d(256, _WIDTH, (5, 4)), nn.BatchNorm2d(_WIDTH), nn.ReLU()]


def _lip_layers() -> list[nn.Module]:
    def block(wide: int, wider: int, kernel: tuple[int, int, int], stride: int, padding: int) -> list[nn.Module]:
        conv = nn.Conv3d(wide, wider, kernel, (1, stride, stride), (0, padding, padding))
        return [conv, nn.BatchNorm3d(wider), nn.ReLU()]

    def pool(padding: int) -> nn.Module:
        return nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, padding, padding))

    layers = [*block(3, 96, (5, 7, 7), 2, 0), pool(0), *block(96, 256, (1, 5, 5), 2, 1), pool(1)]
    for _ in range(3):
        layers += block(256, 256, (1, 3, 3), 1, 1)
    return [*layers, pool(0), *block(256, _WIDTH, (1, 6, 6), 1, 0)]


def load_syncnet(tensors: dict[str, Tensor], device: torch.device) -> SyncNetModel:
    """The model with weights of the published file; strictly, so that another file is refused."""
    model = SyncNetModel()
    model.load_state_dict(tensors)
    return model.eval().to(device)
