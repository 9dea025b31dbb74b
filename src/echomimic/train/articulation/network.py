"""The network in torch: a stack of dilated convolutions. `echomimic.mesh.speech_to_face` runs it in numpy."""

from torch import Tensor, nn
from torch.nn import functional as F

from echomimic.mesh.speech_to_face import BANDS

DILATIONS: tuple[int, ...] = (1, 2, 4, 8, 16, 2, 1)
AHEAD: tuple[int, ...] = (1, 2, 4, 0, 0, 2, 1)
"""Outputs of the future that each block sees: 0.24 s in total with the features, so that a stream needs a look-ahead of
0.32 s.
"""


class Articulator(nn.Module):
    """Log-mel (batch, 40, T) at 100 Hz to curves, closure and phones (batch, n, T / 2) at 50 Hz.

    The attribute names are those of the weight file. The receptive field is 1.2 s of the past and 0.24 s of the
    future.
    """

    def __init__(self, width: int, curves: int, phones: int, dropout: float = 0.15) -> None:
        super().__init__()
        self.stem = nn.Conv1d(BANDS, width, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList(nn.Conv1d(width, width, 3, dilation=d) for d in DILATIONS)
        self.curves = nn.Conv1d(width, curves, 1)
        self.closure = nn.Conv1d(width, 1, 1)
        self.phones = nn.Conv1d(width, phones, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Standardised curves, closure logits (batch, T / 2) and phone logits."""
        hidden = self.dropout(_gelu(self.stem(features)))
        for block, step, ahead in zip(self.blocks, DILATIONS, AHEAD, strict=True):
            hidden = hidden + self.dropout(_gelu(block(F.pad(hidden, (2 * step - ahead, ahead)))))
        return self.curves(hidden), self.closure(hidden)[:, 0], self.phones(hidden)


def _gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")
