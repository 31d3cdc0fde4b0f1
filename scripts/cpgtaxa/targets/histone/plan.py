"""What the rule file of the target `histone` asks. Standard library only, as `cpgtaxa.plan.main`."""

import csv
import functools
import gzip
import pathlib
import re
import zlib

from cpgtaxa.errors import InputError, some
from cpgtaxa.plan.paths import in_braces

FOLDER = "results/histone"
SPLITS = ("train", "valid", "test")
"""The files of a cell type, and what its column `split` may hold."""
MIX = "mix"
"""In place of a cell type: one model of all of them."""
NETWORKS = ("GeneNet", "DeepChrome")
PEERS = ("LogisticRegression", "RandomForest", "OneMark")
DEEPCHROME_MARKS = ("H3K27me3", "H3K36me3", "H3K4me1", "H3K4me3", "H3K9me3")
"""Columns of the published files, which have no header."""
TABLE_COLUMNS = ("gene", "bin", "label", "split")
"""What the header of a table names beside the marks."""
CELL_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
SHOWN = 4
"""Cell types whose problems a message lists."""


def header_of(fields: list[str]) -> list[str] | None:
    """The fields of a file's first line where they are names: its second is then no number."""
    try:
        float(fields[1])
    except ValueError:
        return fields
    except IndexError:
        return None
    return None


def marks_of(header: list[str]) -> list[str]:
    """The marks that a header names: all between `bin` and `label`, where there is one, else all but the first two and
    last."""
    if {"bin", "label"} <= set(header):
        return header[header.index("bin") + 1 : header.index("label")]
    return header[2:-1]


def _first_fields(path: pathlib.Path) -> list[str]:
    """Fields of a file's first line; none where it cannot be read, which the job that reads it will say."""
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            line = (gzip.GzipFile(fileobj=raw) if packed else raw).readline(1 << 16)
        text = line.decode("utf-8-sig").strip("\r\n ")
        separator = max(",\t;", key=text.count)
        return [field.strip() for field in next(csv.reader([text.rstrip(separator)], delimiter=separator), [])]
    except (OSError, EOFError, ValueError, zlib.error, csv.Error):
        return []


class HistonePlan:
    """The config's section `histone`, asked as questions."""

    def __init__(self, config: dict):
        self.settings = config["histone"]
        self.seed = config["seed"]
        self.training = {key: config["training"][key] for key in ("device", "precision", "threads")}
        self.save_dir = self.settings["save_dir"].rstrip("/")
        self.simulates = not self.settings["data_dir"] and not self.settings["tables"]
        problems = self._conflicts()
        if problems:
            raise InputError(problems)

    def _conflicts(self) -> list[str]:
        settings, problems = self.settings, []
        if settings["data_dir"] and settings["tables"]:
            problems.append("histone.data_dir and histone.tables are both set: keep the one with your data")
        paths = {"data_dir": settings["data_dir"], "save_dir": settings["save_dir"]}
        paths |= {f"tables.{cell}": path for cell, path in (settings["tables"] or {}).items()}
        paths |= {f"published.{cell}": path for cell, path in (settings["published"] or {}).items()}
        problems += [problem for key, path in paths.items() if (problem := in_braces(f"histone.{key}", path))]
        for cell in settings["tables"] or {}:
            problems += _bad_name(cell, f"histone.tables names the cell type {cell!r}")
        return problems

    # Cell types

    @functools.cached_property
    def _found(self) -> tuple[dict[str, dict[str, str]], list[str]]:
        """The files of each cell type, and what is wrong with them, which is said when they are asked for."""
        if self.simulates:
            cells, problems = self.simulated_cells(), []
        elif self.settings["tables"]:
            cells = {cell: {"table": path} for cell, path in self.settings["tables"].items()}
            problems = [
                f"histone.tables.{cell}: {path} is not there (looked in {pathlib.Path.cwd()}); correct it"
                for cell, path in self.settings["tables"].items()
                if not pathlib.Path(path).is_file()
            ]
        else:
            cells, problems = _folders(self.settings["data_dir"], self.settings["cells"])
        wanted = self.settings["cells"]
        if wanted and not problems:
            unknown = [cell for cell in wanted if cell not in cells]
            if unknown:
                problems = [f"histone.cells names {some(unknown)}, which is not among {some(cells, 8)}"]
            cells = {cell: files for cell, files in cells.items() if cell in wanted}
        return cells, problems

    @property
    def cells(self) -> list[str]:
        """Names of the cell types, in the order of their names; of tables, in the config's."""
        return [] if self._found[1] else list(self._found[0])

    def simulated_cells(self) -> dict[str, dict[str, str]]:
        names = [f"C{number:02d}" for number in range(1, self.settings["simulate"]["cells"] + 1)]
        folder = f"{FOLDER}/simulated"
        return {name: {part: f"{folder}/{name}/classification/{part}.csv" for part in SPLITS} for name in names}

    def simulated_files(self) -> dict[str, list[str]]:
        """Outputs of the simulation; `truth` and `planted` are beside the cell types' folders."""
        return {"cells": [path for files in self.simulated_cells().values() for path in files.values()]}

    @functools.cached_property
    def marks(self) -> list[str]:
        """The marks of all cell types, in order. Raises InputError where they differ."""
        cells, problems = self._found
        if problems:
            raise InputError(problems)
        headers, wide = {}, {}
        if not self.simulates:
            for cell, files in cells.items():
                fields = _first_fields(pathlib.Path(next(iter(files.values()))))
                header = header_of(fields)
                if header:
                    headers[cell] = marks_of(header)
                elif len(fields) > 3:
                    wide[cell] = len(fields) - 3
        own = self.settings["marks"]
        if own:
            return list(own)
        problems = []
        first = next(iter(headers), None)
        for cell, marks in headers.items():
            if set(marks) != set(headers[first]):
                problems.append(
                    f"cell types {first} and {cell} differ in marks ({some(headers[first], 8)}; {some(marks, 8)}): "
                    "name those that all have in `histone.marks`, or leave a cell type out (`histone.cells`)"
                )
        number = len(headers[first]) if headers else next(iter(wide.values()), len(DEEPCHROME_MARKS))
        odd = {cell: n for cell, n in wide.items() if n != number}
        if odd:
            other = next(cell for cell in cells if cell not in odd)
            problems.append(
                f"cell types have different marks: {', '.join(f'{cell} {n}' for cell, n in list(odd.items())[:SHOWN])}"
                f", and {other} {number}. Columns are gene, bin, one per mark, label"
            )
        if problems:
            raise InputError(problems)
        if headers:
            return headers[first]
        return list(DEEPCHROME_MARKS) if number == 5 else [f"mark{at}" for at in range(1, number + 1)]

    # Files

    def input_files(self, cell: str) -> dict[str, str]:
        """What the input step of a cell type reads. Raises InputError with what is wrong with any cell type's files."""
        cells, problems = self._found
        if problems:
            raise InputError(problems)
        if cell not in cells:
            raise InputError(f"no cell type is called {cell!r}; there are {some(cells, 8)}")
        return cells[cell] if self.marks else {}

    def input_settings(self, cell: str) -> dict:
        """What the input step needs to know; size and time of the user's files: one older than the results is seen."""
        files = {} if self.simulates else {key: pathlib.Path(path) for key, path in self.input_files(cell).items()}
        states = {key: path.stat() for key, path in files.items() if path.is_file()}
        return {
            "marks": self.marks,
            "bins": self.settings["bins"],
            "states": {key: [state.st_size, int(state.st_mtime)] for key, state in states.items()},
        }

    def checked(self, unit: str) -> list[str]:
        """The checked counts that a unit's models learn from: one cell type's, or all."""
        if self._found[1]:
            raise InputError(self._found[1])
        return [f"{FOLDER}/input/{cell}.arrow" for cell in (self.cells if unit == MIX else [unit])]

    @property
    def units(self) -> list[str]:
        """Cell types and MIX: what one model each is fitted to, as the config's `mix` says."""
        mode = self.settings["mix"]
        return (self.cells if mode is not True else []) + ([MIX] if mode is not False and self.cells else [])

    def fits(self, names) -> list[tuple[str, str]]:
        """Unit and model of everything to fit, for those of `names` that are wanted."""
        return [(unit, name) for unit in self.units for name in self.settings["models"] if name in names]

    def page_files(self) -> dict[str, list[str]]:
        """What the last step reads. Raises InputError where cell types or their files are not as they should be."""
        self.checked(MIX)
        self.input_files(self.cells[0])
        networks, all_models = self.fits(NETWORKS), self.fits(NETWORKS + PEERS)
        mapped = [name for name in NETWORKS if name in self.settings["models"]][:1]
        occluded = self.fits(mapped) if self.settings["occlusion"]["genes"] else []
        found = {
            "input": self.checked(MIX),
            "qc": [f"{FOLDER}/input/{cell}.json" for cell in self.cells],
            "predictions": [f"{FOLDER}/predictions/{unit}/{name}.parquet" for unit, name in all_models],
            "logs": [f"{self.save_dir}/{unit}/{name}_log.csv" for unit, name in networks],
            "occlusion": [f"{FOLDER}/occlusion/{unit}/{name}.parquet" for unit, name in occluded],
        }
        problems = [
            f"histone.published.{cell}: "
            + (
                f"{path} is not there (looked in {pathlib.Path.cwd()}); correct it"
                if cell in self.cells
                else f"no cell type is called so; there are {some(self.cells, 8)}"
            )
            for cell, path in self.published.items()
            if cell not in self.cells or not pathlib.Path(path).is_file()
        ]
        if problems:
            raise InputError(problems)
        if self.published:
            found["beside"] = list(self.published.values())
        if self.simulates:
            found |= {"truth": f"{FOLDER}/simulated/truth.csv", "planted": f"{FOLDER}/simulated/planted.csv"}
        return found

    # What the rules need to know

    def fit_settings(self) -> dict:
        """What training a network needs to know."""
        keys = ("epochs", "batch_size", "lr", "lr_decay", "warmup", "patience", "debug")
        return {key: self.settings[key] for key in keys} | self.training

    def occlusion_settings(self) -> dict:
        """What mapping a network needs to know."""
        return self.settings["occlusion"] | self.training

    def debug_output(self, directory) -> dict:
        """The folder of TensorBoard's logs, where the config asks for them; `directory` is Snakemake's."""
        path = f"{self.save_dir}/{{unit}}/{{network}}_tensorboard"
        return {"tensorboard": directory(path)} if self.settings["debug"] else {}

    @property
    def published(self) -> dict[str, str]:
        """Tables of published predictions by cell type."""
        return dict(self.settings["published"] or {})

    def beside_table(self) -> dict[str, str]:
        """The table of models beside published predictions, where there are some."""
        return {"beside": f"{FOLDER}/published.csv"} if self.published else {}

    def published_tables(self) -> dict[str, str]:
        """The published tables of GeneNet's areas: of a model per cell type, and of all mixed."""
        if "GeneNet" not in self.settings["models"]:
            return {}
        mode = self.settings["mix"]
        found = {"published": f"{self.save_dir}/output.csv"} if mode is not True else {}
        return found | ({"published_mix": f"{self.save_dir}/output-mix.csv"} if mode is not False else {})

    def page_settings(self) -> dict:
        """What scores and page need to know."""
        keys = ("bin_size", "epochs", "batch_size", "lr", "lr_decay", "warmup", "patience", "occlusion")
        return {key: self.settings[key] for key in keys} | {
            "models": self.settings["models"],
            "units": self.units,
            "cells": self.cells,
            "save_dir": self.save_dir,
            "published": list(self.published),
        }

    def gpus(self, wildcards) -> int:
        """GPUs a network asks the scheduler for."""
        return int(self.training["device"] == "gpu")


def _bad_name(cell: str, what: str) -> list[str]:
    if cell == MIX:
        return [f"{what}, which stands for all of them together: rename it"]
    if not re.fullmatch(CELL_NAME, cell):
        return [f"{what}: use letters, digits, dots, dashes and underscores alone, as it becomes the name of files"]
    return []


def _files(folder: pathlib.Path) -> dict[str, str]:
    """The files of a cell type by split, in `classification` as published or in the folder itself."""
    found = {}
    for inner in (folder / "classification", folder):
        for part in SPLITS:
            for name in (f"{part}.csv", f"{part}.csv.gz"):
                if (inner / name).is_file():
                    found.setdefault(part, str(inner / name))
    return found


def _folders(data_dir: str, wanted: list[str] | None) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The cell types in a folder, or the one that it is, with what is wrong with those that are wanted."""
    top = pathlib.Path(data_dir)
    if not top.is_dir():
        what = "is a file, not a folder" if top.exists() else f"is not there (looked in {pathlib.Path.cwd()})"
        return {}, [f"histone.data_dir: {data_dir} {what}; give the folder that holds a folder per cell type"]
    if _files(top):
        folders = [top.resolve().parent if top.resolve().name == "classification" else top.resolve()]
        places = [top]
    else:
        places = folders = sorted(path for path in top.iterdir() if path.is_dir() and not path.name.startswith("."))
    cells, problems = {}, []
    for place, folder in zip(places, folders, strict=True):
        found = _files(place)
        if wanted and folder.name not in wanted:
            cells[folder.name] = {}
            continue
        lacking = [part for part in SPLITS if part not in found]
        if lacking:
            names = " and ".join(f"{part}.csv" for part in lacking)
            problems.append(
                f"histone.data_dir: cell type {folder.name} lacks {names} (looked for .csv and .csv.gz in {place} and "
                f"{place / 'classification'}): add them, or name the cell types to use in `histone.cells`"
            )
        problems += _bad_name(folder.name, f"the folder {place} is called {folder.name!r}")
        problems += [problem for path in found.values() if (problem := in_braces("histone.data_dir", path))]
        cells[folder.name] = {part: found[part] for part in SPLITS if part in found}
    if not folders:
        problems.append(
            f"histone.data_dir: {data_dir} is empty: it should hold a folder per cell type, each with "
            "classification/train.csv, valid.csv and test.csv"
        )
    return cells, problems
