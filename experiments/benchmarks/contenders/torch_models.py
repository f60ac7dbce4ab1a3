"""The benchmarked models in PyTorch; the first axis is time."""

import torch
from torch import nn
from torch.nn import functional as F

LATENT = 64
_RNN = {"lstm": nn.LSTM, "gru": nn.GRU}


class Row(nn.Module):
    """Row autoencoder: an LSTM or GRU encodes 28 rows, another decodes them from a latent of 64."""

    def __init__(self, cell: str, width: int):
        super().__init__()
        self.states = 2 if cell == "lstm" else 1
        self.encoder, self.decoder = _RNN[cell](28, width), _RNN[cell](LATENT, width)
        self.latent, self.start = nn.Linear(width, LATENT), nn.Linear(LATENT, self.states * width)
        self.position = nn.Parameter(torch.randn(28, 1, LATENT))
        self.head = nn.Linear(width, 28)

    def forward(self, x_TBI):
        _, state = self.encoder(x_TBI)
        h_BD = state[0][0] if self.states == 2 else state[0]
        parts = self.start(self.latent(h_BD))[None].chunk(self.states, dim=-1)
        start = tuple(part.contiguous() for part in parts)
        inputs_TBZ = self.position.expand(-1, x_TBI.shape[1], -1)
        h_TBD, _ = self.decoder(inputs_TBZ, start if self.states == 2 else start[0])
        return self.head(h_TBD)


class Pixels(nn.Module):
    """An LSTM that predicts each of 784 pixels from the pixels before it."""

    def __init__(self, width: int):
        super().__init__()
        self.lstm, self.head = nn.LSTM(1, width), nn.Linear(width, 1)

    def forward(self, x_TBI):
        shifted_TBI = torch.cat([torch.zeros_like(x_TBI[:1]), x_TBI[:-1]])
        return self.head(self.lstm(shifted_TBI)[0])


class Draw(nn.Module):
    """DRAW (Gregor et al. 2015) with attention windows of `size` x `size`, or whole images (0)."""

    def __init__(self, steps: int, width: int, size: int, latent: int = 10):
        super().__init__()
        self.steps, self.size, self.latent = steps, size, latent
        read, written = (2 * size**2, size**2) if size else (2 * 784, 784)
        self.encoder, self.decoder = nn.LSTMCell(read + width, width), nn.LSTMCell(latent, width)
        self.posterior, self.paint = nn.Linear(width, 2 * latent), nn.Linear(width, written)
        if size:
            self.look, self.point = nn.Linear(width, 5), nn.Linear(width, 5)
        self.width = width

    def forward(self, x_BHW):
        batch = x_BHW.shape[0]
        zero_BD = x_BHW.new_zeros(batch, self.width)
        encoder = decoder = (zero_BD, zero_BD)
        canvas_BHW, kl_B = torch.zeros_like(x_BHW), 0.0
        for _ in range(self.steps):
            error_BHW = x_BHW - torch.sigmoid(canvas_BHW)
            images = (x_BHW, error_BHW)
            if self.size:
                window = self.window(self.look(decoder[0]))
                images = tuple(self.read(image, *window) for image in images)
            inputs_BI = torch.cat([image.flatten(1) for image in images] + [decoder[0]], dim=1)
            encoder = self.encoder(inputs_BI, encoder)
            mean_BZ, log_scale_BZ = self.posterior(encoder[0]).chunk(2, dim=1)
            scale_BZ = log_scale_BZ.exp()
            z_BZ = mean_BZ + scale_BZ * torch.randn_like(mean_BZ)
            kl_B = kl_B + (0.5 * (mean_BZ**2 + scale_BZ**2 - 1) - log_scale_BZ).sum(dim=1)
            decoder = self.decoder(z_BZ, decoder)
            painted = self.paint(decoder[0])
            if self.size:
                y_BNH, x_BNW, intensity_B11 = self.window(self.point(decoder[0]))
                patch_BNN = painted.view(batch, self.size, self.size)
                canvas_BHW = canvas_BHW + y_BNH.mT @ patch_BNN @ x_BNW / intensity_B11
            else:
                canvas_BHW = canvas_BHW + painted.view_as(canvas_BHW)
        return canvas_BHW, kl_B

    def window(self, raw_BP):
        x, y, log_variance, log_stride, log_intensity = raw_BP[..., None].unbind(dim=1)
        stride = 27 / max(self.size - 1, 1) * log_stride.exp()
        offset_N = torch.arange(self.size) - self.size / 2 + 0.5
        pixel_A = torch.arange(1.0, 29.0)

        def filters(centre_B1):
            mean_BN1 = (centre_B1 + offset_N * stride)[..., None]
            weight = torch.exp(-((pixel_A - mean_BN1) ** 2) / (2 * log_variance.exp()[..., None]))
            return weight / weight.sum(dim=-1, keepdim=True).clamp(min=1e-8)

        return filters(14.5 * (y + 1)), filters(14.5 * (x + 1)), log_intensity.exp()[..., None]

    def read(self, image_BHW, y_BNH, x_BNW, intensity_B11):
        return intensity_B11 * (y_BNH @ image_BHW @ x_BNW.mT)


class Sweep(nn.Module):
    """minGRU over the leading axis, in one direction or both, followed by a linear layer."""

    def __init__(self, width: int, both: bool = False):
        super().__init__()
        count = 2 if both else 1
        self.gates = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(count))
        self.out = nn.Linear(count * width, width)

    def forward(self, x_TLBD):
        outputs = []
        for index, layer in enumerate(self.gates):
            f, u = layer(x_TLBD).chunk(2, dim=-1)
            f = torch.sigmoid(f)
            a, b = 1 - f, f * torch.tanh(u)
            steps = range(len(a))
            h, states = torch.zeros_like(a[0]), [None] * len(a)
            for t in reversed(steps) if index else steps:
                h = torch.addcmul(b[t], a[t], h)
                states[t] = h
            outputs.append(torch.stack(states))
        return self.out(torch.cat(outputs, dim=-1))


class Block(nn.Module):
    """A block of one stream. A vertical block sweeps across both ways and down, others across."""

    def __init__(self, width: int, vertical: bool):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.across = Sweep(width, both=vertical)
        self.down = Sweep(width) if vertical else None
        self.above = None if vertical else nn.Linear(width, width)
        self.grow, self.shrink = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x_RQBD, above_RQBD=None):
        if self.above is not None:
            x_RQBD = x_RQBD + self.above(above_RQBD)
        across = self.across(self.norms[0](x_RQBD).transpose(0, 1)).transpose(0, 1)
        x_RQBD = x_RQBD + across
        if self.down is not None:
            x_RQBD = x_RQBD + self.down(self.norms[1](x_RQBD))
        hidden = F.gelu(self.grow(self.norms[2](x_RQBD)), approximate="tanh")
        return x_RQBD + self.shrink(hidden)


class Sweeps(nn.Module):
    """The decoder of configs/mnist_sweep.py without a latent: 14 x 14 tokens of 4 pixels."""

    def __init__(self, width: int, blocks: int):
        super().__init__()
        self.row = nn.Parameter(0.1 * torch.randn(14, 1, 1, width))
        self.column = nn.Parameter(0.1 * torch.randn(1, 14, 1, width))
        self.embed_above, self.embed_left = nn.Linear(4, width), nn.Linear(4, width)
        self.vertical = nn.ModuleList(Block(width, True) for _ in range(blocks))
        self.horizontal = nn.ModuleList(Block(width, False) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 16)

    def forward(self, x_RQBI):
        x_RQBI = 2 * x_RQBI - 1
        above = torch.cat([torch.zeros_like(x_RQBI[:1]), x_RQBI[:-1]])
        left = torch.cat([torch.zeros_like(x_RQBI[:, :1]), x_RQBI[:, :-1]], dim=1)
        x_RQBD = self.embed_above(above) + self.row + self.column
        y_RQBD = self.embed_left(left) + self.row + self.column
        for vertical, horizontal in zip(self.vertical, self.horizontal, strict=True):
            x_RQBD = vertical(x_RQBD)
            y_RQBD = horizontal(y_RQBD, x_RQBD)
        return self.head(self.norm(y_RQBD))
