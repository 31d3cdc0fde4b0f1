"""Nobody in where they do not belong: no code from files, no shell from names, no reading outside, no script in pages.

What is promised is written down in SECURITY.md.
"""

import csv
import gzip
import html.parser
import io
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT, TINY, copy_run, merged, snakemake
from cpgtaxa.errors import InputError
from cpgtaxa.images.packed import read_image_csv
from cpgtaxa.learning import networks, training
from cpgtaxa.names import TAXA
from cpgtaxa.placement.rounds import image_path, write_taxonomy
from PIL import Image
from processes import Started, wait_until


class Evil:
    """Unpickled without care, it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


# --- weights never run code ------------------------------------------------------------------------------------------


def legacy(content):
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def zipped(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


FORMS = {
    "plain pickle": pickle.dumps,
    "torch's zip": zipped,
    "torch's old form": legacy,
    "gzipped": lambda content: gzip.compress(zipped(content)),
    "gzipped pickle": lambda content: gzip.compress(pickle.dumps(content)),
}
PLACES = {
    "as a tensor": lambda state, evil: state | {"fc.weight": evil},
    "beside the tensors": lambda state, evil: state | {"more": evil},
    "in their place": lambda state, evil: evil,
    "as a name": lambda state, evil: {**state, (evil,): torch.zeros(1)},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("form", FORMS)
def test_weights_never_run_what_is_in_them(tmp_path, form, place):
    harm = tmp_path / "harm.txt"
    state = {"conv1.weight": torch.zeros(64, 3, 7, 7)}
    data = FORMS[form](PLACES[place](state, Evil(harm)))
    # The file would do harm, were it read without care.
    loaded = gzip.decompress(data) if form.startswith("gzip") else data
    if "pickle" in form:
        pickle.loads(loaded)
    else:
        torch.load(io.BytesIO(loaded), weights_only=False)
    harm.unlink()
    path = tmp_path / "w.pt"
    path.write_bytes(data)
    with pytest.raises(InputError, match="refused"):
        networks.load_weights(path, "ResNet18")
    assert not harm.exists()


def easy(n, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    planes = rng.integers(0, 60, (n, 2, 16, 16)).astype(np.uint8)
    planes[labels == 1, :, :8] += 150
    return training.Images(planes, training.targets_of([TAXA[label] for label in labels]))


def slow_but(cases, *quick):
    """Parameters, of which all but a few run in `make test-slow` only."""
    return [pytest.param(*case, marks=[] if case in quick else pytest.mark.slow) for case in cases]


CHECKPOINTS = [
    (name, content)
    for name in ("last.ckpt", "best.ckpt")
    for content in ("code", "noise", "cut", "bit", "weights", "nothing")
]


@pytest.mark.parametrize(("name", "content"), slow_but(CHECKPOINTS, ("last.ckpt", "code"), ("best.ckpt", "bit")))
def test_a_foreign_checkpoint_is_not_run_and_not_resumed(tmp_path, caplog, name, content):
    from cpgtaxa.learning.recipes import recipe

    chosen = recipe("fast", "ResNet18", {"epochs": 1, "batch": 16, "lr": None}, False)
    settings = {"model_name": "ResNet18", "recipe": chosen, "seed": 3, "device": "cpu", "precision": "float32"}
    statistics = {"mean": [0.4] * 3, "std": [0.3] * 3}

    def run():
        return training.train(
            easy(16, 1),
            easy(8, 2),
            **settings,
            statistics=statistics,
            work=tmp_path / "work",
            log_path=tmp_path / "log.csv",
        )

    first = run().state_dict()
    (folder,) = (tmp_path / "work").iterdir()
    path, harm = folder / name, tmp_path / "harm.txt"
    data = {
        "code": zipped({"state_dict": Evil(harm), "optimizer_states": [], "loops": {}, "callbacks": {}}),
        "noise": b"noise" * 99,
        "cut": path.read_bytes()[:-5000],
        "bit": bytes(byte ^ (place == 1_000_000) for place, byte in enumerate(path.read_bytes()[:2_000_000]))
        + path.read_bytes()[2_000_000:],
        "weights": zipped({"fc.weight": torch.zeros(3)}),
        "nothing": b"",
    }[content]
    harm.unlink(missing_ok=True)
    path.write_bytes(data)
    again = run().state_dict()
    assert not harm.exists()
    assert "training starts anew" in caplog.text
    for key, value in first.items():
        torch.testing.assert_close(again[key], value, rtol=0, atol=0)


@pytest.mark.slow
def test_a_checkpoint_with_code_in_the_workflows_folder_is_not_run(tiny_run, tmp_path):
    folder = tmp_path / "run"
    copy_run(tiny_run, folder)
    harm = tmp_path / "harm.txt"
    weights = folder / "results/round_0/ResNet18_best_model.pt"
    before = torch.load(weights, weights_only=True)
    weights.unlink()

    def checkpoints():
        return list((folder / "results/round_0/.checkpoints").glob("*/last.ckpt"))

    run = Started(folder, "results/round_0/ResNet18_best_model.pt")
    wait_until(lambda: checkpoints() or run.ended())
    run.kill_all()
    assert snakemake(folder, "--unlock").code == 0
    assert checkpoints(), "a killed run keeps its checkpoint"
    for path in checkpoints():
        path.write_bytes(zipped({"state_dict": Evil(harm)}))
    harm.unlink(missing_ok=True)
    run = snakemake(folder, "results/round_0/ResNet18_best_model.pt", config=TINY)
    assert run.code == 0, run.text
    assert "training starts anew" in run.text
    assert not harm.exists()
    after = torch.load(weights, weights_only=True)
    for key, value in before.items():
        torch.testing.assert_close(after[key], value, rtol=0, atol=0)


# --- names are names -------------------------------------------------------------------------------------------------

# Every one of these would leave `harm`, or a message of the shell, if it ever met one.
NAMES = (
    "it's $(touch harm)", "a b", "it's", 'say "x"', "$(touch harm)", "`touch harm`", "x; touch harm;",
    "x && touch harm", "x | touch harm", "> harm", "${HOME}", "-rf", "--help", "{round}", "{wildcards.x}", "{{x}}",
    "{0}", "{", "%s %(x)s", "*", "?[a]", "~", "#x", "\\n\\x41", "größe 年 🧬", "e\u0301", "!!python",
)  # fmt: skip


def write_cohort(folder, beta, samples):
    rng = np.random.default_rng(0)
    ids = [f"S{index}" for index in range(12)]
    values = pd.DataFrame(rng.uniform(0.2, 0.8, (6, 12)).round(4), [f"cg{index}" for index in range(6)], ids)
    values.rename_axis("cpg").to_csv(folder / beta)
    pd.DataFrame({"sample_id": ids, "age": np.linspace(20, 80, 12)}).to_csv(folder / samples, index=False)


def without_braces(name):
    """For files that become inputs of rules; those with braces are refused."""
    return name.replace("{", "(").replace("}", ")")


def no_harm(*folders):
    for folder in folders:
        assert not list(folder.rglob("harm")), "a name was run by a shell"


def named(name):
    # A pytest id must itself be harmless to whoever copies it.
    return "".join(sign if sign.isalnum() else "_" for sign in name)


IN_MAKE_TEST = ("it's $(touch harm)",)


@pytest.mark.parametrize(
    "name",
    [name if name in IN_MAKE_TEST else pytest.param(name, marks=pytest.mark.slow) for name in NAMES],
    ids=named,
)
def test_cohort_files_and_working_directories_of_any_name(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    config = {"cohort": {"beta": f"{name}.csv", "samples": f"{name} 2.csv"}, "statistics": {"shards": 1}}
    braces = {"{", "}"} & set(name)  # Snakemake has no way to write them
    if braces:
        run = snakemake(folder, "results/statistics/statistics.parquet", config=config)
        assert run.code != 0
        assert f"{folder} has braces in its path" in run.text
        assert "rename the folder" in run.text
        assert "Traceback (most recent call last)" not in run.text, run.text
        folder = tmp_path / "plain"
        folder.mkdir()
    write_cohort(folder, f"{name}.csv", f"{name} 2.csv")
    run = snakemake(folder, "results/statistics/statistics.parquet", config=config)
    if braces:
        assert run.code != 0
        assert f"cohort.beta: {name}.csv has braces in its name" in run.text
        assert "rename the file" in run.text
        write_cohort(folder, "b.csv", "s.csv")
        config["cohort"] = {"beta": "b.csv", "samples": "s.csv"}
        run = snakemake(folder, "results/statistics/statistics.parquet", config=config)
    assert run.code == 0, run.text
    assert len(pd.read_parquet(folder / "results/statistics/statistics.parquet")) == 6
    no_harm(tmp_path, ROOT / "workflow")
    assert not (ROOT / "harm").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES, ids=named)
def test_images_weights_and_labels_of_any_name(tiny_run, tmp_path, name):
    """Round 0 from given weights and given images, then foreign images: all files under the name."""
    folder, root = tmp_path / without_braces(name), name
    (folder / root).mkdir(parents=True)
    name = without_braces(name)
    model = tiny_run / "results/round_0/ResNet18"
    shutil.copy(f"{model}_best_model.pt", folder / f"{name}.pt")
    shutil.copy(f"{model}_normalization_stat.json", folder / f"{name}.json")
    shutil.copy(f"{model}_model.json", folder / f"{name}_model.json")
    info = {}
    for part in ("training", "val", "test"):
        listed = pd.read_csv(tiny_run / f"results/round_0/{part}_info.csv", header=None)[:12]
        paths = []
        for number, path in enumerate(listed[0]):
            paths.append(f"{name} {part}{number}.png")
            shutil.copy(tiny_run / path, folder / root / paths[-1])
        info[part] = f"{name} {part}.csv"
        listed.assign(path=paths)[["path", 1]].to_csv(folder / info[part], header=False, index=False)
    predict = {"images": info["test"], "root": root, "weights": f"{name}.pt", "stats": f"{name}.json"}
    config = {
        "images": TINY["images"] | {"info": info, "root": root},
        "training": {"weights": f"{name}.pt", "stats": f"{name}.json"},
        "predict": predict,
    }
    run = snakemake(folder, "results/round_0/metrics.json", "predict_images", config=config)
    assert run.code == 0, run.text
    table = pd.read_csv(folder / "results/predict_images/ResNet18_predictions.csv")
    first = pd.read_csv(folder / "results/round_0/ResNet18_predictions.csv")
    assert len(table) == len(first) > 0
    np.testing.assert_allclose(table[list(TAXA)], first[list(TAXA)], atol=1e-5)
    no_harm(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES[:16], ids=named)
def test_labels_and_truth_of_any_name(tiny_run, tmp_path, name):
    name = without_braces(name)
    folder = tmp_path / name
    copy_run(tiny_run, folder)
    labels = pd.read_parquet(folder / "results/taxa/statistical.parquet")[["cpg", "taxon"]]
    labels[labels["taxon"] != "Unclassified"][:50].to_csv(folder / f"{name}.csv", index=False)
    config = merged(TINY, {"taxa": {"labels": f"{name}.csv"}})
    run = snakemake(folder, "results/taxa/statistical.parquet", config=config)
    assert run.code == 0, run.text
    assert run.jobs() == {"use_labels": 1}
    shutil.copy(folder / "results/simulated_cohort/truth.csv", folder / f"{name} truth.csv")
    (folder / "results/report.html").unlink()
    for path in ("taxa/statistical.parquet", ".checksums/taxa/statistical.parquet"):
        shutil.copy(tiny_run / "results" / path, folder / "results" / path)
    config = merged(TINY, {"cohort": {"truth": f"{name} truth.csv"}})
    run = snakemake(
        folder, "results/report.html", "--allowed-rules", "report", "--rerun-triggers", "mtime", config=config
    )
    assert run.code == 0, run.text
    assert "Agreement with the truth" in (folder / "results/report.html").read_text()
    no_harm(tmp_path)


KEYS = (
    "cohort.beta", "cohort.samples", "cohort.truth", "taxa.labels", "images.root", "images.info.training",
    "predict.images", "predict.root", "predict.weights", "predict.stats", "training.weights", "training.stats",
)  # fmt: skip


def test_names_with_line_breaks_are_refused_under_every_key(tmp_path):
    from cpgtaxa.plan.config import check_config

    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config["images"]["info"] = {"training": "t.csv", "val": "v.csv", "test": "x.csv"}
    for key in KEYS:
        *sections, last = key.split(".")
        place = config
        for section in sections:
            place = place[section]
        place[last] = "a\ntouch harm\nb\x1b[2J.csv"
    with pytest.raises(InputError) as caught:
        check_config(config, ROOT / "workflow/schemas/config.schema.yaml")
    for key in KEYS:
        assert f"`{key}` is the text" in caught.value.text()
    assert "\x1b" not in caught.value.text(), "a name may not steer the terminal"
    run = snakemake(tmp_path, "results/cohort/qc.json", config=config)
    assert run.code != 0
    assert "line break or another control character" in run.text
    assert not list(tmp_path.rglob("harm"))


def test_missing_files_of_odd_names_are_named_not_run(tmp_path):
    config = {"taxa": {"labels": "$(touch harm)"}, "cohort": {"beta": "`touch harm`", "samples": "; touch harm"}}
    run = snakemake(tmp_path, "results/taxa/statistical.parquet", config=config)
    assert run.code != 0
    assert "Traceback (most recent call last)" not in run.text
    for word in ("is not there", "touch harm"):
        assert word in run.text
    assert not list(tmp_path.rglob("harm"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["../up.csv", "sub/../../up.csv"])
def test_dots_in_config_paths_lead_where_they_say(tmp_path, name):
    """The config is the user's own: it may point anywhere; only lists of images are held to their folder."""
    folder = tmp_path / "work"
    (folder / "sub").mkdir(parents=True)
    write_cohort(tmp_path, "up.csv", "samples.csv")
    run = snakemake(folder, "results/cohort/qc.json", config={"cohort": {"beta": name, "samples": "../samples.csv"}})
    assert run.code == 0, run.text


# --- lists of images stay in their folder ----------------------------------------------------------------------------


def test_image_lists_cannot_leave_their_folder(tmp_path):
    inside, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        Image.new("RGB", (8, 8)).save(folder / "x.png")
    (inside / "link.png").symlink_to(outside / "x.png")
    (inside / "folder").symlink_to(outside)
    (inside / "loop.png").symlink_to("loop.png")
    (tmp_path / "root_2").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "root_2/x.png")
    leading_out = (
        "../outside/x.png",
        f"{outside}/x.png",
        "link.png",
        "folder/x.png",
        "x/../../outside/x.png",
        "../root_2/x.png",
    )
    for path in (*leading_out, "loop.png", "file:///etc/hostname", "~/x.png"):
        (tmp_path / "list.csv").write_text(f"{path},BiAge\n")
        with pytest.raises(InputError) as caught:
            read_image_csv(tmp_path / "list.csv", inside)
        word = "lie outside the folder" if path in leading_out else "are not there"
        assert word in caught.value.text(), path
    (inside / "sub").mkdir()
    for path in ("x.png", f"{inside}/x.png", "sub/../x.png"):
        (tmp_path / "list.csv").write_text(f"{path},BiAge\n")
        assert len(read_image_csv(tmp_path / "list.csv", inside)) == 1


def test_other_image_formats_are_not_even_tried(tmp_path):
    """PostScript would start Ghostscript; whatever is no PNG stays unopened."""
    marker = tmp_path / "harm"
    picture = tmp_path / "a.png"
    picture.write_text(
        f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(%pipe%touch {marker}) (w) file closefile\n"
    )
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "gs").write_text(f"#!/bin/sh\ntouch '{marker}'\n")
    (fake / "gs").chmod(0o755)
    code = (
        "import sys; from PIL import Image; from cpgtaxa.images.render import read_png\n"
        "try:\n    read_png(sys.argv[1])\nexcept Exception as error:\n    print(type(error).__name__)\n"
    )
    environment = os.environ | {"PATH": f"{fake}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "scripts")}
    command = [sys.executable, "-c", code, str(picture)]
    found = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert found.stdout.strip() == "InputError"
    assert not marker.exists()
    # Pillow alone would have started it.
    careless = "import sys; from PIL import Image; Image.open(sys.argv[1]).load()"
    subprocess.run([sys.executable, "-c", careless, str(picture)], capture_output=True, env=environment, check=False)
    assert marker.exists()


# --- bombs -----------------------------------------------------------------------------------------------------------

BOMB = """
import resource, sys, pathlib
sys.path.insert(0, {scripts!r})
from cpgtaxa.errors import InputError
from cpgtaxa.input import scan
from cpgtaxa.input import opening
from cpgtaxa.input import sheets
from cpgtaxa.input import streams
from cpgtaxa.input import texts
from cpgtaxa.learning import networks
from cpgtaxa.images import render
from cpgtaxa.images import packed as images
from cpgtaxa.taxa import labels as taxa
most = {most} << 20
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
try:
    {call}
except (InputError, streams.Unreadable) as error:
    print("refused:", error)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
assert after - before < most, f"{{(after - before) >> 20}} MB"
"""


def gzip_of(piece, times, head=b""):
    """A gzip of a few megabytes that holds gigabytes: one member, repeated."""
    return gzip.compress(head) + gzip.compress(piece) * times


def many(piece, head=b""):
    return lambda: gzip_of(piece, 200, head)


BOMBS = {
    "labels": ("taxa.read_labels(sys.argv[1], [])", many(b"a,b\n" * (4 << 20), b"cpg,taxon\n"), 700),
    "image list": ("images.read_image_csv(sys.argv[1], '.')", many(b"a,b\n" * (4 << 20)), 700),
    "sheet": ("sheets.read_sheet(pathlib.Path(sys.argv[1]), {})", many(b"a,b\n" * (4 << 20)), 900),
    "matrix": ("opening.open_matrix(pathlib.Path(sys.argv[1]))", many(b"x" * (16 << 20)), 2200),
    "row of the matrix": (
        "matrix = opening.open_matrix(pathlib.Path(sys.argv[1]))\n"
        "    print('refused:', scan.scan_matrix(matrix, [0, 1], pathlib.Path(sys.argv[1] + '.out'), 0.2).damage)",
        many(b"x" * (16 << 20), b"cpg,s1,s2\ncg1,0.5,0.5\ncg2,0.5,0.4\n"),
        2200,
    ),
    "weights": ("networks.load_weights(sys.argv[1], 'ResNet18')", many(bytes(16 << 20)), 1500),
}


@pytest.mark.parametrize("case", slow_but([(case,) for case in BOMBS]), ids=list(BOMBS))
def test_what_unpacks_to_gigabytes_is_refused_in_little_memory(tmp_path, case):
    call, content, most = BOMBS[case]
    content = content()
    path = tmp_path / "bomb.gz"
    path.write_bytes(content)
    assert len(content) < 6 << 20
    code = BOMB.format(scripts=str(ROOT / "scripts"), call=call, most=most)
    found = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert found.returncode == 0, found.stderr[-2000:]
    assert "refused:" in found.stdout
    assert len(found.stdout) < 2000


# --- pages and tables ------------------------------------------------------------------------------------------------

HOSTILE = (
    "<script>window.harm=1</script>",
    "</script><script>window.harm=1</script>",
    "</title><img src=x onerror=harm()>",
    '"><svg onload=harm()>',
    "' onmouseover='harm()",
    "</pre></svg></style><b id=harm>",
    "<!--",
    "]]>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&amp;",
    "javascript:harm()",
    "=cmd|' /C calc'!A0",
    "$\\frac{$",
    "../../../../harm",
    "x" * 300,
)


class Page(html.parser.HTMLParser):
    """Every element and attribute of a page, and its text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.handlers, self.links, self.ids, self.text, self.inside = [], [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            self.handlers += [(tag, name)] if name.startswith("on") else []
            self.links += [value or ""] if name in ("href", "src", "xlink:href", "action", "data") else []
            self.ids += [value] if name == "id" else []

    def handle_data(self, data):
        self.text.append(data)


def hostile_cohort(tiny_run, folder):
    """A finished run whose cohort is renamed: CpGs, samples, sexes and kinds of truth all carry markup."""
    beta = pd.read_csv(tiny_run / "results/simulated_cohort/beta.csv.gz", index_col=0)
    samples = pd.read_csv(tiny_run / "results/simulated_cohort/samples.csv")
    truth = pd.read_csv(tiny_run / "results/simulated_cohort/truth.csv")
    new = {cpg: f"{HOSTILE[number % len(HOSTILE)]} {number}" for number, cpg in enumerate(beta.index)}
    ids = {name: f"{name}{HOSTILE[number % len(HOSTILE)]}" for number, name in enumerate(beta.columns)}
    beta.rename(index=new, columns=ids).to_csv(folder / "beta.csv", quoting=csv.QUOTE_NONNUMERIC)
    samples["sample_id"] = samples["sample_id"].map(ids)
    samples["sex"] = ["<script>harm()</script>" if number % 2 else "F" for number in range(len(samples))]
    extra = samples.iloc[:1].assign(sample_id="<b id=harm>nobody</b>")
    pd.concat([samples, extra]).to_csv(folder / "samples.csv", index=False)
    truth["cpg"] = truth["cpg"].map(new)
    truth["kind"] = truth["kind"].where(truth["kind"].isna(), "$\\frac{$<script>harm()</script>")
    truth.to_csv(folder / "truth <b id=harm>.csv", index=False)
    return list(new.values())


@pytest.mark.slow
def test_a_page_made_from_hostile_names_holds_no_markup_of_theirs(tiny_run, tmp_path):
    names = hostile_cohort(tiny_run, tmp_path)
    changes = {
        "simulate_cohort": None,
        "cohort": {"beta": "beta.csv", "samples": "samples.csv", "truth": "truth <b id=harm>.csv", "unmatched": "drop"},
        "rounds": {"max": 1},
    }
    run = snakemake(tmp_path, config=merged(TINY, changes))
    assert run.code == 0, run.text
    text = (tmp_path / "results/report.html").read_text(encoding="utf-8")
    page = Page(text)
    plain = Page((tiny_run / "results/report.html").read_text(encoding="utf-8"))
    assert set(page.tags) <= set(plain.tags) | {"li", "ul"}, "the data brought elements of its own"
    assert "script" not in page.tags
    assert not page.handlers
    assert "harm" not in page.ids
    # Beside the pictures, links lead to the page's own files and to the explorer, names in them encoded.
    own = ("#", "data:image/png;base64,", "report/", "cohort/qc.", "embedding/", "explorer.html", "age_ewas.csv.gz")
    assert all(link.startswith(own) and not set("<>\"' ") & set(link) for link in page.links)
    shown = "".join(page.text)
    for wanted in ("<script>window.harm=1</script>", "<b id=harm>", "<script>harm()</script>"):
        assert wanted in shown, f"{wanted} is shown as the text it is"
    for path in (tmp_path / "results/report/figures").glob("*.svg"):
        drawn = Page(path.read_text(encoding="utf-8"))
        assert "script" not in drawn.tags
        assert not drawn.handlers
    table = pd.read_csv(tmp_path / "results/taxonomy.csv.gz", keep_default_na=False)
    assert table["cpg"].tolist() == names == pd.read_parquet(tmp_path / "results/taxonomy.parquet")["cpg"].tolist()
    pictures = list((tmp_path / "results").rglob("*.png"))
    assert pictures
    assert not list(tmp_path.parent.glob("harm*"))


def test_a_cpg_called_like_a_formula_stays_as_it_is(tmp_path):
    """Tables are data, and another program reads them by id: nothing is put before a name. SECURITY.md says so."""
    names = ["=cmd|' /C calc'!A0", "+1", "-1", "@x", 'a"b,c', "\ttab"]
    labels = pd.DataFrame({"cpg": names, "taxon": "BiAge"})
    predictions = pd.DataFrame({"cpg": names} | {f"p_{taxon}": np.float32(0.1) for taxon in TAXA})
    placed = pd.DataFrame({"cpg": pd.Series([], dtype=str), "taxon": pd.Series([], dtype=str), "confidence": []})
    folder = tmp_path / "round_0"
    (folder / "predictions").mkdir(parents=True)
    labels.to_parquet(tmp_path / "labels.parquet")
    predictions.to_parquet(folder / "predictions/0-of-1.parquet")
    placed.to_parquet(folder / "reassigned.parquet")
    write_taxonomy(
        tmp_path / "labels.parquet",
        [folder / "predictions/0-of-1.parquet"],
        [folder / "reassigned.parquet"],
        tmp_path / "labels.parquet",
        tmp_path / "taxonomy.parquet",
        tmp_path / "taxonomy.csv.gz",
        tmp_path / "left",
    )
    with gzip.open(tmp_path / "taxonomy.csv.gz", "rt", newline="") as handle:
        assert [row[0] for row in csv.reader(handle)][1:] == names


@pytest.mark.parametrize("name", [*HOSTILE, *NAMES, "..", ".", "a/b", "/etc/x", "a\0b", "CON", ""])
def test_pictures_of_any_cpg_stay_in_their_folder(tmp_path, name):
    path = tmp_path / image_path("CpG_image", name)
    assert path.parent == tmp_path / "CpG_image"
    assert len(path.name.encode()) < 200
    path.parent.mkdir()
    path.write_bytes(b"x")
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_pictures_of_different_cpgs_have_different_names():
    names = [*HOSTILE, *NAMES, "x" * 301, "a/b", "a_b", "a:b"]
    assert len({image_path("f", name) for name in names}) == len(names)


# --- nothing else is run ---------------------------------------------------------------------------------------------


def test_no_rule_and_no_hook_calls_a_shell():
    """Rules are scripts, and what is shown at the end is printed by Python."""
    lines = [
        line.strip()
        for path in [ROOT / "workflow/Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
        for line in path.read_text().splitlines()
        if "shell" in line
    ]
    assert lines == []


def test_the_library_starts_no_program_and_unpickles_nothing():
    for path in (ROOT / "scripts").rglob("*.py"):
        text = path.read_text().replace(".eval(", "").replace("ast.literal_eval(", "")  # which run nothing
        for word in ("os.system", "shell=True", "pickle.load", "eval(", "exec(", "yaml.load(", "weights_only=False"):
            assert word not in text, (path, word)
