"""PyTorch as a user would write it: `nn.LSTM` (cuDNN's on a GPU), loops over steps; eager or
compiled."""

import contextlib
import os
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from experiments.benchmarks import turns
from experiments.benchmarks.contenders.torch_models import Draw, Pixels, Row, Sweep, Sweeps
from experiments.benchmarks.turns import Program

VERSIONS = {"torch": torch.__version__}
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
torch.manual_seed(0)
_DEVICE = os.environ.get(turns.DEVICE_VARIABLE, "cpu")
torch.set_default_device(_DEVICE)


def row(size: dict) -> Program:
    """Like `ours.row`."""
    x_TBI = torch.rand(28, size["batch"], 28)
    model = Row(size["cell"], size["width"])

    def loss(x_TBI):
        return ((model(x_TBI) - x_TBI) ** 2).sum(dim=(0, 2)).mean()

    return _training(model, loss, size, x_TBI)


def draw(size: dict) -> Program:
    """Like `ours.draw`."""
    x_BHW = torch.bernoulli(torch.full((size["batch"], 28, 28), 0.2))
    model = Draw(size["steps"], size["width"], size["attention"])

    def loss(x_BHW):
        canvas_BHW, kl_B = model(x_BHW)
        entropy = F.binary_cross_entropy_with_logits(canvas_BHW, x_BHW, reduction="none")
        return (entropy.sum(dim=(1, 2)) + kl_B).mean()

    return _training(model, loss, size, x_BHW)


def flagship(size: dict) -> Program:
    """Like `ours.flagship`: 14 x 14 tokens of 2 x 2 binary pixels."""
    x_RQBI = torch.bernoulli(torch.full((14, 14, size["batch"], 4), 0.2))
    symbol_RQB = (x_RQBI * torch.tensor([8.0, 4.0, 2.0, 1.0])).sum(dim=-1).long()
    model = Sweeps(width=64, blocks=3)

    def loss(x_RQBI, symbol_RQB):
        logits = model(x_RQBI).reshape(-1, 16)
        return F.cross_entropy(logits, symbol_RQB.reshape(-1), reduction="sum") / size["batch"]

    return _training(model, loss, size, x_RQBI, symbol_RQB)


def pixels(size: dict) -> Program:
    """Like `ours.pixels`."""
    x_TBI = torch.bernoulli(torch.full((784, size["batch"], 1), 0.2))
    model = Pixels(size["width"])

    def loss(x_TBI):
        entropy = F.binary_cross_entropy_with_logits(model(x_TBI), x_TBI, reduction="none")
        return entropy.sum(dim=(0, 2)).mean()

    return _training(model, loss, size, x_TBI)


def linear(size: dict) -> Program:
    """Like `ours.linear`, with a loop over steps."""
    shape = (size["steps"], size["batch"], size["width"])
    a_TBD = torch.rand(shape, requires_grad=True)
    b_TBD = torch.randn(shape, requires_grad=True)
    h_BD = torch.randn(shape[1:], requires_grad=True)
    weight_TBD = torch.randn(shape)

    def run(steps: int) -> None:
        for _ in range(steps):
            h, outputs = h_BD, []
            for a, b in zip(a_TBD.unbind(), b_TBD.unbind(), strict=True):
                h = torch.addcmul(b, a, h)
                outputs.append(h)
            total = (weight_TBD * torch.stack(outputs)).sum()
            torch.autograd.grad(total, (a_TBD, b_TBD, h_BD))

    return _program(run)


def sweeps(size: dict) -> Program:
    """Like `ours.sweeps`."""
    shape = (size["side"], size["side"], size["batch"], size["width"])
    x_RQBD, weight_RQBD = torch.randn(shape, requires_grad=True), torch.randn(shape)
    sweep = Sweep(size["width"])

    def run(steps: int) -> None:
        for _ in range(steps):
            total = (weight_RQBD * sweep(x_RQBD.transpose(0, 1)).transpose(0, 1)).sum()
            torch.autograd.grad(total, (x_RQBD, *sweep.parameters()))

    return _program(run)


def raster(size: dict) -> Program:
    """Like `ours.raster`: one call of the LSTM cell per pixel."""
    model = Pixels(size["width"])
    cell = nn.LSTMCell(1, size["width"])

    def run(steps: int) -> None:
        with torch.inference_mode():
            for _ in range(steps):
                state = (torch.zeros(size["batch"], size["width"]),) * 2
                x_BI, drawn = torch.zeros(size["batch"], 1), []
                for _ in range(784):
                    state = cell(x_BI, state)
                    x_BI = torch.bernoulli(torch.sigmoid(model.head(state[0])))
                    drawn.append(x_BI)
                torch.stack(drawn)

    return _program(run)


def _training(model: nn.Module, loss, size: dict, *inputs: torch.Tensor) -> Program:
    """Training by Adam on `loss(*inputs)`. `compile`: by torch.compile. bfloat16: by autocast."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    rounds = size["precision"] == "bfloat16"
    if size.get("compile"):
        loss = torch.compile(loss)

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            cast = torch.autocast(_DEVICE, torch.bfloat16) if rounds else contextlib.nullcontext()
            with cast:
                value = loss(*inputs)
            value.backward()
            optimizer.step()

    return _program(run)


def _program(run: Callable[[int], None]) -> Program:
    """A program that returns when the device has finished."""

    def finish(steps: int) -> None:
        run(steps)
        if _DEVICE == "cuda":
            torch.cuda.synchronize()

    return Program(finish, VERSIONS)
