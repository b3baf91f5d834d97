"""`convert-imageset` against a plain loop of Pillow and lmdb over the same files.

    python tests/benchmarks/convert_imageset.py [--rounds 5] [--images 500] [--size 320] [--side 256] [--kind jpg|png]
        [--gray] [--encoded] [--jobs N]

`--side 0` keeps the size. The images are random patches of 16x16 pixels. Both write an LMDB of Datums; times of the
clock and of the processors, in turns.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import lmdb
import numpy as np
from PIL import Image
from side_by_side import take_turns

from sdcaffe.converters.image_set import Options, convert
from sdcaffe.proto import Datum


def write_images(folder: Path, args: argparse.Namespace) -> None:
    random = np.random.default_rng(0)
    patches = args.size // 16
    for i in range(12):
        image = np.kron(random.integers(0, 255, (patches - 2, patches, 3)), np.ones((16, 16, 1))).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{i}.{args.kind}", quality=88)
    (folder / "list.txt").write_text("".join(f"{i % 12}.{args.kind} {i % 5}\n" for i in range(args.images)))


def loop(folder: Path, database: Path, args: argparse.Namespace) -> None:
    """What a script would do."""
    with lmdb.open(str(database), map_size=1 << 33) as env, env.begin(write=True) as transaction:
        for i, line in enumerate((folder / "list.txt").read_text().splitlines()):
            path, label = folder / line.split()[0], int(line.split()[1])
            if args.encoded and not args.side:
                Image.open(path).load()  # lest one be stored that is none, as in Caffe
                datum = Datum(label=label, encoded=True, data=path.read_bytes())
            else:
                image: Image.Image = Image.open(path).convert("L" if args.gray else "RGB")
                if args.side:
                    image = image.resize((args.side, args.side), Image.Resampling.BILINEAR)
                pixels = np.asarray(image)
                channels = pixels[None] if args.gray else pixels[..., ::-1].transpose(2, 0, 1)
                shape = dict(zip(("channels", "height", "width"), channels.shape, strict=True))
                datum = Datum(label=label, data=channels.tobytes(), **shape)
            transaction.put(b"%08d" % i, datum.SerializeToString())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--kind", choices=("jpg", "png"), default="jpg")
    parser.add_argument("--gray", action="store_true")
    parser.add_argument("--encoded", action="store_true")
    parser.add_argument("--jobs", type=int, default=None)
    args = parser.parse_args()
    options = Options(gray=args.gray, resize_height=args.side, resize_width=args.side, encoded=args.encoded)
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        write_images(folder, args)

        def rival() -> None:
            shutil.rmtree(folder / "a", ignore_errors=True)
            loop(folder, folder / "a", args)

        def ours() -> None:
            shutil.rmtree(folder / "b", ignore_errors=True)
            convert(str(folder), str(folder / "list.txt"), str(folder / "b"), options=options, cores=args.jobs)

        for clock, what in ((time.perf_counter, "time"), (time.process_time, "processor time")):
            times = take_turns({"loop": rival, "sdcaffe": ours}, args.rounds, clock=clock)
            ratio = times.ratio("sdcaffe", "loop")
            print(
                f"{what} an image: loop {times.median('loop') / args.images * 1000:.2f} ms, sdcaffe "
                f"{times.median('sdcaffe') / args.images * 1000:.2f} ms, ratio {ratio[0]:.2f} "
                f"({ratio[1]:.2f} to {ratio[2]:.2f})"
            )


if __name__ == "__main__":
    main()
