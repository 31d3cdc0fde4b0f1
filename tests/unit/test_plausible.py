"""Whether matrix and sheet fit each other: known CpGs, samples that are alike, women and men; on real cohorts, too."""

import pathlib

import numpy as np
import pandas as pd
import pytest
from cpgtaxa.cohort import two_sexes
from cpgtaxa.input import plausible, relatives
from cpgtaxa.input.plausible import KNOWN, Looked, alike, doubts_of_ages, doubts_of_levels
from test_ingest import Bench
from test_ingest_arrays import run, table

DATA = pathlib.Path(__file__).parents[3] / "shared" / "data" / "methylation"
N = 60


def known_betas(ages, rng, noise=0.03):
    """Betas of the known CpGs, (k, n), of people of these ages."""
    rows = [low + (high - low) * (ages - 20) / 60 for _, low, high in KNOWN.values()]
    return np.clip(np.stack(rows) + rng.normal(0, noise, (len(KNOWN), len(ages))), 0, 1).astype(np.float32)


@pytest.fixture
def bench(tmp_path):
    """A cohort of known and other CpGs, women and men apart on some."""
    bench, rng = Bench(tmp_path), np.random.default_rng(8)
    ages, ids = rng.uniform(20, 80, N).round(1), [f"s{number}" for number in range(N)]
    sex = np.array(["F", "M"] * (N // 2))
    other = np.clip(rng.uniform(0.1, 0.9, (120, 1)) + rng.normal(0, 0.05, (120, N)), 0, 1)
    x = np.clip(np.where(sex == "F", 0.5, 0.1) + rng.normal(0, 0.04, (8, N)), 0, 1)
    values = np.vstack([known_betas(ages, rng), other, x]).round(4)
    names = [*KNOWN, *(f"cg9{number:07}" for number in range(len(values) - len(KNOWN)))]
    bench.frame = pd.DataFrame(values, pd.Index(names, name="cpg"), ids).astype(object)
    bench.sheet = pd.DataFrame({"sample_id": ids, "age": ages, "sex": sex})
    return bench


def warnings_of(bench) -> str:
    for path in (bench.beta, bench.samples):
        path.unlink(missing_ok=True)
    run(bench)
    return "\n".join(bench.qc()["warnings"])


def test_nothing_is_said_of_what_is_right(bench):
    assert warnings_of(bench) == ""
    assert not {"alike", "other_sex", "between_sexes"} & set(bench.qc())


def shift_columns(bench):
    bench.frame.columns = [*bench.frame.columns[1:], bench.frame.columns[0]]


def shuffle_sheet(bench):
    bench.sheet["age"] = np.random.default_rng(1).permutation(bench.sheet["age"])


def shift_rows(bench):
    names = list(bench.frame.index)
    bench.frame.index = pd.Index([*names[20:], *names[:20]], name="cpg")


def invert(bench):
    bench.frame = (1 - bench.frame.astype(float)).round(4).astype(object)


def twelfths(bench):
    bench.sheet["age"] = (bench.sheet["age"].astype(float) / 12).round(3)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shift_columns, "the columns of the matrix seem to be shifted by one"),
        (shuffle_sheet, "the ages do not show in CpGs that are known to follow age"),
        (shift_rows, "levels of known CpGs are not the usual ones"),
        (invert, "the betas seem to be upside down (1 - beta)"),
        (twelfths, "check the unit of the ages (`cohort.age_unit`)"),
    ],
)
def test_what_does_not_fit_is_said(bench, spoil, words):
    spoil(bench)
    assert words in warnings_of(bench)


def test_samples_that_are_alike(bench):
    rng = np.random.default_rng(4)
    bench.frame["s7"] = bench.frame["s3"]
    near = bench.frame["s10"].astype(float) + rng.normal(0, 0.003, len(bench.frame))
    bench.frame["s20"] = near.clip(0, 1).round(4).astype(object)
    found = warnings_of(bench)
    assert "1 pair of samples with identical betas: 's3 and s7'" in found
    assert (
        "1 pair of samples that are nearly identical (root mean square difference of betas): 's10 and s20 (0.00"
        in found
    )
    assert [pair[:2] for pair in bench.qc()["alike"]] == [["s3", "s7"], ["s10", "s20"]]
    assert table(bench).loc[("sample seen", "alike"), "n"] == 4


def test_samples_of_another_sex(bench):
    bench.sheet.loc[[4, 11], "sex"] = ["M", "F"]
    bench.sheet.loc[20, "sex"] = ""
    bench.frame.iloc[-8:, 30] = 0.3
    found = warnings_of(bench)
    assert "2 samples of another sex than the sheet says, by 8 CpGs" in found
    assert "'s4', 's11'" in found
    assert bench.qc()["between_sexes"] == ["s30"]
    assert table(bench).loc[("sample seen", "other_sex"), "examples"] == "s4; s11"


def test_probes_that_measure_no_cpg_are_left_out_and_counted(bench):
    names = ["rs10033147", "ch.1.131529R", "nv-GRCh38-chr1-1-1-A-T", "ctl_10609447"]
    bench.frame.index = pd.Index([*bench.frame.index[:-4], *names], name="cpg")
    run(bench)
    assert {kind: bench.qc()["n_cpgs"][f"dropped_{kind}"] for kind in ("rs", "ch", "nv", "ctl")} == dict.fromkeys(
        ("rs", "ch", "nv", "ctl"), 1
    )
    assert table(bench).loc[("probe", "rs"), "explanation"] == "a probe of a SNP (cohort.probes)"
    run(bench, probes=["cg", "rs", "ch"])
    assert {*names[:2]} <= set(bench.cohort().cpgs)
    assert not {*names[2:]} & set(bench.cohort().cpgs)


def test_values_are_shown_with_their_places(bench, caplog):
    caplog.set_level("INFO")
    run(bench)
    first, last = bench.frame.iloc[0, 0], bench.frame.iloc[-1, -1]
    assert f"cg16867657 of s0 (row 1, column 2): {first:.6g}; cg16867657 of s59 (row 1, column 61)" in caplog.text
    assert f"of s59 (row {len(bench.frame)}, column 61): {last:.6g}" in caplog.text


def test_blocks_do_not_matter():
    rng = np.random.default_rng(3)
    values = rng.uniform(0, 1, (500, 20)).astype(np.float32)
    sex = np.array([0, 1] * 10, dtype=np.int8)
    values[200:210] = np.where(sex == 1, 0.8, 0.2) + rng.normal(0, 0.02, (10, 20))
    names = [f"cg{number}" for number in range(500)]
    found = []
    for size in (500, 37):
        looked = Looked(7, sex)
        for start in range(0, 500, size):
            part = slice(start, start + size)
            looked.add(names[part], values[part], values[part].std(axis=1), False)
        found.append((np.stack(looked.rows), [name for _, name, _ in looked.of_sex]))
    np.testing.assert_array_equal(found[0][0], values[::7])
    np.testing.assert_array_equal(*(rows for rows, _ in found))
    assert found[0][1] == found[1][1]
    assert sorted(found[0][1]) == names[200:210]


# --- relatives -------------------------------------------------------------------------------------------------------


def family(rng, k, strangers=60, families=4):
    """Betas (k, n) of SNPs: of families of a parent, two children, and the first child's twin, then of strangers; and
    pairs of relatives by what they are."""
    p = rng.uniform(0.15, 0.5, (k, 1))
    genes, pairs = [], {"same": set(), "first": set()}
    for number in range(families):
        mother, father = (rng.uniform(size=(k, 2)) < p for _ in range(2))
        halves = [np.where(rng.uniform(size=(k, 2)) < 0.5, one[:, :1], one[:, 1:]) for one in (mother, father)]
        children = (halves[0].astype(int) + halves[1]).T
        genes += [mother.sum(axis=1), *children, children[0]]
        at = 4 * number
        pairs["same"].add((at + 1, at + 3))
        pairs["first"] |= {(at, at + 1), (at, at + 2), (at, at + 3), (at + 1, at + 2), (at + 2, at + 3)}
    genes += list((rng.uniform(size=(strangers, k, 2)) < p).sum(axis=2))
    low, high = rng.uniform(0.03, 0.15, (k, 1)), rng.uniform(0.8, 0.95, (k, 1))
    values = low + (high - low) * np.array(genes).T / 2 + rng.normal(0, 0.03, (k, len(genes)))
    return np.clip(values, 0, 1).astype(np.float32), pairs


def found_in(values):
    snps = relatives.Snps()
    snps.add(values)
    found = {}
    for one, two, word, _ in relatives.related(snps.independent()):
        found.setdefault(word, set()).add((one, two))
    return [found.get(word, set()) for word in relatives.WORDS.values()]


@pytest.mark.parametrize(("k", "least"), [(59, 0), (150, 0.7), (300, 0.9)])
def test_relatives_by_their_genotypes(k, least):
    """As many SNPs as arrays have rs probes tell people and twins; close relatives take more."""
    rng, n_first, n_found = np.random.default_rng(k), 0, 0
    for _ in range(5):
        values, pairs = family(rng, k)
        same, first = found_in(values)
        assert same == pairs["same"]
        assert first <= pairs["first"]
        n_first, n_found = n_first + len(pairs["first"]), n_found + len(first)
        assert found_in(values[:, 16:]) == [set(), set()]
    assert n_found >= least * n_first


def test_few_genotypes_and_bands_of_the_sexes_say_nothing():
    rng = np.random.default_rng(6)
    values, _ = family(rng, 35)
    assert found_in(values) == [set(), set()]
    sexes = np.where(np.arange(76) % 2, 0.5, 0.1) + rng.normal(0, 0.02, (200, 76))
    assert found_in(sexes.astype(np.float32)) == [set(), set()]


def test_relatives_are_said_unless_the_sheet_says_so(bench):
    values, _ = family(np.random.default_rng(7), 120, strangers=N - 16)
    rows = pd.DataFrame(values.round(4), [f"rs{number}" for number in range(120)], bench.frame.columns)
    bench.frame = pd.concat([bench.frame, rows]).rename_axis("cpg")
    found = warnings_of(bench)
    assert "s1 and s3 (one person or identical twins, kinship 0.5" in found
    assert ["s1", "s3"] in [pair[:2] for pair in bench.qc()["relatives"]]
    assert table(bench).loc[("sample seen", "relatives"), "n"] >= 8
    assert bench.qc()["n_cpgs"]["dropped_rs"] == 120
    bench.sheet["family"] = [f"f{number // 4}" if number < 16 else f"n{number}" for number in range(N)]
    assert "close relatives" not in warnings_of(bench)


# --- real cohorts ----------------------------------------------------------------------------------------------------


def real(name):
    path = DATA / f"{name}_beta.csv.gz"
    if not path.exists():
        pytest.skip(f"no {path.name} here: the real cohorts are not part of the project")
    frame, sheet = pd.read_csv(path, index_col=0), pd.read_csv(DATA / f"{name}_samples.csv.gz")
    sheet = sheet.set_index(sheet.columns[0])
    sheet = sheet.loc[[column for column in frame.columns if column in sheet.index]]
    return frame[sheet.index], sheet.rename(columns=str.lower)


@pytest.mark.parametrize("name", ["gse40279", "eight_blood_cohorts", "gse74193_brain"])
def test_real_cohorts_that_were_spoilt(name):
    """200 subsets of each: what was spoilt is noticed in at least 95 of 100, what is intact never."""
    frame, sheet = real(name)
    known = {cpg: frame.loc[cpg].to_numpy(np.float32) for cpg in KNOWN if cpg in frame.index}
    ages, rng = sheet["age"].to_numpy(float), np.random.default_rng(1)
    noticed = dict.fromkeys(("intact", "shifted", "shuffled", "upside down", "twelvefold", "twelfth"), 0)
    for _ in range(200):
        part = np.sort(rng.choice(len(ages), int(len(ages) * rng.uniform(0.2, 1)), replace=False))
        betas, own = {cpg: values[part] for cpg, values in known.items()}, ages[part]
        spoilt = {
            "intact": (betas, own),
            "shifted": ({cpg: np.roll(values, rng.choice([-1, 1])) for cpg, values in betas.items()}, own),
            "shuffled": (betas, rng.permutation(own)),
            "upside down": ({cpg: 1 - values for cpg, values in betas.items()}, own),
            "twelvefold": (betas, 12 * own),
            "twelfth": (betas, own / 12),
        }
        for kind, (values, given) in spoilt.items():
            noticed[kind] += bool(doubts_of_ages(values, given) or doubts_of_levels(values))
    assert noticed.pop("intact") == 0
    assert min(noticed.values()) >= 190, noticed


@pytest.mark.parametrize("name", ["gse87571_x", "sorted_blood_epic"])
def test_exchanged_sexes_of_real_cohorts(name):
    frame, sheet = real(name)
    sexes, rng = two_sexes(sheet), np.random.default_rng(2)
    values, names = frame.to_numpy(np.float32), list(frame.index)
    for wrong in ([], rng.choice(len(sexes), max(1, len(sexes) // 50), replace=False)):
        stated = sexes.copy()
        stated[wrong] = 1 - stated[wrong]
        looked = Looked(10_000, stated)
        looked.add(names, values, np.nanstd(values, axis=1), True)
        assert set(np.flatnonzero(plausible.other_sex(looked)[0])) == set(wrong)


@pytest.mark.parametrize("name", ["gse40279", "eight_blood_cohorts", "gse42861_random500", "sorted_blood_epic"])
def test_copied_columns_of_real_cohorts(name):
    frame, _ = real(name)
    names = list(frame.columns)
    values = frame.to_numpy(np.float32)
    assert alike(list(values), names) == []
    near = np.clip(values[:, 5] + np.random.default_rng(3).normal(0, 0.004, len(values)), 0, 1).astype(np.float32)
    spoilt = np.column_stack([values, values[:, 3], near])
    assert [pair[:2] for pair in alike(list(spoilt), [*names, "copy", "near"])] == [
        (names[3], "copy"),
        (names[5], "near"),
    ]


@pytest.mark.parametrize("name", ["gse42861", "gse42861_random500", "gse40279", "sorted_blood_epic"])
def test_relatives_in_real_cohorts(name):
    """None among strangers; where there are enough SNPs, a person's other sample and children are found.

    They are made of real people's genotypes, with betas of others of the same genotype.
    """
    frame, _ = real(name)
    values, rng = frame.to_numpy(np.float32), np.random.default_rng(9)
    snps = relatives.Snps()
    snps.add(values, np.nanstd(values, axis=1))
    known = snps.independent()
    assert relatives.related(known) == []
    if name != "gse42861":
        assert len(known) < relatives.FEWEST
        return
    assert len(known) == 84
    given = np.maximum(known, 0)
    children = [
        (rng.uniform(size=len(known)) < given[:, at] / 2).astype(np.int8)
        + (rng.uniform(size=len(known)) < given[:, at + 1] / 2)
        for at in range(0, 40, 2)
    ]
    found = relatives.related(np.column_stack([known, known[:, 50], *children]))
    assert [pair[:2] for pair in found if pair[2] == relatives.WORDS["same"]] == [(50, 100)]
    n_found = sum(two > 100 for _, two, *_ in found)
    assert {(one, two) for one, two, *_ in found if two > 100} <= {
        (at, 101 + number) for number in range(20) for at in (2 * number, 2 * number + 1)
    }
    assert n_found >= 10  # of 40: as many SNPs do not tell more beyond doubt


def test_samples_that_do_not_follow_the_cpgs():
    rng = np.random.default_rng(4)
    values = np.clip(rng.uniform(0.05, 0.95, (80, 1)) + rng.normal(0, 0.05, (80, 12)), 0, 1).astype(np.float32)
    values[::7, 2] = np.nan
    names = [f"s{number}" for number in range(12)]
    assert plausible.unlike(list(values), names) == []
    values[:, 3], values[:, 5], values[:, 8] = 1 - values[:, 3], values[rng.permutation(80), 5], 0.5
    found = plausible.unlike(list(values), names)
    assert [text.split(" ")[0] for text in found] == ["s3", "s5", "s8"]
    assert found[2] == "s8 (0.00)"
    warned, _ = plausible.doubts("b", "s", plausible.Looked(rows=list(values)), names, np.arange(12.0))
    assert any("3 samples whose betas do not follow the CpGs' medians" in text for text in warned)
