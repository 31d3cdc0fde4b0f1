"""What a change costs: one key, input, script or library file at a time, and exactly the jobs that follow from it."""

import collections
import modulefinder
import os
import pathlib
import shutil

import pytest
import yaml
from conftest import ROOT, TINY, merged, snakemake

# Which job's files each job of the tiny run reads, by rule and round.
READS = {
    "simulate_cohort": "",
    "cohort": "simulate_cohort",
    "compute_statistics": "cohort",
    "gather_statistics": "compute_statistics",
    "define_taxa": "gather_statistics",
    "simulate_training": "cohort",
    "split": "simulate_training define_taxa",
    "render 0": "split cohort",
    "train 0": "split render_0 simulate_training",
    "predict_test 0": "train_0 split render_0 simulate_training",
    "evaluate 0": "predict_test_0 train_0",
    "predict 0": "train_0 cohort define_taxa",
    "simulate_calibration": "cohort define_taxa",
    "predict_calibration 0": "train_0 simulate_calibration cohort define_taxa",
    "reassign 0": "predict_0 predict_calibration_0 simulate_calibration define_taxa gather_statistics",
    "enlarge 1": "split reassign_0",
    "render 1": "enlarge_1 cohort",
    "train 1": "enlarge_1 render_0 render_1 simulate_training train_0",
    "predict_test 1": "train_1 enlarge_1 render_0 render_1 simulate_training",
    "evaluate 1": "predict_test_1 train_1",
    "predict 1": "train_1 cohort define_taxa reassign_0",
    "predict_calibration 1": "train_1 simulate_calibration cohort define_taxa reassign_0",
    "reassign 1": "predict_1 predict_calibration_1 simulate_calibration reassign_0 define_taxa gather_statistics",
    "taxonomy": "define_taxa predict_0 predict_1 reassign_0 reassign_1",
    "age_ewas": "taxonomy gather_statistics",
    "patterns": "compute_statistics cohort",
    "gather_patterns": "patterns taxonomy",
    "embedding": "taxonomy gather_statistics cohort train_1",
    "explorer": "taxonomy embedding gather_statistics gather_patterns cohort",
    "report": "taxonomy age_ewas embedding define_taxa gather_statistics cohort simulate_cohort reassign_0 reassign_1 "
    "evaluate_0 evaluate_1 train_0 train_1 predict_test_0 predict_test_1 gather_patterns",
}
READS = {job.replace(" ", "_"): set(read.split()) for job, read in READS.items()}
JOBS = {"compute_statistics": 2, "patterns": 2, "predict_0": 2, "predict_1": 2}
"""Jobs where there are several, one per shard."""


def rule_of(job: str) -> str:
    return job[:-2] if job[-2:] in ("_0", "_1") else job


def before(job) -> set:
    """A job and all whose files it reads, directly or not."""
    return {job}.union(*(before(read) for read in READS[job]))


def expected(changed) -> dict[str, int]:
    """Jobs by rule that a dry run must list if the jobs `changed` have to run again.

    Rounds are a checkpoint: what comes after a round's `reassign` shows once that has run.
    """
    again = {job for job in READS if before(job) & set(changed)}
    for number in (0, 1):
        if f"reassign_{number}" in again:
            again &= before(f"reassign_{number}")
    counts = collections.Counter()
    for job in again:
        counts[rule_of(job)] += JOBS.get(job, 1)
    return dict(counts)


def of_rules(*rules) -> set:
    return {job for job in READS if rule_of(job) in rules}


ALWAYS = {"report"}  # shows the config
TRAIN, PREDICT = {"train_0", "train_1"}, {"predict_0", "predict_1"}
NETWORKS = TRAIN | PREDICT | {"predict_test_0", "predict_test_1", "embedding"}
LATER = {"enlarge_1", "embedding"}
SPLIT, COHORT, ADDED = {"split"}, {"cohort"}, {"enlarge_1"}
PLACE = {"reassign_0", "reassign_1"}
BETAS = {"compute_statistics", "render_0", "render_1", "predict_0", "predict_1", "patterns", "embedding"}
THRESHOLDS = {"define_taxa", "simulate_calibration", "patterns", *PLACE}

# Section, key, new value, and the jobs that look at it. None: a list of jobs that is not one of the finished run's.
KEYS = [
    ("", "seed", 43, {"simulate_cohort", "simulate_training", "simulate_calibration", "split", *LATER, *TRAIN, *PLACE}),
    ("cohort", "columns", {"age": "years"}, COHORT),
    ("cohort", "age_unit", "months", COHORT),
    ("cohort", "min_age", 18, COHORT),
    ("cohort", "max_age", 90, COHORT),
    ("cohort", "detection_p", 0.05, COHORT),
    ("cohort", "probes", ["cg", "rs"], COHORT),
    ("cohort", "tolerance", 0.001, COHORT),
    ("cohort", "values", "beta", COHORT),
    ("cohort", "collapse", "first", COHORT),
    ("cohort", "only", {"sex": "F"}, COHORT),
    ("cohort", "one_per", "sex", COHORT),
    ("cohort", "object", "beta", COHORT),
    ("cohort", "unmatched", "drop", COHORT),
    ("cohort", "max_missing_cpg", 0.3, COHORT),
    ("cohort", "bad_cpgs", "error", COHORT),
    ("cohort", "max_missing_sample", 0.3, COHORT),
    ("cohort", "bad_samples", "error", COHORT),
    ("cohort", "truth", None, set()),
    ("adjust", "covariates", ["sex", {"batch": "category"}], "adjusted"),
    ("adjust", "reference", "types.csv", "nothing"),
    ("annotation", "columns", {"gene": "symbol"}, "nothing"),
    ("statistics", "shards", 3, None),
    ("taxa", "labels", "labels.csv", None),
    ("taxa", "errors", {"beyond": 0.1}, THRESHOLDS),
    ("simulation", "per_taxon", 30, {"simulate_training"}),
    ("simulation", "boundary", 30, {"simulate_training"}),
    ("simulation", "broad_share", 0.5, {"simulate_training"}),
    ("training", "source", "simulated", SPLIT),
    ("training", "source", "statistical", SPLIT | TRAIN | {"predict_test_0", "predict_test_1"}),
    ("training", "min_per_taxon", 6, SPLIT),
    ("training", "fallback", True, SPLIT),
    ("training", "max_per_taxon", 50, SPLIT),
    ("training", "val_share", 0.3, SPLIT | ADDED),
    ("training", "test_share", 0.3, SPLIT),
    ("training", "max_test_per_taxon", 5, SPLIT),
    ("training", "recipe", "published", TRAIN),
    ("training", "epochs", 4, {"train_0"}),
    ("training", "epochs_mix", 3, {"train_1"}),
    ("training", "batch", 16, TRAIN),
    ("training", "lr", 0.002, TRAIN),
    ("training", "device", "cpu", NETWORKS),
    ("training", "precision", "float32", NETWORKS),
    ("training", "engine", "torch", PREDICT | of_rules("predict_calibration")),
    ("training", "threads", 3, set()),
    ("training", "initial", "reference", set()),  # what `auto` means at 64 pixels
    ("training", "initial", "random", TRAIN),
    ("images", "size", 48, {"simulate_training", "render_0", "render_1", *TRAIN}),
    ("images", "root", "pictures", set()),
    ("rounds", "max", 1, {"taxonomy"}),
    ("rounds", "max", 3, None),
    ("rounds", "min", 1, {"taxonomy"}),
    ("rounds", "min_new_share", 1.0, set()),
    ("rounds", "error_rate", 0.2, PLACE),
    ("rounds", "calibration", 1600, {"simulate_calibration"}),
    ("rounds", "unlike", 0.02, PLACE),
    ("rounds", "confidence", 0.4, PLACE),
    ("rounds", "veto", True, PLACE),
    ("rounds", "predict_labelled", False, PREDICT | of_rules("predict_calibration")),
    ("rounds", "max_added_per_taxon", 9, ADDED),
    ("embedding", "per_taxon", 20, {"embedding"}),
    ("embedding", "unclassified", 0, {"embedding"}),
    ("report", "gallery", 3, set()),
    ("explorer", "cpgs", 100, {"explorer"}),
    ("explorer", "samples", 50, {"explorer"}),
    ("explorer", "sample_ids", False, {"explorer"}),
    ("explorer", "whole", False, set()),
    ("", "cpgs", "cg10000001", "nothing"),
    ("predict", "size", 64, "nothing"),
    ("predict", "model", "MixResNet18", "nothing"),
    ("benchmark", "images", 9000, "nothing"),
    ("expression", "folds", 4, "nothing"),
    ("cell_types", "fractions", ["Neu", "NK"], "nothing"),
    ("cell_types", "show", True, "cells"),
    ("simulate_cohort", "cpgs", 310, {"simulate_cohort"}),
    ("simulate_cohort", "boundary", 0.2, {"simulate_cohort"}),
]
KEYS += [
    ("taxa.thresholds", key, value, THRESHOLDS) for key, value in (("trend", {"no": 0.2}), ("width", {"yes": 0.03}))
]
IN_EVERY_TEST_RUN = {
    "adjust.covariates", "adjust.reference", "cell_types.show", "expression.folds", "seed", "cohort.bad_cpgs",
    "taxa.errors", "training.epochs_mix", "rounds.max_added_per_taxon", "predict.size", "report.gallery",
    "embedding.unclassified",
}  # fmt: skip


def changes(section, key, value) -> dict:
    found = {key: value}
    for part in reversed(section.split(".") if section else []):
        found = {part: found}
    return found


def rows():
    for section, key, value, jobs in KEYS:
        name = f"{section}.{key}".strip(".")
        marks = [] if name in IN_EVERY_TEST_RUN else [pytest.mark.slow]
        yield pytest.param(changes(section, key, value), jobs, id=f"{name}={value}", marks=marks)


def would_run(folder, config=TINY, **settings) -> dict[str, int]:
    """Jobs of a dry run; the folder is left with the config it had."""
    kept = (folder / "test_config.yaml").read_text()
    try:
        run = snakemake(folder, "--dry-run", config=config, **settings)
    finally:
        (folder / "test_config.yaml").write_text(kept)
    assert run.code == 0, run.text
    return run.jobs()


@pytest.mark.parametrize(("change", "jobs"), list(rows()))
def test_a_changed_key_reruns_what_looks_at_it(tiny_run, tmp_path, change, jobs):
    if "labels" in change.get("taxa", {}):
        (tmp_path / "labels.csv").write_text("cpg,taxon\ncg10000001,BiAge\n")
        change = {"taxa": {"labels": str(tmp_path / "labels.csv")}}
    if change.get("rounds", {}).get("max") == 3:
        change = {"rounds": {"max": 3, "min": 3}}  # round 1 of the tiny run may place nothing
    found = would_run(tiny_run, merged(TINY, change))
    if jobs == "nothing":
        assert found == {}
    elif jobs == "cells":
        assert found == expected({"explorer"} | ALWAYS) | {"cell_fractions": 1, "cell_types": 1}
    elif jobs == "adjusted":
        # Adjusted betas in place of the cohort's, and their scales for the tests.
        assert found == expected(BETAS | {"simulate_calibration"} | ALWAYS) | {"adjust": 1}
    elif jobs is not None:
        assert found == expected(jobs | ALWAYS)
    elif "statistics" in change:
        # Other shards are other files; what comes out of them is the same, but Snakemake cannot know.
        assert found == expected({"compute_statistics", "predict_0", "predict_1"}) | {
            "compute_statistics": 3,
            "predict": 3,
        }
    elif "taxa" in change:
        wanted = expected({"define_taxa"})
        del wanted["define_taxa"]
        assert found == wanted | {"use_labels": 1}
    else:
        found.pop("predict_calibration", None)  # only where the round before left CpGs undecided
        assert found == dict.fromkeys(("enlarge", "render", "train", "reassign"), 1) | {"predict": 2}


def test_the_table_covers_every_key_but_thresholds_and_other_starts():
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    covered = {f"{section}.{key}".strip(".") for section, key, _, _ in KEYS}
    lacking = set()
    for section, content in config.items():
        names = {f"{section}.{key}" for key in content} if isinstance(content, dict) else {section}
        lacking |= names - covered
    # Tested below with files, in test_middle.py, or of targets of their own, which the main job must not look at.
    others = {
        "simulate_cohort", "cohort.beta", "cohort.samples", "training.weights", "training.stats", "images.info",
        "images.png",
    }  # fmt: skip
    others |= {
        "cohort.index",
        "cohort.filters",
        "cohort.only_cpgs",
        "annotation.manifest",
        "annotation.columns",
        "annotation.lists",
        "pool.summaries",
        "pool.take_out_cohort",
    }  # files, with test_formats.py, test_ingest_arrays.py, test_annotation.py and test_pool_target.py
    targets = ("predict", "benchmark", "expression", "histone", "single_cell", "methylation_age", "ecg_age", "compare")
    targets += ("enrichment", "scores", "export", "summarise", "power")
    others |= {f"{section}.{key}" for section in targets for key in config[section]}
    assert lacking <= others | {"taxa.thresholds"}


# --- files -----------------------------------------------------------------------------------------------------------

SCRIPTS = sorted({rule_of(job) for job in READS})
LIBRARY = sorted(str(path.relative_to(ROOT / "scripts")) for path in (ROOT / "scripts/cpgtaxa").rglob("*.py"))


def found_by_python(stem: str) -> set[str]:
    """Library files that Python's own modulefinder sees a script import."""
    folder = ROOT / "scripts"
    finder = modulefinder.ModuleFinder(path=[str(folder)])
    finder.run_script(str(folder / f"{stem}.py"))
    files = {pathlib.Path(module.__file__) for module in finder.modules.values() if module.__file__}
    return {str(path.relative_to(folder)) for path in files if path.parent != folder}


def test_library_files_agree_with_pythons_own_modulefinder():
    from cpgtaxa.plan.sources import library_files

    for script in sorted((ROOT / "scripts").glob("*.py")):
        mine = {str(pathlib.Path(path).relative_to(ROOT / "scripts")) for path in library_files(script)}
        assert mine == found_by_python(script.stem), script.stem


FILES = ("beta.csv.gz", "samples.csv", "truth.csv")
OWN = {section: keys for section, keys in TINY.items() if section != "simulate_cohort"}
OWN |= {"cohort": {key: f"data/{name}" for key, name in zip(("beta", "samples", "truth"), FILES, strict=True)}}


@pytest.fixture(scope="module")
def own_copy(tiny_run, tmp_path_factory):
    """The workflow's own folder, copied, with a finished run in it as a user has it, on a cohort from files."""
    folder = tmp_path_factory.mktemp("reruns") / "cpgtaxa"
    for name in ("workflow", "scripts", "envs", "config", "resources"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "data").mkdir()
    for name in FILES:
        shutil.copy2(tiny_run / "results/simulated_cohort" / name, folder / "data")
    run = snakemake(folder, config=OWN, root=folder)
    assert run.code == 0, run.text
    return folder


def edited(path, text="\n# edited\n"):
    """Context: a file with something added, which is then as before, its time included."""

    class Edit:
        def __enter__(self):
            self.stat, self.content = path.stat(), path.read_bytes()
            path.write_bytes(self.content + text.encode())

        def __exit__(self, *_):
            path.write_bytes(self.content)
            os.utime(path, ns=(self.stat.st_atime_ns, self.stat.st_mtime_ns))

    return Edit()


@pytest.mark.slow
def test_nothing_is_made_again_where_nothing_changed_even_if_the_folder_moved(own_copy):
    assert would_run(own_copy, OWN, root=own_copy) == {}
    moved = own_copy.with_name("elsewhere")
    own_copy.rename(moved)
    try:
        assert would_run(moved, OWN, root=moved) == {}
    finally:
        moved.rename(own_copy)


@pytest.mark.slow
@pytest.mark.parametrize("stem", SCRIPTS)
def test_an_edited_script_reruns_its_rule(own_copy, stem):
    with edited(own_copy / f"scripts/{stem}.py"):
        assert would_run(own_copy, OWN, root=own_copy) == expected(of_rules(stem) - {"simulate_cohort"})


@pytest.mark.slow
@pytest.mark.parametrize("name", LIBRARY)
def test_an_edited_library_file_reruns_the_rules_that_import_it(own_copy, name):
    users = {stem for stem in SCRIPTS if name in found_by_python(stem)}
    with edited(own_copy / "scripts" / name):
        assert would_run(own_copy, OWN, root=own_copy) == expected(of_rules(*users) - {"simulate_cohort"})


@pytest.mark.slow
def test_an_edited_template_reruns_the_report(own_copy):
    with edited(own_copy / "scripts/cpgtaxa/templates/report.html.j2"):
        assert would_run(own_copy, OWN, root=own_copy) == {"report": 1}


@pytest.mark.slow
@pytest.mark.parametrize("age", [0, 1000])
@pytest.mark.parametrize("name", FILES)
def test_a_changed_input_reruns_what_reads_it(own_copy, name, age):
    """`age`: days; a file that was moved here from elsewhere may be older than the results."""
    path = own_copy / "data" / name
    with edited(path, text="\n"):
        if age:
            os.utime(path, (path.stat().st_mtime - 86400 * age,) * 2)
        found = would_run(own_copy, OWN, root=own_copy)
    if name == "truth.csv":
        # Only what is drawn in the report depends on it: its time is all that is looked at.
        assert found == ({} if age else {"report": 1})
    else:
        assert found == expected({"cohort"})


@pytest.mark.slow
@pytest.mark.parametrize("key", ["beta", "samples"])
def test_another_path_reruns_the_cohort(own_copy, key):
    source = own_copy / OWN["cohort"][key]
    other = source.with_name(f"other_{source.name}")
    shutil.copy2(source, other)
    config = merged(OWN, {"cohort": {key: f"data/{other.name}"}})
    assert would_run(own_copy, config, root=own_copy) == expected({"cohort", "report"})
