"""What the terminal shows at the end: tables of plain text, numbers as the files have them, paths that exist."""

import io
import types

import pytest
from cpgtaxa.plan import terminal
from cpgtaxa.plan.terminal import Calm, cut, label_of, summary_text, table, with_interval, write_summary
from cpgtaxa.wording import grouped

MODELS = "model,metric,value,ci_low,ci_high,n\n"
FILES = {
    "expression": {
        "summary": MODELS + "Ridge,r2_pearson,0.48775,0.25928,0.72448,12\nRidge,r2,0.4,0.2,0.6,1200\n"
        "DeepMethyGene,r2_pearson,0.61384,,,12\nDeepMethyGene,r2_within_1kb,0.3,,,12\n"
    },
    "histone": {"summary": MODELS + "GeneNet,auc,0.9123,0.9012,0.9234,1600\nGeneNet,accuracy,0.8,0.7,0.9,1600\n"},
    "single_cell": {"summary": MODELS + "joint,auc,0.8626,0.8362,0.8889,902\ndna,auc,,,,0\njoint,epochs,7,,,\n"},
    "ecg_age": {
        "summary": MODELS + "Net,adult_mae,9.016,8.5,9.6,4000\nMedian,adult_mae,14.2,13.5,15.1,4000\n"
        "Net,adult_r,0.71,0.69,0.73,4000\nNet,child_mae,2.031,1.9,2.2,300\n"
    },
    "compare": {
        "summary": "cohorts,metric,value,ci_low,ci_high,n\na,cpgs,4000,,,4000\na,placed,3000,,,4000\n"
        "a,cpgs_in_every_cohort,3500,,,4000\nb,cpgs,3800,,,3800\nb,placed,2000,,,3800\nb,cpgs_in_every_cohort,3500,,,"
        "3800\na / b,equal,0.81,0.8,0.82,3500\na / b,kappa_placed,0.9,0.89,0.91,2000\nall,moved,80,,,4300\n"
        "all,verdict_one_cohort,500,,,4300\n"
    },
    "enrichment": {
        "summary": "set,asked,found,share,positive,negative,placed,most_enriched,odds_ratio,ci_low,ci_high\n"
        "Horvath,353,334,0.946,160,174,300,LinAgeHomo,12.34,9.1,16.7\nempty,10,0,0,0,0,0,,,,\n"
    },
    "scores": {
        "summary": "score,kind,set,adjusted,cpgs_asked,cpgs_found,cpgs_used,samples,mean,sd,r_age,ci_low,ci_high,p\n"
        "noise_LinAgeHet,noise,LinAgeHet,False,292,292,290,600,0.05,0.01,0.83,0.80,0.85,1e-150\n"
    },
    "explain": {
        "csv": "cpg,part,taxon,name,value\ncg1,result,taxon,,BiAge\ncg1,result,source,,round_0\n"
        "cg1,result,confidence,,0.91\ncg1,result,second,,TriAge\ncg1,rule,BiAge,slope,met\n"
    },
    "export": {
        "legend": 'part,name,unit,text\nabout,CpGs,,"4,000"\nabout,samples,,600\ncolumn,cpg,,CpG\nabout,seed,,1\n',
        "table": "cpg\n",
    },
    "summarise": {"about": "what,value\npeople,656\nbytes per CpG,504\n", "summary": ""},
    "benchmark": {
        "table": "stage,implementation,n_cpgs,n_samples,seconds,peak_mb\nstatistics,cpgtaxa,1000,200,0.5,300\n",
    },
    "power": {
        "people": "taxon,ages,trend,spread,right,people_80,people_80_low,people_80_high,people_90,most\n"
        'TriAge,"20–80",0.02,,TriAge,210,180,260,,0.85\n',
    },
    "cell_fractions": {"fractions": "sample_id,Neu,NK\nS1,0.5,0.1\nS2,0.7,0.05\nS3,0.6,0.08\n"},
    "cell_types": {"types": "type,mean,sd,own,changing\nNeu,0.6,0.1,0.08,12\nNK,0.002,0.001,0,\n"},
    "methylation_age": {"ages": "person,age,methylation_age,gap,fold,cpgs\nS1,50,52,2,0,9\nS2,60,59,-1,1,9\n"},
}


@pytest.fixture
def outputs(tmp_path):
    def of(target):
        found = {
            "html": tmp_path / "report.html",
            "figures": tmp_path / "figures",
            "terminal": tmp_path / "summary.txt",
        }
        for key, text in FILES[target].items():
            found[key] = tmp_path / f"{target}_{key}.csv"
            found[key].write_text(text)
        return found

    return of


def test_cell_types_are_summarised_by_median_lowest_and_highest(outputs):
    lines = [line.split() for line in summary_text("cell_fractions", outputs("cell_fractions")).splitlines()]
    assert ["Neu", "0.600", "0.500", "0.700"] in lines
    assert ["NK", "0.080", "0.050", "0.100"] in lines


@pytest.mark.parametrize("target", terminal.TARGETS)
def test_every_target_has_a_table_and_its_paths_in_a_hundred_columns(target, outputs):
    given = outputs(target)
    write_summary(target, given)
    text = given["terminal"].read_text()
    assert text == summary_text(target, given)
    assert max(map(len, text.splitlines())) <= terminal.WIDTH or str(given["html"]) in text
    tables, _, listed = text.rpartition("\n\n")
    assert "─" in tables
    assert str(given["html"]) in listed
    assert str(given["figures"]) in listed
    assert "summary.txt" not in listed


def test_numbers_are_those_of_the_files(outputs):
    text = summary_text("ecg_age", outputs("ecg_age"))
    assert "Adults: age from the ECG, 4,000 records held out" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["Net", "9.02", "(8.50", "to", "9.60)", "0.710", "(0.690", "to", "0.730)"] in lines
    assert ["Median", "14.20", "(13.50", "to", "15.10)", "–"] in lines
    assert ["Net", "2.03", "(1.90", "to", "2.20)"] in lines


def test_where_paths_begin_is_said_where_a_directory_was_chosen():
    assert terminal.folder_line("my_cohort") == "  Paths begin in my_cohort\n"
    assert terminal.folder_line(None) == terminal.folder_line(".") == ""


def test_a_table_of_plain_text():
    assert table(["model", "AUC"], [["a", "0.912"], ["longer", "–"]]) == [
        "  model     AUC",
        "  ─────────────",
        "  a       0.912",
        "  longer      –",
    ]
    assert table(["model"], []) == ["  model", "  ─────"]


def test_wide_and_long_tables_are_cut_and_say_so():
    lines = table(["name", "value"], [["x" * 300, number] for number in range(30)])
    assert max(map(len, lines)) == terminal.WIDTH
    assert "…" in lines[2]
    assert lines[-1] == "  and 10 more in the files below"


def test_text_from_data_moves_no_cursor():
    assert cut("a\x1b[2Jb\nc", 20) == "a [2Jb c"


def test_numbers_as_written():
    assert (grouped("1234.5", 0), grouped("", 2), grouped(None), grouped("nan")) == ("1,234", "–", "–", "–")
    assert with_interval({"value": "0.5", "ci_low": "0.4", "ci_high": "0.6"}, 2) == "0.50 (0.40 to 0.60)"
    assert with_interval({"value": "0.5", "ci_low": "", "ci_high": ""}, 2) == "0.50"


def test_jobs_are_distinguished_by_their_wildcards():
    assert label_of("cohort", {}) == "cohort"
    assert label_of("predict", {"round": "1", "shard": "2", "shards": "8"}) == "predict round 1, 3 of 8"
    assert label_of("ecg_fit", {"group": "adult", "tenth": "0"}) == "ecg_fit adult, tenth 0"


class Job(types.SimpleNamespace):
    def __hash__(self):
        return id(self)


def test_the_summaries_shown_are_of_the_targets_asked_for(tmp_path):
    here, other = tmp_path / "summary.txt", tmp_path / "other" / "summary.txt"
    here.write_text("here")
    report, export = Job(output=[str(here), "report.html"]), Job(output=[str(other)])
    whole = Job(output=[])
    below = {report: {export: None}, whole: {report: None}}
    dag = types.SimpleNamespace(targetjobs={whole}, dependencies=below)
    assert terminal.summaries_of(dag) == [here]  # and not of what the report rests on
    other.parent.mkdir()
    other.write_text("other")
    assert terminal.summaries_of(dag) == [here]
    dag.targetjobs = {export, report}
    assert terminal.summaries_of(dag) == sorted([here, other])


def record(event, text="", **more):
    return types.SimpleNamespace(event=event, msg=text, levelno=20, **more)


def test_a_job_is_one_line_when_it_begins_and_one_when_it_ends():
    job = Job(
        jobid=3, output=["x"], is_local=False, rule=types.SimpleNamespace(name="predict"), wildcards={"round": "0"}
    )
    workflow = types.SimpleNamespace(dag=types.SimpleNamespace(jobs=[job]), local_exec=True, dryrun=False)
    stream = io.StringIO()
    calm = Calm(workflow, stream)
    assert not calm.filter(record("job_started", jobs=[3]))
    assert not calm.filter(record("job_finished", job_id=3))
    assert not calm.filter(record("progress", done=1, total=3))
    assert not calm.filter(record(None, "Select jobs to execute..."))
    assert calm.filter(record(None, "Anything else"))
    workflow.local_exec = False
    calm.filter(record("job_started", jobs=[3]))
    assert [line[10:] for line in stream.getvalue().splitlines()] == [
        "predict round 0 begins",
        "predict round 0 is done: 1 of 3 steps (33 %)",
        "predict round 0 is handed to the cluster",
    ]


def test_a_failure_names_the_log_and_that_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calm = Calm(None, None)
    assert calm.failure().startswith("The error is reported above. Call the same command again")
    (tmp_path / "train.log").write_text("x")
    calm.watch(types.SimpleNamespace(event="job_error", log=["train.log"]))
    assert calm.failure().startswith("What went wrong is in train.log. Call the same command again once it is mended")
