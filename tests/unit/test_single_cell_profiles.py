"""What single cells' profiles, genomes and annotations are read as, and what is said of bad ones."""

import gzip

import numpy as np
import pandas as pd
import pytest
from conftest import SHARED
from cpgtaxa.errors import InputError
from cpgtaxa.targets.single_cell import genome as genome_module
from cpgtaxa.targets.single_cell import streams
from cpgtaxa.targets.single_cell.annotations import overlap, read_bed
from cpgtaxa.targets.single_cell.genome import cpg_positions, match_names, open_genome
from cpgtaxa.targets.single_cell.profiles import merge_strands, read_observations, read_profile
from hypothesis import given, settings
from hypothesis import strategies as st


def written(folder, text, name="cell.tsv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(folder, text, **named):
    """chrom, position and state of each row, and the counts."""
    frame = read_profile(written(folder, text), "a", **named)
    return list(frame.itertuples(index=False, name=None)), frame.attrs["counts"]


def problem(call, *arguments, **named) -> str:
    with pytest.raises(InputError) as error:
        call(*arguments, **named)
    return error.value.text()


# --- profiles --------------------------------------------------------------------------------------------------------

PLAIN = [("chr1", 10, 1), ("chr1", 20, 0), ("chr2", 5, 1)]


@pytest.mark.parametrize(
    "text",
    [
        "chr1\t10\t1\nchr1\t20\t0\nchr2\t5\t1\n",
        "chr1\t10\t1.0\nchr1\t20\t0.0\nchr2\t5\t1.0",  # no line end at the end
        "chr1\t20\t0\nchr1\t10\t1\nchr2\t5\t1\n",  # in any order
        "chr1,10,1\nchr1,20,0\nchr2,5,1\n",
        "chr1\t1e+01\t1\nchr1\t2e+01\t0\nchr2\t5\t1\n",  # as R writes 100000
        "chr1 10  1\nchr1 20 0\n chr2 5 1\n",
        "chr1\t10\t0.9\r\nchr1\t20\t0.2\r\nchr2\t5\t0.51\r\n",
        "chr1\t10\t100\nchr1\t20\t25\nchr2\t5\t75.5\n",
        "# a comment\nchr1\t10\t1\n\n#another\nchr1\t20\t0\nchr2\t5\t1\n",
        "chrom\tpos\tvalue\nchr1\t10\t1\nchr1\t20\t0\nchr2\t5\t1\n",
        "value\tposition\tchromosome\n1\t10\tchr1\n0\t20\tchr1\n1\t5\tchr2\n",
        "#chrom\tpos\tvalue\nchr1\t10\t1\nchr1\t20\t0\nchr2\t5\t1\n",
        "chrom\tpos1\tmeth\tunmeth\nchr1\t10\t3\t1\nchr1\t20\t0\t2\nchr2\t5\t1\t0\n",
        "chrom\tpos\tmc\ttotal\nchr1\t10\t3\t4\nchr1\t20\t0\t2\nchr2\t5\t1\t1\n",
        "chrom\tstart\tend\tvalue\nchr1\t9\t10\t1\nchr1\t19\t20\t0\nchr2\t4\t5\t1\n",
        "chrom\tpos0\tvalue\nchr1\t9\t1\nchr1\t19\t0\nchr2\t4\t1\n",
        "track type=bedGraph\nchr1\t9\t10\t1\nchr1\t19\t20\t0\ntrack type=bedGraph\nchr2\t4\t5\t1\n",
        "track type=bedGraph\nchr1 9 10 1\nchr1 19 20 0\nchr2 4 5 1\n",
        "chr1\t9\t11\t1\nchr1\t19\t21\t0\nchr2\t4\t6\t1\n",  # BED of both bases
        "chr1\t9\t10\t100\t7\t0\nchr1\t19\t20\t0\t0\t9\nchr2\t4\t5\t60\t3\t2\n",  # MethylDackel
        "chr1\t10\t10\t100\t7\t0\nchr1\t20\t20\t0\t0\t9\nchr2\t5\t5\t60\t3\t2\n",  # Bismark
        "\ufeffchr1\t10\t1\nchr1\t20\t0\nchr2\t5\t1\n",
    ],
)
def test_every_format_says_the_same(tmp_path, text):
    rows, counts = read(tmp_path, text)
    assert rows == PLAIN
    assert counts["rows"] == 3
    packed = written(tmp_path, gzip.compress(text.encode()), "packed")  # recognised by content, not by name
    assert list(read_profile(packed, "a").itertuples(index=False, name=None)) == PLAIN


ROWS = [("chr1", 100, 2, 0), ("chr1", 200, 0, 1), ("chr1", 300, 1, 3), ("chr2", 50, 3, 1)]
"""chromosome, position of the C, methylated and unmethylated reads."""
STATES = [("chr1", 100, 1), ("chr1", 200, 0), ("chr1", 300, 0), ("chr2", 50, 1)]
BED_METHYL = "{chrom}\t{before}\t{pos}\tm\t{n}\t+\t{before}\t{pos}\t255,0,0\t{n}{sep}{percent:.2f}"
FORMS_OF_PROGRAMS = {
    "bismark": "{chrom}\t{pos}\t{pos}\t{percent}\t{m}\t{u}",
    "bismark, zero based": "{chrom}\t{before}\t{pos}\t{percent}\t{m}\t{u}",
    "methyldackel, both strands": "{chrom}\t{before}\t{after}\t{percent:.0f}\t{m}\t{u}",
    "cytosine report": "{chrom}\t{pos}\t+\t{m}\t{u}\tCG\tCGA",
    "cytosine report, no trinucleotide": "{chrom}\t{pos}\t+\t{m}\t{u}\tCG",
    "allc": "{chrom}\t{pos}\t+\tCGT\t{m}\t{n}\t1",
    "allc, quoted": '"{chrom}"\t{pos}\t"+"\t"CGN"\t{m}\t{n}\t1',
    "CGmap": "{chrom}\tC\t{pos}\tCG\tCG\t{share:.2f}\t{m}\t{n}",
    "methylKit's database": "{chrom}\t{pos}\t{pos}\t+\t{n}\t{m}\t{u}",
    "biscuit": "{chrom}\t{before}\t{pos}\t{share:.3f}\t{n}",
    "bedMethyl of ENCODE": BED_METHYL.replace("{sep}", "\t"),
    "bedMethyl of modkit": BED_METHYL.replace("{sep}", "\t") + "\t{m}\t{u}\t0\t0\t0\t0\t0",
    "bedMethyl of older modkit": BED_METHYL.replace("{sep}", " ") + " {m} {u} 0 0 0 0 0",
    "strand": "{chrom}\t{pos}\t+\t{share}",
    "trailing tab": "{chrom}\t{pos}\t{share}\t",
    "DSS": ("chr\tpos\tN\tX", "{chrom}\t{pos}\t{n}\t{m}"),
    "scNMT": ("chr\tpos\tmet_reads\tnonmet_reads\trate", "{chrom}\t{pos}\t{m}\t{u}\t{state}"),
    "methylpy": (
        "chr\tpos\tstrand\tmc_class\tmc_count\ttotal\tmethylated",
        "{chrom}\t{pos}\t+\tCGA\t{m}\t{n}\t0",
    ),
    "bsmap": ("chr\tpos\tstrand\tcontext\tratio\tC_count\tCT_count", "{chrom}\t{pos}\t+\tATCGA\t{share}\t{m}\t{n}"),
    "methylKit": (
        "chrBase\tchr\tbase\tstrand\tcoverage\tfreqC\tfreqT",
        "{chrom}.{pos}\t{chrom}\t{pos}\tF\t{n}\t{percent}\t0",
    ),
    "modkit with header": (
        "#chrom\tchromStart\tchromEnd\tmodified_base_code\tvalid_coverage\tpercent_modified\tcount_modified",
        "{chrom}\t{before}\t{pos}\tm\t{n}\t{percent}\t{m}",
    ),
    "modkit with its own header": (
        "#chrom\tchromStart\tchromEnd\tname\tscore\tvalid_coverage\tpercent_modified\tcount_modified",
        "{chrom}\t{before}\t{pos}\tm\t{n}\t{n}\t{percent}\t{m}\n{chrom}\t{before}\t{pos}\th\t{n}\t{n}\t{other}\t{u}",
    ),
    "MOABS": (
        "#chrom\tstart\tend\tratio\ttotalC\tmethC\tstrand",
        "{chrom}\t{before}\t{pos}\t{share:.3f}\t{n}\t{m}\t+",
    ),
    "a percentage by its sign": ("Chr,Position,Methylation [%]", "{chrom},{pos},{percent}"),
    "ends of Windows and a tab": ("chr\tpos\tmeth\tunmeth\r", "{chrom}\t{pos}\t{m}\t{u}\t\r"),
    "GRanges": (
        "seqnames\tstart\tend\twidth\tstrand\tmeth\tcov",
        "{chrom}\t{pos}\t{after}\t2\t*\t{m}\t{n}",
    ),
    "R's write.table": ('"chr"\t"pos"\t"meth"\t"unmeth"', '"{row}"\t"{chrom}"\t{pos}\t{m}\t{u}'),
    "header that ends in a tab": ("chr\tpos\tmeth\tunmeth\t", "{chrom}\t{pos}\t{m}\t{u}\t"),
    "rows that end in a tab": ("chr\tpos\tmeth\tunmeth", "{chrom}\t{pos}\t{m}\t{u}\t"),
    "header alone ends in a tab": ("chr\tpos\tmeth\tunmeth\t", "{chrom}\t{pos}\t{m}\t{u}"),
}


def rows_of(form, rows=ROWS):
    header, line = ("", form) if isinstance(form, str) else (form[0] + "\n", form[1])
    text = header
    for row, (chrom, pos, m, u) in enumerate(rows, 1):
        n = m + u
        numbers = {"n": n, "m": m, "u": u, "share": m / n, "percent": 100 * m / n, "state": round(m / n)}
        numbers["other"] = 100 * u / n
        text += line.format(row=row, chrom=chrom, pos=pos, before=pos - 1, after=pos + 1, **numbers) + "\n"
    return text


@pytest.mark.parametrize("form", FORMS_OF_PROGRAMS)
def test_the_forms_of_programs_say_the_same(tmp_path, form):
    assert read(tmp_path, rows_of(FORMS_OF_PROGRAMS[form]))[0] == STATES


@pytest.mark.parametrize(
    ("line", "left_out"),
    [
        ("chr1\t400\t+\t0\t9\tCHH\tCTA", "cytosine report"),
        ("chr1\t400\t+\tCAC\t0\t9\t0", "allc"),
        ("chr1\tC\t400\tCHG\tCA\t0.00\t0\t9", "CGmap"),
        ("chr1\t399\t400\th\t9\t+\t399\t400\t255,0,0\t9\t0.00", "bedMethyl of ENCODE"),
        ("chr1\t399\t400\tm,CHH,0\t9\t+\t399\t400\t255,0,0\t9\t0.00", "bedMethyl of ENCODE"),
    ],
)
def test_other_contexts_and_modifications_are_left_out_and_counted(tmp_path, line, left_out):
    rows, counts = read(tmp_path, rows_of(FORMS_OF_PROGRAMS[left_out]) + line + "\n")
    assert rows == STATES
    assert counts["other_context"] == 1
    assert "1 of other contexts" in problem(read_profile, written(tmp_path, f"{line}\n"), "a")


COUNTS = "{chrom}\t{pos}\t{m}\t{u}"
UNPROVED = {
    "methylated and unmethylated": (COUNTS, ["chrom", "pos", "meth", "unmeth"]),
    "all and methylated": ("{chrom}\t{pos}\t{n}\t{m}", ["chrom", "pos", "N", "X"]),
    "methylated and all": ("{chrom}\t{pos}\t{m}\t{n}", ["chr", "pos", "meth", "total"]),
    "wgbstools": ("{chrom}\t{before}\t{pos}\t{m}\t{n}", ["chrom", "start", "end", "meth", "total"]),
    "name and score": ("{chrom}\t{before}\t{pos}\tx\t{share}\t+", ["chrom", "start", "end", "-", "value", "-"]),
    "counts and a tab": (COUNTS + "\t", ["chrom", "pos", "meth", "unmeth"]),
    "an unknown header": (("a\tb\tc\td", COUNTS), ["chrom", "pos", "meth", "unmeth"]),
}


@pytest.mark.parametrize("form", UNPROVED)
def test_columns_that_nothing_proves_are_asked_for(tmp_path, form):
    text, columns = UNPROVED[form]
    said = problem(read_profile, written(tmp_path, rows_of(text)), "a")
    assert "single_cell.columns" in said
    assert read(tmp_path, rows_of(text), columns=columns)[0] == STATES  # as the message advises


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (rows_of(FORMS_OF_PROGRAMS["bismark"]) + "chr2\t60\t60\t100\t0\t3\n", "line 5: the value 100 is not the share"),
        (rows_of(FORMS_OF_PROGRAMS["bismark"]) + "chr2\t60\t61\t0\t0\t3\n", "line 5: 60 to 61: start and end are"),
        (rows_of(FORMS_OF_PROGRAMS["allc"]) + "chr2\t60\t+\tCGA\t5\t3\t1\n", "line 5: 5 methylated of 3 reads"),
        (rows_of(FORMS_OF_PROGRAMS["trailing tab"]) * 400 + "chr2\t60\t0\t7\n", "'7' stands behind the last column"),
        ("chr1\t0\t100\t0.5\nchr1\t100\t200\t0\n", "line 1: 0 to 100 is no single CpG"),
        ("chr1\t9\t10\t1\nchr1\t30\t20\t0\n", "line 2: 30 to 20 ends before it starts"),
        ("chrom\tpos\tmeth\tcov\n" + "chr1\t{}\t1\t5\n" * 30, "no position has more than 1 methylated read"),
        ("chrom\tpos\tpercent\nchr1\t10\t0.9\nchr1\t20\t0\n", "no value exceeds 0.9: if these are fractions"),
        ("chrom\tpos\tmeth\tcov\nchr1\t10\t0.5\t4\n", "0.5 methylated of 4 reads are no whole numbers"),
        ('track type="bedGraph" description="x CpG methylation counts"\nchr1\t9\t10\t1\n', "counts of reads"),
        ("".join(f"chr1\t{at}\t{at + 1}\t1\n" for at in range(1, 1501)), "none of 1,500 values is 0"),
        ("".join(f"chr1\t{at}\t{at + 1}\t{at % 70}\n" for at in range(1, 1501)), "all whole, and never 100"),
        ("read1\t+\tchr1\t100\tZ\nread1\t-\tchr1\t104\tz\n", "read by read"),
    ],
)
def test_numbers_that_disagree_are_reported(tmp_path, text, said):
    text = "".join(line.format(at * 3 + 1) + "\n" for at, line in enumerate(text.splitlines()))
    assert said in problem(read_profile, written(tmp_path, text), "a")


@pytest.mark.parametrize("name", ["a.NOMe.GpC.cov", "a_CHH.bedGraph", "CHG_context_a.txt"])
def test_files_of_other_sites_are_refused_by_their_names(tmp_path, name):
    path = written(tmp_path, rows_of(FORMS_OF_PROGRAMS["bismark"]), name)
    assert "no methylation of CpGs" in problem(read_profile, path, "a")


def test_a_merged_report_of_bismark_counts_from_1(tmp_path):
    text = rows_of("{chrom}\t{pos}\t{after}\t{percent}\t{m}\t{u}")
    path = written(tmp_path, text, "cell.CpG_report.merged_CpG_evidence.cov")
    assert list(read_profile(path, "a").itertuples(index=False, name=None)) == STATES


def test_coordinates_of_the_config_win(tmp_path):
    assert read(tmp_path, "chr1\t9\t1\n", coordinates="zero_based")[0] == [("chr1", 10, 1)]
    assert read(tmp_path, "chr1\t10\t11\t1\n", coordinates="one_based")[0] == [("chr1", 10, 1)]


def test_what_is_merged_and_left_out_is_counted(tmp_path):
    rows, counts = read(
        tmp_path,
        "chr1\t10\t1\nchr1\t10\t0\n"  # one half: undecided
        "chr1\t20\t1\nchr1\t21\t1\n"  # both strands
        "chr1\t30\t1\nchr1\t31\t0\n"  # strands that disagree
        "chr1\t40\tNA\nchr1\t50\t\nchr1\t60\tnan\n"
        "chr1\t70\t1\nchr1\t70\t1\nchr1\t70\t0\n",
    )
    assert rows == [("chr1", 20, 1), ("chr1", 70, 1)]
    expected = {"rows": 12, "missing": 3, "other_context": 0, "duplicates": 3, "strands": 2, "undecided": 2}
    assert counts == expected


def test_reads_weigh_where_they_are_counted(tmp_path):
    rows, counts = read(tmp_path, "chrom\tpos\tmeth\tunmeth\nchr1\t10\t9\t0\nchr1\t11\t0\t4\nchr1\t50\t0\t0\n")
    assert rows == [("chr1", 10, 1)]  # 9 of 13 reads; the mean of the strands would be one half
    assert counts["missing"] == 1


@given(st.sets(st.integers(1, 60), min_size=1))
@settings(max_examples=80, deadline=None)
def test_strands_pair_from_the_left(positions):
    ordered = sorted(positions)
    expected, at = [], 0
    while at < len(ordered):
        expected.append(ordered[at])
        at += 2 if at + 1 < len(ordered) and ordered[at + 1] == ordered[at] + 1 else 1
    ones = np.ones(len(ordered), np.float32)
    (position, methylated, total), pairs = merge_strands(np.array(ordered, np.int32), ones, ones)
    assert position.tolist() == expected
    assert pairs == len(ordered) - len(expected)
    assert methylated.sum() == total.sum() == len(ordered)


def test_blocks_do_not_show(tmp_path, monkeypatch):
    """Rows cut by the blocks that files are read in, lines of messages among them."""
    rng = np.random.default_rng(0)
    positions = np.sort(rng.choice(np.arange(1, 90_000, 3), 5000, replace=False))
    lines = [f"chr{1 + at // 2500}\t{position}\t{at % 2}" for at, position in enumerate(positions)]
    lines.insert(3000, "# in the middle")
    text = "\n".join(lines) + "\n"
    whole = read_observations(written(tmp_path, text), "a")
    lines[4000] = "chr2\tx\t1"
    monkeypatch.setattr(streams.line_blocks, "__defaults__", (777,))
    pieces = read_observations(written(tmp_path, text), "a")
    assert whole.counts == pieces.counts
    for chrom, observed in whole.by_chrom.items():
        for one, other in zip(observed, pieces.by_chrom[chrom], strict=True):
            np.testing.assert_array_equal(one, other)
    said = problem(read_observations, written(tmp_path, "\n".join(lines)), "cell a")
    assert "line 4,001: the position 'x' is no whole number" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("# only a comment\n", "a cell with no observations"),
        ("chr1\t10\tNA\n", "a cell with no observations (1 rows, 1 without a value)"),
        ("chr1\t10\n", "has 2 columns, expected chromosome, position and value"),
        ("track type=bedGraph\nchr1\t10\t1\n", "has 3 columns, expected chromosome, start, end and value"),
        ("chr1\n", "is no table"),
        ("chr1\t10\t1\nchr1\t20\nchr1\t30\t1\t1\n", "line 2: 2 columns instead of 3; line 3: 4 columns instead of 3"),
        ('"chr","pos","value","x"\n1,10,1,a\n1,20,0,"b\n1,30,1,c"\n1,40,0,d\n', "a quotation mark"),
        ("chr\tpos\tvalue\nchr1\t10\t1\nchr1\tten\t1\n", "cell 'a': line 3: the position 'ten' is no whole number"),
        ("chr1\t10.0\t1.0\n", "line 1: the position '10.0' is no whole number"),
        ("chr1\t10\t1\nchr1\tten\t1\n", "line 2: the position 'ten' is no whole number"),
        ("chr1\t-10\t1\nchr1\t20\t1\n", "line 1: the position -10 cannot be"),
        ("chr1\t10\t1\n\t20\t1\n", "line 2: no chromosome is named"),
        ("chr1\t10\t1\nchr1\t20\tyes\n", "line 2: the value 'yes' is no number"),
        ("chr1\t10\t1\nchr1\t20\t-1\n", "line 2: the value -1 is neither"),
        ("chr1\t10\t1\nchr1\t20\t101\n", "line 2: the value 101 is neither"),
        ("chr1\t10\t1\nchr1\t20\tinf\n", "line 2: the value inf is neither"),
        ("chr1\t10\t1\nchr1\t20\t7\n", "values up to 7 (line 2)"),
        ("chr1\t10\t1\nchr1\t0\t1\n", "line 2: the position 0 cannot be. Positions that count from 0"),
        ("chr1\t10\t1\nchr1\t9999999999\t1\n", "line 2: the position 9999999999 cannot be"),
        ("chr1\t10\t1\n1\t20\t1\n", "names chromosomes in two ways: 'chr1 and 1'"),
        ("chrom\tplace\tvalue\nchr1\t10\t1\n", "its header names no column for position"),
        ("chrom\tpos\tmeth\nchr1\t10\t1\n", "its header names no column for value (or meth and unmeth)"),
        ("chrom\tpos\tvalue\tpos\nchr1\t10\t1\t10\n", "its header names several columns 'pos'"),
        ("chrom\tpos\tvalue\nchr1\t10\t1\tx\n", "its header names 3 columns"),
        ("chrom\tpos\tmeth\ttotal\nchr1\t10\t3\t2\n", "line 2: 3 methylated of 2 reads cannot be"),
        (b"PK\x03\x04 and so on", "a zip archive"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (gzip.compress(b"chr1\t10\t1\n" * 5000, mtime=0)[:-20], "is damaged or cut off"),
        (gzip.compress(b"chr1\t10\t1\n" * 5000, mtime=0)[:40], "is damaged or cut off"),
    ],
)
def test_bad_profiles_are_named(tmp_path, text, said):
    message = problem(read_profile, written(tmp_path, text), "a")
    assert said in message
    assert "cell.tsv" in message


def test_a_missing_profile_and_a_folder_are_named(tmp_path):
    assert "is not there" in problem(read_profile, tmp_path / "none.tsv", "a")
    assert "is not a file" in problem(read_profile, tmp_path, "a")


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data are not here")
def test_real_profiles():
    folder = SHARED / "single_cell"
    mouse = read_profile(folder / "deepcpg_BS27_4_SER.bed.gz", "BS27_4")
    assert len(mouse) == 10_000
    assert list(mouse["chrom"].cat.categories) == ["18", "19"]
    assert mouse["state"].mean() == pytest.approx(0.4069)
    bulk = read_profile(folder / "bwameth_bulk_cpg_counts.tsv.gz", "bulk")
    assert bulk.attrs["counts"]["rows"] == 3564
    assert bulk.attrs["counts"]["undecided"] == 129


# --- genomes ---------------------------------------------------------------------------------------------------------

SEQUENCES = {"chr2": "ACGTNacgtnCCGG", "chr10": "TTTTT" * 30 + "CG", "chr1": "GGCGCG"}
CODES = {"A": 0, "C": 1, "G": 2, "T": 3}


def fasta(sequences, width=7, end="\n"):
    text = ""
    for name, bases in sequences.items():
        lines = [bases[at : at + width] for at in range(0, len(bases), width)]
        text += end.join([f">{name} described", *lines]) + end
    return text


def codes_of(bases):
    return [CODES.get(base, 4) for base in bases.upper()]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_genome_in_one_file(tmp_path, packed, end):
    data = fasta(SEQUENCES, end=end).encode()
    # Two members, as blocked gzip has many.
    data = gzip.compress(data[:50]) + gzip.compress(data[50:]) if packed else data
    genome = open_genome(written(tmp_path, data, "g.fa"))
    assert genome.names == ["chr2", "chr10", "chr1"]
    assert genome.lengths == {name: len(bases) for name, bases in SEQUENCES.items()}
    for name in ("chr1", "chr2", "chr2", "chr10", "chr1"):  # forth and back
        assert genome[name].tolist() == codes_of(SEQUENCES[name])
    assert "chr1" in genome
    assert "1" not in genome
    with pytest.raises(ValueError, match="read-only"):
        genome["chr1"][0] = 3
    assert [path.name for path in tmp_path.iterdir()] == ["g.fa"]  # nothing is written beside it


def test_a_genome_in_a_folder(tmp_path):
    for name, bases in SEQUENCES.items():
        data = fasta({name: bases}).encode()
        written(tmp_path, gzip.compress(data) if name == "chr2" else data, f"{name}.fa" + ".gz" * (name == "chr2"))
    written(tmp_path, "not this", "README")
    genome = open_genome(tmp_path)
    assert genome.names == ["chr1", "chr2", "chr10"]
    for name, bases in SEQUENCES.items():
        assert genome[name].tolist() == codes_of(bases)


@given(st.lists(st.text("ACGTNacgtn", min_size=1, max_size=40), min_size=1, max_size=4), st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_blocks_do_not_show_in_a_genome(tmp_path_factory, sequences, size):
    named = {f"s{number}": bases for number, bases in enumerate(sequences)}
    path = written(tmp_path_factory.mktemp("genome"), fasta(named, width=11), "g.fa")
    before = streams.opened

    def small(path, what):
        context = before(path, what)

        class Small:
            def __enter__(self):
                read, packed = context.__enter__()
                return (lambda _=0: read(size)), packed

            def __exit__(self, *failure):
                return context.__exit__(*failure)

        return Small()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(genome_module, "opened", small)
        genome = open_genome(path)
        for name, bases in named.items():
            assert genome[name].tolist() == codes_of(bases)


def test_cpgs_of_a_sequence():
    codes = np.array(codes_of("CGxGCGCGgc"), dtype=np.uint8)
    assert cpg_positions(codes).tolist() == [1, 5, 7]
    assert cpg_positions(codes).dtype == np.int32


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("ACGT\n", "is not FASTA"),
        (">chr1\nMELVIQP\n", "is not DNA: 'E', 'I', 'L', 'P', 'Q' in the sequence 'chr1'"),
        (">chr1\nACGT\n>chr1\nACGT\n", "the sequence 'chr1' is twice in"),
        (">chr1\n>chr2\nACGT\n", "no sequence follows the name 'chr1'"),
        (">chr1\n", "no sequence follows the name 'chr1'"),
        (">\nACGT\n", "a header without a name"),
        ("\n\n", "holds no sequence"),
        ("", "is empty"),
        (gzip.compress(fasta(SEQUENCES).encode() * 200, mtime=0)[:-12], "is damaged or cut off"),
    ],
)
def test_bad_genomes_are_named(tmp_path, data, said):
    assert said in problem(open_genome, written(tmp_path, data, "g.fa"))


def test_all_problems_of_a_folder_at_once(tmp_path):
    assert "holds no FASTA file" in problem(open_genome, tmp_path)
    written(tmp_path, ">a\nACGT\n", "1.fa")
    written(tmp_path, ">a\nACGT\n", "2.fa")
    written(tmp_path, "ACGT\n", "3.fa")
    said = problem(open_genome, tmp_path)
    assert "2 input problems" in said
    assert "1.fa and in" in said
    assert "3.fa is not FASTA" in said


def test_names_of_chromosomes_match_with_or_without_chr():
    assert match_names(["1", "chrX", "MT", "7"], ["chr1", "X", "chrM"]) == {
        "1": "chr1",
        "chrX": "X",
        "MT": "chrM",
        "7": None,
    }
    # The same spelling wins; of two that would do, none is guessed.
    assert match_names(["1"], ["chr1", "1"]) == {"1": "1"}
    assert match_names(["CHR1"], ["chr1", "1"]) == {"CHR1": None}


# --- annotations -----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 12)), min_size=1, max_size=12))
@settings(max_examples=80, deadline=None)
def test_overlap_against_brute_force(intervals):
    bed = pd.DataFrame(
        {
            "chrom": pd.Categorical(["1" if at % 3 else "2" for at in range(len(intervals))]),
            "start": [start for start, _ in intervals],
            "end": [start + length for start, length in intervals],
        }
    )
    sites = pd.DataFrame({"chrom": ["chr1"] * 50 + ["chr3"] * 50, "position": [*range(50, 0, -1), *range(1, 51)]})
    expected = [
        any(
            f"chr{interval.chrom}" == site.chrom and interval.start <= site.position - 1 < interval.end
            for interval in bed.itertuples()
        )
        for site in sites.itertuples()
    ]
    assert overlap(sites, bed).tolist() == expected


def test_bed_files(tmp_path):
    text = "browser position chr1\ntrack name=x\n#c\nchr1\t0\t10\tname\t0\t+\nchr2\t5\t5\tother\t0\t-\n"
    for path in (written(tmp_path, text), written(tmp_path, gzip.compress(text.encode()), "packed")):
        bed = read_bed(path, "x")
        assert bed.astype({"chrom": str}).to_numpy().tolist() == [["chr1", 0, 10], ["chr2", 5, 5]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chr1\t5\n", "has 2 columns, expected chromosome, start and end"),
        ("chr1\t5\t9\nchr1\t5\n", "line 2: 2 columns instead of 3"),
        ("chr1\t5\t9\nchr1\t7\t6\n", "line 2: the interval ends before it starts (7 to 6)"),
        ("chr1\t5\t9\nchr1\t-7\t6\n", "line 2: '-7' to '6' is no interval"),
        ("chrom\tstart\tend\nchr1\t5\t9\n", "line 1: 'start' to 'end' is no interval"),
        ("# nothing\n", "holds no interval"),
        ("", "is empty"),
        (gzip.compress(b"chr1\t5\t9\n" * 3000, mtime=0)[:-9], "is damaged or cut off"),
    ],
)
def test_bad_annotations_are_named(tmp_path, text, said):
    message = problem(read_bed, written(tmp_path, text), "islands")
    assert said in message
    assert "single_cell.annotations.islands" in message


def test_the_line_of_a_position_is_that_of_its_chromosome(tmp_path):
    found = read_observations(written(tmp_path, "2\t70\t1\n1\t70\t0\n1\t7\t0\n"), "cell a")
    assert [found.line_of("chr1", 70), found.line_of("2", 70), found.line_of("1", 8)] == [2, 1, 0]
