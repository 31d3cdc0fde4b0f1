import copy
import pathlib
import shutil
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT
from cpgtaxa.errors import InputError
from cpgtaxa.plan import config as module
from cpgtaxa.plan import sources
from cpgtaxa.plan.config import as_written, check_config, from_command_line
from cpgtaxa.plan.sources import library_files

SCHEMA = """
$schema: https://json-schema.org/draft/2020-12/schema
type: object
additionalProperties: false
required: [cohort]
properties:
  cohort:
    type: object
    title: Where the data is
    additionalProperties: false
    required: [beta, samples]
    properties:
      beta: {type: string, minLength: 1, title: "Beta matrix, CpGs in rows"}
      samples: {type: string}
      unmatched: {enum: [error, drop], default: error}
      columns:
        type: object
        additionalProperties: false
        properties:
          age: {type: string, default: age}
          sex: {type: [string, "null"], default: sex}
  taxa:
    type: object
    additionalProperties: false
    properties:
      labels: {type: [string, "null"], default: null}
      thresholds:
        type: object
        additionalProperties: false
        properties:
          dip_p: {type: number, exclusiveMinimum: 0, maximum: 1, default: 0.001}
          gap: {$ref: "#/$defs/share", default: 0.1}
  training:
    type: object
    additionalProperties: false
    properties:
      epochs: {type: integer, minimum: 1, default: 14}
      flip: {type: boolean, default: true}
      source: {enum: [statistical, simulated, both], default: both}
      seeds: {type: array, minItems: 1, items: {type: integer}, default: [1, 2]}
      lr: {anyOf: [{type: number, exclusiveMinimum: 0}, {const: auto}], default: auto}
      verbosity: {enum: ["off", "on"], default: "off"}
      models:
        type: object
        default: {}
        additionalProperties:
          type: object
          additionalProperties: false
          properties: {size: {type: integer, default: 224}}
  plot: {type: object}
  predict:
    type: object
    additionalProperties: false
    required: [images]
    properties:
      images: {type: string}
      root: {type: string, default: "."}
$defs:
  share: {type: number, minimum: 0, maximum: 1}
"""
GOOD = {"cohort": {"beta": "b.csv", "samples": "s.csv"}}


@pytest.fixture
def schema(tmp_path):
    path = tmp_path / "config.schema.yaml"
    path.write_text(SCHEMA)
    return path


def problems(config, schema) -> list[str]:
    with pytest.raises(InputError) as caught:
        check_config(config, schema)
    return caught.value.problems


def test_defaults_at_every_level(schema):
    assert check_config(GOOD, schema) == {
        "cohort": {
            "beta": "b.csv",
            "samples": "s.csv",
            "unmatched": "error",
            "columns": {"age": "age", "sex": "sex"},
        },
        "taxa": {"labels": None, "thresholds": {"dip_p": 0.001, "gap": 0.1}},
        "training": {
            "epochs": 14,
            "flip": True,
            "source": "both",
            "seeds": [1, 2],
            "lr": "auto",
            "verbosity": "off",
            "models": {},
        },
    }


def test_given_values_win_and_the_input_stays_as_it_was(schema):
    given = GOOD | {"taxa": {"thresholds": {"dip_p": 0.5}}, "training": {"models": {"ResNet18": {}}, "seeds": [7]}}
    given["plot"] = {"colours": ["red"]}
    before = copy.deepcopy(given)
    filled = check_config(given, schema)
    assert given == before
    assert filled["taxa"]["thresholds"] == {"dip_p": 0.5, "gap": 0.1}
    assert filled["training"]["models"] == {"ResNet18": {"size": 224}}
    filled["training"]["seeds"].append(8)
    filled["plot"]["colours"].append("blue")
    assert given == before
    assert check_config(GOOD, schema)["training"]["seeds"] == [1, 2]


def test_empty_sections_and_keys_take_their_defaults(schema):
    given = GOOD | {"taxa": None, "training": {"epochs": None, "models": {"ResNet18": None}}}
    filled = check_config(given, schema)
    assert filled["taxa"]["thresholds"]["dip_p"] == 0.001
    assert filled["training"]["epochs"] == 14
    assert filled["training"]["models"] == {"ResNet18": {"size": 224}}


def test_null_stays_where_it_is_allowed(schema):
    filled = check_config({"cohort": GOOD["cohort"] | {"columns": {"sex": None}}}, schema)
    assert filled["cohort"]["columns"] == {"age": "age", "sex": None}


def test_optional_section_with_required_keys(schema):
    assert "predict" not in check_config(GOOD, schema)
    assert check_config(GOOD | {"predict": {"images": "i.csv"}}, schema)["predict"] == {"images": "i.csv", "root": "."}
    assert problems(GOOD | {"predict": None}, schema) == ["`predict.images` is missing: write text"]


def test_whole_floats_become_integers(schema):
    epochs = check_config(GOOD | {"training": {"epochs": 4e1}}, schema)["training"]["epochs"]
    assert epochs == 40
    assert isinstance(epochs, int)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"cohort": GOOD["cohort"] | {"bta": 1}}, "unknown key `cohort.bta`: did you mean `cohort.beta`?"),
        (GOOD | {"trainig": {}}, "unknown key `trainig`: did you mean `training`?"),
        (GOOD | {"epochs": 3}, "unknown key `epochs`: did you mean `training.epochs`?"),
        (
            GOOD | {"xyz": 3},
            "unknown key `xyz`: the keys of the configuration are cohort, taxa, training, plot, predict",
        ),
        (
            GOOD | {"training": {"models": {"ResNet18": {"sise": 3}}}},
            "unknown key `training.models.ResNet18.sise`: did you mean `training.models.ResNet18.size`?",
        ),
        (GOOD | {"taxa": {True: 3}}, "unknown key `taxa.True`: the keys of `taxa` are labels, thresholds"),
        ({}, "`cohort.beta` is missing: write text, 1 or more characters (Beta matrix, CpGs in rows)"),
        ({"cohort": None}, "`cohort.samples` is missing: write text"),
        (
            {"cohort": {"samples": "s", "beta": None}},
            "`cohort.beta` is empty: write text, 1 or more characters (Beta matrix, CpGs in rows)",
        ),
        ({"cohort": "b.csv"}, "`cohort` is the text 'b.csv': write a section (indented keys) (Where the data is)"),
        (
            GOOD | {"taxa": {"thresholds": {"dip_p": 2}}},
            "`taxa.thresholds.dip_p` is 2: write a number, above 0, at most 1",
        ),
        (
            GOOD | {"taxa": {"thresholds": {"gap": -0.5}}},
            "`taxa.thresholds.gap` is -0.5: write a number, at least 0, at most 1",
        ),
        (
            GOOD | {"taxa": {"thresholds": {"dip_p": "1e-6"}}},
            "`taxa.thresholds.dip_p` is the text '1e-6': write 1.0e-06 without quotes",
        ),
        (GOOD | {"training": {"epochs": "12"}}, "`training.epochs` is the text '12': write 12 without quotes"),
        (GOOD | {"training": {"epochs": 1.5}}, "`training.epochs` is 1.5: write a whole number, at least 1"),
        (GOOD | {"training": {"epochs": True}}, "`training.epochs` is true: write a whole number, at least 1"),
        (GOOD | {"training": {"flip": "yes"}}, "`training.flip` is the text 'yes': write true or false"),
        (
            GOOD | {"training": {"source": "simulate"}},
            "`training.source` is the text 'simulate': did you mean simulated? "
            "It is one of statistical, simulated, both",
        ),
        (
            GOOD | {"training": {"verbosity": False}},
            '`training.verbosity` is false: in quotes ("no", "off"), write one of off, on',
        ),
        (GOOD | {"training": {"seeds": [1, "x"]}}, "`training.seeds[1]` is the text 'x': write a whole number"),
        (GOOD | {"training": {"seeds": []}}, "`training.seeds` is a list: write a list, 1 or more items"),
        (GOOD | {"training": {"seeds": 3}}, "`training.seeds` is 3: write a list, 1 or more items"),
        (GOOD | {"training": {"lr": "fast"}}, "`training.lr` is the text 'fast': write a number, above 0 or auto"),
        (GOOD | {"training": ["epochs"]}, "`training` is a list: write a section (indented keys)"),
    ],
)
def test_message(schema, given, expected):
    found = problems(given, schema)
    assert expected in found
    assert len(found) == (2 if given == {} or given == {"cohort": None} else 1)


def test_all_problems_at_once(schema):
    given = {"cohort": {"bta": "b", "samples": 3}, "taxa": {"thresholds": {"dip_p": 7}}}
    assert problems(given, schema) == [
        "unknown key `cohort.bta`: did you mean `cohort.beta`?",
        "`cohort.beta` is missing: write text, 1 or more characters (Beta matrix, CpGs in rows)",
        "`cohort.samples` is 3: write text",
        "`taxa.thresholds.dip_p` is 7: write a number, above 0, at most 1",
    ]


def test_needs_nothing_but_yaml_and_jsonschema():
    code = (
        "import sys, cpgtaxa.plan.config; "
        "bad = {'numpy', 'pandas', 'pyarrow', 'torch', 'scipy', 'numba'} & set(sys.modules); sys.exit(bool(bad))"
    )
    scripts = pathlib.Path(module.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=scripts, check=False).returncode == 0


@pytest.fixture
def scripts(tmp_path):
    """A small library beside scripts."""
    texts = {
        "cpgtaxa/__init__.py": "",
        "cpgtaxa/names.py": "TAXA = ()\n",
        "cpgtaxa/errors.py": "import sys\n",
        "cpgtaxa/files.py": "def f():\n    from cpgtaxa.errors import InputError\n",
        "cpgtaxa/unused.py": "from cpgtaxa import files\n",
        "cpgtaxa/models/__init__.py": "from . import registry\n",
        "cpgtaxa/models/registry.py": "def create(name):\n    from .resnet import ResNet\n",
        "cpgtaxa/models/resnet.py": "from ..names import TAXA\nimport cpgtaxa.models.registry\n",
        "cpgtaxa/models/other.py": "",
        "plain.py": "import json\nimport cpgtaxa_like\nfrom json import loads\n",
        "named.py": "from cpgtaxa import names\n",
        "dotted.py": "import cpgtaxa.files as files\n",
        "inside.py": "if True:\n    def run():\n        from cpgtaxa.files import f\n",
        "model.py": "from cpgtaxa.models.resnet import ResNet\n",
        "package.py": "from cpgtaxa import __version__\n",
    }
    for name, text in texts.items():
        path = tmp_path / "scripts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "scripts"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("plain", []),
        ("package", ["__init__"]),
        ("named", ["__init__", "names"]),
        ("dotted", ["__init__", "errors", "files"]),
        ("inside", ["__init__", "errors", "files"]),
        ("model", ["__init__", "models/__init__", "models/registry", "models/resnet", "names"]),
        ("cpgtaxa/unused", ["__init__", "errors", "files"]),
    ],
)
def test_library_files(scripts, script, expected):
    if script.startswith("cpgtaxa/"):
        shutil.copy(scripts / f"{script}.py", scripts / "copy.py")
        script = "copy"
    found = library_files(scripts / f"{script}.py")
    assert found == [str(scripts / "cpgtaxa" / f"{name}.py") for name in expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import json; import cpgtaxa.names\n", ["names"]),
        ("if True: from cpgtaxa import names\n", ["names"]),
        ("try: import json\nexcept ImportError: from cpgtaxa.names import TAXA\n", ["names"]),
        ("import json, \\\n    cpgtaxa.names\n", ["names"]),
        ("from cpgtaxa \\\n    import names\n", ["names"]),
        ("from cpgtaxa.models import (  # a (b)\n    registry,\n)\n", ["names"]),
        ("from cpgtaxa import (\n    errors,\n    names,\n)\n", ["errors", "names"]),
        ('"""A text in which\nimport duties are named.\n"""\nfrom cpgtaxa import names\n', ["names"]),
        ("# import cpgtaxa.names\nimport json\n", []),
        ("if True:\n\timport cpgtaxa.names\n", ["names"]),
    ],
)
def test_imports_are_found_however_they_are_written(scripts, text, expected):
    (scripts / "written.py").write_text(text)
    found = library_files(scripts / "written.py")
    wanted = ["__init__", *expected] if expected else []
    assert [pathlib.Path(path).stem for path in found if "models" not in path] == wanted


def test_imports_are_those_of_the_whole_parse():
    for path in pathlib.Path(sources.__file__).parents[1].rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        whole = sources._imported("0; import json\n" + text, ("cpgtaxa", "some"))  # parsed in full
        assert sources._imported(text, ("cpgtaxa", "some")) == whole, path


def test_library_files_of_the_library_itself():
    here, library = pathlib.Path(module.__file__), pathlib.Path(sources.__file__).parents[1]
    assert library_files(here) == [str(library / "__init__.py"), str(library / "errors.py")]


def test_a_bare_no_and_yes_are_the_ends_of_a_zone():
    """YAML reads them as false and true; what the user wrote wins over the default's quoted keys."""
    rules = ROOT / "workflow/schemas/config.schema.yaml"
    given = yaml.safe_load("taxa: {thresholds: {trend: {no: 0.2}, width: {'yes': 0.03}}}")
    merged = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    merged["taxa"]["thresholds"]["trend"] |= given["taxa"]["thresholds"]["trend"]
    assert merged["taxa"]["thresholds"]["trend"] == {"no": 0.3, "yes": 1, False: 0.2}
    for config in (given, merged):
        config |= {"cohort": {"beta": "b", "samples": "s"}}
        assert check_config(config, rules)["taxa"]["thresholds"]["trend"] == {"no": 0.2, "yes": 1.0}
    assert check_config(given, rules)["taxa"]["thresholds"]["width"] == {"no": 0.008, "yes": 0.03}


@pytest.mark.parametrize("word", ["1_2", "010", "12:30", "no", "1e3", "1E2", "1.10", "2020-01-01", "0x1F", "+1", ".5"])
def test_names_are_what_the_file_says(tmp_path, word):
    """YAML reads 12, 8, 750, false … in these places."""
    path, other = tmp_path / "config.yaml", tmp_path / "other.yaml"
    path.write_text(
        f"cohort: {{only: {{plate: {word}, {word}: [{word}, x]}}, one_per: {word}, "
        f"columns: {{age: {word}, sex: null}}}}\n"
        f"adjust: {{covariates: [{word}, {{{word}: category}}]}}\n"
    )
    other.write_text("cohort: {only: {}, one_per: null}\n")
    found = as_written(yaml.safe_load(path.read_text()), [path, other])
    assert found == {
        "cohort": {"only": {"plate": word, word: [word, "x"]}, "one_per": word, "columns": {"age": word, "sex": None}},
        "adjust": {"covariates": [word, {word: "category"}]},
    }
    check_config(found, ROOT / "workflow/schemas/config.schema.yaml")
    given = {"cohort": {"only": {"plate": 3}}}
    assert as_written(given, [path, other]) == given


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("compare: {cohorts: {1_2: a, 12: b, c: d}}", "'1_2' and '12' (lines 1 and 1) is one key to YAML"),
        ("cohort:\n  only:\n    sex: F\n    sex: M\n", "'sex' (lines 3 and 4) is one key to YAML"),
        ("single_cell: {profiles: {010: a.tsv, 8: b.tsv}}", "'010' and '8'"),
    ],
)
def test_keys_that_yaml_takes_for_one_are_refused(tmp_path, text, said):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        as_written(yaml.safe_load(text), [path])
    assert said in caught.value.text()


def test_names_of_every_section_are_as_written(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "cohort: {filters: {no: a, 010: b}}\ncompare: {cohorts: {1_2: a, no: b}}\nexpression: {train_on: 010}\n"
        "ecg_age: {lead_names: {1: I, no: null}}\nsingle_cell: {profiles: {010: a, 10: b}}\n"
        "scores: {signature: {12: x}}\n"
    )
    found = as_written(yaml.safe_load(path.read_text()), [path])
    assert found["cohort"]["filters"] == {"no": "a", "010": "b"}
    assert found["compare"]["cohorts"] == {"1_2": "a", "no": "b"}
    assert found["expression"]["train_on"] == "010"
    assert found["ecg_age"]["lead_names"] == {"1": "I", "no": None}
    assert found["single_cell"]["profiles"] == {"010": "a", "10": "b"}
    assert found["scores"]["signature"] == {"12": "x"}


def test_names_of_a_modules_config_are_as_its_section_of_the_file_has_them(tmp_path):
    path = tmp_path / "outer.yaml"
    path.write_text("mine: {x: 1}\ncpgtaxa:\n  cohort: {only: {batch: 1_2}}\n")
    given = yaml.safe_load(path.read_text())["cpgtaxa"]
    assert as_written(given, [path]) == {"cohort": {"only": {"batch": "1_2"}}}


def test_numbers_on_the_command_line_are_numbers():
    given = {"rounds": {"max": "1", "error_rate": "5.0e-2"}, "cohort": {"beta": "b.csv", "only": {"batch": "010"}}}
    given |= {"training": {"weights": "null"}, "explorer": {"sample_ids": "false"}, "adjust": {"covariates": ["1"]}}
    found = from_command_line(given | {"seed": 7}, given)
    assert found["rounds"] == {"max": 1, "error_rate": 0.05}
    assert found["cohort"] == {"beta": "b.csv", "only": {"batch": "010"}}
    assert (found["training"]["weights"], found["explorer"]["sample_ids"]) == (None, False)
    assert (found["adjust"]["covariates"], found["seed"]) == (["1"], 7)
    assert from_command_line({"rounds": {"max": "1"}}, {"cpgtaxa": {"rounds": {"max": "1"}}}) == {"rounds": {"max": 1}}
    assert from_command_line({"rounds": {"max": "1"}}, {}) == {"rounds": {"max": "1"}}, "of a file, it stays a text"
