"""The explorer of whole arrays: seconds and memory to write it, its size, and how quick it is in Chromium.

    .venv/bin/python tests/benchmarks/explorer_scale.py WORK [CPGSxSAMPLES …]

WORK: a folder for the made-up run, which is removed again (about 4 bytes per beta). Betas are random about a
level, a trend and a spread of each CpG's own, which pack no better than real ones; the statistics are random numbers.
Appends to explorer_scale.csv beside this file.
"""

import argparse
import json
import logging
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from benchmarking import HERE, ROOT
from browsing import Visit, chromium
from cpgtaxa.cohort import CohortWriter
from cpgtaxa.explorer.columns import BOUNDARIES, REASONS, kind_of
from cpgtaxa.names import PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.patterns.columns import CAUSES, SHAPES
from cpgtaxa.statistics.kernel import NAMES

WRITE = """
import json, logging, resource, sys, time, yaml
from cpgtaxa.explorer.writing import write_explorer
logging.basicConfig(level=logging.INFO, format="%(message)s")
asked = json.loads(sys.argv[1])
rules = yaml.safe_load(open(asked.pop("config")))["taxa"]
began = time.monotonic()
write_explorer(rules=rules, seed=1, **asked)
peak = resource.getrusage(resource.RUSAGE_SELF)
print("RESULT", json.dumps([time.monotonic() - began, time.process_time(), peak.ru_maxrss / 1024]))
"""

# The page allows no eval, so that what is to be timed is put into the function.
TAKES = """async () => {
  const text = () => document.getElementById("ELEMENT").textContent, before = text(), began = performance.now();
  ACT;
  while (text() === before) await new Promise((done) => setTimeout(done));
  return performance.now() - began;
}"""


def make_run(folder: pathlib.Path, cpgs: int, samples: int) -> dict[str, str]:
    """The tables that the explorer reads, of a made-up run; paths by name."""
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"S{number:05d}" for number in range(samples)]
    ages = rng.uniform(19, 100, samples).round(1)
    sheet = pd.DataFrame({"sample_id": ids, "age": ages, "sex": rng.choice(["F", "M"], samples)})
    sheet.to_parquet(folder / "samples.parquet", index=False)
    names = np.array([f"cg{number:08d}" for number in rng.permutation(10 * cpgs)[:cpgs]], dtype=object)
    with CohortWriter(folder / "beta.arrow", ids) as writer:
        for start in range(0, cpgs, 2000):
            k = min(2000, cpgs - start)
            level, trend = rng.uniform(0.05, 0.95, (k, 1)), rng.normal(0, 0.001, (k, 1))
            noise = rng.standard_normal((k, samples), dtype=np.float32) * rng.uniform(0.005, 0.08, (k, 1))
            writer.append(list(names[start : start + k]), np.clip(level + trend * (ages - 60) + noise, 0, 1))
    taxon = rng.choice(
        [*TAXA, UNCLASSIFIED], cpgs, p=[0.4, 0.2, 0.05, 0.02, 0.02, 0.01, 0.002, 0.008, 0.01, 0.02, 0.26]
    )
    p = rng.dirichlet(np.full(10, 0.2), cpgs).astype(np.float32)
    source = np.where(taxon == UNCLASSIFIED, "none", np.where(rng.random(cpgs) < 0.6, "statistical", "round_0"))
    table = pd.DataFrame({"cpg": names, "taxon": taxon, "source": source, "confidence": p.max(axis=1)})
    table["second_taxon"] = np.array(TAXA, dtype=object)[p.argsort(axis=1)[:, -2]]
    table[list(PROBABILITY_COLUMNS)] = p
    table["boundary"] = np.where(rng.random(cpgs) < 0.1, rng.choice(list(BOUNDARIES), cpgs), "")
    table["criterion"] = rng.choice(list(BOUNDARIES), cpgs)
    table["margin"] = rng.exponential(1, cpgs).astype(np.float32)
    table["network_p"], table["disagrees"] = table["confidence"], rng.random(cpgs) < 0.1
    table.to_parquet(folder / "taxonomy.parquet", index=False)
    left = table.loc[taxon == UNCLASSIFIED, ["cpg"]]
    left = left.assign(reason=rng.choice(list(REASONS), len(left)), detail="open: spread; LinAgeHomo or LinAgeHet")
    left.to_parquet(folder / "unclassified.parquet", index=False)
    patterns = table[["cpg"]].assign(shape=rng.choice(list(SHAPES), cpgs), cause=rng.choice([*CAUSES, None], cpgs))
    patterns = patterns.assign(change_point=rng.uniform(20, 90, cpgs), replication=rng.random(cpgs))
    patterns["spread_shape"], patterns["spread_change_point"] = patterns["shape"].to_numpy(), patterns["change_point"]
    patterns.to_parquet(folder / "patterns.parquet", index=False)
    chosen = np.sort(rng.permutation(cpgs)[:6000])
    places = table.iloc[chosen][["cpg", "taxon", "source"]].assign(x=rng.normal(size=len(chosen)).round(3))
    places.assign(y=rng.normal(size=len(chosen)).round(3), cluster="").to_csv(folder / "map.csv", index=False)
    near = {f"neighbour_{rank}": rng.permutation(names[chosen]) for rank in range(1, 9)}
    pd.DataFrame({"cpg": names[chosen]} | near).to_csv(folder / "neighbours.csv", index=False)
    write_statistics(folder / "statistics.parquet", names, samples, rng)
    return {path.stem: str(path) for path in folder.iterdir()}


def write_statistics(path, names, samples: int, rng) -> None:
    """Random statistics of the right types, in row groups."""
    writer = None
    for start in range(0, len(names), 1 << 16):
        part = names[start : start + (1 << 16)]
        columns = {"cpg": pa.array(part, pa.string())}
        for name in NAMES:
            numbers = {
                "whole": np.full(len(part), samples if name == "n" else 0, dtype=np.int32),
                "yes": rng.random(len(part)) < 0.3,
                "log": 10 ** -rng.exponential(20, len(part)),
                "number": rng.normal(0, 0.1, len(part)),
            }
            columns[name] = pa.array(numbers[kind_of(name)])
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def size_of(path: pathlib.Path) -> float:
    """MB of a file or of all files of a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def look(browser, path) -> dict[str, float]:
    """Seconds that a person waits for, in a page opened from disk."""
    with Visit(browser, path) as visit:
        page = visit.page
        visit.until("performance.getEntriesByName('explorer-first-picture').length")
        found = {"first_picture": page.evaluate("performance.getEntriesByName('explorer-first-picture')[0].startTime")}
        found["count"] = 0.0

        def takes(name, act, id_="count"):
            found[name] = page.evaluate(TAKES.replace("ELEMENT", id_).replace("ACT", act))

        takes("filter_taxon", "document.querySelector('#taxa input').click()")
        low = "var low = document.getElementById('confidence-low'); low.value = '0.9';"
        takes("filter_confidence", low + " low.dispatchEvent(new Event('input'))")
        page.evaluate("document.getElementById('reset').click()")
        page.wait_for_timeout(1500)
        sort = "var sort = document.getElementById('sheet-sort'); sort.value = 'core_sd';"
        first = "document.querySelector('#sheet b').parentElement.dataset.row"
        for name in ("sort_first", "sort_again"):
            act = sort + " sort.dispatchEvent(new Event('change'))"
            began = page.evaluate("performance.now()")
            before = page.evaluate(first)
            page.evaluate(act)
            visit.until(f"{first} !== {json.dumps(before)}")
            found[name] = page.evaluate("performance.now()") - began
            page.evaluate(
                "var s = document.getElementById('sheet-sort'); s.value = ''; s.dispatchEvent(new Event('change'))"
            )
            page.wait_for_timeout(1500)
        query = "var query = document.getElementById('query'); query.value = 'cg0000{}';"
        for name, digit in (("search_first", 1), ("search_again", 2)):
            takes(name, query.format(digit) + " query.dispatchEvent(new Event('input'))", "suggestions")
        page.evaluate("document.getElementById('query').dispatchEvent(new Event('blur'))")
        last = page.evaluate("performance.now()")
        page.locator("#sheet button").nth(7).click()
        visit.until("performance.getEntriesByName('explorer-opened').length")
        found["open_first"] = page.evaluate("performance.getEntriesByName('explorer-opened')[0].startTime") - last
        visit.until("document.querySelectorAll('#beside canvas').length")
        found["neighbours_first"] = page.evaluate("performance.now()") - last
        page.evaluate("performance.clearMarks('explorer-opened')")
        last = page.evaluate("performance.now()")
        page.locator("#detail-after").click()
        visit.until("performance.getEntriesByName('explorer-opened').length")
        found["open_again"] = page.evaluate("performance.getEntriesByName('explorer-opened')[0].startTime") - last
        assert not visit.errors, visit.errors
        del found["count"]
        return {name: round(value / 1000, 3) for name, value in found.items()}


def measure(work: pathlib.Path, cpgs: int, samples: int, drawn: int) -> dict:
    """One size: written, weighed and looked at."""
    run = work / f"{cpgs}x{samples}"
    given = make_run(run, cpgs, samples)
    logging.info("%s made", run.name)
    asked = {
        "given": given,
        "out": {"html": str(run / "out/explorer.html"), "folder": str(run / "out/explorer")},
        "settings": {"cpgs": 5000, "samples": drawn, "sample_ids": True, "own_labels": False},
        "config": str(ROOT / "config/config.yaml"),
    }
    path = {"PYTHONPATH": str(ROOT / "scripts")}
    call = subprocess.run([sys.executable, "-c", WRITE, json.dumps(asked)], stdout=subprocess.PIPE, env=path, text=True)
    call.check_returncode()
    seconds, busy, peak = json.loads(call.stdout.split("RESULT ")[1])
    found = {
        "cpgs": cpgs,
        "samples": samples,
        "drawn": min(drawn, samples),
        "write_s": round(seconds, 1),
        "write_cpu_s": round(busy, 1),
    }
    found |= {"peak_mb": round(peak), "page_mb": round(size_of(run / "out/explorer.html"), 1)}
    found |= {"folder_mb": round(size_of(run / "out/explorer"), 1)}
    with chromium() as browser:
        found |= {f"{name}_s": value for name, value in look(browser, run / "out/explorer.html").items()}
        alone = run / "alone"
        alone.mkdir()
        (run / "out/explorer").rename(alone / "elsewhere")
        began = time.monotonic()
        with Visit(browser, run / "out/explorer.html") as visit:
            visit.until("performance.getEntriesByName('explorer-first-picture').length")
            mark = "performance.getEntriesByName('explorer-first-picture')[0].startTime"
            found["page_alone_first_picture_s"] = round(visit.page.evaluate(mark) / 1000, 3)
        logging.info("page alone looked at in %.1f s", time.monotonic() - began)
    shutil.rmtree(run)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("sizes", nargs="*", default=["10000x656", "100000x656", "811870x656"])
    parser.add_argument("--drawn", type=int, default=1000)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    out = HERE / "explorer_scale.csv"
    for size in asked.sizes:
        found = pd.DataFrame([measure(asked.work, *map(int, size.split("x")), asked.drawn)])
        found.to_csv(out, mode="a", header=not out.exists(), index=False)
        logging.info("%s", found.T.to_string(header=False))


if __name__ == "__main__":
    main()
