"""The example files of the page What we read: each is the same cohort."""

import re

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from cpgtaxa.cohort import Cohort
from cpgtaxa.input.ingest import ingest

DOCS = ROOT / "docs"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (DOCS / "what_we_read.md").read_text().splitlines()
    if "](forms/" in line
]


def linked(cell: str, else_: str) -> str:
    found = re.fullmatch(r"\[(.+)\]\(forms/\1\)", cell)
    return found[1] if found else else_


def test_every_file_is_on_the_page():
    shown = {linked(cell, "") for row in ROWS for cell in row[1:3]} - {""}
    assert shown == {path.name for path in (DOCS / "forms").iterdir()}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_each_form_is_read_as_the_same_cohort(tmp_path, row):
    beta, sheet = linked(row[1], "plain.csv"), linked(row[2], "plain_sheet.csv")
    outputs = [tmp_path / name for name in ("beta.arrow", "samples.parquet", "cpgs.parquet", "qc.json")]
    columns = dict.fromkeys(("sample_id", "age", "sex"))
    ingest(DOCS / "forms" / beta, DOCS / "forms" / sheet, *outputs, columns=columns)
    cohort, samples = Cohort(outputs[0]), pd.read_parquet(outputs[1])
    plain = pd.read_csv(DOCS / "forms/plain.csv", index_col=0)
    people = pd.read_csv(DOCS / "forms/plain_sheet.csv", dtype={"plate": str})
    assert list(cohort.cpgs) == list(plain.index)
    assert list(cohort.sample_ids) == list(plain.columns)
    values = np.vstack([cohort.read(at, at + 1) for at in range(len(plain))])
    np.testing.assert_allclose(values, plain, atol=1e-5)
    np.testing.assert_allclose(samples["age"], people["age"])
    assert samples["sex"].tolist() == people["sex"].tolist()
    assert samples["plate"].tolist() == people["plate"].tolist()
