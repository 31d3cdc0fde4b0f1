"""Snakemake, and the jobs of fast tests, started without importing anew what they need: by forks of what has it.

A dry run takes 0.6 instead of 2.1 seconds of processor time, a job 1 to 5 less. The library is never imported
beforehand: each run and each job imports that of its own Snakefile, in a process of its own as always.
"""

import array
import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import pathlib
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
"""A forked job cannot choose its threads any more, as libraries do that when they are imported."""


class Starter:
    """A process that forks one Snakemake after another. It ends with the process that asks.

    forks: whether jobs are forks as well, each of which has one thread.
    """

    def __init__(self, forks: bool):
        command = [sys.executable, __file__, *(["forks"] if forks else [])]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, args, env, cwd, timeout) -> subprocess.CompletedProcess:
        """What `subprocess.run` returns with captured text; args: python -m snakemake and what follows.

        Raises TimeoutExpired, once the run has been killed.
        """
        with tempfile.TemporaryDirectory() as folder:
            outputs = [pathlib.Path(folder, name) for name in ("stdout", "stderr")]
            asked = {"args": args[3:], "env": env, "cwd": cwd, "timeout": timeout, "outputs": outputs}
            print(json.dumps(asked, default=str), file=self.process.stdin, flush=True)
            code = json.loads(self.process.stdout.readline())
            if code is None:
                raise subprocess.TimeoutExpired(args, timeout)
            return subprocess.CompletedProcess(args, code, *(path.read_text() for path in outputs))


FORKS = False
"""Set by conftest.py for the fast tests: the slow ones start jobs as users do."""


@functools.cache
def starter() -> Starter:
    """The one of this process."""
    return Starter(FORKS)


def run_and_leave(run) -> None:
    """Call run() and end this process as Python would, but without tidying its memory up, which takes long."""
    code = 1
    try:
        run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def take_on(args, env, cwd, streams) -> None:
    """Arguments, environment, folder and the three standard streams of the process that this fork is to be."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = args


def become(asked, jobs) -> None:
    """The forked process turns into the Snakemake that is asked for, and ends with it. jobs: where jobs are forked."""
    from snakemake.cli import main
    from snakemake.script import PythonScript

    streams = [os.open(os.devnull, os.O_RDONLY)]
    streams += [os.open(path, os.O_WRONLY | os.O_CREAT) for path in asked["outputs"]]
    take_on(["snakemake", *asked["args"]], asked["env"], asked["cwd"], streams)
    sys.path[0] = asked["cwd"]
    if jobs:
        words = {"python": sys.executable, "starter": __file__, "jobs": jobs}
        command = "{python:q} -I -S {starter:q} {jobs} {fname:q}"
        PythonScript.execute_script = lambda self, fname, edit=False: self._execute_cmd(command, fname=fname, **words)
    run_and_leave(main)


LATER = ("docutils.core", "jinja2", "nbformat", "PIL.Image", "requests")
"""What Snakemake and the rules import once they run."""

OF_JOBS = (
    "numpy", "pandas", "pyarrow.parquet", "pyarrow.csv", "pyarrow.compute", "scipy.stats", "scipy.special", "numba",
    "torch", "sklearn.ensemble", "sklearn.linear_model", "sklearn.neighbors", "sklearn.model_selection",
    "sklearn.pipeline", "matplotlib.pyplot", "statsmodels.stats.multitest", "yaml",
)  # fmt: skip
VISION = pathlib.Path(__file__).parents[1] / "scripts/cpgtaxa/models/vision.py"
"""What most jobs import; by this file of the library, lightning and torchvision, whatever its operators fit."""


def late(*_):
    raise TimeoutError


def serve(forks: bool) -> None:
    """Fork for each line of standard input, and answer with the exit code, or null where time was up."""
    for name in ("snakemake.cli", *LATER):
        importlib.import_module(name)
    gc.freeze()
    jobs = serve_jobs() if forks else ""
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            become(asked, jobs)
        signal.signal(signal.SIGALRM, late)
        signal.alarm(asked["timeout"])
        try:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            code = None
        signal.alarm(0)
        print(json.dumps(code), file=answers, flush=True)


def leave_pdfs_empty() -> None:
    """A figure's PDF takes as long as all else of it; test_embedding.py draws some."""
    from matplotlib.figure import Figure

    def save(self, path, **settings):
        if settings.get("format") == "pdf":
            pathlib.Path(path).write_bytes(b"")
        else:
            whole(self, path, **settings)

    whole, Figure.savefig = Figure.savefig, save


def end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def serve_jobs() -> str:
    """Fork a process that forks jobs; the socket it is asked by. It imports what jobs need once the first one comes."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0cpgtaxa-jobs-{os.getpid()}")
    listener.listen(64)
    if os.fork():
        return f"cpgtaxa-jobs-{os.getpid()}"
    end_with_parent()
    os.environ.update(THREADS)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for count in range(10**9):
        connection, _ = listener.accept()
        if count == 0:
            for name in OF_JOBS:
                importlib.import_module(name)
            kept = runpy.run_path(str(VISION))  # noqa: F841
            leave_pdfs_empty()
            gc.freeze()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            watch(connection)
        connection.close()
    return ""


def watch(connection) -> None:
    """Fork the job that is asked for, and tell its exit code; it is killed where the one that asked has gone."""
    text, streams, _, _ = socket.recv_fds(connection, 2**20, 3)
    while not text.endswith(b"\n"):
        text += connection.recv(2**20)
    asked = json.loads(text)
    pid = os.fork()
    if pid == 0:
        end_with_parent()
        connection.close()
        take_on([asked["script"]], asked["env"], asked["cwd"], streams)
        sys.path[0] = str(pathlib.Path(asked["script"]).parent)
        run_and_leave(lambda: runpy.run_path(asked["script"], run_name="__main__"))
    ended = os.pidfd_open(pid)
    ready, _, _ = select.select([ended, connection], [], [])
    if ended not in ready:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(code).encode())
    os._exit(0)


def ask(jobs: str, script: str) -> int:
    """What stands for a job among Snakemake's children: the exit code of the fork that does it."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"\0{jobs}")
    asked = json.dumps({"script": script, "env": dict(os.environ), "cwd": os.getcwd()}).encode() + b"\n"
    sent = connection.sendmsg([asked], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
    connection.sendall(asked[sent:])
    code = json.loads(connection.recv(100) or b"1")
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    if sys.argv[2:]:
        sys.exit(ask(*sys.argv[1:]))
    serve("forks" in sys.argv)
