"""Images as networks train on them: many packed into one file, their normalisation statistics, and lists of images.

A packed file is an Arrow IPC file with the columns `name` (string), `label` (string, null where there is none),
`origin` (string: "cohort", "simulated" or "image") and `planes` (fixed-size list of uint8: the red and green planes,
2 × size × size); the schema's metadata holds `size`. It is memory-mapped and read without copying.
"""

import contextlib
import csv
import dataclasses
import difflib
import functools
import io
import json
import pathlib

import numba
import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from cpgtaxa import files
from cpgtaxa.errors import InputError, gathered, reason_of, refuse, some
from cpgtaxa.images.render import LARGEST_SIDE, UNREADABLE
from cpgtaxa.input.texts import read_text
from cpgtaxa.names import INDEX, TAXA, UNCLASSIFIED
from cpgtaxa.threads import in_threads

ORIGINS = ("cohort", "simulated", "image")
EXAMPLES = 10
OTHER_IMAGES = {
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"RIFF": "WebP",
}


def pack(path, names, labels, origins, plane_batches, size: int) -> None:
    """Write a packed file, atomically.

    names, origins: one string per image; labels: string or None per image. plane_batches: iterator of uint8
    (k, 2, size, size), together as many images as names; each becomes a record batch.
    """
    if not len(names) == len(labels) == len(origins):
        raise ValueError(f"{len(names)} names, {len(labels)} labels and {len(origins)} origins")
    unknown = sorted(set(origins) - set(ORIGINS))
    if unknown:
        raise ValueError(f"origins {unknown} are none of {ORIGINS}")
    labels = [None if pd.isna(label) else label for label in labels]
    planes_type = pa.list_(pa.uint8(), 2 * size * size)
    strings = [(column, pa.string()) for column in ("name", "label", "origin")]
    schema = pa.schema([*strings, ("planes", planes_type)], metadata={"size": json.dumps(size)})
    files.need_space(path, 1.01 * 2 * size * size * len(names), f"{len(names):,} images take")
    start = 0
    with files.atomic(path) as temporary, pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema) as out:
        for planes in plane_batches:
            if planes.shape[1:] != (2, size, size) or planes.dtype != np.uint8:
                raise ValueError(f"planes are {planes.dtype} {planes.shape}, not uint8 (k, 2, {size}, {size})")
            stop = start + len(planes)
            if stop > len(names):
                raise ValueError(f"more planes than the {len(names)} names")
            flat = pa.array(np.ascontiguousarray(planes).reshape(-1))
            columns = [pa.array(list(values[start:stop]), pa.string()) for values in (names, labels, origins)]
            columns.append(pa.FixedSizeListArray.from_arrays(flat, type=planes_type))
            if len(planes):
                out.write_batch(pa.record_batch(columns, schema=schema))
            start = stop
        if start != len(names):
            raise ValueError(f"{len(names)} names, but planes of {start} images")


class PackedImages:
    """A packed file, memory-mapped. InputError where it is missing, cut short or something else.

    .names (list of str), .labels (list of str or None), .origins (list of str), .size (pixels along a side).
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        if not self.path.is_file():
            raise InputError(f"{self.path} is not there (or not a file): run the step that draws the images first")
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(self.path)))
            batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
            for batch in batches:
                batch.validate(full=True)  # where it fails, reading would lead out of the file
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(
                f"{self.path} is truncated or not an Arrow file ({reason_of(error)}): delete it and draw the images "
                "again"
            ) from None
        size = (reader.schema.metadata or {}).get(b"size", b"")
        self.size: int = int(size) if size.isdigit() and len(size) < 6 else 0
        strings = [(column, pa.string()) for column in ("name", "label", "origin")]
        expected = pa.schema([*strings, ("planes", pa.list_(pa.uint8(), 2 * self.size**2))])
        if not self.size or not reader.schema.equals(expected) or any(batch.column(3).null_count for batch in batches):
            raise InputError(f"{self.path} is an Arrow file but holds no packed images: delete it and draw them again")
        columns = [[value for batch in batches for value in batch.column(i).to_pylist()] for i in range(3)]
        self.names, self.labels, self.origins = columns
        shape = (-1, 2, self.size, self.size)
        self._parts = [batch.column(3).flatten().to_numpy(zero_copy_only=True).reshape(shape) for batch in batches]
        self._starts = np.cumsum([0] + [len(part) for part in self._parts])

    def __len__(self):
        return len(self.names)

    def take(self, rows) -> np.ndarray:
        """Planes, uint8 (len(rows), 2, size, size), of the images with these row numbers: a copy of those only."""
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(self)} images")
        out = np.empty((len(rows), 2, self.size, self.size), np.uint8)
        part_of = np.searchsorted(self._starts, rows, side="right") - 1
        for number, part in enumerate(self._parts):
            mine = np.flatnonzero(part_of == number)
            if len(mine):
                out[mine] = part[rows[mine] - self._starts[number]]
        return out

    @functools.cached_property
    def _planes(self) -> np.ndarray:
        if len(self._parts) == 1:
            return self._parts[0]
        return self.take(np.arange(len(self)))

    def planes(self) -> np.ndarray:
        """All planes, uint8 (k, 2, size, size): a read-only view of the file where it is one batch, else one copy."""
        return self._planes


@numba.njit(cache=True, nogil=True)
def _moments(low, high, planes, sums, squares):
    """Sum and sum of squares of each image and channel, in whole numbers."""
    for i in range(low, high):
        for channel in range(planes.shape[1]):
            total, square = np.uint64(0), np.uint64(0)
            for y in range(planes.shape[2]):
                row_total, row_square = np.uint32(0), np.uint32(0)
                row = planes[i, channel, y]
                for x in range(row.shape[0]):
                    value = np.uint32(row[x])
                    row_total += value
                    row_square += value * value
                total += np.uint64(row_total)
                square += np.uint64(row_square)
            sums[i, channel] = total
            squares[i, channel] = square


def normalisation(planes) -> dict[str, list[float]]:
    """Normalisation statistics as published, on the 0–1 scale: {"mean": [r, g, b], "std": [r, g, b]}.

    planes: uint8 (k, 2, size, size), k ≥ 1; blue equals red. mean: over images, of the channel's mean. std: over
    images, of the channel's standard deviation (n − 1 below the line, as torch's default).
    """
    if len(planes) == 0:
        raise ValueError("no images")
    pixels = planes.shape[2] * planes.shape[3]
    sums = np.empty(planes.shape[:2], np.uint64)
    squares = np.empty(planes.shape[:2], np.uint64)
    in_threads(_moments, len(planes), planes, sums, squares)
    means = sums / pixels
    variances = np.maximum(squares - sums * means, 0) / max(pixels - 1, 1)
    mean, std = means.mean(axis=0) / 255, np.sqrt(variances).mean(axis=0) / 255
    return {"mean": [float(mean[i]) for i in (0, 1, 0)], "std": [float(std[i]) for i in (0, 1, 0)]}


def _label_of(text: str):
    """Taxon of a label by name or index; "" where there is none; None where there is no such label."""
    text = text.strip()
    if text in ("", "NA", "nan", UNCLASSIFIED):
        return ""
    if text in INDEX:
        return text
    try:
        number = float(text)
    except ValueError:
        return None
    return TAXA[int(number)] if number in range(len(TAXA)) else None


def _nearest(label: str) -> str:
    lower = {taxon.lower(): taxon for taxon in TAXA}
    found = difflib.get_close_matches(label.strip().lower(), lower, n=1, cutoff=0.5)
    return f"did you mean {lower[found[0]]!r}?" if found else f"write one of {', '.join(TAXA)} or an index 0-9"


def is_file(path: pathlib.Path) -> bool:
    """Whether a path that stands in a file of the user's is a file: names too long for the disk are none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _no_plot(path) -> str | None:
    """What keeps a file from being the image of a CpG, by its head: "" if it is no image, None if nothing."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            width, height = image.size
            if max(width, height) > LARGEST_SIDE:
                return f"{width}×{height} pixels, more than {LARGEST_SIDE} along a side"
            if width != height:
                return f"{width}×{height} pixels, not square"
            if getattr(image, "n_frames", 1) > 1:
                return f"animated, {image.n_frames} frames"
            return None
    except UNREADABLE:
        pass
    with contextlib.suppress(OSError), open(path, "rb") as handle:
        first = handle.read(12)
        for start, name in OTHER_IMAGES.items():
            if first.startswith(start):
                return f"{name}, not PNG"
    return ""


def _rows_of(path: pathlib.Path) -> list[tuple[int, list[str]]]:
    """Line numbers and fields of an image list, without empty lines."""
    try:
        reader = csv.reader(io.StringIO(read_text(path, "image list"), newline=""))
        rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except InputError as error:
        raise InputError(
            [f"{problem}. It must be a CSV of image path and label." for problem in error.problems]
        ) from None
    except csv.Error as error:
        raise InputError(
            f"The image list {path}, line {reader.line_num}: {error}; a quotation mark may lack its partner."
        ) from error
    if not rows:
        raise InputError(f"The image list {path} is empty; it must hold one line per image: image path,label.")
    return rows


@dataclasses.dataclass
class _Found:
    """What an image list holds: images and labels, and by kind what is wrong with its lines."""

    images: list[tuple[str, str | None]] = dataclasses.field(default_factory=list)
    header: list[str] = dataclasses.field(default_factory=list)
    unknown: list[str] = dataclasses.field(default_factory=list)
    unlabelled: list[str] = dataclasses.field(default_factory=list)
    twice: list[str] = dataclasses.field(default_factory=list)
    outside: list[str] = dataclasses.field(default_factory=list)
    absent: list[str] = dataclasses.field(default_factory=list)
    unreadable: list[str] = dataclasses.field(default_factory=list)
    strange: list[str] = dataclasses.field(default_factory=list)

    def problems(self, path, folder: pathlib.Path, n_rows: int) -> list[str]:
        """Messages for what is wrong, of a list of `n_rows` images relative to `folder`."""
        found = [f"{path}: line 1 looks like a header ({row!r}); the published form has none." for row in self.header]
        found += [f"{path}: {text}" for text in self.unknown[:EXAMPLES]]
        if len(self.unknown) > EXAMPLES:
            found.append(f"{path}: {len(self.unknown) - EXAMPLES} more lines have an unknown label.")
        lines = ", ".join(self.unlabelled[:5]) + (" …" if len(self.unlabelled) > 5 else "")
        messages = (
            (self.unlabelled, f"images have no label (lines {lines}); give each a taxon or leave it out."),
            (self.twice, f"images are listed more than once: {some(self.twice)}; keep one line of each."),
            (self.outside, f"images lie outside the folder {folder}: {some(self.outside)}."),
            (
                self.absent,
                f"of {n_rows} images are not there: {some(self.absent)}; paths are relative to {folder.resolve()}.",
            ),
            (
                self.unreadable,
                f"files are no images: {some(self.unreadable)}. PNG files are needed, whole ones: copy or draw them "
                "again.",
            ),
            (
                self.strange,
                f"images are not in the published form: {some(self.strange)}. Needed are square PNG files of a "
                "scatterplot without axes, 224×224 pixels: draw them so.",
            ),
        )
        return found + [f"{path}: {len(lines)} {text}" for lines, text in messages if lines]


def read_image_csv(path, root=None, labels_required: bool = True) -> pd.DataFrame:
    """Read a list of images in the published form: no header, two columns, image path and label.

    A label is a taxon's name or its index 0–9. Image paths are relative to `root`, or to the working directory where
    there is none; with a root, all must lie inside it. labels_required=False: labels may be absent, with or without
    their column, or "Unclassified".

    Returns the columns path (as written) and label (name, or None). InputError lists everything that is wrong.
    """
    path = pathlib.Path(path)
    folder = pathlib.Path(root) if root is not None else pathlib.Path()
    problems = []
    rows = gathered(problems, _rows_of, path)
    if root is not None and not folder.is_dir():
        problems.append(f"The folder of images {folder} does not exist; the paths in {path} are relative to it.")
    refuse(problems)
    allowed = {2} if labels_required else {1, 2}
    widths = [(number, len(row)) for number, row in rows if len(row) not in allowed]
    if widths:
        number, width = widths[0]
        separator = next((mark for mark in "\t;" if mark in rows[0][1][0]), None)
        hint = f" (it seems to be separated by {separator!r}; write commas)" if separator else ""
        problems.append(
            f"{path}: {len(widths)} of {len(rows)} lines do not have two columns, image path and label; "
            f"line {number} has {width}{hint}."
        )
    found = _looked_at([(number, row) for number, row in rows if len(row) in allowed], folder, root, labels_required)
    problems += found.problems(path, folder, len(rows))
    refuse(problems)
    labels = pd.Series([label for _, label in found.images], dtype=object)
    return pd.DataFrame({"path": [image for image, _ in found.images], "label": labels})


def _looked_at(rows, folder: pathlib.Path, root, labels_required: bool) -> _Found:
    """What the lines of an image list hold, each image looked at."""
    found, seen, inside = _Found(), {}, folder.resolve()
    for position, (number, row) in enumerate(rows):
        image = row[0].strip()
        label = _label_of(row[1] if len(row) == 2 else "")
        try:
            resolved = (folder / image).resolve()
        except (OSError, RuntimeError):  # links in a circle
            resolved = inside / image
        if position == 0 and label is None and resolved.suffix == "" and not is_file(resolved):
            found.header.append(",".join(row))
            continue
        if label is None:
            found.unknown.append(f"line {number} has the label {row[1].strip()[:40]!r}, unknown; {_nearest(row[1])}")
        elif label == "" and labels_required:
            found.unlabelled.append(str(number))
        if resolved in seen:
            found.twice.append(f"{image} (lines {seen[resolved]} and {number})")
        seen.setdefault(resolved, number)
        if root is not None and not resolved.is_relative_to(inside):
            found.outside.append(f"{image} (line {number})")
        elif not image or not is_file(resolved):
            found.absent.append(f"{image} (line {number})")
        elif (wrong := _no_plot(resolved)) is not None:
            (found.strange if wrong else found.unreadable).append(f"{image} (line {number}{wrong and ': ' + wrong})")
        found.images.append((image, label or None))
    return found
