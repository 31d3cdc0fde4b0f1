"""What every entry script needs around its few lines: log file, threads, and clear errors."""

import contextlib
import ctypes
import logging
import os
import pathlib
import signal
import sys

from cpgtaxa import files
from cpgtaxa.errors import InputError
from cpgtaxa.names import label_of


@contextlib.contextmanager
def job(snakemake):
    """Run a rule's body: messages go to the rule's log and the terminal; bad input ends without a traceback.

    The rule's threads bound those of numba, torch and BLAS, so that parallel jobs do not fight for cores. Inputs made
    by earlier steps are compared with the checksums noted then; outputs get theirs.
    """
    _end_with_parent()
    _enter_copies(snakemake)
    threads = str(snakemake.threads)
    for variable in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = threads
    # Threads that spin but shortly before they sleep: without spinning, training is a fifth slower on an idle machine;
    # with the default, many times slower on a busy one.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # which logs each table of a PDF's font
    logging.raiseExceptions = False  # a log on a full disk must not hide the message about it under tracebacks
    name = label_of(snakemake.rule, snakemake.wildcards)
    _listen(root, logging.StreamHandler(sys.stderr), name)
    try:
        if snakemake.log:
            _listen(root, logging.FileHandler(snakemake.log[0], mode="w"), name)
        files.check_checksums(snakemake.input)
        yield
        files.note_checksums(snakemake.output)
    except InputError as error:
        logging.error(error.text())
        sys.exit(1)
    except SystemExit:
        # Libraries that end the process quietly when told to stop must not make a job look finished.
        logging.error("stopped before the end")
        sys.exit(1)
    except Exception as error:
        problem = files.disk_problem(error, snakemake.output[0])
        if problem:
            logging.error(InputError(problem).text())
        else:
            logging.exception("unexpected error")
        sys.exit(1)


def by_name(files) -> dict:
    """A rule's named inputs but its library: a path each, or a list of paths where the rule has a list."""
    return {name: path if isinstance(path, str) else list(path) for name, path in files.items() if name != "library"}


def _enter_copies(snakemake) -> None:
    """Of files in a storage Snakemake hands a job copies elsewhere: work there, and call them as the rule does."""
    folder = os.path.abspath(pathlib.Path(snakemake.log[0]).parents[2] if snakemake.log else ".")
    if folder == os.getcwd():
        return

    def declared(path):
        path = os.path.abspath(path)
        return os.path.relpath(path, folder) if path.startswith(f"{folder}{os.sep}") else path

    for name in ("input", "output", "log"):
        paths = getattr(snakemake, name)
        setattr(snakemake, name, type(paths)(toclone=paths, custom_map=declared))
    os.chdir(folder)


def _listen(root, handler, name: str) -> None:
    handler.setFormatter(logging.Formatter(f"[{name.replace('%', '%%')}] %(message)s"))
    root.addHandler(handler)


OWNER = "CPGTAXA_SNAKEMAKE"
"""Environment variable by which jobs know the Snakemake that started them."""


def own_jobs() -> None:
    """Called by the Snakefile: jobs that this process starts are its own, and end with it."""
    os.environ[OWNER] = identity(os.getpid()) or ""


def identity(pid: int | str) -> str | None:
    """A running process among all that there have been, `namespace pid start`; None where it does not run."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return None
    # What follows the program's name, which may hold anything: state, …, start time.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else f"{namespace} {pid} {fields[18]}"


def _end_with_parent() -> None:
    """Have Linux end this job when Snakemake is killed: it must not write into the folder of the next run.

    Where Snakemake was killed before this was called, while Python and the script's imports began, the job ends here.
    """
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    owner, mine = os.environ.get(OWNER), identity(os.getpid())
    # A container may see other processes under the same numbers.
    if owner and mine and owner.split()[0] == mine.split()[0] and identity(owner.split()[1]) != owner:
        os._exit(1)
