"""A made-up search space, and trials that train without a process, for the tests of searches."""

import json
import math
import signal
import types

from experiments import jobs, search, spaces
from rnnae import files
from rnnae.records.writer import read_metrics

LOW, HIGH = 1e-3, 1e-1


class FakeTrial:
    """The process of a trial, which trains an epoch whenever it is polled.

    Attributes (of the class):
      starts: number of the trial, and the epochs that it had, of each start.
      on_epoch: called with the process after each epoch; may set its exit code.
      most: the largest number of processes that trained at the same time.
    """

    starts, on_epoch, most, training = [], None, 0, 0

    def __init__(self, words):
        flags = dict(word[2:].split("=", 1) for word in words if "=" in word)
        self.workdir = files.expand(flags["workdir"])
        self.rate = float(flags["config.optim.learning_rate"])
        self.epochs = int(flags["config.train.epochs"])
        self.status, self.stopping = None, False
        self.workdir.mkdir(parents=True, exist_ok=True)
        (self.workdir / "log.txt").write_text("the last line")
        FakeTrial.starts.append((int(self.workdir.name[5:]), len(read_metrics(self.workdir))))
        FakeTrial.training += 1
        FakeTrial.most = max(FakeTrial.most, FakeTrial.training)

    def poll(self):
        if self.status is None:
            if self.stopping:
                self.status = 128 + signal.SIGTERM
            else:
                self._train_an_epoch()
            FakeTrial.training -= self.status is not None
        return self.status

    def _train_an_epoch(self):
        epoch = len(read_metrics(self.workdir)) + 1
        mse = abs(math.log(self.rate / 1e-2)) + 1 / epoch
        record = {"step": 10 * epoch, "epoch": float(epoch), "valid/loss": 2 * mse}
        record |= {"valid/mse": mse} | ({"test/loss": mse} if epoch == self.epochs else {})
        with (self.workdir / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
        start = {"commit": "abc", "date": "2026-01-02T03:04:05+00:00", "devices": "1 x cpu"}
        start |= {"machine": "A", "parameters": 1234, "training_flop_per_image": 5e6, "step": 0}
        (self.workdir / "environment.jsonl").write_text(json.dumps(start) + "\n")
        timing = {"step": epoch, "seconds": 60.0 * epoch, "images_per_second": 1.0}
        (self.workdir / "timing.jsonl").write_text(json.dumps(timing) + "\n")
        if epoch == self.epochs:
            (self.workdir / "pictures").mkdir()
            (self.workdir / "pictures" / "curves.png").touch()
            self.status = 0
        if FakeTrial.on_epoch:
            FakeTrial.on_epoch(self)

    def send_signal(self, number):
        self.stopping = True

    def wait(self):
        while self.poll() is None:
            pass


def planted(**changes):
    data = types.ModuleType("rates", "Rates: which is best?\n\nA question asked since 1951.")
    data.CONFIG, data.METRIC, data.RUNGS = "configs/mnist.py", "valid/mse", (1, 3, 9)
    data.OVERRIDES = {"train.eval_every_epochs": 1}
    data.PARAMETERS = {
        "optim.learning_rate": {"low": LOW, "high": HIGH, "log": True},
        "model.layers": {"low": 1, "high": 3},
        "model.cell": {"choices": ("lstm", "gru")},
    }
    for name, value in changes.items():
        setattr(data, name, value)
    return data


def install(monkeypatch, tmp_path, **changes) -> list[str]:
    """Makes `rates` the only space, and its trials fake ones.

    Returns:
      The first arguments of experiments.search: space and root.
    """

    def start(processes, words, log, lock):
        process = FakeTrial(words)
        processes._told[process] = False  # so that signals reach it
        return process

    monkeypatch.setattr(spaces, "SPACES", {"rates": planted(**changes)})
    monkeypatch.setattr(jobs.Processes, "start", start)
    monkeypatch.setattr(search, "POLL_SECONDS", 0)
    for name, value in {"starts": [], "on_epoch": None, "most": 0, "training": 0}.items():
        monkeypatch.setattr(FakeTrial, name, value)
    return ["rates", "--root", str(tmp_path / "root")]
