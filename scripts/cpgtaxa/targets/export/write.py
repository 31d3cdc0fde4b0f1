"""The results in other people's formats: AnnData, BED, a supplementary table as workbook and CSV, a script for R.

Nothing is worked out here that is not in `results` already. What may be large goes through memory in pieces: the
matrix, and the rows of the tables.
"""

import datetime
import importlib.metadata
import json
import logging
import pathlib
import platform
import shutil
import textwrap

import anndata
import h5py
import numpy as np
import pandas as pd
import xlsxwriter

import cpgtaxa
from cpgtaxa.cohort import Cohort, read_samples
from cpgtaxa.errors import InputError, some
from cpgtaxa.files import atomic, gzipped, need_space, parquet_blocks, read_parquet
from cpgtaxa.input.positions import read_positions
from cpgtaxa.names import COLOURS, KNOWN, MEANING, PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.patterns.columns import CAUSES, SHAPES
from cpgtaxa.patterns.columns import DESCRIPTION as PATTERNS
from cpgtaxa.progress import Progress
from cpgtaxa.statistics.cell_types import MEANING as CELLS
from cpgtaxa.statistics.cell_types import read_cell_types
from cpgtaxa.statistics.kernel import DESCRIPTION
from cpgtaxa.taxa.criteria import BY_NAME

CHUNK = (512, 512)
"""Samples and CpGs in a chunk of the matrix: a megabyte, so that a CpG or a sample is read without most of the rest."""
CPGS_AT_ONCE = 4 * CHUNK[1]
BLOCK = 1 << 15
"""Rows of the tables at a time."""
MOST_ROWS = 1_048_575
"""Of an Excel sheet, below its header."""
DIGITS = 4
"""Significant digits of numbers in the supplementary table."""
DECIMALS = 3
"""Of the ten probabilities there."""
MAIN = (
    "n", "mean", "sd", "slope", "slope_p", "core_effect", "effect_se", "core_sd", "log_sd_ratio", "log_sd_ratio_se",
    "far_n", "dip_p", "two_depth", "two_gap", "two_weight", "three_depth", "three_gap", "three_weight",
)  # fmt: skip
"""Statistics in the supplementary table; all of them would make a workbook that few programs open."""
GENES = ("gene", "island", "flags")
"""What a manifest gives beside positions."""
PLACES = ("chrom", "position", *GENES)
CHANGES = [name for name in PATTERNS if name != "cpg"]
"""What is said beside the taxon: how a CpG changes, why it has bands, whether the taxon replicates."""
WORDS = (
    "cpg", "chrom", *GENES, "taxon", "source", "second_taxon", "boundary", "criterion", "reason", "detail",
    "disagrees",
    "shape", "cause", "spread_shape", "cell_type", "spread_cell_type",
)  # fmt: skip
"""Columns of text; all others are numbers."""
OF_NETWORK = ("margin", "network_p", "disagrees")
SAID = ("taxon", "source", "confidence", "network_p", "disagrees", "second_taxon")
LEFT = ("boundary", "criterion", "margin", "reason", "detail")
"""Where a CpG lies, and why it has no taxon."""
UNITS = {
    **dict.fromkeys(("cpg", "gene", "island", "criterion"), "name"),
    "chrom": "name (UCSC)",
    "position": "bases, from 1",
    "flags": "names",
    "confidence": "probability",
    "margin": "halves of a zone",
    "disagrees": "yes or empty",
    **dict.fromkeys(("shape", "cause", "spread_shape"), "name"),
    **dict.fromkeys(("cell_type", "spread_cell_type"), "names"),
    **dict.fromkeys(("cell_type_q", "spread_cell_type_q"), "probability"),
    **{name: "years" for name in CHANGES if "change_point" in name},
    "sex_divergent": "beta per year",
    **dict.fromkeys(("sex_q", "replication", "replication_low", "replication_high"), "probability"),
    **dict.fromkeys(("n", "far_n"), "samples"),
    "slope": "beta per year",
    **dict.fromkeys(("two_weight", "three_weight", "two_depth", "three_depth"), "share"),
    **dict.fromkeys(("log_sd_ratio", "log_sd_ratio_se"), "log ratio"),
}
COLUMNS = {
    "cpg": "CpG (probe) as in the beta matrix",
    "chrom": "chromosome",
    "position": "position of the C on the + strand",
    "gene": "genes that the array's manifest names, with semicolons between",
    "island": "where the CpG lies to a CpG island, by the manifest",
    "flags": "SNP (a common one at the CpG, by the manifest), names of lists with it (annotation.lists)",
    "taxon": "taxon, or Unclassified",
    "source": "what gave it: statistical (the tests), round_N (the network of that round), none",
    "confidence": "probability that the taxon is right, by the tests where these gave it, else by the round that "
    "placed the CpG; empty if Unclassified, or if the label was given",
    "second_taxon": "the likeliest other taxon by the network",
    "boundary": "criterion in whose zone the CpG lies, or that is open; empty if clear",
    "criterion": "criterion that decides: that of boundary, else the one nearest to its cut",
    "margin": "how far the CpG lies from the cut of that criterion, in halves of its zone (1: at an end; at most 10)",
    "network_p": "the last network's probability of the taxon, for Unclassified, its highest; empty where none looked",
    "disagrees": "whether the network finds another taxon likelier than the one that the tests gave",
    "reason": "why it is Unclassified: ambiguous (the tests leave several taxa), contradicted (they leave none), "
    "unlike (the training images and simulated CpGs)",
    "detail": "what the tests say of an Unclassified CpG: open criteria and the taxa they leave, or the pattern found",
} | {name: f"the last network's probability of {name.removeprefix('p_')}" for name in PROBABILITY_COLUMNS}
COLUMNS |= {name: PATTERNS[name] for name in CHANGES} | CELLS


def export(given: dict, out: dict, *, settings: dict, seed: int) -> None:
    """Write the results in other formats.

    given: paths `taxonomy`, `unclassified`, `statistics`, `patterns`, `samples`; `beta` where the matrix goes into the
    AnnData file; `positions`, and the cohort's `annotation`, where they are given; positions of the first stand before
    those of the second; `cell_types` where whose cells change is to be shown. settings: see
    `plan.Plan.export_settings`.
    out: paths `anndata`, `table` (CSV.gz), `legend` (CSV), `r`; and where wanted `excel`, and with positions `bed`,
    `track` (BED.gz with a track line) and `no_position` (names of CpGs without one).

    Raises InputError listing what is wrong with the positions.
    """
    taxonomy = read_parquet(given["taxonomy"])
    places = None
    if given.get("positions"):
        places = place(taxonomy["cpg"], given["positions"], settings)
    if given.get("annotation"):
        known = read_parquet(given["annotation"])
        if places is None:
            places = pd.DataFrame({"chrom": known["chromosome"].replace("", None), "start": known["position"] - 1})
        places = places.assign(**{name: known[name] for name in GENES})
    samples = read_samples(given["samples"])
    logging.info("AnnData")
    columns = table_columns(places, bool(given.get("cell_types")))
    write_anndata(out["anndata"], taxonomy, samples, places, columns, given, settings, seed)
    if places is not None:
        logging.info("BED")
        write_bed(out, taxonomy, places)
    logging.info("supplementary table")
    legend = legend_of(taxonomy, samples, places, columns, settings, seed)
    with atomic(out["legend"]) as temporary:
        legend.to_csv(temporary, index=False)
    write_tables(out, taxonomy, places, columns, legend, given)
    with atomic(out["r"]) as temporary:
        temporary.write_text(r_script(columns), encoding="utf-8")


# --- positions and BED -----------------------------------------------------------------------------------------------


def place(cpgs: pd.Series, path, settings: dict) -> pd.DataFrame:
    """chrom and start (Int64, from 0) of each CpG, in the order of `cpgs`; missing for CpGs without a position.

    Raises InputError as `positions.read_positions` does, and where no CpG has a position.
    """
    found, assembly = read_positions(path, "export.positions", settings["columns"], one_based=settings["one_based"])
    given = found.set_index("cpg").reindex(cpgs.to_numpy(dtype=object))
    lacking = given["chrom"].isna().to_numpy()
    if lacking.all():
        raise InputError(
            f"export.positions: {path} and the cohort share no CpG: {some(found['cpg'], 3)} against {some(cpgs, 3)}. "
            "Take the positions of this array; on EPICv2, names have suffixes"
        )
    if lacking.any():
        logging.warning(
            f"{int(lacking.sum()):,} of {len(cpgs):,} CpGs have no position in {path}: they are in no_position.txt, "
            "and not in the BED files"
        )
    if assembly:
        logging.info(f"the positions fit {assembly} alone of hg19 and hg38")
    return pd.DataFrame({"chrom": given["chrom"].to_numpy(dtype=object), "start": given["start"].astype("Int64").array})


def bed_of(taxonomy: pd.DataFrame, places: pd.DataFrame) -> pd.DataFrame:
    """BED9 of the CpGs that have a position, sorted as bedToBigBed wants it: by the bytes of chrom, then by start.

    Both bases of a CpG are marked; one base of probes that are none (`ch.` and `rs`). The score is 1,000 times the
    confidence, 0 where there is none.
    """
    there = places["chrom"].notna().to_numpy()
    rows, start = taxonomy[there], places["start"][there].to_numpy(dtype=np.int64)
    name = rows["cpg"].astype(object)
    end = start + np.where(name.str.match(r"(?:ch\.|rs)\d").to_numpy(dtype=bool), 1, 2)
    colours = {taxon: ",".join(str(int(COLOURS[taxon][at : at + 2], 16)) for at in (1, 3, 5)) for taxon in KNOWN}
    table = pd.DataFrame(
        {
            "chrom": places["chrom"][there].to_numpy(dtype=object),
            "start": start,
            "end": end,
            "name": name.str.replace(r"\s", "_", regex=True).str.slice(0, 255).to_numpy(dtype=object),
            "score": np.rint(1000 * rows["confidence"].fillna(0).clip(0, 1)).to_numpy(dtype=np.int64),
            "strand": ".",
            "thick_start": start,
            "thick_end": end,
            "colour": rows["taxon"].map(colours).to_numpy(dtype=object),
        }
    )
    key = table["chrom"].map(lambda chrom: chrom.encode())
    return table.iloc[np.lexsort((table["start"], key.to_numpy(dtype=object)))].reset_index(drop=True)


def write_bed(out: dict, taxonomy: pd.DataFrame, places: pd.DataFrame) -> None:
    """Write `bed`, `track` (the same behind a line that tells a browser to show the colours) and `no_position`."""
    text = bed_of(taxonomy, places).to_csv(sep="\t", header=False, index=False, lineterminator="\n").encode()
    with atomic(out["bed"]) as temporary:
        temporary.write_bytes(text)
    line = 'track name="cpgtaxa" description="Taxa of CpGs by their ageing pattern" itemRgb="On" visibility="pack"\n'
    with gzipped(out["track"], 6) as packed:
        packed.write(line.encode())
        packed.write(text)
    lacking = taxonomy["cpg"][places["chrom"].isna().to_numpy()]
    with atomic(out["no_position"]) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in lacking), encoding="utf-8")


# --- AnnData ---------------------------------------------------------------------------------------------------------


def write_anndata(out, taxonomy, samples, places, described: list, given: dict, settings: dict, seed: int) -> None:
    """Write samples as `obs`, CpGs with taxonomy, statistics and positions as `var`, and what they rest on in `uns`.

    With `given["beta"]` also `X` (samples × CpGs, float32, NaN where missing), in chunks of CHUNK and in pieces, so
    that a matrix larger than memory can be written. `uns["taxon_colors"]` has the colours of the categories in their
    order, as scanpy keeps them. described: columns of the supplementary table.
    """
    statistics = read_parquet(given["statistics"])
    if list(statistics["cpg"]) != list(taxonomy["cpg"]):
        raise InputError(
            f"{given['statistics']} and {given['taxonomy']} are not of the same CpGs: delete both and start again"
        )
    # anndata writes strings as pandas kept them before version 3.
    with pd.option_context("future.infer_string", False), atomic(out) as temporary:
        columns = {
            "taxon": pd.Categorical(taxonomy["taxon"].astype(object), categories=list(KNOWN)),
            "source": pd.Categorical(taxonomy["source"].astype(object)),
            "confidence": taxonomy["confidence"].to_numpy(),
            "second_taxon": pd.Categorical(taxonomy["second_taxon"].astype(object), categories=list(TAXA)),
            "boundary": pd.Categorical(taxonomy["boundary"].astype(object), categories=["", *BY_NAME]),
            "criterion": pd.Categorical(taxonomy["criterion"].astype(object), categories=["", *BY_NAME]),
            **{name: taxonomy[name].to_numpy() for name in OF_NETWORK},
            **{name: taxonomy[name].to_numpy() for name in PROBABILITY_COLUMNS},
        }
        if places is not None:
            columns["chrom"] = pd.Categorical(places["chrom"].astype(object))
            columns["position"] = (places["start"] + 1).array
            columns |= {name: pd.Categorical(places[name].astype(object)) for name in GENES if name in places}
        columns |= _changes(given, taxonomy)
        columns |= {name: statistics[name].to_numpy() for name in statistics.columns if name != "cpg"}
        del statistics
        names = pd.Index(taxonomy["cpg"].astype(object), name="cpg", dtype=object)
        data = anndata.AnnData(
            obs=_obs(samples), var=pd.DataFrame(columns, index=names), uns=_uns(settings, seed, described)
        )
        # HDF5 would lock the file too, and find it locked.
        with h5py.File(temporary, "w", locking=False) as file:
            # Levels above 1 save a few per cent of space for twice the time.
            anndata.io.write_elem(file, "/", data, dataset_kwargs={"compression": "gzip", "compression_opts": 1})
            del data, columns
            if given.get("beta"):
                _write_matrix(file, Cohort(given["beta"]), taxonomy["cpg"], samples["sample_id"], out)


def _changes(given: dict, taxonomy: pd.DataFrame) -> dict:
    """The columns CHANGES of all CpGs, and where they are to be shown those of whose cells change."""
    table = read_parquet(given["patterns"])
    if list(table["cpg"]) != list(taxonomy["cpg"]):
        raise InputError(f"{given['patterns']} and {given['taxonomy']} are not of the same CpGs: delete both")
    kinds = {"shape": list(SHAPES), "cause": list(CAUSES), "spread_shape": list(SHAPES)}
    found = {
        name: pd.Categorical(table[name].astype(object), categories=kinds[name])
        if name in kinds
        else table[name].to_numpy()
        for name in CHANGES
    }
    if given.get("cell_types"):
        cells = read_cell_types(given["cell_types"], taxonomy["cpg"].to_numpy(dtype=object))
        found |= {
            name: pd.Categorical(cells[name].astype(object)) if name in WORDS else cells[name].to_numpy()
            for name in CELLS
        }
    return found


def _obs(samples: pd.DataFrame) -> pd.DataFrame:
    """The sheet as AnnData takes it: ids as index, text as categories, no name that HDF5 splits or that is taken."""
    found = {}
    for name in samples.columns:
        if name == "sample_id":
            continue
        plain = str(name).replace("/", "_")
        while plain in found or plain in ("_index", "sample_id"):
            plain += "_"
        values = samples[name]
        if isinstance(values.dtype, pd.CategoricalDtype) or not (
            pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values)
        ):
            values = pd.Categorical(values.astype(object).where(values.notna(), None).map(str, na_action="ignore"))
            # Without a value there are no categories, of which type is then a number.
            values = values if len(values.categories) else pd.Categorical([None] * len(samples), categories=["none"])
            found[plain] = values
        else:
            found[plain] = values.array if values.isna().any() else values.to_numpy()
    return pd.DataFrame(found, index=pd.Index(samples["sample_id"].astype(object), name="sample_id", dtype=object))


def _uns(settings: dict, seed: int, columns: list) -> dict:
    colours = np.array([COLOURS[taxon] for taxon in KNOWN], dtype=object)
    described = COLUMNS | DESCRIPTION
    absent = {*PLACES, *CELLS} - {*columns}
    described = {name: text for name, text in described.items() if name not in absent}
    return {
        "taxon_colors": colours,
        "second_taxon_colors": colours[: len(TAXA)],
        "cpgtaxa": {
            "version": cpgtaxa.__version__,
            "versions": dict(versions()),
            "seed": seed,
            "thresholds": {f"{name}_{end}": value for name, end, value in _zones(settings)},
            "errors": settings["errors"],
            "config": json.dumps(settings["config"]),
            "columns": {name: text for name, text in described.items() if name not in ("cpg", "reason", "detail")},
        },
    }


def _write_matrix(file, cohort: Cohort, cpgs, sample_ids, out) -> None:
    """Add X to an AnnData file without one."""
    if not np.array_equal(cohort.cpgs, cpgs.to_numpy(dtype=object)) or cohort.sample_ids != list(sample_ids):
        raise InputError(f"{cohort.path} is not the matrix of this taxonomy: delete the results and start again")
    need_space(out, 4 * cohort.n_cpgs * cohort.n_samples * 0.9, "the matrix in the AnnData file takes")
    chunks = tuple(min(most, n) for most, n in zip(CHUNK, (cohort.n_samples, cohort.n_cpgs), strict=True))
    x = file.create_dataset(
        "X",
        (cohort.n_samples, cohort.n_cpgs),
        np.float32,
        chunks=chunks,
        compression="gzip",
        compression_opts=1,
        shuffle=True,
    )
    x.attrs["encoding-type"], x.attrs["encoding-version"] = "array", "0.2.0"
    progress = Progress(cohort.n_cpgs, "CpGs of the matrix written")
    for start in range(0, cohort.n_cpgs, CPGS_AT_ONCE):
        values = cohort.read(start, start + CPGS_AT_ONCE)
        x[:, start : start + len(values)] = np.ascontiguousarray(values.T)
        cohort.release()
        progress.step(len(values))


# --- the supplementary table -----------------------------------------------------------------------------------------


def versions() -> list[tuple[str, str]]:
    """What the results were written with."""
    found = [("cpgtaxa", cpgtaxa.__version__), ("python", platform.python_version())]
    for name in ("numpy", "pandas", "anndata"):
        found.append((name, importlib.metadata.version(name)))
    return found


def _placed_columns(places) -> list[str]:
    """Those of PLACES that there are."""
    return [] if places is None else [name for name in PLACES if name in places or name == "position"]


def table_columns(places, cells: bool) -> list[str]:
    """Columns of the supplementary table, in order; places: of `place`, or None; cells: whether CELLS are there."""
    beside = [*CHANGES, *(CELLS if cells else [])]
    return ["cpg", *_placed_columns(places), *SAID, *LEFT, *beside, *PROBABILITY_COLUMNS, *MAIN]


def methods(settings: dict) -> list[str]:
    """How the taxa were found, in two sentences."""
    labels = (
        "labels that were given"
        if settings["own_labels"]
        else "statistical tests of each CpG's beta values against age, which name a taxon where every criterion has an "
        "answer (zones and errors below)"
    )
    rounds = settings["rounds"]
    selected = (
        f"its calibrated probability was at least {rounds['confidence']:g}"
        if rounds["confidence"] is not None
        else f"at most {100 * rounds['error_rate']:g} % of the calls are wrong (certainty 95 %, by simulated CpGs)"
    )
    return [
        f"Taxa come first from {labels}.",
        "The other CpGs were drawn as scatterplots of beta against age and placed by convolutional networks (ResNet18, "
        f"then MixResNet18) in at most {rounds['max']} rounds where {selected}; the rest is Unclassified.",
    ]


def _zones(settings: dict) -> list[tuple[str, str, float]]:
    """Criterion, end of its zone (no, yes) and value, of all criteria."""
    return [(name, end, float(zone[end])) for name, zone in settings["thresholds"].items() for end in ("no", "yes")]


def legend_of(taxonomy, samples, places, columns: list, settings: dict, seed: int) -> pd.DataFrame:
    """What the table means: part (about, column, taxon, threshold, error), name, unit, text."""
    ages, counts = samples["age"], taxonomy["taxon"].value_counts()
    rows = [("about", "methods", "", text) for text in methods(settings)]
    rows += [
        ("about", "samples", "", f"{len(samples):,}"),
        ("about", "age", "years", f"{ages.min():g} to {ages.max():g}, median {ages.median():g}"),
        ("about", "CpGs", "", f"{len(taxonomy):,}"),
        *([("about", "CpGs with a position", "", f"{places['chrom'].notna().sum():,}")] if places is not None else []),
        ("about", "missing values", "", "left out CpG by CpG, never filled in: n counts the samples that have a value"),
        (
            "about",
            "numbers",
            "",
            f"{DIGITS} significant digits, the ten probabilities {DECIMALS} decimals; empty where not defined",
        ),
        ("about", "seed", "", str(seed)),
        *(("about", f"version of {name}", "", version) for name, version in versions()),
    ]
    described = COLUMNS | DESCRIPTION
    for name in columns:
        kind = "probability" if name.startswith("p_") or name.endswith("_p") else "beta" if name in MAIN else ""
        rows.append(("column", name, UNITS.get(name, kind), described[name]))
    meaning = MEANING | {UNCLASSIFIED: "no taxon: see reason"}
    rows += [("taxon", taxon, COLOURS[taxon], f"{meaning[taxon]}; {counts.get(taxon, 0):,} CpGs") for taxon in KNOWN]
    rows += [
        ("threshold", f"{name}.{end}", "", f"{value:g}: {BY_NAME[name].question} ({BY_NAME[name].quantity})")
        for name, end, value in _zones(settings)
    ]
    rows += [("error", name, "", f"{value:g}") for name, value in settings["errors"].items()]
    return pd.DataFrame(rows, columns=["part", "name", "unit", "text"])


def table_blocks(taxonomy, places, columns: list, given: dict):
    """The rows of the supplementary table, as data frames of text: numbers with DIGITS, empty where missing."""
    left = read_parquet(given["unclassified"], columns=["cpg", "reason", "detail"]).set_index("cpg").astype(object)
    changes, start = _changes(given, taxonomy), 0
    for block in parquet_blocks(given["statistics"], BLOCK, columns=["cpg", *MAIN]):
        rows = slice(start, start + len(block))
        start += len(block)
        found = taxonomy.iloc[rows].reset_index(drop=True)
        if not np.array_equal(found["cpg"].to_numpy(dtype=object), block["cpg"].to_numpy(dtype=object)):
            raise InputError(f"{given['statistics']} and {given['taxonomy']} are not of the same CpGs: delete both")
        found["disagrees"] = np.where(found["disagrees"], "yes", "")
        for name in left:
            found[name] = found["cpg"].astype(object).map(left[name])
        if places is not None:
            found["chrom"], found["position"] = places["chrom"].array[rows], places["start"].array[rows] + 1
            for name in GENES:
                if name in places:
                    found[name] = places[name].array[rows]
        for name, values in changes.items():
            found[name] = values[rows]
        for name in MAIN:
            found[name] = block[name]
        for name in PROBABILITY_COLUMNS:
            found[name] = found[name].round(DECIMALS)  # most are next to 0 or 1, and take little room so
        yield pd.DataFrame({name: _text(found[name]) for name in columns})


def _text(values: pd.Series) -> np.ndarray:
    """Values as text, (n,) object, numbers with DIGITS significant digits; empty for what is missing or infinite."""
    if pd.api.types.is_float_dtype(values):
        numbers = values.to_numpy(dtype=np.float64)
        return np.array([f"{x:.{DIGITS}g}" if np.isfinite(x) else "" for x in numbers.tolist()], dtype=object)
    return values.astype(object).where(values.notna(), "").map(str).to_numpy(dtype=object)


def write_tables(out: dict, taxonomy, places, columns: list, legend: pd.DataFrame, given: dict) -> None:
    """Write the supplementary table as CSV, and where wanted as a workbook, whose first sheet is the legend.

    In one pass; of either a few thousand rows are in memory. A workbook of more rows than Excel takes has the legend
    alone, which then says where the table is.
    """
    fits = len(taxonomy) <= MOST_ROWS
    if "excel" in out and not fits:
        text = (
            f"{len(taxonomy):,} CpGs are more rows than a sheet of Excel takes ({MOST_ROWS:,}): "
            f"the table is in {pathlib.Path(out['table']).name} alone"
        )
        logging.warning(text)
        legend = pd.concat([pd.DataFrame([("about", "table", "", text)], columns=legend.columns), legend])
    with gzipped(out["table"], 6) as packed:
        if "excel" not in out:
            _write_rows(packed, None, taxonomy, places, columns, given)
            return
        # Rows go to the disk one by one, into files of which a killed job leaves some.
        scratch = pathlib.Path(out["excel"]).with_name(f".{pathlib.Path(out['excel']).name}.rows")
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            scratch.mkdir()
            with (
                atomic(out["excel"]) as temporary,
                xlsxwriter.Workbook(temporary, {"constant_memory": True, "tmpdir": scratch}) as book,
            ):
                # The same results give the same file at any time.
                book.set_properties({"title": "Taxa of CpGs", "created": datetime.datetime(2026, 1, 1)})
                _write_legend(book, legend)
                sheet = _Sheet(book, len(taxonomy), columns) if fits else None
                _write_rows(packed, sheet, taxonomy, places, columns, given)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _write_rows(packed, sheet, taxonomy, places, columns: list, given: dict) -> None:
    progress = Progress(len(taxonomy), "rows of the table written")
    for number, block in enumerate(table_blocks(taxonomy, places, columns, given)):
        packed.write(block.to_csv(index=False, header=number == 0, lineterminator="\n").encode())
        if sheet is not None:
            sheet.append(block)
        progress.step(len(block))


def _write_legend(book, legend: pd.DataFrame) -> None:
    sheet = book.add_worksheet("Legend")
    bold, wrap = book.add_format({"bold": True}), book.add_format({"text_wrap": True, "valign": "top"})
    for at, width in enumerate((11, 22, 16, 100)):
        sheet.set_column(at, at, width, wrap)
    sheet.freeze_panes(1, 0)
    for at, name in enumerate(legend.columns):
        sheet.write_string(0, at, name, bold)
    for row, values in enumerate(legend.itertuples(index=False), 1):
        for at, value in enumerate(values):
            sheet.write_string(row, at, value, wrap)


class _Sheet:
    """The sheet `Taxonomy`: a frozen header with filters, taxa in their colours."""

    def __init__(self, book, n_rows: int, columns: list[str]):
        self.sheet, self.row = book.add_worksheet("Taxonomy"), 1
        self.words = {at for at, name in enumerate(columns) if name in WORDS}
        self.taxon = columns.index("taxon")
        bold = book.add_format({"bold": True})
        self.styles = {
            taxon: book.add_format({"bg_color": COLOURS[taxon], "font_color": _readable(COLOURS[taxon])})
            for taxon in KNOWN
        }
        self.sheet.freeze_panes(1, 1)
        for at, name in enumerate(columns):
            self.sheet.set_column(at, at, max(len(name) + 3, 11))
            self.sheet.write_string(0, at, name, bold)
        self.sheet.autofilter(0, 0, n_rows, len(columns) - 1)

    def append(self, block: pd.DataFrame) -> None:
        words, texts, numbers = self.words, self.sheet.write_string, self.sheet.write_number
        for row, values in enumerate(block.itertuples(index=False, name=None), self.row):
            for at, value in enumerate(values):
                if at == self.taxon:
                    texts(row, at, value, self.styles[value])
                elif not value:
                    continue
                elif at in words:
                    texts(row, at, value)
                else:
                    numbers(row, at, float(value))
        self.row += len(block)


def _readable(colour: str) -> str:
    """Black or white, whichever contrasts more with the background."""
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return "#000000" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "#FFFFFF"


# --- R ---------------------------------------------------------------------------------------------------------------


def r_script(columns: list) -> str:
    """The template `read_results.R` with the taxa and their colours, and which columns of the table are text."""
    template = pathlib.Path(__file__).parents[2] / "templates" / "read_results.R"
    colours = ",\n".join(f'  {taxon} = "{COLOURS[taxon]}"' for taxon in KNOWN)
    absent = {"cell_type", "spread_cell_type"} - {*columns}
    words = ", ".join(f'"{name}"' for name in WORDS if name not in absent)
    words = textwrap.fill(words, 110, initial_indent=" " * 14, subsequent_indent=" " * 14).lstrip()
    return template.read_text(encoding="utf-8").replace("@COLOURS@", colours).replace("@WORDS@", words)
