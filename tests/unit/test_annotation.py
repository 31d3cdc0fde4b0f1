"""Manifests as Illumina hands them out, and tables like them."""

import gzip

import numpy as np
import pandas as pd
import pytest
from cpgtaxa.errors import InputError
from cpgtaxa.input.annotation import annotate

NONE = dict.fromkeys(("cpg", "chromosome", "position", "gene", "island"))
CPGS = np.array(["cg00000029", "cg16867657", "ch.1.5R", "cg99"], dtype=object)
K450 = """Illumina, Inc.,,,,
[Heading],,,,
Descriptor File Name,HumanMethylation450_15017482_v.1.2.csv,,,
Assay Format,Infinium 2,,,
Loci Count ,485577,,,
[Assay],,,,
IlmnID,Name,AddressA_ID,Genome_Build,CHR,MAPINFO,Chromosome_36,UCSC_RefGene_Name,Relation_to_UCSC_CpG_Island
cg00000029,cg00000029,14782418,37,16,53468112,16,RBL2;RBL2,N_Shore
cg16867657,cg16867657,1,37,6,11044877,6,ELOVL2,Island
ch.1.5R,ch.1.5R,1,37,1,1000,1,,
cg5,cg5,1,37,23,5,X,"A;B",Island
[Controls],,,,
21630339,STAINING,-99,DNP(20K),AVG,,,,,,,,,
"""
EPIC2 = """Illumina, Inc.,,
[Heading],,
[Assay],,
IlmnID,Name,CHR,MAPINFO,UCSC_RefGene_Name,UCSC_CpG_Islands_Name,Relation_to_UCSC_CpG_Island,,
cg00000029_TC21,cg00000029,chr16,53434200,RBL2;RBL2;AKTIP,chr16:53434489-53435297,N_Shore;Island,,
cg16867657_BC11,cg16867657,chr6,11044644,,,,,
cg16867657_TC12,cg16867657,chr6,11044644,ELOVL2,,Island,,
ch.1.5R_TC11,ch.1.5R,chr0,0,,,,,
[Controls],,
"""


def written(folder, text, name="manifest.csv", packed=False):
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_the_450k_manifest_is_read_as_it_is(tmp_path, packed):
    found = annotate(CPGS, written(tmp_path, K450, packed=packed), NONE)
    assert list(found["cpg"]) == list(CPGS)
    assert list(found["chromosome"]) == ["chr16", "chr6", "chr1", ""]
    assert found["position"].tolist()[:3] == [53468112, 11044877, 1000]
    assert found["position"].isna().tolist() == [False, False, False, True]
    assert list(found["gene"]) == ["RBL2", "ELOVL2", "", ""]
    assert list(found["island"]) == ["N_Shore", "Island", "OpenSea", ""]


def test_suffixes_of_epicv2_match_with_and_without(tmp_path):
    path = written(tmp_path, EPIC2)
    found = annotate(CPGS, path, NONE)
    assert list(found["chromosome"]) == ["chr16", "chr6", "", ""]
    assert list(found["gene"]) == ["RBL2;AKTIP", "", "", ""]  # the first of several probes
    assert list(found["island"]) == ["N_Shore;Island", "OpenSea", "OpenSea", ""]
    probes = np.array(["cg16867657_TC12", "cg00000029_TC21", "cg00000029_BC22"], dtype=object)
    assert list(annotate(probes, path, NONE)["gene"]) == ["ELOVL2", "RBL2;AKTIP", "RBL2;AKTIP"]


def test_other_tables_are_read_by_common_names_or_as_configured(tmp_path):
    path = written(tmp_path, "Name\tchr\tpos\tRelation_to_Island\ncg99\tchrX\t5\tOpenSea\ncg1\tchr1\t7\tIsland\n")
    found = annotate(CPGS, path, NONE)
    assert found.iloc[3].tolist() == ["cg99", "chrX", 5, "", "OpenSea", ""]
    assert (found["gene"] == "").all()
    path = written(tmp_path, "id;where;at\ncg99;2;5\n")
    found = annotate(CPGS, path, NONE | {"chromosome": "where", "position": "at"})
    assert found.iloc[3].tolist() == ["cg99", "chr2", 5, "", "", ""]


@pytest.mark.parametrize("sep", ["\t", " ", ","])
def test_row_names_of_r_stand_before_the_first_name(tmp_path, sep):
    rows = [
        ["Name", "chr", "pos", "gene"],
        ["cg99", "cg99", "chr1", "5.0", "TP53"],
        ["cg00000029", "cg00000029", "2.0", "7", "A;B"],
    ]
    path = written(tmp_path, "\n".join(sep.join(f'"{one}"' for one in row) for row in rows) + "\n")
    found = annotate(CPGS, path, NONE).set_index("cpg")
    assert found.loc["cg99"].tolist() == ["chr1", 5, "TP53", "", ""]
    assert found.loc["cg00000029"].tolist() == ["chr2", 7, "A;B", "", ""]


@pytest.mark.parametrize(
    ("text", "given", "said"),
    [
        ("IlmnID,CHR,MAPINFO\ncg7,1,5\n", {}, "share no CpG"),
        ("probe,foo\ncg99,1\n", {}, "no column with chromosome, position, gene or island; found 'probe', 'foo'"),
        ("foo,CHR,MAPINFO\ncg99,1,5\n", {}, "no column with ids of CpGs"),
        ("IlmnID,CHR\ncg99,1\n", {}, "has a chromosome (CHR), but no position"),
        ("IlmnID,CHR,MAPINFO\ncg99,1,5\n", {"gene": "Gene"}, "annotation.columns.gene: "),
        ("IlmnID,CHR,MAPINFO\ncg1,1,5\ncg99,1,x5\n", {}, "line 3: 'x5' is no position"),
        ("IlmnID,CHR,MAPINFO\ncg99,21,200000000\n", {}, "line 2: cg99 at chr21:200000000 lies beyond the end"),
        ("IlmnID,CHR,MAPINFO\ncg99,1,5\ncg99,1,6\n", {}, "gives 1 CpGs more than one position: 'cg99'"),
        ("IlmnID,CHR,MAPINFO\n", {}, "share no CpG"),
        ("Illumina, Inc.,\n[Heading],\nIlmnID,CHR\n", {}, "no line [Assay]"),
        ("PK\x03\x04abc", {}, "zip archive"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, given, said):
    with pytest.raises(InputError) as caught:
        annotate(CPGS, written(tmp_path, text), NONE | given)
    assert said in str(caught.value)
    assert "manifest.csv" in str(caught.value)


def test_a_cut_off_gzip_is_said_to_be_one(tmp_path):
    path = written(tmp_path, K450, packed=True)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="damaged or cut off"):
        annotate(CPGS, path, NONE)


TABLE = "cpg\tchr\tpos\tgene\tisland\n" + "".join(
    f"{name}\t1\t{at}\tG{at}\t{island}\n"
    for at, (name, island) in enumerate(zip(CPGS, ("", "Island", "Island", ""), strict=True), 1000)
)


def lined(text, change):
    first, *rows = text.splitlines()
    return "\n".join([first, *(change(number, row) for number, row in enumerate(rows, 1))]) + "\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda number, row: f"{number}\t{row}",  # R's row names, the last field of the first row empty
        lambda number, row: row.split("\t")[0] + "\t" + row,
        lambda number, row: row + "\t",
        lambda number, row: row + ("\t" if number > 1 else ""),
    ],
)
def test_which_field_is_whose_by_all_rows(tmp_path, change):
    whole = annotate(CPGS, written(tmp_path, TABLE), NONE)
    assert whole["gene"].tolist() == ["G1000", "G1001", "G1002", "G1003"]
    pd.testing.assert_frame_equal(annotate(CPGS, written(tmp_path, lined(TABLE, change)), NONE), whole)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda number, row: row + ("\tx" if number == 3 else ""),
            "1 rows with another number of fields .*'line 4 .6.'",
        ),
        (lambda number, row: row.replace("G1002", "G\tG1002"), "1 rows with another number of fields .*'line 4 .6.'"),
        (lambda number, row: row if number != 3 else row[: row.rindex("\t")], "with another number .*'line 4 .4.'"),
        (lambda number, row: row.replace("1002\t", "1.2E+08\t"), "line 4: '1.2E.08' is no position"),
        (lambda number, row: row.replace("\t1\t", "\t1\t+\t"), "one field more than its header: a name may be lacking"),
    ],
)
def test_rows_that_do_not_fit_the_header_are_named(tmp_path, change, said):
    with pytest.raises(InputError, match=said):
        annotate(CPGS, written(tmp_path, lined(TABLE, change)), NONE)


@pytest.mark.parametrize(
    ("header", "row", "flag"),
    [
        ("SNP_ID,SNP_DISTANCE,SNP_MinorAlleleFrequency", "rs1;rs2,30;1,0.2;0.04", "SNP"),
        ("SNP_ID,SNP_DISTANCE,SNP_MinorAlleleFrequency", "rs1;rs2,0;12,0.0002;0.3", ""),
        ("SNP_ID,SNP_DISTANCE,SNP_MinorAlleleFrequency", ",,", ""),
        ("SNP_ID,SNP_DISTANCE", "rs1,0", "SNP"),
        ("Probe_SNPs,Probe_SNPs_10", "rs5,rs7", "SNP_within_10"),
        ("Probe_SNPs,Probe_SNPs_10", "rs5,", ""),
        ("Probe_rs,CpG_rs", "rs5,rs9", "SNP"),
        ("Probe_rs,CpG_rs", "rs5,NA", ""),
    ],
)
def test_snps_at_the_cpg_are_flagged(tmp_path, header, row, flag):
    path = written(tmp_path, f"IlmnID,CHR,MAPINFO,{header}\ncg99,1,5,{row}\ncg00000029,1,9{',' * row.count(',')},\n")
    assert list(annotate(CPGS, path, NONE)["flags"]) == ["", "", "", flag]


def test_lists_are_flags_beside_the_manifests(tmp_path):
    manifest = written(tmp_path, "IlmnID,CHR,MAPINFO,CpG_rs\ncg99,1,5,rs1\ncg00000029,1,9,\n")
    lists = {
        "cross_reactive": written(tmp_path, "cg99_TC21\ncg00000029\n", "a.txt"),
        "icr": written(tmp_path, "cg99", "b"),
    }
    assert list(annotate(CPGS, manifest, NONE, lists)["flags"]) == ["cross_reactive", "", "", "SNP;cross_reactive;icr"]
    lists |= {"other": written(tmp_path, "cg5", "c"), "SNP": lists["icr"], "none": tmp_path / "absent"}
    with pytest.raises(InputError) as caught:
        annotate(CPGS, manifest, NONE, lists)
    for said in ("lists.other: none of the 1 ids", "lists.SNP: this name is taken", "lists.none"):
        assert said in str(caught.value)
