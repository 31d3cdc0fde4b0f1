"""Writing the page, results/explorer.html, and the folder beside it that holds what one page cannot."""

import base64
import functools
import hashlib
import json
import logging
import pathlib
import time

import markupsafe
import numpy as np
import pandas as pd
from plotly.offline import get_plotlyjs

import cpgtaxa
from cpgtaxa.cohort import Cohort, read_samples
from cpgtaxa.errors import InputError
from cpgtaxa.explorer import packing
from cpgtaxa.explorer.choosing import choose_cpgs, choose_samples
from cpgtaxa.explorer.columns import (
    BOUNDARIES,
    CHANGES,
    MAIN,
    MEANING,
    PLACES,
    REASONS,
    WORDS,
    Index,
    column,
    described,
    kept,
    scale_of,
)
from cpgtaxa.files import atomic_folder, naming_damage, need_space, parquet_blocks
from cpgtaxa.names import KNOWN, PROBABILITY_COLUMNS, SYMBOLS, UNCLASSIFIED
from cpgtaxa.names import MEANING as TAXON_MEANING
from cpgtaxa.pages.page import PALETTE, write_page
from cpgtaxa.patterns.columns import CAUSES, SHAPES
from cpgtaxa.progress import Progress, so_far
from cpgtaxa.statistics.cell_types import MEANING as CELLS
from cpgtaxa.statistics.kernel import NAMES

TEMPLATES = pathlib.Path(__file__).parents[1] / "templates"
SHARD_VALUES = 200_000
"""Betas in a shard, about: small enough to be there at once when a CpG is opened."""
SHARDS_KEPT = 100
"""Shards after which the matrix's pages are given back."""
MOST_LEVELS = 8
"""Values of a column of the sheet that have a colour each."""
NEIGHBOURS = "neighbour_"
"""What the columns of the embedding's neighbours are called, with a number behind."""
CODED = (
    "taxon", "source", "second_taxon", "reason", "detail", "boundary", "criterion", "disagrees", "confidence",
    "margin", "network_p", *WORDS, *CHANGES,
)  # fmt: skip
"""Columns beside the probabilities and the statistics."""
ABOUT = """Data of the page explorer.html, which lies beside this folder: keep the two together. The page alone
shows {page}.
Each file is a script that hands packed numbers to the page; they are made anew with it.
"""


def write_explorer(given: dict, out: dict, *, settings: dict, rules: dict, seed: int) -> None:
    """Write the page, and the folder with every CpG's betas where it is wanted.

    given: paths `taxonomy`, `unclassified`, `statistics`, `patterns`, `beta`, `samples`, the embedding's `map` and
    `neighbours`, and perhaps `annotation`, and `cell_types` with its `types`. out: paths `html` and perhaps `folder`.
    settings: the config's `explorer`, and `own_labels`: whether labels were given in place of the rules'.
    rules: its `taxa.thresholds` and `taxa.errors`, by which the tests find bands.

    Memory holds a few columns of all CpGs, and betas and statistics of some thousands at a time. Raises InputError for
    damaged tables, tables of other CpGs, and disks too small.
    """
    begun = time.monotonic()
    cohort, samples = Cohort(given["beta"]), read_samples(given["samples"])
    index = Index(
        *(given[name] for name in ("taxonomy", "unclassified", "statistics", "patterns")),
        rules,
        given.get("annotation"),
        given.get("cell_types"),
    )
    if not np.array_equal(cohort.cpgs, index.cpgs) or cohort.sample_ids != list(samples["sample_id"]):
        raise InputError(f"{cohort.path} is not the matrix of this taxonomy: delete the results and start again")
    drawn = choose_samples(samples["age"].to_numpy(), settings["samples"], seed)
    mapped = read_map(given["map"], given["neighbours"], index.cpgs)
    on_map = np.zeros(len(index), dtype=bool)
    on_map[mapped["rows"]] = True
    group = index.taxon.astype(np.int64) * 256 + index.source
    rows = choose_cpgs(group, settings["cpgs"], seed, on_map)
    whole = "folder" in out and len(rows) < len(index)
    per_shard = int(np.clip(SHARD_VALUES // len(drawn), 16, 1024))
    scales = {name: scale_of(kept(name, column(given["statistics"], name))) for name in MAIN}
    pieces = page_pieces(cohort, index, given["statistics"], rows, drawn, per_shard)
    pieces |= {"map": packing.packed(*mapped.values())}
    digest = digest_of(index, drawn, pieces)
    about = {
        "digest": digest,
        "n": len(rows),
        "total": len(index),
        "companion": pathlib.Path(out["folder"]).name if whole else None,
        "perShard": per_shard,
        "samples": described_samples(samples, drawn, settings["sample_ids"]),
        "ownLabels": settings["own_labels"],
        "taxa": described_taxa(index.taxon),
        "sources": [
            {"name": name, "total": int((index.source == code).sum())} for code, name in enumerate(index.sources)
        ],
        "reasons": [{"name": name, "meaning": text} for name, text in REASONS.items()],
        "details": [{"name": name, "open": index.open[name]} for name in index.details],
        "disagreements": [int((index.disagrees == code).sum()) for code in (0, 1)],
        **{
            key: [{"name": name, "meaning": text} for name, text in words.items()]
            for key, words in (("boundaries", BOUNDARIES), ("shapes", SHAPES), ("causes", CAUSES))
        },
        "meanings": MEANING | {name: (PLACES | CELLS)[name] for name in (*index.places, *index.cells)},
        "chromosomes": _counted(index.chromosomes, index.places.get("chromosome")),
        "islands": _counted(index.islands, index.places.get("island")),
        "flags": _counted(index.flags, index.places.get("flags")),
        "statistics": described(),
        "main": [{"name": name, "scale": scales[name]} for name in MAIN],
        "map": {"n": len(mapped["rows"]), "neighbours": int(mapped["neighbours"].shape[0])},
        "version": cpgtaxa.__version__,
    }
    if index.cells:
        types = pd.read_csv(given["types"], dtype=str, keep_default_na=False)
        about["cellTypes"] = types["type"][types["untested"] == ""].tolist()
        about["cellsSaid"] = [{"name": name} for name in index.cells_said]
    write_html(out["html"], about, pieces)
    logging.info(f"the page itself holds {len(rows):,} of {len(index):,} CpGs")
    if "folder" in out:
        n_bytes = len(index) * (len(drawn) * 2.2 + 600) if whole else 0
        need_space(out["folder"], n_bytes, "the explorer's folder takes")
        with atomic_folder(out["folder"]) as folder:
            page = f"{len(rows):,} of {len(index):,} CpGs" if whole else "every CpG, and needs nothing from here"
            (folder / "about.txt").write_text(ABOUT.format(page=page), encoding="utf-8")
            if whole:
                write_folder(folder, cohort, index, given, drawn, per_shard, digest)
    logging.info(f"{so_far(time.monotonic() - begun)} in all")


def _counted(names: list[str], codes) -> list[dict]:
    return [{"name": name, "total": int((codes == code).sum())} for code, name in enumerate(names)]


# --- what the page holds ---------------------------------------------------------------------------------------------


def read_map(path, neighbours, cpgs: np.ndarray) -> dict[str, np.ndarray]:
    """The embedding: rows (m,) uint32 in the cohort, x and y (m,) float32, cluster (m,) uint16 (0: none), neighbours
    (k, m) uint32 rows, the nearest first."""
    text = {"dtype": str, "keep_default_na": False}
    with naming_damage(path):
        table = pd.read_csv(path, **text)
        x, y = (table[name].astype(np.float32).to_numpy() for name in ("x", "y"))
        cluster = table["cluster"].replace("", "0").astype(np.float64).to_numpy().astype(np.uint16)
    place = pd.Index(cpgs)
    rows = place.get_indexer(table["cpg"].to_numpy(dtype=object))
    with naming_damage(neighbours):
        beside = pd.read_csv(neighbours, **text)
        names = beside[[name for name in beside if name.startswith(NEIGHBOURS)]].to_numpy(dtype=object).T
    found = np.stack([place.get_indexer(row) for row in names]) if len(names) else np.empty((0, len(rows)))
    if (rows < 0).any() or (found < 0).any() or list(beside["cpg"]) != list(table["cpg"]):
        raise InputError(f"{path} and {neighbours} are not of this taxonomy: delete both and start again")
    return {"rows": rows.astype(np.uint32), "x": x, "y": y, "cluster": cluster, "neighbours": found.astype(np.uint32)}


def described_samples(samples: pd.DataFrame, drawn: np.ndarray, with_ids: bool) -> dict:
    """The drawn samples: ids, ages, and the columns of the sheet that can be shown as colours; without ids, numbers.

    Of all samples mean, median, 5th and 95th percentile of age (`middle`, `median`, `young`, `old`).
    """
    chosen, ages = samples.iloc[drawn], samples["age"].to_numpy(dtype=float)
    young, median, old = np.quantile(ages, [0.05, 0.5, 0.95]).tolist()
    found = {
        "total": len(samples),
        "middle": float(ages.mean()),
        "median": median,
        "young": young,
        "old": old,
        "ids": [str(name) for name in chosen["sample_id"]] if with_ids else [f"sample {row + 1}" for row in drawn],
        "ages": [round(float(age), 3) for age in chosen["age"]],
        "covariates": [],
    }
    for name in chosen.columns.drop(["sample_id", "age"]) if with_ids else ():
        values = chosen[name]
        known = values[values.notna()]
        if known.nunique() < 2:
            continue
        if pd.api.types.is_numeric_dtype(values) and known.nunique() > MOST_LEVELS:
            numbers = [None if pd.isna(value) else float(f"{float(value):.6g}") for value in values]
            found["covariates"].append({"name": str(name), "numbers": numbers})
        elif known.nunique() <= MOST_LEVELS:
            names = sorted({str(value) for value in known})
            codes = [-1 if pd.isna(value) else names.index(str(value)) for value in values]
            found["covariates"].append({"name": str(name), "names": names, "codes": codes})
    return found


def described_taxa(taxon: np.ndarray) -> list[dict]:
    """Each taxon, Unclassified last: name, colours on light and dark, shape, meaning, CpGs in the cohort."""
    meaning = TAXON_MEANING | {UNCLASSIFIED: "no taxon"}
    return [
        {
            "name": name,
            "light": PALETTE[name][0],
            "dark": PALETTE[name][1],
            "symbol": SYMBOLS[name],
            "meaning": meaning[name],
            "total": int((taxon == code).sum()),
        }
        for code, name in enumerate(KNOWN)
    ]


def page_pieces(cohort, index: Index, statistics, rows: np.ndarray, drawn: np.ndarray, per_shard: int) -> dict:
    """What a page holds of the CpGs `rows` (ascending): text by name, shards of betas among them."""
    found = index_pieces(index, rows)
    found["row"] = packing.packed(rows.astype(np.uint32))
    frame = rows_of(statistics, rows)
    for number, start in enumerate(range(0, len(rows), per_shard)):
        part = rows[start : start + per_shard]
        values = cohort.take(part)[:, drawn]
        cohort.release()
        found[f"beta/{number}"] = shard(values, frame.iloc[start : start + per_shard], index, part)
    return found


def index_pieces(index: Index, rows) -> dict[str, str]:
    """The columns that are looked at before any CpG is opened, of the CpGs `rows`."""
    rank = index.rank()[rows]
    coded = {"second_taxon": index.second} | {name: getattr(index, name) for name in CODED if name != "second_taxon"}
    found = {"ids": packed_names(index.cpgs[rows]), "rank": packing.packed(rank)}
    for name, values in index.places.items():
        found[name] = packed_names(values[rows]) if name == "gene" else packing.packed(values[rows])
    return found | {name: packing.packed((coded | index.cells)[name][rows]) for name in (*CODED, *index.cells)}


def packed_names(names: np.ndarray) -> str:
    """Texts, (n,) str, as one piece."""
    text = json.dumps(names.tolist(), ensure_ascii=False, separators=(",", ":"))
    return packing.packed_bytes(text.encode("utf-8"))


def rows_of(path, rows: np.ndarray) -> pd.DataFrame:
    """The rows (ascending) of a statistics file, as the page keeps them: float32 columns."""
    frames, start = [], 0
    for block in parquet_blocks(path, columns=NAMES):
        mine = rows[(rows >= start) & (rows < start + len(block))] - start
        start += len(block)
        frames.append(kept_frame(block.iloc[mine]))
    return pd.concat(frames, ignore_index=True)


def kept_frame(block: pd.DataFrame) -> pd.DataFrame:
    """Statistics as float32 columns, in the order of NAMES."""
    return pd.DataFrame({name: kept(name, block[name]).astype(np.float32) for name in NAMES})


def shard(values: np.ndarray, statistics: pd.DataFrame, index: Index, rows) -> str:
    """Everything about k CpGs as text: betas (k, samples) uint16, statistics (each, k) float32, probabilities (10, k)
    uint16, bands (k,) uint8. values: float32 betas. rows: theirs in the index."""
    numbers = statistics.to_numpy(dtype=np.float32).T
    return packing.packed(packing.beta_codes(values), numbers, index.probabilities[:, rows], index.bands[rows])


def digest_of(index: Index, drawn: np.ndarray, pieces: dict) -> str:
    """What identifies this run's folder."""
    digest = hashlib.sha256(drawn.astype("<i8").tobytes())
    for content in (json.dumps(index.cpgs.tolist()).encode(), index.taxon, index.confidence, index.probabilities):
        digest.update(content)
    for text in pieces.values():
        digest.update(text.encode())
    return digest.hexdigest()[:16]


def in_json(content) -> markupsafe.Markup:
    """JSON that cannot end the script element it stands in, whatever names it holds."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return markupsafe.Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


@functools.cache
def packed_plotly() -> markupsafe.Markup:
    """plotly.js as text, a third of its size."""
    return markupsafe.Markup(packing.packed_bytes(get_plotlyjs().encode("utf-8"), 9))


def write_html(path, about: dict, pieces: dict) -> None:
    """Write the page: what it is about, the pieces by name, its script, and plotly.js, packed until it is wanted."""
    code = (TEMPLATES / "explorer.js").read_text(encoding="utf-8")
    page = {
        "about": in_json(about),
        "facts": about,
        "pieces": {name: markupsafe.Markup(text) for name, text in pieces.items()},
        "plotly": packed_plotly(),
        "code": markupsafe.Markup(code),
        "code_digest": base64.b64encode(hashlib.sha256(code.encode("utf-8")).digest()).decode("ascii"),
    }
    write_page(path, "explorer.html.j2", page)


# --- the folder ------------------------------------------------------------------------------------------------------


def write_script(path, name: str, text: str) -> None:
    """A piece as a script that hands it to the page. name and text hold no quotes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'cpgtaxaPiece("{name}","{text}")\n', encoding="ascii")


def write_folder(folder, cohort, index: Index, given: dict, drawn: np.ndarray, per_shard: int, digest: str) -> None:
    """Write every CpG's columns, one a file, and shards of `per_shard` CpGs with betas and statistics."""
    write_script(folder / "about.js", "about", digest)
    for name, text in index_pieces(index, slice(None)).items():
        write_script(folder / "columns" / f"{name}.js", name, text)
    for name, codes in zip(PROBABILITY_COLUMNS, index.probabilities, strict=True):
        write_script(folder / "columns" / f"{name}.js", name, packing.packed(codes))
    for name in NAMES:
        text = packing.packed(kept(name, column(given["statistics"], name)).astype(np.float32))
        write_script(folder / "columns" / f"{name}.js", name, text)
    progress = Progress(len(index), "CpGs written")
    for number, (start, frame) in enumerate(in_steps(given["statistics"], per_shard)):
        stop = start + len(frame)
        values = cohort.read(start, stop)[:, drawn]
        text = shard(values, frame, index, slice(start, stop))
        write_script(folder / "beta" / f"{number // 1000}" / f"{number}.js", f"beta/{number}", text)
        if number % SHARDS_KEPT == SHARDS_KEPT - 1:
            cohort.release()
        progress.step(len(frame))


def in_steps(path, rows: int):
    """The statistics of so many CpGs after the other, as (row of the first, frame of `kept_frame`)."""
    start, waiting = 0, None
    for block in parquet_blocks(path, columns=NAMES):
        block = kept_frame(block)
        waiting = block if waiting is None else pd.concat([waiting, block], ignore_index=True)
        whole = len(waiting) // rows * rows
        for low in range(0, whole, rows):
            yield start + low, waiting.iloc[low : low + rows]
        start, waiting = start + whole, waiting.iloc[whole:]
    if waiting is not None and len(waiting):
        yield start, waiting
