"""The network in torch: a stack of dilated convolutions. `echomimic.mesh.speech_to_face` runs the same in numpy."""

from torch import Tensor, nn
from torch.nn import functional as F

from echomimic.mesh.speech_to_face import BANDS

DILATIONS: tuple[int, ...] = (1, 2, 4, 8, 16, 2, 1)


class Articulator(nn.Module):
    """Log-mel (batch, 40, T) at 100 Hz to curves, closure and phones (batch, n, T / 2) at 50 Hz.

    The attribute names are those of the weight file. The receptive field is about 0.7 s on each side.
    """

    def __init__(self, width: int, curves: int, phones: int, dropout: float = 0.15) -> None:
        super().__init__()
        self.stem = nn.Conv1d(BANDS, width, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList(nn.Conv1d(width, width, 3, padding=d, dilation=d) for d in DILATIONS)
        self.curves = nn.Conv1d(width, curves, 1)
        self.closure = nn.Conv1d(width, 1, 1)
        self.phones = nn.Conv1d(width, phones, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Standardised curves, closure logits (batch, T / 2) and phone logits."""
        hidden = self.dropout(_gelu(self.stem(features)))
        for block in self.blocks:
            hidden = hidden + self.dropout(_gelu(block(hidden)))
        return self.curves(hidden), self.closure(hidden)[:, 0], self.phones(hidden)


def _gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")
