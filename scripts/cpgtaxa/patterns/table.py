"""The patterns of a cohort's CpGs beside their taxa: one row per CpG, by shards."""

import collections
import dataclasses
import logging
import time

import numpy as np
import pandas as pd

from cpgtaxa.cohort import Cohort, two_sexes
from cpgtaxa.errors import InputError
from cpgtaxa.files import gzipped, parquet_blocks, read_parquet, write_parquet
from cpgtaxa.names import IMPRINTED, SNP, SNP_NEAR, TAXA
from cpgtaxa.patterns.causes import FIT_COLUMNS, batch_columns, cause_of, members, of_imprinting
from cpgtaxa.patterns.columns import DESCRIPTION
from cpgtaxa.patterns.replication import COLUMNS, KNOWN, known
from cpgtaxa.patterns.shape import UNADJUSTED, Design, Scales
from cpgtaxa.patterns.spread import describe, describe_spread
from cpgtaxa.progress import so_far
from cpgtaxa.statistics.age_ewas import LEVEL, benjamini_hochberg
from cpgtaxa.taxa.criteria import PATTERN_LIMITS, RULES, Answers
from cpgtaxa.wording import counted

READ, ROWS = 512, 64
"""CpGs that are read, and that are described together: the values of these stay in the processor's cache."""
BANDED_TAXA = [TAXA.index(taxon) for taxon, answers in RULES.items() if answers["two_bands"]]
BY_AGE = PATTERN_LIMITS["bands at some ages only"]
LINE_OF = 20
"""Fewest people in a band who give it a line of its own."""
AGAIN = "again_"
"""Before the names of `replication.known` in the files of shards."""


@dataclasses.dataclass
class Study:
    """What all CpGs of a cohort share.

    ages: (n,) float64, years. position: as for `members`. sexes: (n,) codes of `two_sexes`. batches: of
    `batch_columns`. scales: of adjusted betas.
    """

    ages: np.ndarray
    position: np.ndarray
    sexes: np.ndarray
    batches: dict[str, np.ndarray]
    design: Design
    scales: Scales

    @classmethod
    def of(cls, samples: pd.DataFrame, scales: Scales = UNADJUSTED) -> "Study":
        """samples: frame of `cohort.read_samples`."""
        ages, sexes = samples["age"].to_numpy(dtype=np.float64), two_sexes(samples)
        design = Design(ages, sexes)
        position = (ages - ages.mean()) / max(design.high - design.low, 1e-9)
        return cls(ages, position.astype(np.float32), sexes, batch_columns(samples), design, scales)


def patterns(read, statistics: pd.DataFrame, study: Study, *, thresholds: dict, errors: dict) -> pd.DataFrame:
    """The columns of DESCRIPTION for k CpGs, as far as they do not need the whole array.

    `sex_p` stands in place of `sex_q`, and the columns of `replication.known`, with AGAIN before their names, in place
    of those of the replication; `imprinting_p`, of `causes.of_imprinting`, is what it would be with a list (NaN where
    bands follow the sheet).

    read: function of first and one-past-last row that gives their values (m, n) float32, NaN where missing.
    statistics: k rows of `statistics.compute`, with `cpg`. thresholds, errors: `taxa` of the config. A cause is given
    to every CpG that the tests allow to be Bi… or Tri…, whatever taxon it gets in the end; others have None.
    """
    answers = Answers(statistics, thresholds, errors)
    bands = answers.bands
    fitted = np.isfinite(statistics["bic2"].to_numpy())
    allowed = (answers.open[:, BANDED_TAXA].any(axis=1) & fitted) | (bands >= 2)
    number = np.where(bands >= 2, bands, np.where(answers.third, 3, 2))
    ages_apart = np.where(number == 3, statistics["three_by_age"], statistics["two_by_age"]) < BY_AGE
    levelled = (bands >= 2) & (ages_apart | answers.of_sex)
    fits = dict(zip(np.flatnonzero(allowed), statistics[list(FIT_COLUMNS)][allowed].to_dict("records"), strict=True))
    log_ratio = statistics["log_sd_ratio"].to_numpy(float)
    cause = np.full(len(statistics), None, object)
    cause_p, imprinting_p = np.full((2, len(statistics)), np.nan)
    pieces, followed, apart = [], collections.Counter(), {}
    for start in range(0, len(statistics), READ):
        block = np.array(read(start, min(start + READ, len(statistics))), dtype=np.float32)
        for low in range(start, start + len(block), ROWS):
            values = block[low - start : low - start + ROWS]
            rows, raw = slice(low, low + len(values)), {}
            for row in low + np.flatnonzero(allowed[rows]):
                fit, own = fits[row], values[row - low]
                member = study.sexes
                if not answers.of_sex[row]:
                    member = members(own, fit, number[row], study.position)
                member = np.where(np.isnan(own), -1, member)
                cause[row], cause_p[row], column = cause_of(member, fit, number[row], study.sexes, study.batches)
                followed[column] += 1
                if cause[row] in ("SNP", "unknown"):
                    imprinting_p[row] = of_imprinting(member, fit, number[row])
                if levelled[row]:
                    raw[row - low] = own.copy(), member
                    level(own, member)
            found = _described(values, study, log_ratio[rows])
            # Lines of bands that cross, and steps, look like changes of spread.
            for at in np.flatnonzero(found["spread_shape"] != "none"):
                if at in raw:
                    apart[low + at] = straightened(*raw[at], study.position)
                if found["shape"][at] == "step":
                    own = apart.setdefault(low + at, values[at].copy())
                    level(own, np.where(np.isnan(own), -1, study.ages > found["change_point"][at]))
            pieces.append(found)
        _spread_apart(apart, pieces, study, log_ratio, ROWS)
    _spread_apart(apart, pieces, study, log_ratio)
    del followed[""]
    if followed:
        logging.info(f"bands that follow a column of the sheet: {dict(followed.most_common())}")
    found = {"cpg": statistics["cpg"].to_numpy()}
    found |= {name: np.concatenate([piece[name] for piece in pieces]) for name in (pieces[0] if pieces else ())}
    found = pd.DataFrame(found | {"cause": cause, "cause_p": cause_p, "imprinting_p": imprinting_p})
    return pd.concat([found, known(answers).add_prefix(AGAIN)], axis=1)


def _described(values, study: Study, log_ratio, function=describe) -> dict:
    """`spread.describe`, always of ROWS CpGs: with fewer, matrix products round otherwise, and shards would matter."""
    lacking = ROWS - len(values)
    full = np.concatenate([values, np.repeat(values[-1:], lacking, axis=0)])
    found = function(full, study.design, np.pad(log_ratio, (0, lacking), mode="edge"), study.scales)
    return {name: column[: len(values)] for name, column in found.items()}


def _spread_apart(apart: dict, pieces: list[dict], study: Study, log_ratio, least: int = 1) -> None:
    """Put the spreads of CpGs around the lines of their bands, or both sides of a step, in their place.

    apart: by row the values (n,) float32 without these, fewer than `least` of which stay. pieces: of all rows up to
    now, ROWS each.
    """
    while len(apart) >= least:
        rows = list(apart)[:ROWS]
        found = _described(np.array([apart.pop(row) for row in rows]), study, log_ratio[rows], describe_spread)
        for name, column in found.items():
            for row, value in zip(rows, column, strict=True):
                pieces[row // ROWS][name][row % ROWS] = value


def straightened(values, member, position) -> np.ndarray:
    """The values (n,) float32 of a CpG around the lines of its bands, of a band of a few around its mean.

    values: (n,) float32; member: (n,) band of each, −1 for none, which gives NaN; position: (n,) age on any scale.
    """
    found = np.full(len(values), np.nan, np.float32)
    for band in range(member.max(initial=-1) + 1):
        if len(own := np.flatnonzero(member == band)):
            x, y = (part[own] - part[own].mean(dtype=float) for part in (position, values))
            found[own] = y - (x @ y / max(x @ x, 1e-9) if len(own) >= LINE_OF else 0) * x
    return found


def level(values, member) -> None:
    """Put the bands of a CpG, in place, on the level of the largest. Samples of no band become NaN.

    values: (n,) float32; member: (n,) band of each, −1 for none.
    """
    sizes = np.bincount(member[member >= 0], minlength=1)
    middle = np.array([np.median(values[member == band]) if held else 0 for band, held in enumerate(sizes)])
    shift = (middle - middle[sizes.argmax()]).astype(np.float32)
    values -= np.where(member >= 0, shift[np.maximum(member, 0)], np.nan).astype(np.float32)


def describe_shard(cohort: Cohort, study: Study, statistics, start: int, out, *, thresholds: dict, errors: dict):
    """Write the patterns of one shard.

    statistics: path of the shard's statistics, whose first row is CpG `start` of the cohort. thresholds, errors: `taxa`
    of the config.
    """
    pieces, begin = [], time.monotonic()
    if study.batches:
        logging.info(f"columns of the sheet that bands may follow: {', '.join(study.batches)}")
    for block in parquet_blocks(statistics):

        def read(low, high, first=start):
            cohort.release()
            return cohort.read(first + low, first + high)

        pieces.append(patterns(read, block, study, thresholds=thresholds, errors=errors))
        start += len(block)
    table = pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame({"cpg": [], "shape": []})
    logging.info(f"patterns of {len(table):,} CpGs in {so_far(time.monotonic() - begin)}: {counted(table['shape'])}")
    write_parquet(out, table)


def gather(shards: list, taxonomy, out_parquet, out_csv, replicate=None, annotation=None) -> None:
    """Put shards together, with q-values, the replication, and the causes of CpGs that are called Bi… or Tri….

    shards: files of `describe_shard`, in order. taxonomy: path of the taxonomy. replicate: function of the tables of
    `replication.known` and of the taxonomy that gives the columns of `replication.replication`; None: they are empty.
    annotation: path of the table whose `flags` say which CpGs are in the list IMPRINTED; None: there is no list.
    Raises InputError where shards, taxonomy and annotation are not of the same CpGs.
    """
    tables = [read_parquet(path) for path in shards]
    table = pd.concat([table for table in tables if len(table)], ignore_index=True)
    taxa = read_parquet(taxonomy, columns=["cpg", "taxon", "source", "network_p"])
    if not np.array_equal(table["cpg"].to_numpy(), taxa["cpg"].to_numpy()):
        raise InputError(f"{taxonomy} is not of the CpGs of {shards[0]}: delete both and start again")
    table["sex_q"] = benjamini_hochberg(table["sex_p"].to_numpy())
    drop_chance_curves(table)
    banded = taxa["taxon"].isin([TAXA[number] for number in BANDED_TAXA]).to_numpy()
    if annotation:
        _imprinted(table, annotation, banded)
    cause = table["cause"].to_numpy(object)
    table["cause"] = np.where(banded, np.where(pd.isna(cause), "unknown", cause), None)
    table["cause_p"] = np.where(banded, table["cause_p"], np.nan)
    numbers = table[[AGAIN + name for name in KNOWN]].set_axis(list(KNOWN), axis=1)
    found = pd.DataFrame(np.nan, table.index, list(COLUMNS)) if replicate is None else replicate(numbers, taxa)
    if found["replication"].notna().any():
        mean = found["replication"].mean()
        logging.info(f"another cohort of this design gives the same taxon with a mean probability of {mean:.3f}")
    table = pd.concat([table, found], axis=1)[list(DESCRIPTION)]
    for name in table.select_dtypes("float"):
        table[name] = significant(table[name].to_numpy())
    logging.info(f"shapes: {counted(table['shape'])}; causes of bands: {counted(table['cause'])}")
    logging.info(f"shapes of the spread: {counted(table['spread_shape'])}")
    write_parquet(out_parquet, table)
    with gzipped(out_csv, level=6) as packed:
        table.to_csv(packed, index=False, float_format="%.5g", mode="wb")


def drop_chance_curves(table: pd.DataFrame) -> None:
    """Call the spread of CpGs undecided, in place, where among all CpGs (rows) the curve may be chance."""
    chance = benjamini_hochberg(table["spread_shape_p"].to_numpy()) > LEVEL
    lost = chance & ~table["spread_shape"].isin(["none", "linear"])
    table.loc[lost, "spread_shape"] = "undecided"
    table.loc[lost, [name for name in DESCRIPTION if name.startswith("spread_change_point")]] = np.nan


def _imprinted(table: pd.DataFrame, annotation, banded) -> None:
    """Give CpGs of the list IMPRINTED their cause, in place, where the manifest has no SNP at them or near.

    table: of the shards; banded: (k,) CpGs called Bi… or Tri….
    """
    flags = read_parquet(annotation, columns=["cpg", "flags"])
    if not np.array_equal(flags["cpg"].to_numpy(object), table["cpg"].to_numpy(object)):
        raise InputError(f"{annotation} is not of the CpGs of this cohort: delete it and start again")
    words = flags["flags"].str.split(";")
    listed = np.array([IMPRINTED in found for found in words])
    if not listed.any():
        return
    snp = np.array([bool({SNP, SNP_NEAR}.intersection(found)) for found in words])
    known = listed & ~snp & table["imprinting_p"].notna().to_numpy()
    table.loc[known, "cause"] = "imprinting"
    table.loc[known, "cause_p"] = table["imprinting_p"][known]
    logging.info(
        f"of {listed.sum():,} CpGs of the list {IMPRINTED}, {(listed & banded).sum():,} are called Bi… or Tri…, "
        f"{(known & banded).sum():,} of these for imprinting; {(listed & banded & snp).sum():,} have a SNP"
    )


def significant(x, digits: int = 7) -> np.ndarray:
    """x (k,) to so many significant digits: how curves that lie together are fitted changes the last ones."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** (np.floor(np.log10(np.abs(x))) - digits + 1)
        return np.where(np.isfinite(scale) & (scale > 0), np.round(x / scale) * scale, x)
