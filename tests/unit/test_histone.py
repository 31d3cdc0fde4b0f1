"""Expression from histone marks: what networks are given, what files may hold, areas, parts, maps, simulated truth."""

import gzip
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from branches import Page, kept_from
from cpgtaxa.errors import InputError
from cpgtaxa.learning import loop
from cpgtaxa.models import create_model
from cpgtaxa.statistics import areas
from cpgtaxa.targets.histone import inputs, networks, page, published, scores, simulated, study
from cpgtaxa.targets.histone.cells import ROWS, Cell, CellWriter, gather, preprocess
from cpgtaxa.targets.histone.occlusion import occluded
from cpgtaxa.targets.histone.plan import DEEPCHROME_MARKS, MIX, SPLITS, HistonePlan, marks_of
from cpgtaxa.targets.histone.results import distance_of, planted_bins
from scipy.stats import norm

# --- what networks are given -----------------------------------------------------------------------------------------


def test_preprocessing_by_hand():
    # Three bins of two marks; the second has no read at all, as the second gene has none in any.
    counts = np.array([[[2, 4], [0, 0], [3, 1]], [[0, 0], [0, 0], [0, 0]]])
    found = preprocess(counts)
    assert found.dtype == np.float32
    # Shares 1/2 and 1; 0 and 0; 1 and 1/3. Their sums by mark are 3/2 and 4/3: divided by the larger, 1 and 8/9.
    np.testing.assert_allclose(found[0], [0.5, 1, 0, 0, 1, 1 / 3, 1, 8 / 9], rtol=1e-6)
    assert not found[1].any()


def test_networks_are_as_large_as_published():
    def parameters(name):
        return sum(weights.numel() for weights in create_model(name).parameters())

    assert parameters("GeneNet") == 782_845
    # Filters 5 · 10 · 50 + 50, then 18 pooled places of 50 to 625, to 125, to 2.
    assert parameters("DeepChrome") == 2_550 + (900 * 625 + 625) + (625 * 125 + 125) + (125 * 2 + 2)
    assert networks.new_network("GeneNet", 5, 100)(torch.zeros(3, 505)).shape == (3, 2)
    assert networks.new_network("DeepChrome", 4, 60)(torch.zeros(3, 4, 60)).shape == (3, 2)


def test_a_network_that_got_stuck_is_reported(caplog):
    networks.warn_of_one_answer(np.array([0.501, 0.502, 0.5015]), "GeneNet on E003")
    assert "GeneNet on E003 learnt nothing: its probabilities are 0.501 to 0.502 for all genes" in caplog.text
    caplog.clear()
    networks.warn_of_one_answer(np.array([0.4, 0.6]), "GeneNet on E003")
    assert not caplog.text


def test_deepchrome_is_given_marks_by_bins():
    counts = np.arange(30, dtype=np.float32).reshape(1, 10, 3)
    found = networks.inputs_of("DeepChrome", counts)
    assert found.shape == (1, 3, 10)
    assert found[0, 1].tolist() == counts[0, :, 1].tolist()


# --- files -----------------------------------------------------------------------------------------------------------

MARKS = ["A", "B"]
BINS = 4


def gene_rows(name, label, first=0):
    """BINS rows of a gene: its counts are first, first + 1, …"""
    return [f"{name},{bin_ + 1},{first + 2 * bin_},{first + 2 * bin_ + 1},{label}" for bin_ in range(BINS)]


class Files:
    """The three files of a small cell type, each as a list of lines that a test can change."""

    def __init__(self, folder):
        self.folder = folder
        self.lines = {
            part: [line for gene in range(4) for line in gene_rows(f"{10 * at + gene:06d}", gene % 2, gene)]
            for at, part in enumerate(SPLITS)
        }

    def write(self):
        given = {}
        for part, lines in self.lines.items():
            given[part] = self.folder / f"{part}.csv"
            given[part].write_text("\n".join(lines) + "\n")
        return given

    def prepare(self, given=None, marks=MARKS, bins=BINS):
        out = {"cell": self.folder / "out/C.arrow", "qc": self.folder / "out/C.json"}
        (self.folder / "out").mkdir(exist_ok=True)
        inputs.prepare(given or self.write(), out, cell="C", marks=marks, bins=bins)
        return Cell(out["cell"]), json.loads(out["qc"].read_text())

    def refused(self, given=None, **changes):
        """The problems reported; nothing may be left behind."""
        with pytest.raises(InputError) as caught:
            self.prepare(given, **changes)
        assert not list((self.folder / "out").iterdir())
        return "\n".join(caught.value.problems)


@pytest.fixture
def own(tmp_path):
    return Files(tmp_path)


def test_files_are_read_as_they_are(own):
    own.lines["valid"][0:BINS] = gene_rows("000010", 0, 0.5)
    cell, qc = own.prepare()
    assert cell.genes().tolist() == [f"{10 * at + gene:06d}" for at in range(3) for gene in range(4)]
    assert cell.split.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert cell.label.tolist() == [0, 1] * 6
    assert cell.take([1, 4]).tolist() == [
        [[1, 2], [3, 4], [5, 6], [7, 8]],
        [[0.5, 1.5], [2.5, 3.5], [4.5, 5.5], [6.5, 7.5]],
    ]
    assert qc["genes"] == {"train": 4, "valid": 4, "test": 4}
    assert qc["high"] == {"train": 2, "valid": 2, "test": 2}


def test_gzip_header_tabs_and_line_ends_change_nothing(own):
    plain, _ = own.prepare()
    wanted = plain.take(np.arange(12)), plain.genes().tolist()
    given = own.write()
    text = given["train"].read_text()
    given["train"] = own.folder / "train.csv.gz"
    given["train"].write_bytes(gzip.compress(text.encode()))
    # Marks in another order are found by their names.
    swapped = [
        ",".join((*line.split(",")[:2], *line.split(",")[3:1:-1], line.split(",")[4])) for line in own.lines["valid"]
    ]
    given["valid"].write_text("\ufeffgene,bin,B,A,label\r\n" + "\r\n".join(swapped) + "\r\n")
    given["test"].write_text("\n".join(own.lines["test"]).replace(",", "\t"))
    cell, _ = own.prepare(given)
    np.testing.assert_array_equal(cell.take(np.arange(12)), wanted[0])
    assert cell.genes().tolist() == wanted[1]


def test_separators_at_the_end_and_row_names_of_r_change_nothing(own):
    plain, _ = own.prepare()
    wanted = plain.take(np.arange(12)).tolist()
    given = own.write()
    given["train"].write_text("".join(f"{line},\n" for line in own.lines["train"]))
    rows = "".join(f'"{row}"\t' + line.replace(",", "\t") + "\n" for row, line in enumerate(own.lines["valid"], 1))
    given["valid"].write_text('"gene"\t"bin"\t"A"\t"B"\t"label"\n' + rows)
    given["test"].write_text("gene,bin,A,B,label,\r\n" + "".join(f"{line},\r\n" for line in own.lines["test"]))
    cell, _ = own.prepare(given)
    assert cell.take(np.arange(12)).tolist() == wanted
    given["train"].write_text("".join(f"{line},\n" for line in own.lines["train"]) + "000003,5,1,2,0,7\n")
    for path in (own.folder / "out").iterdir():
        path.unlink()
    assert "rows with another number of columns" in own.refused(given)


def test_a_label_is_never_a_mark():
    assert marks_of(["gene", "bin", "A", "B", "label", "expression"]) == ["A", "B"]
    assert marks_of(["gene", "bin", "A", "B", "label"]) == ["A", "B"]
    assert marks_of(["gene", "bin", "A", "B", "high"]) == ["A", "B"]


def test_blocks_of_any_size_give_the_same(own, monkeypatch):
    cell, _ = own.prepare()
    wanted = cell.take(np.arange(12)), cell.genes().tolist()
    monkeypatch.setattr(inputs, "BLOCK", 50)
    cell, _ = own.prepare()
    np.testing.assert_array_equal(cell.take(np.arange(12)), wanted[0])
    assert cell.genes().tolist() == wanted[1]


def test_tables_have_their_split_and_their_central_bins_taken(own):
    lines = ["gene,bin,A,B,label,expr,split"]
    for at, part in enumerate(SPLITS):
        for gene in range(2):
            lines += [f"g{at}{gene},{bin_},{bin_},{10 * bin_},{gene},7.5,{part}" for bin_ in range(1, 9)]
    table = own.folder / "table.csv"
    table.write_text("\n".join(lines) + "\n")
    cell, qc = own.prepare({"table": table})
    assert qc["bins_given"] == 8
    assert cell.take([0])[0].tolist() == [[3, 30], [4, 40], [5, 50], [6, 60]]
    assert cell.split.tolist() == [0, 0, 1, 1, 2, 2]


def test_genes_without_any_read_are_counted_and_kept(own):
    own.lines["test"][:BINS] = [f"000020,{bin_},0,0,0" for bin_ in range(1, BINS + 1)]
    cell, qc = own.prepare()
    assert qc["silent"] == 1
    assert "1 genes have no read" in qc["warnings"][0]
    assert len(cell) == 12


def swap(lines, at, line):
    return [*lines[:at], line, *lines[at + 1 :]]


BAD = {
    "columns": (lambda rows: [f"{row},9" for row in rows], "train.csv has 6 columns, not 5: gene, bin, A, B, label"),
    "a column too many": (
        lambda rows: swap(rows, 5, rows[5] + ",1"),
        "1 rows with another number of columns: line 6 has 6, not 5",
    ),
    "a row too few": (
        lambda rows: rows[:6] + rows[7:],
        "1 genes with another number of rows: '000001' (from line 5) has 3, not 4",
    ),
    "bins": (
        lambda rows: swap(swap(rows, 1, rows[2]), 2, rows[1]),
        "1 genes with bins out of order: '000000' (lines 1 to 4)",
    ),
    "negative": (
        lambda rows: swap(rows, 2, "000000,3,-4,5,0"),
        "1 genes with negative counts: line 3 ('000000', A): -4",
    ),
    "infinite": (
        lambda rows: swap(rows, 2, "000000,3,4,inf,0"),
        "1 genes with infinite counts: line 3 ('000000', B): inf",
    ),
    "text": (lambda rows: swap(rows, 2, "000000,3,many,5,0"), "1 cells that are no numbers: line 3, A: 'many'"),
    "nothing": (lambda rows: swap(rows, 2, "000000,3,,5,0"), "1 cells without a value: line 3, A: ''"),
    "not a label": (
        lambda rows: [f"{row[:-1]}2" if row.startswith("000001") else row for row in rows],
        "1 genes with a label that is neither 0 nor 1: '000001' (line 5): 2",
    ),
    "two labels": (
        lambda rows: swap(rows, 2, "000000,3,4,5,1"),
        "1 genes whose label changes: '000000' (lines 1 to 4)",
    ),
    "twice": (lambda rows: rows + rows[:BINS], "1 genes that are there more than once: '000000'"),
    "one class": (lambda rows: [f"{row[:-1]}1" for row in rows], "all 4 train genes of cell type C have the label 1"),
    "empty lines": (lambda rows: ["", ""], "train.csv begins with an empty line"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_reported_with_line_and_gene(own, name):
    change, message = BAD[name]
    own.lines["train"] = change(own.lines["train"])
    found = own.refused()
    assert message in found
    assert len(found.splitlines()) == 1


def test_a_gene_of_two_splits_is_refused(own):
    own.lines["test"] += gene_rows("000002", 0)
    assert "test.csv: 1 genes that are in train too: '000002'" in own.refused()


def test_a_gene_of_two_splits_of_a_table_is_refused(own):
    lines = ["gene,bin,A,B,label,split"]
    lines += [f"{row},{part}" for part, rows in own.lines.items() for row in rows]
    lines[2] = lines[2].replace("train", "test")
    lines[9] = lines[9].replace("train", "learn")
    table = own.folder / "table.csv"
    table.write_text("\n".join(lines) + "\n")
    assert "2 genes whose split is not train, valid or test: '000000' (lines 2 to 5)" in own.refused({"table": table})


def test_all_problems_of_all_files_come_at_once(own):
    own.lines["train"][2] = "000000,3,-4,5,0"
    own.lines["valid"][2] = "000010,3,x,5,0"
    own.lines["test"][3:4] = []
    found = own.refused()
    for what in (
        "train.csv: 1 genes with negative",
        "valid.csv: 1 cells that are no",
        "test.csv: 1 genes with another",
    ):
        assert what in found


def test_gzip_that_ends_early_and_other_kinds_of_files(own):
    given = own.write()
    packed = gzip.compress(np.random.default_rng(0).bytes(4000).hex().encode())
    given["train"].write_bytes(packed[: len(packed) // 2])
    assert "train.csv is damaged or cut off, at line 1 or after it" in own.refused(given)
    given["train"].write_bytes(b"")
    assert "train.csv is empty" in own.refused(given)
    given["train"].write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert "train.csv is a" in own.refused(given)


def test_marks_that_a_file_lacks_are_named(own):
    given = own.write()
    given["test"].write_text("gene,bin,A,C,label\n" + given["test"].read_text())
    assert "test.csv lacks the marks 'B'; its header has 'A', 'C'" in own.refused(given)


def test_files_of_different_bins_are_refused(own):
    own.lines["test"] = [f"g{gene},{bin_},1,1,{gene}" for gene in range(2) for bin_ in range(1, 7)]
    assert "cell type C has files of 4 and of 6 bins a gene" in own.refused()


def test_a_damaged_cell_is_reported(own):
    own.prepare()
    path = own.folder / "out/C.arrow"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=r"C\.arrow"):
        Cell(path)


def test_a_cell_that_becomes_shorter_is_reported(own):
    cell, _ = own.prepare()
    with open(cell.path, "r+b") as file:
        file.truncate(300)
    with pytest.raises(InputError, match="ends early"):
        cell.take([11])


def test_rows_are_found_across_record_batches(tmp_path):
    n = 2 * ROWS + 100
    counts = np.arange(n * 2, dtype=np.float32).reshape(n, 2, 1)
    with CellWriter(tmp_path / "C.arrow", ["A"], 2) as writer:
        for at in range(0, n, 700):
            some = slice(at, min(at + 700, n))
            writer.append(
                [f"g{row}" for row in range(n)][some], np.zeros(n)[some], np.arange(n)[some] % 2, counts[some]
            )
    cell = Cell(tmp_path / "C.arrow")
    rows = np.array([n - 1, 0, ROWS, ROWS - 1, 2 * ROWS])
    np.testing.assert_array_equal(cell.take(rows), counts[rows])
    assert cell.genes(rows).tolist() == [f"g{row}" for row in rows]
    assert len(cell) == n
    np.testing.assert_array_equal(gather([cell, cell], np.array([1, 0, 1]), rows[:3]), counts[rows[:3]])


# --- the config ------------------------------------------------------------------------------------------------------


def plan(**changes):
    section = {
        "data_dir": None, "tables": None, "published": None, "cells": None, "marks": None, "bins": 100, "mix": "both",
    }  # fmt: skip
    section |= {
        "models": ["GeneNet"],
        "save_dir": "s",
        "simulate": {"cells": 2, "genes": 30},
        "occlusion": {"genes": 5},
    }
    training = {"device": "auto", "precision": "auto", "threads": 1}
    return HistonePlan({"seed": 1, "training": training, "histone": section | changes})


def cell_folder(folder, lines, parts=SPLITS):
    folder.mkdir(parents=True)
    for part in parts:
        (folder / f"{part}.csv").write_text(lines)


def test_folders_in_every_accepted_layout(tmp_path):
    cell_folder(tmp_path / "data/E1/classification", "g,1,0,0,0,0,0,1\n")
    cell_folder(tmp_path / "data/E2", "g,1,0,0,0,0,0,1\n")
    both = plan(data_dir=str(tmp_path / "data"))
    assert both.cells == ["E1", "E2"]
    assert both.marks == list(DEEPCHROME_MARKS)
    assert both.units == ["E1", "E2", MIX]
    assert both.input_files("E1")["test"] == str(tmp_path / "data/E1/classification/test.csv")
    assert plan(data_dir=str(tmp_path / "data/E2")).cells == ["E2"]
    assert plan(data_dir=str(tmp_path / "data"), cells=["E2"]).cells == ["E2"]


def test_folders_that_cannot_be_used(tmp_path):
    cell_folder(tmp_path / "data/E1", "g,1,0,0,0,0,0,1\n")
    cell_folder(tmp_path / "data/E2", "g,1,0,0,0,1\n")
    cell_folder(tmp_path / "data/E 3", "g,1,0,0,0,0,0,1\n", SPLITS[:2])
    data = str(tmp_path / "data")

    def reported(**changes):
        with pytest.raises(InputError) as caught:
            plan(**changes).page_files()
        return "\n".join(caught.value.problems)

    found = reported(data_dir=data)
    assert "cell type E 3 lacks test.csv" in found
    assert "is called 'E 3': use letters" in found
    assert "different marks: E2 3, and E1 5" in reported(data_dir=data, cells=["E1", "E2"])
    assert "histone.cells names 'E9'" in reported(data_dir=data, cells=["E1", "E9"])
    (tmp_path / "none").mkdir()
    assert "is empty" in reported(data_dir=str(tmp_path / "none"))
    assert "is not there" in reported(data_dir="nowhere")
    assert "histone.tables.E1: t.csv is not there" in reported(tables={"E1": "t.csv"})
    assert "both set" in reported(data_dir=data, tables={"E1": "t.csv"})
    assert "rename it" in reported(tables={"mix": "t.csv"})


# --- areas -----------------------------------------------------------------------------------------------------------


def placements(values, positive):
    """Of every positive the share of negatives below it, of every negative that of positives above; ties half."""
    ones, others = values[positive], values[~positive]
    below = np.array([[float(one > other) + 0.5 * (one == other) for other in others] for one in ones])
    return below.mean(axis=1), below.mean(axis=0)


def delong(one, other, positive):
    """Areas of two models, and their covariance matrix, as the paper of 1988 writes them."""
    pairs = [placements(values, positive) for values in (one, other)]
    of_ones, of_others = np.cov([pair[0] for pair in pairs]), np.cov([pair[1] for pair in pairs])
    return [pair[0].mean() for pair in pairs], of_ones / positive.sum() + of_others / (~positive).sum()


@pytest.fixture
def reported():
    """Labels of 60 genes and what two models say of them, with ties."""
    rng = np.random.default_rng(3)
    positive = rng.random(60) < 0.4
    one = np.round(rng.normal(positive, 1), 1)
    return positive, one, np.round(0.6 * one + rng.normal(0.4 * positive, 0.7), 1)


def frame(values, positive, cell="C"):
    genes = [f"g{at}" for at in range(len(values))]
    return pd.DataFrame({"cell": cell, "gene": genes, "label": positive.astype(int), "probability": values})


def test_areas_and_their_variance_are_delongs(reported):
    positive, one, other = reported
    wanted, covariance = delong(one, other, positive)
    for values, area, variance in zip((one, other), wanted, np.diag(covariance), strict=True):
        found, parts = areas.parts_of_auc(values, positive)
        assert found == pytest.approx(area)
        assert (parts**2).sum() == pytest.approx(variance)
    low, high = areas.interval_of_auc(wanted[0], covariance[0, 0], 10)
    half = 1.96 * math.sqrt(covariance[0, 0]) / (wanted[0] * (1 - wanted[0]))
    middle = math.log(wanted[0] / (1 - wanted[0]))
    assert low == pytest.approx(1 / (1 + math.exp(half - middle)), abs=1e-4)
    assert high == pytest.approx(1 / (1 + math.exp(-half - middle)), abs=1e-4)


def test_two_models_are_compared_on_the_same_genes(reported):
    positive, one, other = reported
    (first, second), covariance = delong(one, other, positive)
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    # Rows in another order are the same genes.
    shuffled = frame(other, positive).sample(frac=1, random_state=0)
    table = scores.compare([scores.score("one", frame(one, positive)), scores.score("other", shuffled)])
    [row] = table.itertuples()
    assert row.difference == pytest.approx(first - second)
    assert row.p == pytest.approx(2 * norm.sf(abs(first - second) / error))
    assert row.p_holm == row.p
    assert row.ci_low == pytest.approx(first - second - 1.959964 * error)
    third = scores.score("third", frame(one + other, positive))
    pairs = scores.compare([scores.score("one", frame(one, positive)), scores.score("other", shuffled), third])
    steps = np.sort(pairs["p"]) * [3, 2, 1]
    np.testing.assert_allclose(np.sort(pairs["p_holm"]), np.minimum(np.maximum.accumulate(steps), 1))


def test_a_gene_counts_once_in_however_many_cell_types(reported):
    """Two cell types with the very same genes are no more than one."""
    positive, one, _ = reported
    single = scores.score("one", frame(one, positive))
    twice = scores.score("one", pd.concat([frame(one, positive, "C"), frame(one, positive, "D")]))
    assert twice.mean == pytest.approx(single.mean)
    assert twice.interval() == pytest.approx(single.interval())
    other = frame(one, positive, "D").assign(gene=[f"h{at}" for at in range(60)])
    apart = scores.score("one", pd.concat([frame(one, positive, "C"), other]))
    assert apart.interval()[1] - apart.interval()[0] < 0.8 * (single.interval()[1] - single.interval()[0])


def test_areas_at_their_ends():
    positive = np.array([True, True, False, False, False])
    assert areas.auc(np.array([5.0, 4, 3, 2, 1]), positive) == 1
    low, high = areas.interval_of_auc(1.0, 0.0, 2)
    assert (low, high) == (pytest.approx(math.sqrt(0.025)), 1.0)
    assert np.isnan(areas.auc(np.ones(3), np.ones(3, dtype=bool)))
    assert areas.auc(np.ones(5), positive) == 0.5


def test_roc_curve_by_hand():
    x, y = areas.roc(np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, False, True, False]))
    assert x.tolist() == [0, 0, 0.5, 1]
    assert y.tolist() == [0, 0.5, 1, 1]


# --- mixed models ----------------------------------------------------------------------------------------------------


def small_cell(path, genes, splits, first):
    """A cell type of one mark in two bins; a gene's counts are `first` plus its row."""
    n = len(genes)
    counts = np.repeat(first + np.arange(n), 2).reshape(n, 2, 1)
    with CellWriter(path, ["A"], 2) as writer:
        writer.append(genes, [SPLITS.index(split) for split in splits], np.arange(n) % 2, counts)
    return Cell(path)


def test_mixed_models_are_tested_on_the_test_files(tmp_path):
    """The published code takes the validation genes for the test of mixed models."""
    genes = [f"g{at}" for at in range(40)]
    splits = ["train"] * 20 + ["valid"] * 10 + ["test"] * 10
    cells = [small_cell(tmp_path / f"{name}.arrow", genes, splits, first) for name, first in (("C", 0), ("D", 100))]
    parts = study.parts_of(cells, MIX, 1)
    found = study.predictions(cells, parts["test"], lambda counts: counts[:, 0, 0], 512)
    assert found["gene"].tolist() == genes[30:] * 2
    assert found["cell"].tolist() == ["C"] * 10 + ["D"] * 10
    assert found["probability"].tolist() == [*range(30, 40), *range(130, 140)]
    # Learnt from and chosen by: the others, three tenths of the genes in both cell types.
    names = {split: {genes[row] for row in part.rows} for split, part in parts.items()}
    assert len(names["train"]) == 21
    assert len(names["valid"]) == 9
    assert not names["train"] & names["valid"]
    assert names["train"] | names["valid"] == set(genes[:30])
    assert len(parts["train"]) == 42


def test_a_gene_that_is_tested_anywhere_is_learnt_from_nowhere(tmp_path):
    genes = [f"g{at}" for at in range(30)]
    one = small_cell(tmp_path / "C.arrow", genes, ["train"] * 10 + ["valid"] * 10 + ["test"] * 10, 0)
    two = small_cell(tmp_path / "D.arrow", genes, ["test"] * 5 + ["train"] * 20 + ["valid"] * 5, 0)
    parts = study.parts_of([one, two], MIX, 1)
    learnt = {genes[row] for split in ("train", "valid") for row in parts[split].rows}
    assert learnt == set(genes[5:20])
    three = small_cell(tmp_path / "E.arrow", genes[20:] + genes[:20], ["train"] * 10 + ["test"] * 20, 0)
    with pytest.raises(InputError, match="none is left to learn from"):
        study.parts_of([one, three], MIX, 1)


# --- maps ------------------------------------------------------------------------------------------------------------


def test_occlusion_by_hand():
    counts = np.array([[[1, 0], [2, 0], [3, 5]], [[4, 0], [0, 0], [0, 1]]], dtype=np.float32)
    weights = np.array([[1, 0], [-1, 0], [10, 2]])
    kept = counts.copy()
    found = occluded(lambda some: (some * weights).sum(axis=(1, 2)), counts, 2)
    assert found[["mark", "bin_from", "bin_to"]].to_numpy().tolist() == [[0, 1, 2], [0, 3, 3], [1, 1, 2], [1, 3, 3]]
    # Without bins 1 and 2 of the first mark: the first gene loses 1 − 2, the second 4.
    assert found["change"].tolist() == [2.5, 15, 0, 6]
    assert found["signed"].tolist() == [1.5, 15, 0, 6]
    np.testing.assert_array_equal(counts, kept)


def test_distances_are_from_the_middle():
    assert distance_of(50, 51, 100, 100) == 0
    assert distance_of(1, 1, 100, 100) == -4950
    assert distance_of(100, 100, 100, 100) == 4950


def test_planted_bins_are_those_half_within():
    table = pd.DataFrame({"mark": ["A", "A", "A", "B"], "bin_from": [1, 3, 5, 3], "bin_to": [2, 4, 6, 4]})
    planted = pd.DataFrame({"mark": ["A"], "bin_from": [4], "bin_to": [4], "sign": [1]})
    assert planted_bins(table, planted).tolist() == [False, True, False, False]


# --- the simulated cell types ----------------------------------------------------------------------------------------


def test_simulated_counts_follow_expression_where_planted():
    shared = np.random.default_rng(0).normal(size=1500)
    expression, labels, shown, counts = simulated.simulate_cell(7, 1, shared)
    assert counts.shape == (1500, 100, 5)
    assert labels.sum() == 750
    assert (labels == (expression > np.median(expression))).all()
    depth = counts.sum(axis=(1, 2))
    planted = np.zeros((100, 5), dtype=bool)
    for mark, first, last, _, sign in simulated.PLANTED:
        column = DEEPCHROME_MARKS.index(mark)
        planted[first - 1 : last, column] = True
        share = counts[:, first - 1 : last, column].sum(axis=1) / depth
        assert sign * np.corrcoef(share, shown)[0, 1] > 0.2, mark
    elsewhere = counts[:, ~planted[:, 0], 0].mean(), counts[:, ~planted[:, 3], 3].mean()
    deep = math.exp(simulated.DEPTH**2 / 2)
    assert elsewhere == pytest.approx([0.8 * deep, 0.5 * deep], rel=0.05)


def test_counts_vary_as_negative_binomials_do():
    counts = simulated.draw_counts(np.random.default_rng(0), np.full(200_000, 5.0))
    assert counts.mean() == pytest.approx(5, rel=0.02)
    assert counts.var() == pytest.approx(5 + simulated.DISPERSION * 25, rel=0.04)


def test_simulated_files_are_read_back(tmp_path):
    settings = {"cells": 2, "genes": 30}
    paths = [tmp_path / f"{cell}_{part}.csv" for cell in ("C01", "C02") for part in SPLITS]
    simulated.write_cells(settings, 5, paths, tmp_path / "truth.csv", tmp_path / "planted.csv")
    truth = pd.read_csv(tmp_path / "truth.csv", dtype={"gene": str})
    given = dict(zip(SPLITS, paths[3:], strict=True))
    out = {"cell": tmp_path / "C02.arrow", "qc": tmp_path / "C02.json"}
    inputs.prepare(given, out, cell="C02", marks=list(DEEPCHROME_MARKS), bins=100)
    cell, wanted = Cell(out["cell"]), truth[truth["cell"] == "C02"]
    assert cell.genes().tolist() == wanted["gene"].tolist()
    assert cell.label.tolist() == wanted["label"].tolist()
    shared = np.random.default_rng([5, 0]).normal(size=30)
    np.testing.assert_array_equal(cell.take(np.arange(30)), simulated.simulate_cell(5, 2, shared)[3])


def test_the_warm_up_is_given_in_epochs(tmp_path, monkeypatch):
    """25 genes in batches of 10 are three batches an epoch."""
    small_cell(tmp_path / "C.arrow", [f"g{at}" for at in range(30)], ["train"] * 25 + ["valid"] * 3 + ["test"] * 2, 0)
    seen = []

    def noting(learner, *arguments, **options):
        seen.append(learner.warmup)
        raise StopIteration

    monkeypatch.setattr(loop, "fit", noting)
    monkeypatch.setattr(networks, "new_network", lambda *arguments: torch.nn.Linear(1, 2))
    settings = dict.fromkeys(("epochs", "patience", "lr", "lr_decay", "threads"), 1) | {"batch_size": 10, "warmup": 2}
    settings |= {"debug": False, "device": "cpu", "precision": "float32"}
    chosen = {"unit": "C", "network": "DeepChrome", "settings": settings, "seed": 1}
    with pytest.raises(StopIteration):
        networks.fit_network([tmp_path / "C.arrow"], {"log": tmp_path / "log"}, **chosen, work=tmp_path / "work")
    assert seen == [6]


# --- published predictions -------------------------------------------------------------------------------------------


def test_own_models_stand_beside_published_predictions(tmp_path):
    genes = [f"g{number}" for number in range(8)]
    labels = np.tile([0, 1], 4)
    theirs = np.array([0.1, 0.9, 0.2, 0.8, 0.6, 0.7, 0.3, 0.4])
    table = pd.DataFrame({"Gene": [*genes, "elsewhere"], "True": [*labels, 1], "Prediction": [*theirs, 0.9]})
    table.to_csv(tmp_path / "published.csv", index=False)
    ours = pd.DataFrame({"cell": "C", "gene": genes[:6], "label": [0, 1, 0, 1, 0, 0], "probability": 0.5})
    ours["probability"] = [0.1, 0.9, 0.2, 0.8, 0.7, 0.3]
    found = published.beside({"C": published.read_published(tmp_path / "published.csv", "C")}, {"GeneNet": ours})
    assert found[["genes", "model", "n", "labels_differ"]].to_numpy().tolist() == [
        ["all", "published", 9, 0],
        ["both", "published", 6, 1],  # the sixth gene is high as published, and low here
        ["both", "GeneNet", 6, 1],
    ]
    assert found["auc"].tolist() == pytest.approx(
        [areas.auc(np.array([*theirs, 0.9]), np.array([*labels, 1]) == 1), 1.0, 1.0]
    )
    assert found["accuracy"].tolist() == pytest.approx([7 / 9, 4 / 6, 5 / 6])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gene,label\ng1,1\n", "needs the columns gene, label and prediction"),
        ("gene,label,prediction\ng1,high,0.5\n", "1 values such as 'high' (line 2): a label is 0 or 1"),
        ("gene,label,prediction\ng1,1,3.2\n", "1 values such as '3.2' (line 2): a prediction is a probability"),
        ("gene,label,prediction\ng1,1,0.2\ng1,1,0.3\n", "lists 1 genes more than once"),
        ("gene,label,prediction\ng1,1,0.2\n", "has none of the genes that were tested: 'g1' against 'h1'"),
    ],
)
def test_published_predictions_that_cannot_be_used_are_named(tmp_path, text, said):
    (tmp_path / "published.csv").write_text(text)
    ours = pd.DataFrame({"cell": ["C"], "gene": ["h1"], "label": [1], "probability": [0.5]})
    with pytest.raises(InputError) as error:
        published.beside({"C": published.read_published(tmp_path / "published.csv", "C")}, {"GeneNet": ours})
    assert said in error.value.text()


def test_published_tables_are_of_cell_types_that_are_there(tmp_path):
    cell_folder(tmp_path / "cells" / "C", "g,1,0,0,0,0,0,1\n")
    (tmp_path / "p.csv").write_text("gene,label,prediction\n")
    made = plan(data_dir=str(tmp_path / "cells"), published={"C": str(tmp_path / "p.csv")})
    assert made.page_files()["beside"] == [str(tmp_path / "p.csv")]
    assert made.beside_table() == {"beside": "results/histone/published.csv"}
    with pytest.raises(InputError, match="no cell type is called so"):
        plan(data_dir=str(tmp_path / "cells"), published={"E1": str(tmp_path / "p.csv")}).page_files()
    with pytest.raises(InputError, match=r"published.C: .*nope.csv is not there"):
        plan(data_dir=str(tmp_path / "cells"), published={"C": str(tmp_path / "nope.csv")}).page_files()


# --- what the page says in each state --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stated(tmp_path_factory):
    """The page of two simulated cell types with made-up predictions, to be rendered with other numbers."""
    folder, rng = tmp_path_factory.mktemp("stated"), np.random.default_rng(2)
    files = [folder / f"{cell}_{part}.csv" for cell in ("C01", "C02") for part in SPLITS]
    simulated.write_cells({"cells": 2, "genes": 30}, 5, files, folder / "truth.csv", folder / "planted.csv")
    given = {"truth": folder / "truth.csv", "planted": folder / "planted.csv"}
    given |= {key: [] for key in ("input", "qc", "predictions", "logs", "occlusion")}
    maps = pd.DataFrame([(mark, at, at + 9, 0.1, 0.1, 10) for mark in DEEPCHROME_MARKS for at in range(1, 100, 10)])
    maps.columns = ["mark", "bin_from", "bin_to", "change", "signed", "genes"]
    log = {"epoch": [1, 2], "epoch_duration_s": [1.0, 1.0]}
    log |= {f"{part}_{name}": [0.5, 0.6] for part in ("train", "val") for name in ("loss", "auc", "acc")}
    for at, cell in enumerate(("C01", "C02")):
        out = {"cell": folder / f"{cell}.arrow", "qc": folder / f"{cell}.json"}
        marks = list(DEEPCHROME_MARKS)
        inputs.prepare(dict(zip(SPLITS, files[3 * at :], strict=False)), out, cell=cell, marks=marks, bins=100)
        given["input"].append(out["cell"])
        given["qc"].append(out["qc"])
    for unit in ("C01", "C02", MIX):
        (folder / unit).mkdir()
        cells = [Cell(path) for path in given["input"] if unit in (path.stem, MIX)]
        for name in ("GeneNet", "OneMark"):
            tested = [cell.split == SPLITS.index("test") for cell in cells]
            frames = [
                pd.DataFrame({"cell": cell.name, "gene": cell.genes()[rows], "label": cell.label[rows]})
                for cell, rows in zip(cells, tested, strict=True)
            ]
            frame = pd.concat(frames, ignore_index=True)
            frame["probability"] = np.clip(0.3 * frame["label"] + 0.7 * rng.random(len(frame)), 0, 1)
            frame.to_parquet(folder / unit / f"{name}.parquet")
            given["predictions"].append(folder / unit / f"{name}.parquet")
        pd.DataFrame(log).to_csv(folder / unit / "GeneNet_log.csv", index=False)
        given["logs"].append(folder / unit / "GeneNet_log.csv")
        (folder / "maps" / unit).mkdir(parents=True)
        maps.to_parquet(folder / "maps" / unit / "GeneNet.parquet")
        given["occlusion"].append(folder / "maps" / unit / "GeneNet.parquet")
    settings = {"models": ["GeneNet", "OneMark"], "units": ["C01", "C02", MIX], "cells": ["C01", "C02"]}
    settings |= {"bin_size": 100, "save_dir": "saved", "published": [], "epochs": 2, "patience": None, "warmup": 0}
    settings |= {"batch_size": 20, "lr": 0.001, "lr_decay": 0.9, "occlusion": {"bins": 10, "genes": 10}}
    outputs = {name: folder / f"{name}.csv" for name in ("summary", "cells", "comparisons", "occlusion")}
    outputs |= {"html": folder / "report.html", "figures": folder / "figures"}
    with kept_from("cpgtaxa.targets.histone.page.write_page") as kept:
        page.write(given, outputs, settings=settings, seed=1)
    return Page(**kept)


def first(n=1, **changes):
    return lambda rows: [row | changes for row in rows[:n]]


ONE_CELL = {"n_cells": 1, "mixed": None, "names": ["C01"], "drawn": {"cells": None}, "table": [], "input": first()}
BESIDE = {"cell": "C01", "model": "as published", "both": True, "n": "9", "auc": "0.9", "range": "–", "accuracy": "0.8"}
BESIDE = [BESIDE | {"differ": "1"}, BESIDE | {"both": False, "differ": ""}]
STATES = [
    (
        {"best": "GeneNet, mixed", "first": "GeneNet"},
        [
            "from histone marks in 2 cell types",
            "GeneNet, mixed separates genes of high from genes of low expression best with an area",
            "mean over 2 cell types): so often",
            "GeneNet reaches ",
            "Simulated counts of",
            "has not seen, in no cell type.",
            "others; the rest have a model for each cell type. Diamond",
            "Each run of 10 bins of each mark",
            "over 10 test genes of each cell type.",
            "without one mark, the others of the bin grow.",
        ],
        ["Only", "Files have", "The first", "Beside published"],
    ),
    (
        ONE_CELL
        | {
            "rows": first(own=True, auc_range="–"),
            "best": "OneMark",
            "first": "OneMark",
            "against": [],
            "one_mark": False,
            "simulated": False,
            "truth": None,
            "maps": first(1, units=[]),
            "width": 1,
            "by_largest": False,
        },
        [
            "in 1 cell type",
            "OneMark separates genes of high from genes of low expression with an area under the ROC curve of",
            "(C01): so often",
            "Counts of H3K",
            "in one cell type; every score",
            "DeLong’s method. Diamond and line: area",
            "Each bin of each mark",
        ],
        [
            "reaches",
            "expression best",
            "is what a model must beat",
            "GeneNet is given",
            "truly follow",
            "in no cell type",
        ],
    ),
    (
        {"rows": lambda rows: [row | {"auc_range": "–"} for row in rows], "best": "a", "first": "b"},
        ["b reaches 0."],
        ["interval –", "(–)"],
    ),
    ({"settings": {"units": [MIX]}}, ["others. Diamond"], ["the rest have"]),
    (
        {"n_cells": 20, "panels": 8, "maps": lambda maps: [maps[0] | {"units": [""] * 8}]},
        ["All 20 cell types", "The first 8 of 20 cell types.", "the first 8 cell types"],
        ["Lines: 95 % intervals.", "cell type by cell type"],
    ),
    (
        {"published": BESIDE, "files": {"beside": "beside.csv", "published": "output.csv"}},
        ["C01 as published tested here too 9", "all of the table 9", "and output.csv as published"],
        [],
    ),
    (
        {"drawn": {"training": None}, "maps": []},
        ["(empty: no maps were asked for)"],
        ["Training Solid", "Where networks"],
    ),
    ({"settings": {"patience": 3, "warmup": 1}}, ["epochs at most, ", "over the first epoch."], []),
    ({"settings": {"warmup": 2}}, ["over the first 2 epochs."], []),
    ({"truth": {"bins": []}}, ["would reach"], ["Finds the bins"]),
    (
        {"cut": [40, 200], "mixed": {"lost": 1}, "warnings": ["Odd."]},
        ["Files have 40 or 200 bins a gene", "1 gene of a cell type was left out of", "Odd."],
        ["Nothing was left out"],
    ),
    (
        {"cut": [], "mixed": {"lost": 0}, "warnings": []},
        ["Nothing was left out: every gene"],
        ["left out of the mixed"],
    ),
    ({"mixed": {"lost": 20}}, ["20 genes of a cell type were left out of the mixed models: in the"], []),
]


@pytest.mark.parametrize("state", STATES)
def test_what_the_page_says_is_true_of_each_state(stated, state):
    stated.check(*state)


def test_no_sentence_of_the_page_is_left_without_a_state(stated):
    stated.check_ways(STATES)
