"""Writes logs in the shape of tests/goldens/files/caffe_train.log, for runs that take days.

Every line is written by hand but those of the network, which are those of prototxt/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

_PROTOTXT = Path(__file__).parents[2] / "prototxt"


def network(folder: str) -> str:
    """The layers of a network in prototxt/, from its images to its logits."""
    text = (_PROTOTXT / folder / "train_val_baseline.prototxt").read_text()
    _, _, *sections = text.split("\n\n# ")  # its name, its data, the network, its losses
    return "".join(f"{section.partition(chr(10))[2]}\n" for section in sections[:-1])


_CROSS_ENTROPY = """layer {{
  name: "{name}"
  type: "SoftmaxWithLoss"
  bottom: "{bottom}"
  bottom: "label"
  top: "{name}"
}}
"""
_DISTORT = """layer {{
  name: "distort"
  type: "Distort"
  bottom: "image"
{tops}  distort_param {{
    {param}
  }}
}}
"""
CIFAR_100 = """pad: 4 crop_size: 32 mirror: true
    mean_value: 129.3105 mean_value: 124.0575 mean_value: 112.4295
    std_value: 68.1615 std_value: 65.382 std_value: 70.431"""
IMAGENET = "crop_size: 227 mirror: true mean_value: 104 mean_value: 117 mean_value: 123"
SMALL = """layer {
  name: "conv1"
  type: "Convolution"
  bottom: "data"
  top: "conv1"
  convolution_param {
    num_output: 16
    bias_term: false
    pad: 1
    kernel_size: 3
  }
}
layer {
  name: "conv1_bn"
  type: "BatchNorm"
  bottom: "conv1"
  top: "conv1"
}
layer {
  name: "pool"
  type: "Pooling"
  bottom: "conv1"
  top: "pool"
  pooling_param {
    pool: AVE
    global_pooling: true
  }
}
layer {
  name: "fc"
  type: "InnerProduct"
  bottom: "pool"
  top: "fc"
  inner_product_param {
    num_output: 100
  }
}
"""
_SLICE = """layer {{
  name: "split_{top}"
  type: "Slice"
  bottom: "{bottom}"
  top: "{top}_a"
  top: "{top}_b"
  slice_param {{
    axis: 0
  }}
}}
"""
_PAIR = """layer {{
  name: "{name}"
  type: "{type}"
  bottom: "{bottom}_a"
  bottom: "{bottom}_b"
  top: "{name}"
  loss_weight: {weight}
{param}}}
"""


RESNET = network("cifar100/resnet32")


@dataclass(frozen=True)
class Log:
    """A run, by default a whole one of the paper's recipe for ResNet-32 on CIFAR-100, baseline."""

    net: str = "ResNet-32 CIFAR-100 baseline"
    mu: float | None = None
    kl: float | None = None
    branches: int = 1
    temperature: float = 3
    source: str = "cifar100:{}"
    seed: int | None = 1
    max_iter: int = 156250
    solver: dict[str, object] = field(default_factory=dict)
    accuracies: Sequence[float] = (0.2, 0.7, 0.69)
    top5: Sequence[float] = ()
    until: int | None = None
    resume: int | None = None
    of_caffe: bool = False
    network: str = RESNET
    logits: str = "fc"
    distortion: str = CIFAR_100
    day: str = "0423"

    def text(self) -> str:
        """The log up to the line of iteration `until`, or from iteration `resume` on, as a session of its own."""
        writer = _Lines(self)
        writer.say("caffe.cpp:197", "Use CPU.")
        writer.say("solver.cpp:45", "Initializing solver from parameters: ")
        writer.raw(self._solver())
        writer.say("solver.cpp:102", f"Creating training net from net file: {self.net}.prototxt")
        for phase in ("TRAIN", "TEST"):
            writer.say("net.cpp:53", "Initializing net from parameters: ")
            writer.raw(self._net(phase))
            writer.say("net.cpp:257", "Network initialization done.")
        if self.resume is not None:
            writer.say("caffe.cpp:241", f"Resuming from snap/x_iter_{self.resume}.solverstate")
            writer.say("sgd_solver.cpp:336", "SGDSolver: restoring history")
        writer.say("solver.cpp:289", f"Solving {self.net}")
        interval = self.max_iter // len(self.accuracies)
        for i, accuracy in enumerate(self.accuracies, start=1):
            at = interval * i if i < len(self.accuracies) else self.max_iter
            if self.resume is not None and at < self.resume:
                continue
            if self.until is not None and at > self.until:
                writer.say("solver.cpp:239", f"Iteration {self.until} (20 iter/s, 5s/100 iters), loss = 1.5")
                return writer.text
            if at != self.resume:
                writer.say("solver.cpp:239", f"Iteration {at - 50} (20 iter/s, 5s/100 iters), loss = {3 / i:g}")
                writer.say("sgd_solver.cpp:112", f"Iteration {at - 50}, lr = {10.0**-i:g}")
            writer.say("solver.cpp:464", f"Snapshotting to binary proto file snap/x_iter_{at}.caffemodel")
            writer.say("solver.cpp:347", f"Iteration {at}, Testing net (#0)")
            writer.say("solver.cpp:414", f"    Test net output #0: accuracy = {accuracy:g}")
            if self.top5:
                writer.say("solver.cpp:414", f"    Test net output #1: five = {self.top5[i - 1]:g}")
        writer.say("solver.cpp:332", "Optimization Done.")
        return writer.text

    def with_seed(self, seed: int, *accuracies: float) -> Log:
        return replace(self, seed=seed, accuracies=accuracies, day=f"05{seed:02d}")

    def _solver(self) -> str:
        lines: dict[str, object] = {
            "test_iter": 100,
            "test_interval": self.max_iter // len(self.accuracies),
            "base_lr": 0.1,
            "max_iter": self.max_iter,
            "lr_policy": '"multistep"',
            "gamma": 0.1,
            "momentum": 0.9,
            "weight_decay": 0.0001,
            "stepvalue": [46875, 93750, 140625],
            "type": '"Nesterov"',
            **({} if self.seed is None else {"random_seed": self.seed}),
            **self.solver,
        }
        pairs = ((k, v) for k, values in lines.items() for v in (values if isinstance(values, list) else [values]))
        return "".join(f"{k}: {v}\n" for k, v in pairs)

    def _net(self, phase: str) -> str:
        text = f'name: "{self.net}"\nstate {{\n  phase: {phase}\n}}\n' + self._data(phase)
        two = self.branches == 2 and phase == "TRAIN"
        if two:
            text += (
                _DISTORT.format(tops='  top: "data_a"\n  top: "data_b"\n', param=self.distortion)
                if not self.of_caffe
                else ""
            )
            text += 'layer {\n  name: "both"\n  type: "Concat"\n  bottom: "data_a"\n  bottom: "data_b"\n  top: "data"\n'
            text += "  concat_param {\n    axis: 0\n  }\n}\n"
        elif not self.of_caffe:
            text += _DISTORT.format(tops='  top: "data"\n', param=self.distortion)
        text += self.network
        if two:
            text += _SLICE.format(bottom="pool", top="feature") + _SLICE.format(bottom="fc", top="logits")
            text += "".join(_CROSS_ENTROPY.format(name=f"loss_{b}", bottom=f"logits_{b}") for b in "ab")
            text += self._kl() + self._mmd()
        else:
            text += _CROSS_ENTROPY.format(name="loss", bottom=self.logits)
        if phase == "TEST":
            for name, top_k in (("accuracy", 1), *((("five", 5),) if self.top5 else ())):
                text += (
                    f'layer {{\n  name: "{name}"\n  type: "Accuracy"\n  bottom: "{self.logits}"\n  bottom: "label"\n'
                )
                text += f'  top: "{name}"\n  accuracy_param {{\n    top_k: {top_k}\n  }}\n}}\n'
        return text

    def _data(self, phase: str) -> str:
        tops = ["image"] if not self.of_caffe else ["data_a", "data_b"] if self.branches == 2 else ["data"]
        batch = {"TRAIN": 64, "TEST": 100}[phase]
        lines = [f'  top: "{top}"\n' for top in (*tops, "label")]
        source = self.source.format(phase.lower())
        param = f'  data_param {{\n    source: "{source}"\n    batch_size: {batch}\n    backend: LMDB\n  }}\n'
        return f'layer {{\n  name: "data"\n  type: "Data"\n{"".join(lines)}{param}}}\n'

    def _kl(self) -> str:
        if self.kl is None:
            return ""
        param = f"  kl_loss_param {{\n    temperature: {self.temperature:g}\n  }}\n"
        if self.of_caffe:
            param = '  python_param {\n    module: "sd_layers"\n    layer: "KLLoss"\n'
            param += f'    param_str: "{{\\"temperature\\": {self.temperature:g}}}"\n  }}\n'
        kind = "Python" if self.of_caffe else "KLLoss"
        return _PAIR.format(name="kl", type=kind, bottom="logits", weight=f"{self.kl:g}", param=param)

    def _mmd(self) -> str:
        if self.mu is None:
            return ""
        param = '  python_param {\n    module: "sd_layers"\n    layer: "MMDLoss"\n  }\n' if self.of_caffe else ""
        kind = "Python" if self.of_caffe else "MMDLoss"
        return _PAIR.format(name="mmd", type=kind, bottom="feature", weight=f"{self.mu:g}", param=param)


BASELINE = Log()
DISTILLED = Log("ResNet-32 CIFAR-100 self-distilled", mu=0.0005, kl=1, branches=2, accuracies=(0.3, 0.73, 0.72))


class _Lines:
    def __init__(self, log: Log) -> None:
        self.text = ""
        self._log = log
        self._second = 0

    def say(self, place: str, message: str) -> None:
        self._second += 1
        year = "" if self._log.of_caffe else "2026"
        clock = f"{self._second // 3600:02d}:{self._second // 60 % 60:02d}:{self._second % 60:02d}"
        if self._log.of_caffe:  # as builds of 2016 log it
            place = place.replace(":239]", ":228]")
        self.text += f"I{year}{self._log.day} {clock}.000000 21503 {place}] {message}\n"

    def raw(self, text: str) -> None:
        self.text += text
