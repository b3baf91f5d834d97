"""Images a second of data layers that read 256x256 images, against torchvision's ImageFolder in a DataLoader.

    python tests/benchmarks/input_pipeline.py [--rounds 7] [--images 2000] [--batch 64] [--crop 224]

Both read the same JPEG files, of smoothed noise and about 20 kB each, in shuffled order: random crop, mirror, a mean of
each channel subtracted, float32. The DataLoader has two worker processes; it gets the crop and the mirror from
torchvision's transforms. The data layers read the files (ImageData), an LMDB of the same JPEGs and an LMDB of raw
pixels (Data); nothing is kept in memory, as in a set too large for it. They take turns, a round each, in one process;
the figures are medians over rounds and the ratios are the medians of the rounds' ratios, above 1 where the data layer
is faster. The last rows take a training step of a small convolutional net on every batch.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

import sdcaffe
from sdcaffe import proto
from sdcaffe.converters.image_set import Options, convert
from sdcaffe.data import feed
from sdcaffe.log.table import text_table

SIDE, CLASSES, MEAN = 256, 20, (104.0, 117.0, 123.0)
AHEAD = 6  # batches before each round that are not timed: whatever was prefetched meanwhile is used up
Next = Callable[[], Tensor]


def write_images(folder: Path, count: int) -> None:
    """Noise whose spectrum falls as a photograph's does: JPEGs of a size that photographs have."""
    random = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)) + 1 / SIDE
    lines = []
    for i in range(count):
        if i % 50 == 0:
            spectrum = np.fft.rfft2(random.normal(size=(3, SIDE, SIDE))) / frequency**1.35
            noise = np.fft.irfft2(spectrum, s=(SIDE, SIDE)).transpose(1, 2, 0)
            noise = (noise / noise.std() * 50 + 128).clip(0, 255).astype(np.uint8)
        path = folder / f"class{i % CLASSES:02d}" / f"{i:05d}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.roll(noise, tuple(random.integers(0, SIDE, 2)), (0, 1))).save(path, quality=80)
        lines.append(f"{path.relative_to(folder)} {i % CLASSES}\n")
    (folder / "list.txt").write_text("".join(lines))


def data_layer(type_name: str, source: Path, args: argparse.Namespace) -> Next:
    means = " ".join(f"mean_value: {value}" for value in MEAN)
    common = f'source: "{source}" batch_size: {args.batch} shuffle: true'
    param = {
        "ImageData": f'image_data_param {{ {common} root_folder: "{source.parent}/" }}',
        "Data": f"data_param {{ {common} backend: LMDB }}",
    }[type_name]
    net = proto.NetParameter()
    text = f'layer {{ name: "data" type: "{type_name}" top: "data" top: "label" {param} '
    text += f"transform_param {{ crop_size: {args.crop} mirror: true {means} }} }}"
    proto.text.parse(text, net, "benchmark")
    model = sdcaffe.Net(net, sdcaffe.TRAIN)
    return lambda: model({})["data"]


def torchvision_loader(folder: Path, args: argparse.Namespace) -> Next:
    steps = [
        transforms.RandomCrop(args.crop),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize([value / 255 for value in MEAN], [1 / 255] * 3),
    ]
    images = datasets.ImageFolder(str(folder), transforms.Compose(steps))
    loader = DataLoader(
        images, args.batch, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True, pin_memory=False
    )
    endless: Iterator[list[Tensor]] = itertools.chain.from_iterable(itertools.repeat(loader))
    return lambda: next(endless)[0]


def training(next_batch: Next, crop: int) -> Next:
    """`next_batch` with a step of a small net on it, one that leaves the input pipeline much to do."""
    net = nn.Sequential(nn.Conv2d(3, 16, 11, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-6)

    def step() -> Tensor:
        images = next_batch()
        loss = net(images).logsumexp(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return images

    return step


def speed(next_batch: Next, batches: int) -> float:
    """Images a second."""
    for _ in range(AHEAD):
        next_batch()
    start = time.perf_counter()
    images = sum(len(next_batch()) for _ in range(batches))
    seconds = time.perf_counter() - start
    time.sleep(0.3)  # what still reads ahead does not slow the next one
    return images / seconds


def resident() -> float:
    """MiB that this process has in memory."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=2000, help="how many are made")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--batches", type=int, default=12, help="timed in a round")
    args = parser.parse_args()
    feed.RESIDENT_BYTES = feed.RESIDENT_ENCODED_BYTES = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = folder / "images"
        images.mkdir()
        write_images(images, args.images)
        for database, encoded in (("jpeg_lmdb", True), ("raw_lmdb", False)):
            convert(str(images), str(images / "list.txt"), str(folder / database), options=Options(encoded=encoded))
        bench(folder, args)


def bench(folder: Path, args: argparse.Namespace) -> None:
    images = folder / "images"
    mean_size = statistics.mean(path.stat().st_size for path in images.glob("class*/*.jpg"))
    pipelines = {
        "torchvision ImageFolder, DataLoader": torchvision_loader(images, args),
        "ImageData, JPEG files": data_layer("ImageData", images / "list.txt", args),
        "Data, LMDB of JPEGs": data_layer("Data", folder / "jpeg_lmdb", args),
        "Data, LMDB of raw pixels": data_layer("Data", folder / "raw_lmdb", args),
    }
    rival, *ours = pipelines
    pipelines |= {f"{name}, training": training(pipelines[name], args.crop) for name in (rival, *ours)}
    for next_batch in pipelines.values():
        speed(next_batch, 2)
    before = resident()
    speeds: dict[str, list[float]] = {name: [] for name in pipelines}
    for _ in range(args.rounds):
        for name, next_batch in pipelines.items():
            speeds[name].append(speed(next_batch, args.batches))
    print(
        f"{args.images} images of {SIDE}x{SIDE}, JPEGs of {mean_size / 1000:.1f} kB, crop {args.crop}, batch "
        f"{args.batch}, {torch.get_num_threads()} CPU threads, {args.rounds} rounds"
    )
    rows = [["", "images/s", "ratio", "rounds from", "to"]]
    for name, values in speeds.items():
        against = speeds[f"{rival}, training" if name.endswith(", training") else rival]
        ratios = [a / b for a, b in zip(values, against, strict=True)]
        figures = [f"{value:.2f}" for value in (statistics.median(ratios), min(ratios), max(ratios))]
        rows.append([name, f"{statistics.median(values):.0f}", *figures])
    print("\n".join(text_table(rows, "lrrrr")))
    read = args.rounds * len(pipelines) * (args.batches + AHEAD)
    print(f"memory: {before:.0f} MiB before the rounds, {resident():.0f} MiB after {read} batches")


if __name__ == "__main__":
    main()
