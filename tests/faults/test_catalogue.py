"""A catalogue of bad input: what people hand over by mistake, and the words of the messages.

One row per case: name, how the input is made, and what the message must hold (what was found, where, what to do). Most
rows go through the library's entry functions; `THROUGH_THE_WORKFLOW` takes some through Snakemake itself. More of
matrices and sheets are in tests/unit/test_ingest.py (PROBLEMS).
"""

import bz2
import gzip
import io
import pickle
import random
import struct
import zipfile
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest
import yaml
from conftest import ROOT, TINY, copy_run, merged, snakemake
from cpgtaxa.errors import InputError
from cpgtaxa.images.image_sets import use_images
from cpgtaxa.input.ingest import ingest
from cpgtaxa.learning.classifier import predict_images, use_weights
from cpgtaxa.plan.config import check_config
from cpgtaxa.plan.main import Plan
from cpgtaxa.report.tables import read_truth
from cpgtaxa.taxa.labels import read_labels
from PIL import Image

SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
SAMPLES = [f"s{number}" for number in range(12)]
CPGS = [f"cg{number:02}" for number in range(8)]
FRAME = pd.DataFrame(np.random.default_rng(1).uniform(0.1, 0.9, (8, 12)).round(4), pd.Index(CPGS, name="cpg"), SAMPLES)
SHEET = pd.DataFrame({"sample_id": SAMPLES, "age": [20.5 + 5 * number for number in range(12)]})
CSV = FRAME.to_csv()
LINES = CSV.splitlines()
AGES = SHEET.to_csv(index=False)
PAGE = "<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head>\n<body>no such file</body></html>\n"
FOLDER = "a folder in place of the file"
NOTHING = "no file at all"


def replaced(text, *pairs):
    """The text with each old piece replaced by the new one, once; every piece must be there."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def row(number, change):
    """The matrix as CSV with one row (0 = header) changed."""
    lines = list(LINES)
    lines[number] = change(lines[number])
    return "\n".join(lines) + "\n"


def ages(values):
    """The sheet with other ages, the first ones or all."""
    values = [*values, *SHEET["age"][len(values) :]]
    return SHEET.assign(age=values).to_csv(index=False)


def excel():
    """The start of any .xlsx: a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", "<worksheet/>")
    return buffer.getvalue()


def parquet(frame, **options):
    buffer = io.BytesIO()
    frame.to_parquet(buffer, **options)
    return buffer.getvalue()


def feather(frame):
    buffer = io.BytesIO()
    pa.feather.write_feather(frame.reset_index(), buffer, compression="uncompressed")
    return buffer.getvalue()


def m_values(frame):
    return np.log2(frame / (1 - frame)).round(3)


def cut(data, share=0.5):
    return data[: int(len(data) * share)]


def middle_damaged(data):
    """Zeros over a tenth of the bytes, in the middle."""
    data, start = bytearray(data), len(data) // 2
    data[start : start + len(data) // 10] = bytes(len(data) // 10)
    return bytes(data)


def flipped(data):
    """One bit another, in the middle."""
    data = bytearray(data)
    data[len(data) // 2] ^= 1
    return bytes(data)


def long_gzip():
    """Gzip whose text is cut off in the middle of the rows."""
    rng = random.Random(3)
    rows = [f"x{number}," + ",".join(f"{rng.random():.4f}" for _ in SAMPLES) for number in range(30_000)]
    return cut(gzip.compress("\n".join([LINES[0], *rows, ""]).encode()))


MATRIX = {
    # not a table
    "empty": ("", ["beta.csv is empty", "how the file was made"]),
    "a byte order mark alone": (b"\xef\xbb\xbf", ["beta.csv is empty"]),
    "no-break spaces": ("\u00a0\n\u00a0\n", ["beta.csv is empty"]),
    "an Excel workbook": (excel(), ["a zip archive or an Excel workbook", "save it as CSV"]),
    "an old Excel workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), ["an old Excel workbook", "as CSV"]),
    "an error page": (PAGE, ["beta.csv is a web page", "download the file again"]),
    "an error page, gzipped": (gzip.compress(PAGE.encode()), ["beta.csv is a web page"]),
    "a PDF": (b"%PDF-1.7\n%\xe2\xe3\n" + bytes(99), ["beta.csv is a PDF", "as CSV"]),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(99), ["beta.csv is damaged or cut off", "copy it again"]),
    "an R object": (gzip.compress(b"X\n\0\0\0\3" + bytes(99)), ["beta.csv is damaged or cut off", "saveRDS(beta"]),
    "an R workspace": (gzip.compress(b"RDX3\nX\n" + bytes(99)), ["beta.csv is damaged", "saveRDS(beta, file)"]),
    "xz": (b"\xfd7zXZ\0" + bytes(99), ["compressed with xz", "use gzip"]),
    "UTF-16 cut off": (CSV.encode("utf-16")[:-1], ["beta.csv is damaged or cut off", "copy it again"]),
    "NUL bytes": (CSV.replace(",", "\0").encode(), ["neither text (UTF-8)", "export it as CSV"]),
    "Latin-1 CpG ids": (replaced(CSV, ("cg03", "cgä3")).encode("latin-1"), ["not text in UTF-8", "save it as CSV"]),
    "a tar archive, gzipped": (gzip.compress(b"beta.csv" + bytes(600)), ["neither text (UTF-8)"]),
    # damaged
    "gzip cut off": (cut(gzip.compress(CSV.encode()), 0.9), ["beta.csv is damaged or cut off", "copy it again"]),
    "gzip cut off far inside": (long_gzip, ["beta.csv is damaged or cut off after", "CpGs", "copy it again"]),
    "gzip damaged": (middle_damaged(gzip.compress(CSV.encode())), ["beta.csv is damaged or cut off"]),
    "bzip2 cut off": (cut(bz2.compress(CSV.encode())), ["beta.csv is damaged or cut off"]),
    "Parquet cut off": (cut(parquet(FRAME)), ["beta.csv is damaged or cut off", "copy it again"]),
    "Feather cut off": (cut(feather(FRAME)), ["beta.csv is damaged or cut off", "copy it again"]),
    "Feather version 1": (b"FEA1" + bytes(99), ["a Feather file of version 1"]),
    # another shape
    "transposed, and cut short": (FRAME.T.to_csv()[:-40], ["1 row with another number of fields", "'s11'"]),
    "an unclosed quote": (row(3, lambda text: '"' + text), ["beta.csv", "cg02"]),
    "Parquet without ids": (parquet(FRAME, index=False), ["has no CpG ids", "as the first column"]),
    # ids
    "one sample misspelt": (replaced(CSV, ("s5", "t5")), ["'s5'", "'t5'", "`cohort.unmatched: drop`"]),
    "one sample in capitals": (replaced(CSV, ("s5", "S5")), ["'s5'", "'S5'", "upper and lower case). Correct the ids"]),
    "names mangled by R": (CSV.replace(",s", ",Xs"), ["No sample of the sheet", "'Xs0'"]),
    # values
    "M-values": (m_values(FRAME).to_csv(), ["look like M-values", "`cohort.values: m`"]),
    "percent, of some samples": (
        FRAME.mul([1] * 4 + [100] * 8).to_csv(),
        ["values on two scales, as those of 4 samples lie in 0-1", "Bring all to betas"],
    ),
    "numbers with commas": (
        FRAME.map(lambda beta: f"{beta * 1e6:,.0f}").to_csv(),
        ["96 cells with text", "may be decimal or part thousands"],
    ),
    "an Excel error": (row(4, lambda text: text + "\n").replace("0.5", "#DIV/0!", 1), ["1 cell with text", "#DIV/0!"]),
    "a CpG never measured": (row(4, lambda text: "cg03" + ",NA" * 12), ["'cg03' (100%)", "`cohort.bad_cpgs: drop`"]),
    "a sample never measured": (
        FRAME.assign(s3=np.nan).to_csv(na_rep="NA"),
        ["'s3' (100%)", "`cohort.bad_samples: drop`"],
    ),
    "everything missing": ((FRAME * np.nan).to_csv(na_rep="NA"), ["8 CpGs missing in more than 0.2"]),
}

SHEETS = {
    "a folder": (FOLDER, ["samples.csv is a directory", "`cohort.samples`"]),
    "commas only": (",,,\n,,,\n", ["samples.csv has a header but no rows"]),
    "an error page": (PAGE, ["samples.csv is a web page"]),
    "UTF-16 cut off": (AGES.encode("utf-16")[:-1], ["samples.csv is damaged text in UTF-16", "CSV (UTF-8)"]),
    "no code page": (AGES.encode() + b"s12,m\x81de\n", ["samples.csv is not text in UTF-8", "CSV (UTF-8)"]),
    "NUL bytes": (AGES.encode() + b"s12\0,40\n", ["samples.csv", "NUL bytes", "save it as CSV"]),
    "a gzip bomb": (gzip.compress(b"s,1\n" * (1 << 20)) * 70, ["samples.csv", "more than 256 MB"]),
    "a field without end": (AGES + 's12,"' + "x" * 200_000, ["samples.csv, line 14", "quotation mark"]),
    "a group of ages": (ages(["20-30"]), ["1 age a range or a bound: 's0' (line 2): '20-30'", "one number"]),
    "ages in other words": (ages(["45 winters", "P3"]), ["2 ages not a number", "'45 winters'", "'P3'"]),
    "an open end": (ages(["90+", ">89"]), ["2 ages a range or a bound", "'90+'", "'>89'"]),
    "an age with a comma": (ages(['"45,5"']).replace('"""', '"'), ["1 age not a number", "'45,5'"]),
}

CONFIG = {
    "a mistyped key": ({"cohort": {"bta": "b.csv"}}, ["unknown key `cohort.bta`: did you mean `cohort.beta`?"]),
    "a key elsewhere": ({"epochs": 3}, ["unknown key `epochs`: did you mean `training.epochs`?"]),
    "a number as a key": ({"images": {64: 64}}, ["unknown key `images[64]`: the keys of `images` are"]),
    "text for a section": ({"images": "small"}, ["`images` is the text 'small': write a section"]),
    "a list for a file": ({"cohort": {"beta": ["a", "b"]}}, ["`cohort.beta` is a list: write text"]),
    "a number in quotes": ({"images": {"size": "64"}}, ["`images.size` is the text '64': write 64 without quotes"]),
    "1e-6 in YAML": ({"taxa": {"errors": {"chance": "1e-6"}}}, ["write 1.0e-06 without quotes"]),
    "too small": ({"rounds": {"max": 0}}, ["`rounds.max` is 0: write a whole number, at least 1"]),
    "too large": (
        {"rounds": {"confidence": 95}},
        ["`rounds.confidence` is 95: write a number or empty, at least 0, at most 1"],
    ),
    "NaN": ({"rounds": {"confidence": float("nan")}}, ["`rounds.confidence` is nan: write a finite number"]),
    "infinite": ({"training": {"lr": float("inf")}}, ["`training.lr` is inf: write a finite number"]),
    "a fraction": ({"statistics": {"shards": 2.5}}, ["`statistics.shards` is 2.5: write a whole number"]),
    "an unknown choice": ({"training": {"source": "simulate"}}, ["did you mean simulated?"]),
    "a bare no": ({"rounds": {"veto": "no"}}, ["`rounds.veto` is the text 'no': write true or false"]),
    "an empty name": ({"taxa": {"labels": ""}}, ["`taxa.labels` is the text ''", "1 or more characters"]),
    "a line break": ({"cohort": {"beta": "a\nb.csv"}}, ["`cohort.beta`", "line break or another control character"]),
    "NUL": ({"taxa": {"labels": "a\0b"}}, ["`taxa.labels`", "control character", "remove it"]),
    "braces": ({"taxa": {"labels": "{x}.csv"}}, ["taxa.labels: {x}.csv has braces in its name", "rename the file"]),
    "weights without stats": ({"training": {"weights": "w.pt"}}, ["training.stats is not", "needs both"]),
    "thresholds crossed": ({"taxa": {"thresholds": {"width": {"no": 0.5}}}}, ["width: no (0.5) must be below yes"]),
    "an old threshold": ({"taxa": {"thresholds": {"min_effect": 0.03}}}, ["unknown key `taxa.thresholds.min_effect`"]),
    "ages crossed": ({"simulate_cohort": {"age_min": 80, "age_max": 20}}, ["age_min must be below"]),
    "two of three image lists": (
        {"images": {"info": {"training": "a", "val": "b"}}},
        ["`images.info.test` is missing"],
    ),
    "nothing to simulate": (
        {"training": {"source": "simulated"}, "simulation": {"per_taxon": 0}},
        ["simulation.per_taxon is 0", "set it to 200 or more"],
    ),
}

GIVEN = "cpg,taxon\ncg00,BiAge\ncg01,UniStable\n"
LABELS = {
    "no file": (NOTHING, ["taxa.labels", "labels.csv is not there"]),
    "a folder": (FOLDER, ["taxa.labels", "is not a file"]),
    "empty": ("", ["labels.csv is empty"]),
    "an Excel workbook": (excel(), ["labels.csv is a zip archive or an Excel workbook", "save it as CSV"]),
    "an error page": (PAGE, ["labels.csv is a web page"]),
    "UTF-16": (GIVEN.encode("utf-16"), ["labels.csv is text in UTF-16", "CSV (UTF-8)"]),
    "Latin-1": ((GIVEN + "cgä,BiAge\n").encode("latin-1"), ["labels.csv is not text in UTF-8"]),
    "NUL bytes": (GIVEN + "cg02\0,BiAge\n", ["NUL bytes"]),
    "gzip cut off": (cut(gzip.compress(GIVEN.encode()), 0.8), ["labels.csv is damaged or cut off", "copy it again"]),
    "Parquet cut off": (cut(parquet(FRAME)), ["labels.csv is damaged", "copy it again"]),
    "Parquet of something else": (parquet(FRAME.reset_index(drop=True)), ["needs the columns cpg and taxon"]),
    "a gzip bomb": (
        gzip.compress(b"cpg,taxon\n") + gzip.compress(b"a,b\n" * (1 << 20)) * 70,
        ["unpacks to more than 256 MB"],
    ),
    "no header": ("cg00,BiAge\ncg01,BiAge\n", ["needs the columns cpg and taxon in its header", "'cg00'"]),
    "header only": ("cpg,taxon\n", ["has a header but no rows"]),
    "other names": ("probe,class\ncg00,BiAge\n", ["needs the columns cpg and taxon", "'probe', 'class'"]),
    "ragged": (GIVEN + "cg02\n", ["1 rows with another number of fields", "line 4 (1)"]),
    "a column twice": ("cpg,taxon,cpg\ncg00,BiAge,cg00\n", ["several columns of the same name: 'cpg'"]),
    "an unclosed quote": (GIVEN + 'cg02,"' + "x" * 200_000, ["line 4", "quotation mark"]),
    "a taxon in other case": (GIVEN + "\ncg02,unistable\n", ["unknown taxon 'unistable'; did you mean 'UniStable'?"]),
    "an unknown taxon": (GIVEN + "\ncg02,Biage\n", ["line 5: unknown taxon 'Biage'; did you mean 'BiAge'?"]),
    "no taxon": (GIVEN + "cg02,\n", ["line 4: unknown taxon ''", "use one of UniStable"]),
    "indices": ("cpg,taxon\ncg00,3\n", ["line 2: unknown taxon '3'"]),
    "a CpG twice": (GIVEN + "cg00,BiAge\n", ["1 CpGs have more than one row: 'cg00'", "keep one"]),
    "a stranger": (GIVEN + "cg99,BiAge\n", ["1 CpGs are not in the cohort: 'cg99'", "same probe names"]),
    "no id": (GIVEN + ",BiAge\n", ["1 rows without a CpG id, line 4 first", "fill in or remove"]),
    "many unknown": ("cpg,taxon\n" + "".join(f"cg0{n},t{n}\n" for n in range(8)) * 2, ["'t0'", "more than one row"]),
}


def png(size=(32, 32), mode="RGB", kind="png", **options):
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, **options)
    return buffer.getvalue()


def bomb(side=60_000):
    """A PNG whose head promises more pixels than memory holds."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1 << 16))) + chunk(b"IEND", b"")


def endless():
    """A PNG whose last chunk promises two gigabytes."""
    return PNG[:-12] + b"\x7f\xff\xff\xff" + b"tEXt" + b"a"


PNG = png()
NOISE = io.BytesIO()
Image.fromarray(np.random.default_rng(2).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(NOISE, "png")
NOISE = NOISE.getvalue()
# Content of `a.png`, which the list names.
PICTURES = {
    "missing": (NOTHING, ["1 of 2 images are not there: 'a.png (line 1)'", "paths are relative to"]),
    "a folder": (FOLDER, ["1 of 2 images are not there: 'a.png (line 1)'"]),
    "empty": (b"", ["1 files are no images: 'a.png (line 1)'", "draw them again"]),
    "an error page": (PAGE, ["1 files are no images: 'a.png (line 1)'"]),
    "JPEG": (png(kind="jpeg"), ["not in the published form: 'a.png (line 1: JPEG, not PNG)'", "PNG files"]),
    "TIFF": (png(kind="tiff"), ["TIFF, not PNG"]),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ["1 files are no images: 'a.png (line 1)'"]),
    "not square": (png((64, 32)), ["a.png (line 1: 64×32 pixels, not square)", "224×224"]),
    "a poster": (png((5000, 5000), "1"), ["5000×5000 pixels, more than 4096 along a side"]),
    "a decompression bomb": (bomb(), ["a.png (line 1"]),
    "animated": (png(save_all=True, append_images=[Image.new("RGB", (32, 32), "red")]), ["animated, 2 frames"]),
    "cut off": (cut(NOISE), ["a.png cannot be read", "copy or draw it again"]),
    "damaged": (middle_damaged(NOISE), ["a.png cannot be read"]),
    "a chunk without end": (endless(), ["a.png cannot be read"]),
}
# Content of the list of training images; a.png, b.png and c.png are there.
LISTS = {
    "no file": (NOTHING, ["training.csv is not there"]),
    "a folder": (FOLDER, ["training.csv is not a file"]),
    "empty": ("\n\n", ["training.csv is empty"]),
    "commas": (",\n,\n", ["training.csv is empty"]),
    "an Excel workbook": (excel(), ["a zip archive or an Excel workbook", "CSV of image path and label"]),
    "UTF-16": ("a.png,BiAge\n".encode("utf-16"), ["text in UTF-16"]),
    "NUL bytes": ("a.png\0,BiAge\n", ["NUL bytes"]),
    "an unclosed quote": ('a.png,"' + "B" * 200_000, ["line 1", "quotation mark"]),
    "a header": ("path,label\na.png,BiAge\n", ["line 1 looks like a header", "the published form has none"]),
    "semicolons": ("a.png;BiAge\n", ["do not have two columns", "write commas"]),
    "three columns": ("a.png,BiAge,x\n", ["1 of 1 lines do not have two columns", "line 1 has 3"]),
    "no label": ("a.png,\n", ["1 images have no label (lines 1)", "give each a taxon"]),
    "an unknown label": ("a.png,Biage\n", ["line 1 has the label 'Biage', unknown; did you mean 'BiAge'?"]),
    "an index too large": ("a.png,10\n", ["line 1 has the label '10', unknown"]),
    "many unknown labels": (
        "".join(f"a.png,x{n}\n" for n in range(30)),
        ["'x0'", "20 more lines have an unknown label"],
    ),
    "an image twice": ("a.png,BiAge\n./a.png,BiAge\n", ["1 images are listed more than once", "lines 1 and 2"]),
    "an absolute path": ("/etc/hostname,BiAge\n", ["1 images lie outside the folder", "/etc/hostname (line 1)"]),
    "a path out of the folder": ("../x.png,BiAge\n", ["1 images lie outside the folder", "../x.png (line 1)"]),
    "a name too long": ("a" * 5000 + ".png,BiAge\n", ["1 of 1 images are not there"]),
    "an image also in another part": ("a.png,BiAge\nval.png,BiAge\n", ["1 images are in more than one of the files"]),
}


def saved(content):
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def network(name="resnet18", classes=10):
    from cpgtaxa.models.vision import torchvision

    return getattr(torchvision.models, name)(weights=None, num_classes=classes)


def changed(**tensors):
    """Weights of a ResNet18 with some tensors replaced; in names, __ stands for a point."""
    return saved(network().state_dict() | {key.replace("__", "."): value for key, value in tensors.items()})


def nan_weights():
    state = network().state_dict()
    state["layer3.0.conv1.weight"][0, 0] = float("nan")
    return saved(state)


def zeros(*shape, **options):
    import torch

    return torch.zeros(*shape, **options)


WEIGHTS = {
    "no file": (NOTHING, ["no such file", "give the path of a ResNet18_best_model.pt"]),
    "a folder": (FOLDER, ["no such file but a folder"]),
    "empty": (b"", ["the file is empty", "copy it again"]),
    "text": ("not weights", ["refused", "not a plain PyTorch state dict", "torch.save(model.state_dict(), path)"]),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(999), ["refused", "not a plain PyTorch state dict"]),
    "an Excel workbook": (excel(), ["refused", "not a plain PyTorch state dict"]),
    "a plain pickle": (pickle.dumps({"fc.weight": np.zeros(3)}), ["refused"]),
    "a whole model": (lambda: saved(network()), ["refused", "torch.save(model.state_dict(), path)"]),
    "a list": (lambda: saved([1, 2]), ["holds no state dict", "save model.state_dict(), not the model"]),
    "numbers as names": (lambda: saved({0: zeros(3)}), ["holds no state dict"]),
    "a training checkpoint": (lambda: saved({"state_dict": {}, "epoch": 3}), ["a training checkpoint", "`state_dict`"]),
    "cut off": (lambda: cut(saved(network().state_dict())), ["refused", "or damaged"]),
    "gzip cut off": (lambda: cut(gzip.compress(saved({}))), ["refused", "or damaged"]),
    "a bit flipped": (lambda: flipped(saved(network().state_dict())), ["refused", "or damaged"]),
    "a gzip bomb": (lambda: gzip.compress(bytes(600 << 20), 1), ["refused"]),
    "nothing in it": (lambda: saved({}), ["not a ResNet18: lacks", "give weights of a ResNet18"]),
    "no last layer": (lambda: saved(dict(list(network().state_dict().items())[:-2])), ["lacks 2 tensors"]),
    "1000 classes": (lambda: saved(network(classes=1000).state_dict()), ["made for 1000 classes", "ten taxa"]),
    "a ResNet34": (lambda: saved(network("resnet34").state_dict()), ["not a ResNet18: has", "tensors too many"]),
    "a ResNet50": (lambda: saved(network("resnet50").state_dict()), ["not a ResNet18"]),
    "a VGG": (lambda: saved({"features.0.weight": zeros(64, 3, 3, 3)}), ["not a ResNet18: lacks"]),
    "one grey channel": (
        lambda: changed(conv1__weight=zeros(64, 1, 7, 7)),
        ["not a ResNet18: tensor 'conv1.weight' has another shape"],
    ),
    "a number for the last layer": (
        lambda: changed(fc__weight=zeros(())),
        ["not a ResNet18: tensor 'fc.weight' has another shape"],
    ),
    "NaN": (nan_weights, ["1 tensors hold NaN or infinite values, 'layer3.0.conv1.weight' first", "other weights"]),
}
STATS = {
    "no file": (NOTHING, ["normalisation statistics", "no such file"]),
    "empty": ("", ["not JSON as expected", "copy it again"]),
    "cut off": ('{"mean": [0.9, 0.9', ["not JSON as expected"]),
    "a list": ("[0.9, 0.9, 0.9]", ["it holds no object in braces"]),
    "UTF-16": ('{"mean": 1}'.encode("utf-16"), ["not JSON as expected"]),
    "brackets without end": ("[" * 100_000, ["not JSON as expected"]),
    "no std": ('{"mean": [0.9, 0.9, 0.9]}', ["'std' is missing", "scale 0-1"]),
    "one channel": ('{"mean": [0.9], "std": [0.1]}', ["'mean' is [0.9], not three numbers", "'std' is [0.1]"]),
    "text": ('{"mean": "000", "std": ["a", "b", "c"]}', ["'mean' is 000, not three numbers", "'std' is ['a'"]),
    "NaN": ('{"mean": [0.9, NaN, 0.9], "std": [0.1, 0.1, 0.1]}', ["'mean' is [0.9, nan, 0.9], not three numbers"]),
    "null": ('{"mean": [0.9, 0.9, 0.9], "std": [0.1, null, 0.1]}', ["'std' is [0.1, None, 0.1]"]),
    "zero std": ('{"mean": [1, 1, 1], "std": [0, 0, 0]}', ["deviations [0, 0, 0] are not above 0 and at most 1"]),
    "scale 0-255": (
        '{"mean": [230, 240, 230], "std": [60, 40, 60]}',
        ["the means [230, 240, 230] are not between 0 and"],
    ),
    "a huge number": ('{"mean": [1, 1, 1' + "0" * 400 + '], "std": [1, 1, 1]}', ["not three numbers"]),
}

CARDS = {
    "cut off": ('{"image_size": 6', ["model card", "not JSON as expected"]),
    "a list": ("[]", ["model card", "it holds no object in braces"]),
    "no temperature": ('{"image_size": 64}', ["needs image_size", "temperature", "or remove it"]),
    "a size in text": ('{"image_size": "64", "temperature": 1}', ["needs image_size", "found 64 and 1"]),
    "a size of a billion": ('{"image_size": 1000000000, "temperature": 1}', ["needs image_size (a whole number"]),
    "no heat": ('{"image_size": 64, "temperature": 0}', ["temperature (above 0)", "found 64 and 0"]),
    "NaN": ('{"image_size": 64, "temperature": NaN}', ["found 64 and nan"]),
    "of another size": ('{"image_size": 64, "temperature": 1.1}', ["images of 64 pixels, but images.size is 32"]),
}


def put(path, content):
    """Write what a row describes: bytes, text, a function that makes them, a folder or nothing."""
    content = content() if callable(content) else content
    if content is FOLDER:
        path.mkdir()
    elif content is not NOTHING:
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def run_ingest(folder, beta, samples):
    put(folder / "beta.csv", beta)
    put(folder / "samples.csv", samples)
    outputs = [folder / "out" / name for name in ("beta.arrow", "samples.parquet", "cpgs.parquet", "qc.json")]
    columns = {"sample_id": "sample_id", "age": "age"}
    either = {"bad_cpgs": "error", "bad_samples": "error"}
    ingest(folder / "beta.csv", folder / "samples.csv", *outputs, columns=columns, **either)


def run_labels(folder, content):
    put(folder / "labels.csv", content)
    read_labels(folder / "labels.csv", CPGS)


def run_truth(folder, content):
    put(folder / "labels.csv", content)
    read_truth(folder / "labels.csv")


def run_images(folder, listed, picture=PNG):
    for name in ("b", "c", "val", "test"):
        (folder / f"{name}.png").write_bytes(PNG)
    put(folder / "a.png", picture)
    put(folder / "training.csv", listed)
    for part in ("val", "test"):
        (folder / f"{part}.csv").write_text(f"{part}.png,BiAge\n")
    parts = {part: folder / f"{part}.csv" for part in ("training", "val", "test")}
    outputs = {part: folder / "out" / f"{part}.csv" for part in parts}
    use_images(parts, outputs, folder / "out" / "images.arrow", folder, 32)


GOOD_WEIGHTS, GOOD_STATS = (lambda: saved(network().state_dict())), '{"mean": [0.9, 0.9, 0.9], "std": [0.1, 0.1, 0.1]}'


def run_weights(folder, weights=GOOD_WEIGHTS, stats=GOOD_STATS, card=NOTHING):
    put(folder / "ResNet18_best_model.pt", weights)
    put(folder / "stats.json", stats)
    put(folder / "ResNet18_model.json", card)
    out = {kind: folder / "out" / kind for kind in ("weights", "stats", "card", "log", "features")}
    use_weights(folder / "ResNet18_best_model.pt", folder / "stats.json", out, 32)


def run_config(folder, given):
    # By way of YAML, as configs come; text that YAML cannot hold is given as it is.
    Plan(check_config(yaml.safe_load(yaml.safe_dump(given, allow_unicode=True)), SCHEMA))


ENTRY_POINTS = {
    "matrix": (MATRIX, lambda folder, made: run_ingest(folder, made, AGES)),
    "sheet": (SHEETS, lambda folder, made: run_ingest(folder, CSV, made)),
    "config": (CONFIG, run_config),
    "labels": (LABELS, run_labels),
    "picture": (PICTURES, lambda folder, made: run_images(folder, "a.png,BiAge\nb.png,BiAge\n", made)),
    "image list": (LISTS, run_images),
    "weights": (WEIGHTS, lambda folder, made: run_weights(folder, weights=made)),
    "statistics": (STATS, lambda folder, made: run_weights(folder, stats=made)),
    "card": (CARDS, lambda folder, made: run_weights(folder, card=made)),
}
CASES = [(entry, name) for entry, (rows, _) in ENTRY_POINTS.items() for name in rows]


@pytest.mark.parametrize(("entry", "name"), CASES, ids=[f"{entry}: {name}" for entry, name in CASES])
def test_bad_input_is_reported_as_it_is(tmp_path, monkeypatch, entry, name):
    rows, run = ENTRY_POINTS[entry]
    made, words = rows[name]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        run(tmp_path, made)
    text = caught.value.text()
    for word in words:
        assert word in text, f"lacks {word!r}: {text}"
    assert len(text.replace(str(tmp_path), "")) < 3000, "a message, not a listing"
    out = tmp_path / "out"
    assert not (out.exists() and list(out.iterdir())), "nothing may be written, not even in part"


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_the_same_without_the_fault_passes(tmp_path, monkeypatch, entry):
    monkeypatch.chdir(tmp_path)
    good = {
        "matrix": CSV,
        "sheet": AGES,
        "config": {"images": {"size": 64}},
        "labels": GIVEN,
        "picture": PNG,
        "image list": "a.png,BiAge\nb.png,BiAge\n",
        "weights": GOOD_WEIGHTS,
        "statistics": GOOD_STATS,
        "card": '{"image_size": 32, "temperature": 1.1}',
    }
    ENTRY_POINTS[entry][1](tmp_path, good[entry])


def test_the_truth_is_read_as_labels_are(tmp_path):
    for name in ("no file", "an Excel workbook", "gzip cut off", "ragged", "other names", "a CpG twice"):
        folder = tmp_path / name
        folder.mkdir()
        made, words = LABELS[name]
        with pytest.raises(InputError) as caught:
            run_truth(folder, made)
        for word in words:
            assert word.replace("taxa.labels", "cohort.truth") in caught.value.text()


def test_all_unreadable_pictures_are_named_at_once(tmp_path):
    (tmp_path / "c.png").write_bytes(b"")
    listed = "a.png,BiAge\nb.png,BiAge\nd.png,BiAge\n"
    (tmp_path / "d.png").write_bytes(cut(NOISE))
    with pytest.raises(InputError) as caught:
        run_images(tmp_path, listed, cut(NOISE))
    assert len(caught.value.problems) == 2
    assert "a.png" in caught.value.text()
    assert "d.png" in caught.value.text()


def test_predict_images_names_all_that_is_wrong(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.csv").write_text("../a.png,BiAge\n")
    (tmp_path / "w_best_model.pt").write_bytes(b"x")
    (tmp_path / "w_model.json").write_text("{}")
    (tmp_path / "s.json").write_text("{}")
    settings = {"images": "list.csv", "weights": "w_best_model.pt", "stats": "s.json", "root": ".", "size": 32}
    settings |= {"model": "ResNet18", "device": "cpu", "precision": "float32"}
    with pytest.raises(InputError) as caught:
        predict_images(settings, tmp_path / "out.csv")
    for word in ("refused", "'mean' is missing", "'std' is missing", "model card", "lie outside the folder"):
        assert word in caught.value.text()
    with pytest.raises(InputError, match=r"predict.images is not set"):
        predict_images(settings | {"images": None}, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


# --- through the workflow --------------------------------------------------------------------------------------------

COHORT = {"cohort": {"beta": "beta.csv", "samples": "samples.csv"}}
LISTED = {"images": {"size": 32, "info": {part: f"{part}.csv" for part in ("training", "val", "test")}, "root": "."}}
ADOPTED = {"training": {"weights": "w.pt", "stats": "s.json"}, "images": {"size": 32}}
# Files, config, target, words.
THROUGH_THE_WORKFLOW = {
    "matrix: an Excel workbook": ({"beta.csv": excel()}, COHORT, "results/cohort/beta.arrow", MATRIX),
    "matrix: M-values": ({"beta.csv": m_values(FRAME).to_csv()}, COHORT, "results/cohort/beta.arrow", MATRIX),
    "sheet: ages in other words": (
        {"samples.csv": SHEETS["ages in other words"][0]},
        COHORT,
        "results/cohort/qc.json",
        SHEETS,
    ),
    "sheet: UTF-16 cut off": ({"samples.csv": SHEETS["UTF-16 cut off"][0]}, COHORT, "results/cohort/qc.json", SHEETS),
    "config: a mistyped key": ({}, CONFIG["a mistyped key"][0], "results/cohort/qc.json", CONFIG),
    "config: a line break": ({}, CONFIG["a line break"][0], "results/cohort/qc.json", CONFIG),
    "picture: JPEG": ({"a.png": png(kind="jpeg")}, LISTED, "results/round_0/images.arrow", PICTURES),
    "picture: cut off": ({"a.png": cut(NOISE)}, LISTED, "results/round_0/images.arrow", PICTURES),
    "image list: semicolons": ({"training.csv": "a.png;BiAge\n"}, LISTED, "results/round_0/images.arrow", LISTS),
    "image list: a path out of the folder": (
        {"training.csv": "../x.png,BiAge\n"},
        LISTED,
        "results/round_0/images.arrow",
        LISTS,
    ),
    "weights: a whole model": (
        {"w.pt": lambda: saved(network())},
        ADOPTED,
        "results/round_0/ResNet18_best_model.pt",
        WEIGHTS,
    ),
    "statistics: NaN": ({"s.json": STATS["NaN"][0]}, ADOPTED, "results/round_0/ResNet18_best_model.pt", STATS),
}
IN_MAKE_TEST = ("matrix: an Excel workbook", "picture: cut off")


@pytest.mark.parametrize(
    "case",
    [case if case in IN_MAKE_TEST else pytest.param(case, marks=pytest.mark.slow) for case in THROUGH_THE_WORKFLOW],
)
def test_the_workflow_says_the_same(tmp_path, case):
    files, config, target, rows = THROUGH_THE_WORKFLOW[case]
    words = rows[case.partition(": ")[2]][1]
    listed = {"training.csv": "a.png,BiAge\nb.png,BiAge\n", "val.csv": "v.png,BiAge\n", "test.csv": "t.png,BiAge\n"}
    pictures = {f"{name}.png": PNG for name in "abvt"}
    good = {"beta.csv": CSV, "samples.csv": AGES, "w.pt": GOOD_WEIGHTS, "s.json": GOOD_STATS} | listed | pictures
    for name, content in (good | files).items():
        put(tmp_path / name, content)
    run = snakemake(tmp_path, target, config=config)
    assert run.code != 0
    for word in words:
        assert word in run.text, f"lacks {word!r}: {run.text}"
    assert "Traceback (most recent call last)" not in run.text
    made = [path.name for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert all(name.endswith((".log", ".tsv")) for name in made), made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (GIVEN, ["2 CpGs are not in the cohort: 'cg00', 'cg01'", "same probe names"]),
        LABELS["an Excel workbook"],
        (NOTHING, ["taxa.labels: labels.csv is not there", "correct taxa.labels"]),
        (FOLDER, ["taxa.labels: labels.csv is a directory, not a file"]),
    ],
    ids=["strangers", "an Excel workbook", "no file", "a folder"],
)
def test_wrong_labels_through_the_workflow(tiny_run, tmp_path, content, words):
    """Labels need the statistics of a cohort; those of a finished run are taken."""
    folder = tmp_path / "run"
    copy_run(tiny_run, folder)
    before = (folder / "results/taxa/statistical.parquet").read_bytes()
    put(folder / "labels.csv", content)
    config = merged(TINY, {"taxa": {"labels": "labels.csv"}}) | {"simulate_cohort": None}
    run = snakemake(folder, "results/taxa/statistical.parquet", config=config)
    assert run.code != 0
    for word in words:
        assert word in run.text, f"lacks {word!r}: {run.text}"
    path = folder / "results/taxa/statistical.parquet"
    assert not path.exists() or path.read_bytes() == before
