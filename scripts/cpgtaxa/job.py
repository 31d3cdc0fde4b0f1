"""What every entry script needs around its few lines: log file, threads, and clear errors."""

import contextlib
import logging
import os
import sys

from cpgtaxa.errors import InputError


@contextlib.contextmanager
def job(snakemake):
    """Run a rule's body: messages go to the rule's log and the terminal; bad input ends without a traceback.

    The rule's threads bound those of numba, torch and BLAS, so that parallel jobs do not fight for cores.
    """
    threads = str(snakemake.threads)
    for variable in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = threads
    # Threads that spin but shortly before they sleep: without spinning, training is a fifth slower on an idle machine;
    # with the default, many times slower on a busy one.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    handlers = [logging.StreamHandler(sys.stderr)]
    if snakemake.log:
        handlers.append(logging.FileHandler(snakemake.log[0], mode="w"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter(f"[{snakemake.rule}] %(message)s"))
        root.addHandler(handler)
    try:
        yield
    except InputError as error:
        logging.error(error.text())
        sys.exit(1)
    except SystemExit:
        # Libraries that end the process quietly when told to stop must not make a job look finished.
        logging.error("stopped before the end")
        sys.exit(1)
    except Exception:
        logging.exception("unexpected error")
        sys.exit(1)
