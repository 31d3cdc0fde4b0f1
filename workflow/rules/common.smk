# Validation, and what all rule files share.

from pathlib import Path

from cpgtaxa.targets.biology.plan import BiologyPlan
from cpgtaxa.targets.compare.plan import ComparePlan
from cpgtaxa.plan.config import as_written, check_config, from_command_line
from cpgtaxa.targets.ecg.plan import NETWORKS as ECG_NETWORKS
from cpgtaxa.targets.ecg.plan import PEERS as ECG_PEERS
from cpgtaxa.targets.ecg.plan import EcgPlan
from cpgtaxa.errors import InputError
from cpgtaxa.targets.expression.plan import SIMULATED as SIMULATED_EXPRESSION
from cpgtaxa.targets.expression.plan import ExpressionPlan
from cpgtaxa.targets.histone.plan import CELL_NAME, NETWORKS, PEERS, HistonePlan
from cpgtaxa.plan.main import Plan
from cpgtaxa.plan import sources
from cpgtaxa.plan.paths import parts
from cpgtaxa.targets.single_cell.plan import SIMULATED as SIMULATED_CELLS
from cpgtaxa.targets.single_cell.plan import SingleCellPlan
from snakemake.exceptions import IncompleteCheckpointException
from snakemake.io import checkpoint_target

# Paths are relative where the workflow lies in the working directory: a folder that was moved is not made anew.
HOME = BASE.parent.relative_to(Path.cwd()) if BASE.is_relative_to(Path.cwd()) else BASE.parent
SCRIPTS = HOME / "scripts"

# Whether files lie in a storage and not in the working directory (snakemake --default-storage-provider).
STORED = workflow.storage_settings.default_storage_provider is not None

for folder in (Path.cwd(), BASE.parent):
    if {"{", "}"} & set(str(folder)):
        raise WorkflowError(f"{folder} has braces in its path, which Snakemake reads as wildcards: rename the folder")

if workflow.modifier.path_modifier.replace_prefix("results/") != "results/":
    raise WorkflowError(
        "prefix and replace_prefix move no results of cpgtaxa: leave them out of the module, and choose the folder with "
        "snakemake --directory"
    )

try:
    config = as_written(config, [*reversed(workflow.overwrite_configfiles), *workflow.configfiles])
    config = from_command_line(config, dict(workflow.config_settings.config))
    config = check_config(config, BASE / "schemas/config.schema.yaml")
    PLAN = Plan(config, HOME / "resources", local, STORED)
except InputError as error:
    raise WorkflowError(error.text())


wildcard_constraints:
    round=r"\d+",
    model="ResNet18|MixResNet18",
    shard=r"\d+",
    shards=r"\d+",


def library_files(script):
    """Inputs: the library files that a script uses. Like all that ships, they lie beside the rules, in no storage."""
    return local(sources.library_files(script))


SHAPES = local(HOME / "resources/simulation/shapes.csv")
TEMPLATES = SCRIPTS / "cpgtaxa" / "templates"


def page_files(name):
    """Inputs: the template of a page, and the frame, styles and parts that pages share."""
    shared = [*sorted(TEMPLATES.glob("*.css.j2")), TEMPLATES / "page.html.j2", TEMPLATES / "shared.html.j2"]
    return {"template": local(TEMPLATES / f"{name}.html.j2"), "shared": local(shared)}


SECTIONS = {
    **dict.fromkeys(("volcano", "qq", "manhattan"), "Ageing"),
    **dict.fromkeys(("ages", "missing", "components", "explained"), "Cohort"),
    **dict.fromkeys(("taxa", "flow", "map"), "Taxa"),
    "training": "Rounds",
    **dict.fromkeys(("confusion", "reliability"), "Tests"),
    "thresholds": "Thresholds",
    "truth": "Truth",
    "run_time": "Run time",
}


def section_of_figure(wildcards):
    """Where Snakemake's report shows a figure of the main report: by the beginning of its name."""
    return next(section for start, section in SECTIONS.items() if wildcards.figure.startswith(start))


def figure_label(wildcards):
    """A figure's name in Snakemake's report."""
    return {"figure": wildcards.figure.replace("_", " ")}


def table(name):
    """A table's name in Snakemake's report."""
    return {"figure": f"table: {name}"}


def png_folder(folder):
    """The folder of 224×224 PNG files as an output, where the config asks for them."""
    return {"png": directory(f"{folder}/CpG_image")} if config["images"]["png"] else {}


def explorer_folder():
    """The folder with all CpGs' betas as an output, where the config asks for it."""
    return {"folder": directory("results/explorer")} if config["explorer"]["whole"] else {}


def or_one_message(find, wildcard=None):
    """Input function: what `find` finds (by a wildcard's value, if named), or one message about what is wrong.

    Of a WorkflowError here Snakemake would show the lines of this file as well; leaving at once shows the message alone.
    """

    def files(wildcards):
        try:
            return find(*([wildcards[wildcard]] if wildcard else []))
        except InputError as error:
            raise SystemExit(error.text())

    return files


def given(**keys):
    """Input function: the user's files under these config keys."""
    return or_one_message(lambda: PLAN.given(keys))


def counts_of(number):
    """The file with a round's counts, once the round is over."""
    try:
        counts = checkpoints.reassign.get(round=number).output.counts
        if STORED:
            with counts.open():  # Snakemake fetches what it cannot open, and asks again
                pass
        return counts
    except IncompleteCheckpointException as incomplete:
        # Snakemake asks for a checkpoint's first output, which may be there while another is lacking.
        for path in incomplete.rule.expand_output({"round": number})[0]:
            if not Path(path).exists():
                raise IncompleteCheckpointException(incomplete.rule, checkpoint_target(path))
        raise
