"""Throw damaged files at every reader: it may succeed or raise InputError, nothing else.

    .venv/bin/python tests/faults/fuzz_readers.py --minutes 10 --seed 1

Valid files of each format are flipped, cut, doubled and spliced, and read in a child process with bounded memory and
time, so that a crash, a hang or a swollen process is a finding like any other exception. Prints a table, and for every
kind of finding the reader, what happened and the file (kept in --keep); ends with 1 if there was one.
"""

import argparse
import contextlib
import faulthandler
import gzip
import io
import json
import logging
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

SECONDS = 30
"""A reader of a small file that takes longer hangs; the machine may be busy."""
MEMORY = 6 << 30
"""Address space of a child. Torch alone maps some gigabytes."""
PER_CHILD = 300


def make_files(folder: pathlib.Path, seed: int) -> dict[str, pathlib.Path]:
    """A valid file of each format, by name."""
    import numpy as np
    import pandas as pd
    from cpgtaxa import files
    from cpgtaxa.cohort import CohortWriter
    from cpgtaxa.images import packed as images
    from cpgtaxa.names import TAXA
    from PIL import Image

    rng = np.random.default_rng(seed)
    samples = [f"s{number}" for number in range(12)]
    cpgs = [f"cg{number:04}" for number in range(60)]
    values = rng.uniform(0.05, 0.95, (60, 12)).round(4)
    frame = pd.DataFrame(values, pd.Index(cpgs, name="cpg"), samples)
    found = {}

    def put(name, data):
        found[name] = folder / name
        found[name].write_bytes(data.encode() if isinstance(data, str) else data)

    def table(write, **options):
        buffer = io.BytesIO()
        write(buffer, **options)
        return buffer.getvalue()

    put("beta.csv", frame.to_csv())
    put("beta.csv.gz", gzip.compress(frame.to_csv().encode()))
    put("beta.tsv", frame.to_csv(sep="\t", quoting=1))
    put("beta.parquet", table(frame.reset_index().to_parquet, index=False))
    put("beta.feather", table(frame.reset_index().to_feather, compression="uncompressed"))
    sheet = pd.DataFrame({"sample_id": samples, "age": np.linspace(20, 80, 12), "sex": ["F", "M"] * 6, "batch": "x"})
    put("samples.csv", sheet.to_csv(index=False))
    put("samples.tsv.gz", gzip.compress(sheet.to_csv(index=False, sep="\t").encode()))
    put("beta.npz", table(lambda buffer: np.savez(buffer, beta=values, cpgs=np.array(cpgs), samples=np.array(samples))))
    put("beta.npz.packed", table(lambda buffer: np.savez_compressed(buffer, b=values.T, cpgs=cpgs, samples=samples)))
    series = ['!Series_title\t"x"', "!Sample_geo_accession\t" + "\t".join(f'"{name}"' for name in samples)]
    series += ["!Sample_characteristics_ch1\t" + "\t".join(f'"age: {20 + 5 * number}"' for number in range(12))]
    rows = frame.rename_axis("ID_REF").to_csv(sep="\t", quoting=2).splitlines()
    series += ["!series_matrix_table_begin", *rows, "!series_matrix_table_end", ""]
    put("series.txt.gz", gzip.compress("\n".join(series).encode()))
    p_values = frame.map(lambda value: f"<{value / 99:.4f}").add_suffix(".Detection Pval")
    interleaved = pd.concat([frame.add_suffix(".AVG_Beta"), p_values], axis=1)
    order = [name + end for name in samples for end in (".AVG_Beta", ".Detection Pval")]
    put("beta.array.txt", interleaved[order].to_csv(sep="\t"))
    put("beta.comma.csv", "sep=;\n" + frame.to_csv(sep=";", decimal=","))
    put("beta.xlsx", table(frame.to_excel))
    put("sheet.xlsx", table(sheet.to_excel, index=False))
    put("sheet.units.txt", sheet.assign(age_unit="years", age=[f"{20 + n} years" for n in range(12)]).to_csv(sep="\t"))
    put("sheet.ragged.csv", sheet.to_csv(index=False).replace("\n", ",\n"))
    labels = pd.DataFrame({"cpg": cpgs, "taxon": [TAXA[number % 10] for number in range(60)]})
    put("labels.csv", labels.to_csv(index=False))
    put("labels.parquet", table(labels.to_parquet, index=False))
    picture = Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8))
    put("picture.png", table(picture.save, format="png"))
    put("palette.png", table(picture.convert("P").save, format="png"))
    put("images.csv", "".join(f"picture.png,{taxon}\n" for taxon in TAXA[:1]) + "palette.png,3\n")
    put("stats.json", '{"mean": [0.9, 0.95, 0.9], "std": [0.2, 0.1, 0.2]}\n')

    _network_files(folder, put, table, found, rng)
    with CohortWriter(folder / "cohort.arrow", samples) as writer:
        writer.append(cpgs, values.astype(np.float32))
    found["cohort.arrow"] = folder / "cohort.arrow"
    files.write_parquet(folder / "table.parquet", labels.assign(x=rng.random(60), text="words"))
    found["table.parquet"] = folder / "table.parquet"
    files.write_parquet(folder / "samples.parquet", sheet)
    found["samples.parquet"] = folder / "samples.parquet"
    planes = rng.integers(0, 256, (6, 2, 16, 16), dtype=np.uint8)
    names = [f"p{number}.png" for number in range(6)]
    images.pack(folder / "packed.arrow", names, list(TAXA[:6]), ["cohort"] * 6, iter([planes[:4], planes[4:]]), 16)
    found["packed.arrow"] = folder / "packed.arrow"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _others(folder, frame, found)
    _companions(put, table, rng)
    return found


def _network_files(folder: pathlib.Path, put, table, found: dict, rng) -> None:
    """Weights, card, features and checkpoint of a small network.

    What is damaged is the container, and the reader meets its tensors before it meets their shapes.
    """
    import torch
    from cpgtaxa.learning.networks import _rounded, save_model

    network = torch.nn.Sequential(torch.nn.Linear(4, 10))
    paths = {"weights": folder / "weights.pt", "stats": folder / "w.json", "card": folder / "card.json"}
    paths["features"] = folder / "features.npy"
    statistics = {"mean": [0.9] * 3, "std": [0.1] * 3}
    options = {"statistics": statistics, "size": 32, "temperature": 1.1, "recipe": {}, "seed": 1}
    options["features"] = rng.normal(size=(40, 4))
    save_model(network, paths, model_name="ResNet18", **options)
    found |= {"weights.pt": paths["weights"], "card.json": paths["card"], "features.npy": paths["features"]}
    put("weights.pt.gz", gzip.compress(table(lambda buffer: torch.save(_rounded(network.state_dict()), buffer))))
    old = table(lambda buffer: torch.save(network.state_dict(), buffer, _use_new_zipfile_serialization=False))
    put("old_weights.pt", old)
    checkpoint = {"state_dict": network.state_dict(), "optimizer_states": [{"lr": 1.0}], "loops": {}, "callbacks": {}}
    put("last.ckpt", table(lambda buffer: torch.save(checkpoint, buffer)))


def _companions(put, table, rng) -> None:
    """Files of the companions: cells in several forms, lists of CpGs, published scores and predictions."""
    import numpy as np

    rows = [(100 * at + 7, *rng.integers(0, 4, 2).tolist()) for at in range(60)]
    counted = [(at, m, u, m + u, 100 * m / (m + u)) for at, m, u in rows if m + u]
    put("profile.tsv", "".join(f"chr1\t{at}\t{m % 2}\n" for at, m, _ in rows))
    put("profile.cov.gz", gzip.compress("".join(f"1\t{a}\t{a}\t{p}\t{m}\t{u}\n" for a, m, u, _, p in counted).encode()))
    put("profile.allc", "".join(f"chr2\t{at}\t+\tCGA\t{m}\t{n}\t1\n" for at, m, _, n, _ in counted))
    bed = "chr1\t{a}\t{b}\tm\t{n}\t+\t{a}\t{b}\t255,0,0\t{n}\t{p}\n"
    put("profile.bed", "".join(bed.format(a=at - 1, b=at, n=n, p=p) for at, _, _, n, p in counted))
    put("profile.csv", '"chr","pos","N","X"\n' + "".join(f'"chr1",{at},{n},{m}\n' for at, m, _, n, _ in counted))
    put("order.npz", table(lambda buffer: np.savez(buffer, chr1=rng.integers(-1, 2, (50, 4)).astype(np.int8))))
    weights = "".join(f"cg{at:04},{weight:.4f}\n" for at, weight in enumerate(rng.normal(size=40)))
    put("list.csv", f'"A title, of 2013"\n\nCpGmarker,Coefficient\n(Intercept),0.5\n{weights}')
    put("list.txt", '"cpg"\t"weight"\n' + "".join(f'"{at}"\t"cg{at:04}"\t0.{at}\n' for at in range(1, 30)))
    put("scores.csv", "gene,Net\n" + "".join(f"ENSG{at:08},0.{at}\n" for at in range(1, 40)))
    put("predictions.csv", "gene,label,prediction\n" + "".join(f"g{at},{at % 2},0.{at}\n" for at in range(1, 40)))


def _others(folder: pathlib.Path, frame, found: dict) -> None:
    """AnnData and R's files, matrices and sheets."""
    import anndata
    import numpy as np
    import pandas as pd

    obs = pd.DataFrame({"age": np.linspace(20, 80, 12)}, index=frame.columns.astype(object))
    with pd.option_context("future.infer_string", False):
        adata = anndata.AnnData(frame.T.to_numpy(), obs, pd.DataFrame(index=frame.index.astype(object)))
        adata.write_h5ad(folder / "beta.h5ad")
        adata.write_h5ad(folder / "beta.packed.h5ad", compression="gzip")
    if shutil.which("Rscript"):
        script = """
        beta <- as.matrix(read.csv("beta.csv", row.names = 1))
        sheet <- read.csv("samples.csv", stringsAsFactors = TRUE)
        saveRDS(beta, "beta.rds"); save(beta, sheet, file = "beta.RData", compress = FALSE); saveRDS(sheet, "sheet.rds")
        saveRDS(as.data.frame(beta), "beta.frame.rds", compress = "xz")
        """
        subprocess.run(["Rscript", "-e", script], cwd=folder, check=True, capture_output=True)
    for path in (*folder.glob("*.h5ad"), *folder.glob("*.rds"), *folder.glob("*.RData")):
        found[path.name] = path


def _ingesting(folder: pathlib.Path, valid: dict[str, pathlib.Path]) -> tuple:
    """`ingest` as a function of a damaged matrix, of a damaged sheet, and of a damaged series matrix."""
    from cpgtaxa.input.ingest import ingest

    columns = {"sample_id": "sample_id", "age": "age", "sex": "sex"}
    out = [folder / f"out_{name}" for name in ("beta", "samples", "cpgs", "qc")]

    def beta(path):
        ingest(path, valid["samples.csv"], *out, columns=columns, unmatched="drop", bad_cpgs="drop", bad_samples="drop")

    def sheet(path):
        ingest(valid["beta.csv"], path, *out, columns=columns, unmatched="drop")

    def series(path):
        columns = {"sample_id": "geo_accession", "age": "age"}
        ingest(path, path, *out, columns=columns, unmatched="drop", bad_cpgs="drop", bad_samples="drop")

    return beta, sheet, series


def readers(folder: pathlib.Path, valid: dict[str, pathlib.Path]) -> dict:
    """What reads each format: a function of the damaged file's path."""
    from cpgtaxa import files
    from cpgtaxa.cohort import Cohort, read_samples
    from cpgtaxa.images import packed as images
    from cpgtaxa.images.image_sets import read_images
    from cpgtaxa.learning import loop, networks
    from cpgtaxa.targets.biology.lists import read_list
    from cpgtaxa.targets.expression.published import read_published as read_scores
    from cpgtaxa.targets.histone.published import read_published as read_predictions
    from cpgtaxa.targets.single_cell.by_order import read_by_order
    from cpgtaxa.targets.single_cell.plan import cell_names
    from cpgtaxa.targets.single_cell.profiles import read_profile
    from cpgtaxa.taxa.labels import read_labels

    cpgs = [f"cg{number:04}" for number in range(60)]
    beta, sheet, series = _ingesting(folder, valid)

    def pictures(path):
        for _ in read_images(images.read_image_csv(path, valid["images.csv"].parent, False), path.parent, 32):
            pass

    def picture(path):
        (folder / "list.csv").write_text(f"{path.name},BiAge\n")
        for _ in read_images(images.read_image_csv(folder / "list.csv", path.parent), path.parent, 32):
            pass

    def cohort(path):
        found = Cohort(path)
        list(found.blocks())
        found.take([0, found.n_cpgs - 1] if found.n_cpgs else [])
        list(found.cpgs)

    def packed(path):
        found = images.PackedImages(path)
        images.normalisation(found.planes()) if len(found) else None

    def table(path):
        files.read_parquet(path)
        list(files.parquet_blocks(path, 16))
        files.concatenate_parquet([path, path], folder / "twice.parquet")

    def order(path):
        read_by_order(path, cell_names(path))

    return {
        "profile": lambda path: read_profile(path, "a"),
        "order": order,
        "list": lambda path: read_list("mine", path, "enrichment.sets.mine"),
        "scores": lambda path: read_scores(path, {"gene_versions": "drop"}),
        "predictions": lambda path: read_predictions(path, "C"),
        "beta": beta,
        "series": series,
        "sheet": sheet,
        "samples.csv": sheet,
        "samples.tsv": sheet,
        "samples.parquet": read_samples,
        "labels": lambda path: read_labels(path, cpgs),
        "picture": picture,
        "palette": picture,
        "images": pictures,
        "stats": networks.load_statistics,
        "card": networks.load_card,
        "features": lambda path: networks.load_features(path, 4),
        "weights": lambda path: networks.load_weights(path, "ResNet18"),
        "old_weights": lambda path: networks.load_weights(path, "ResNet18"),
        "last": lambda path: loop.is_checkpoint(path),
        "cohort": cohort,
        "table": table,
        "packed": packed,
    }


def reader_of(name: str, all_readers: dict):
    """By the whole name without the packing's suffix, else by its stem."""
    return all_readers.get(name.removesuffix(".gz")) or all_readers[name.split(".")[0]]


def mutate(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """One to four kinds of damage."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        size = len(data)
        at = rng.randrange(size + 1)
        length = rng.choice((1, 2, 4, 8, rng.randrange(1, 64), rng.randrange(1, max(size, 2))))
        kind = rng.randrange(9)
        if kind == 0 and size:  # a bit
            data[at % size] ^= 1 << rng.randrange(8)
        elif kind == 1 and size:  # some bytes
            for place in range(at, min(at + min(length, 16), size)):
                data[place] = rng.randrange(256)
        elif kind == 2:  # the end is missing
            del data[at:]
        elif kind == 3:  # a piece is missing
            del data[at : at + length]
        elif kind == 4:  # a piece is doubled
            data[at:at] = data[at : at + length] * rng.choice((1, 1, 3))
        elif kind == 5:  # a piece of another file
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            data[at : at + rng.choice((0, length))] = other[start : start + length]
        elif kind == 6:  # a number that is far too large, or negative, or nothing
            data[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\0\0\0\x80"))
        elif kind == 7:  # zeros, as on a disk that was full
            data[at : at + length] = bytes(len(data[at : at + length]))
        else:  # signs that mean something in text
            data[at:at] = rng.choice(
                (b'"', b",", b"\n", b"\r", b"\0", b"NA", b"1e999", b"-", b";", b"\xef\xbb\xbf", b"{")
            )
    return bytes(data)


class Hang(BaseException):
    """Not an Exception: no reader may swallow it."""


def _ring(*_):
    raise Hang


def child(report: int, folder: pathlib.Path, valid: dict, names: list[str], seed: int, stop: float) -> None:
    """Read mutants until PER_CHILD are done; writes one JSON line before and after each."""
    from cpgtaxa.errors import InputError

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, _ring)
    rng = random.Random(seed)
    all_readers = readers(folder, valid)
    contents = {name: path.read_bytes() for name, path in valid.items()}
    others = list(contents.values())
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # libraries complain on their own

    def emit(**what):
        os.write(report, (json.dumps(what) + "\n").encode())

    for _ in range(PER_CHILD):
        if time.monotonic() > stop:
            break
        name = rng.choice(names)
        path = folder / ("mutant." + name.split(".", 1)[1])
        path.unlink(missing_ok=True)  # never changed in place: an earlier reader may still have it mapped
        path.write_bytes(mutate(contents[name], others, rng))
        emit(begin=name)
        outcome, where = "read", ""
        signal.alarm(SECONDS)
        faulthandler.dump_traceback_later(SECONDS + 5, exit=True)  # for loops in C, which no signal interrupts
        try:
            reader_of(name, all_readers)(path)
        except InputError as error:
            outcome = "refused"
            if len(error.text()) > 20_000:
                outcome, where = "listing", error.text()[:200]
        except Hang:
            outcome, where = "hang", traceback.format_exc()[-1500:]
        except BaseException as error:
            outcome, where = f"{type(error).__name__}: {str(error)[:80]}", traceback.format_exc()[-1500:]
        finally:
            signal.alarm(0)
            faulthandler.cancel_dump_traceback_later()
        left = list(folder.glob(".*.partial"))
        if left:
            outcome, where = "half-written file left", str(left)
            for leftover in left:
                leftover.unlink()
        emit(name=name, outcome=outcome, where=where)


def fuzz(minutes: float, seed: int, only: list[str], keep: pathlib.Path) -> int:
    """Run children until the time is over; returns the number of kinds of findings."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    tallies: dict[str, dict[str, int]] = {}
    kinds: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        (folder / "valid").mkdir()
        valid = make_files(folder / "valid", seed)
        for name in ("picture.png", "palette.png"):  # the list of images names them
            (folder / name).write_bytes(valid[name].read_bytes())
        names = [name for name in valid if not only or any(part in name for part in only)]
        all_readers = readers(folder, valid)
        for name in names:
            # Unspoilt, each is read; of weights, the small network is refused for its shape.
            with contextlib.suppress(Exception) if "weights" in name else contextlib.nullcontext():
                reader_of(name, all_readers)(valid[name])
        stop = time.monotonic() + 60 * minutes
        number = 0
        while time.monotonic() < stop:
            number += 1
            source, report = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(source)
                try:
                    child(report, folder, valid, names, seed * 1_000_003 + number, stop)
                finally:
                    os._exit(0)
            os.close(report)
            current = None
            with os.fdopen(source) as lines:
                for line in lines:
                    reported = json.loads(line)
                    current = reported.get("begin")
                    if not current:
                        _count(reported["name"], reported["outcome"], reported["where"], folder, keep, tallies, kinds)
            _, status = os.waitpid(pid, 0)
            if current:
                _count(current, f"crash, status {status}", "", folder, keep, tallies, kinds)
    print(f"{'file':<18}{'read':>8}{'refused':>9}{'findings':>10}")
    for name, tally in sorted(tallies.items()):
        bad = sum(tally.values()) - tally.get("read", 0) - tally.get("refused", 0)
        print(f"{name:<18}{tally.get('read', 0):>8}{tally.get('refused', 0):>9}{bad:>10}")
    total = sum(sum(tally.values()) for tally in tallies.values())
    print(f"{total} mutants in {minutes:g} minutes, seed {seed}: {len(kinds)} kinds of findings")
    for kind, where in kinds.items():
        print(f"\n{kind}\n{where}")
    return len(kinds)


def _count(name, outcome, where, folder, keep, tallies, kinds) -> None:
    tally = tallies.setdefault(name, {})
    tally[outcome] = tally.get(outcome, 0) + 1
    if outcome in ("read", "refused"):
        return
    frames = [line for line in where.splitlines() if line.lstrip().startswith("File ")]
    kind = f"{name}: {outcome.split(':')[0]} {frames[-1].strip() if frames else ''}"
    if kind not in kinds:
        keep.mkdir(parents=True, exist_ok=True)
        kept = keep / f"{len(kinds):03}_{name}"
        with contextlib.suppress(OSError):
            kept.write_bytes((folder / ("mutant." + name.split(".", 1)[1])).read_bytes())
        kinds[kind] = f"{outcome}\nkept as {kept}\n{where}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[], help="parts of the names of the files to damage")
    parser.add_argument("--keep", type=pathlib.Path, default=pathlib.Path("results/fuzz"))
    arguments = parser.parse_args()
    sys.exit(1 if fuzz(arguments.minutes, arguments.seed, arguments.only, arguments.keep) else 0)
