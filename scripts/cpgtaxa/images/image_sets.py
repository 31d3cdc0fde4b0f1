"""The images of a round: rendered from the cohort or read from the user's files, packed for training."""

import logging
import pathlib

import numpy as np
import pandas as pd

from cpgtaxa.cohort import Cohort, read_samples
from cpgtaxa.errors import InputError, gathered, refuse
from cpgtaxa.files import atomic
from cpgtaxa.images.packed import EXAMPLES, PackedImages, pack, read_image_csv
from cpgtaxa.images.render import planes, planes_of_rgb, read_png, render, write_png
from cpgtaxa.names import TAXA
from cpgtaxa.placement.rounds import PARTS, image_path, read_parts
from cpgtaxa.progress import Progress

BLOCK = 256


def render_round(parts: dict, beta, samples, folder: str, size: int, out, png: bool) -> None:
    """Draw the CpGs of a round's CSVs whose images belong into `folder`, and pack them at `size` pixels.

    CpGs listed with other paths (simulated, or of earlier rounds) have been drawn before. png: also write 224×224
    PNG files.
    """
    wanted = pd.concat(read_parts(parts).values(), ignore_index=True)
    cohort = Cohort(beta)
    ages = read_samples(samples)["age"].to_numpy()
    where = {image_path(folder, cpg): index for index, cpg in enumerate(cohort.cpgs)}
    wanted = wanted[wanted["path"].isin(where)].drop_duplicates("path")
    wanted = wanted.assign(index=wanted["path"].map(where)).sort_values("index", ignore_index=True)
    if png:
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)

    progress = Progress(len(wanted), "images drawn")

    def batches():
        for start in range(0, len(wanted), BLOCK):
            rows = wanted[start : start + BLOCK]
            codes = render(cohort.take(rows["index"].to_numpy()), ages)
            cohort.release()
            if png:
                for path, code in zip(rows["path"], codes, strict=True):
                    write_png(path, code)
            progress.step(len(rows))
            yield planes(codes, size)

    pack(out, wanted["path"].tolist(), wanted["label"].tolist(), ["cohort"] * len(wanted), batches(), size)
    logging.info(f"{len(wanted):,} images drawn")


def read_images(listed: pd.DataFrame, root, size: int):
    """Yield the planes (k, 2, size, size) of listed image files, a block at a time.

    InputError at the end, naming all files that cannot be read.
    """
    root = pathlib.Path(root or ".")
    problems = []
    progress = Progress(len(listed), "images read")
    for start in range(0, len(listed), BLOCK):
        block = []
        for path in listed["path"][start : start + BLOCK]:
            try:
                block.append(planes_of_rgb(read_png(root / path), size))
            except InputError as error:
                problems += error.problems
        progress.step(min(BLOCK, len(listed) - start))
        if not problems:
            yield np.stack(block)
    if len(problems) > EXAMPLES:
        problems = [*problems[:EXAMPLES], f"{len(problems) - EXAMPLES} more images cannot be read."]
    refuse(problems)


def use_images(parts: dict, outputs: dict, out_images, root, size: int) -> None:
    """Check the user's image CSVs (published form), copy them, and pack the images they list."""
    listed, problems = {}, []
    for part in PARTS:
        listed[part] = gathered(problems, read_image_csv, parts[part], root)
    refuse(problems)
    together = pd.concat(listed.values(), ignore_index=True)
    shared = together["path"][together["path"].duplicated()].unique()
    if len(shared):
        raise InputError(f"images.info: {len(shared)} images are in more than one of the files, {shared[0]!r} first")
    lacking = sorted(set(TAXA) - set(listed["training"]["label"]))
    if lacking:
        logging.warning("no training image of: %s; the network cannot learn these taxa", ", ".join(lacking))
    origins = ["image"] * len(together)
    pack(
        out_images,
        together["path"].tolist(),
        together["label"].tolist(),
        origins,
        read_images(together, root, size),
        size,
    )
    for part in PARTS:  # last, for pictures may turn out to be damaged
        with atomic(outputs[part]) as temporary:
            listed[part][["path", "label"]].to_csv(temporary, index=False, header=False)


class Packs:
    """Several packed-image files as one, looked up by path."""

    def __init__(self, paths):
        self.files = [PackedImages(path) for path in paths]
        self.where = {}
        for number, file in enumerate(self.files):
            self.where.update({name: (number, row) for row, name in enumerate(file.names)})

    def planes(self, paths) -> np.ndarray:
        """Planes (n, 2, size, size) uint8 of the images with these paths, in order."""
        found = [self.where[path] for path in paths]
        numbers = np.array([number for number, _ in found], dtype=int)
        rows = np.array([row for _, row in found], dtype=int)
        size = self.files[0].size
        out = np.empty((len(found), 2, size, size), dtype=np.uint8)
        for number, file in enumerate(self.files):
            mine = numbers == number
            if mine.any():
                out[mine] = file.take(rows[mine])
        return out
