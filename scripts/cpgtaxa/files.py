"""Writing files so that a reader finds the whole file or none."""

import contextlib
import errno
import fcntl
import gzip
import hashlib
import json
import os
import pathlib
import shutil
import sys
import uuid
import zlib

from cpgtaxa.errors import InputError, reason_of, refuse


@contextlib.contextmanager
def atomic(path, durable: bool = True):
    """Yield a temporary path beside `path`, an empty file; on success it takes the final name in one step.

    An error or a kill leaves `path` as it was. The temporary name is this call's own, so that a job that outlived its
    run never shares it; what killed jobs left is removed by the next that writes `path`. durable: wait until the disk
    has it, so that not even a power cut leaves an incomplete file. Raises InputError where the disk is full, read-only
    or not ours.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")
    lock = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(path)
        lock = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        with contextlib.suppress(OSError):  # file systems without locks keep leftovers, and nothing worse
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield temporary
        if durable:
            with open(temporary, "rb") as handle:
                os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        _raise_disk_problem(error, path)
        raise
    finally:
        if lock is not None:
            os.close(lock)


@contextlib.contextmanager
def gzipped(path, level: int = 9):
    """Yield a binary handle whose content is written to `path` in gzip, atomically: the same bytes at any time.

    By default gzip notes the time and the temporary file's name.
    """
    with (
        atomic(path) as temporary,
        open(temporary, "wb") as raw,
        gzip.GzipFile("", "wb", level, raw, mtime=0) as packed,
    ):
        yield packed


@contextlib.contextmanager
def atomic_folder(path):
    """Yield an empty temporary folder beside `path`; on success it takes the final name, on an error it is removed.

    Raises InputError as `atomic` does. For folders that one job alone writes: what a killed job left is removed first.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        shutil.rmtree(path, ignore_errors=True)
        os.replace(temporary, path)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        _raise_disk_problem(error, path)
        raise


def _raise_disk_problem(error: BaseException, path) -> None:
    """Raise InputError where an error is the disk's fault."""
    if not isinstance(error, InputError) and (problem := disk_problem(error, path)):
        raise InputError(problem) from error


def _clear_leftovers(path: pathlib.Path) -> None:
    """Remove temporary files of `path` whose writer is dead: the living hold a lock on theirs."""
    for name in os.listdir(path.parent):
        if not (name.startswith(f".{path.name}.") and name.endswith(".partial")):
            continue
        with contextlib.suppress(OSError):
            found = os.open(path.with_name(name), os.O_RDWR)
            try:
                fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path.with_name(name))
            finally:
                os.close(found)


AGAIN = "and start again: the run continues where it stopped"
DISK_PROBLEMS = {
    errno.ENOSPC: f"the disk is full. Free some space {AGAIN}. Another disk is chosen with `snakemake --directory`",
    errno.EDQUOT: f"your quota on this disk is used up. Free some space {AGAIN}",
    errno.EROFS: f"the disk is read-only. Make it writable {AGAIN}. Another is chosen with `snakemake --directory`",
    errno.EACCES: f"permission denied. Look at owner and mode of the file and its folder (ls -ld), mend them {AGAIN}",
    errno.EPERM: f"not permitted. Look at owner and mode of the file and its folder (ls -ld), mend them {AGAIN}",
    errno.EIO: f"the disk fails (input/output error). Check it {AGAIN}",
}


def disk_problem(error: BaseException | None, path=None) -> str | None:
    """What to say to the user if `error`, or what it came from, is the disk's fault; None if it is not.

    path: final name of the file that was being written, if known.
    """
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in DISK_PROBLEMS:
            culprit = error.filename if error.filename and ".partial" not in str(error.filename) else path
            return f"{culprit or 'a file'}: {DISK_PROBLEMS[error.errno]}"
        error = error.__cause__ or error.__context__
    return None


# --- checksums beside the files --------------------------------------------------------------------------------------

CHECKSUMS = "results/.checksums"
MATRICES = ("beta.arrow", "methylation.arrow")


def note_of(path) -> pathlib.Path | None:
    """Where the checksum of a file under results lies; None for files elsewhere, for matrices and for checksums.

    The rows of matrices carry checksums of their own.
    """
    path = pathlib.PurePath(path)
    if not path.is_relative_to("results") or path.is_relative_to(CHECKSUMS) or path.name in MATRICES:
        return None
    return pathlib.Path(CHECKSUMS, path.relative_to("results"))


def _noted(paths):
    """The files among `paths` that a checksum belongs to, each with where that lies."""
    for path in map(pathlib.Path, paths):
        note = note_of(path)
        if note and path.is_file():
            yield path, note


def _crc32(path) -> str:
    total, size = 0, 0
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            total, size = zlib.crc32(block, total), size + len(block)
    return f"{total:08x} {size}"


def note_checksums(paths) -> None:
    """Write down CRC-32 and size of a job's outputs, in the folder `CHECKSUMS`."""
    for path, note in _noted(paths):
        note.parent.mkdir(parents=True, exist_ok=True)
        with atomic(note) as temporary:
            temporary.write_text(_crc32(path))


def check_checksums(paths) -> None:
    """Raise InputError naming those of a job's inputs that are not what the step that made them wrote.

    Files without a note (the user's own) pass.
    """
    wrong = [path for path, note in _noted(paths) if note.is_file() and note.read_text() != _crc32(path)]
    if wrong:
        raise InputError([_damage(path, "its checksum is not that of what was written") for path in wrong])


def check_other_run(results, paths) -> None:
    """As `check_checksums`, for files of another run, whose results folder is given.

    Files without a note pass, and those elsewhere.
    """
    results, problems = pathlib.Path(results), []
    for path in map(pathlib.Path, paths):
        if not path.is_relative_to(results):
            continue
        note = results / pathlib.Path(CHECKSUMS).name / path.relative_to(results)
        if path.name not in MATRICES and note.is_file() and note.read_text() != _crc32(path):
            problems.append(
                _damage(
                    path, "its checksum is not that of what its run wrote", "copy it again, or have that run make it"
                )
            )
    refuse(problems)


REMEDY = "delete it and start again; the step that made it is redone"


def _damage(path, reason: str, remedy: str = REMEDY) -> str:
    return f"{path} is damaged ({reason}): {remedy}"


def need_space(path, n_bytes: float, what: str) -> None:
    """Raise InputError if the disk that `path` is to be written to has less than `n_bytes` free."""
    folder = pathlib.Path(path).resolve().parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise InputError(
            f"the disk of {folder} is too small: {what} about {_size(n_bytes)}, and {_size(free)} are free. Free some "
            "space, or choose a folder on another disk with `snakemake --directory`"
        )


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"


def write_json(path, content) -> None:
    """Write `content` as indented JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def write_parquet(path, frame) -> None:
    """Write a pandas data frame as Parquet without its index, with a checksum on every page, atomically."""
    with atomic(path) as temporary:
        frame.to_parquet(temporary, index=False, write_page_checksum=True)


def read_parquet(path, columns=None):
    """A data frame from a Parquet file of this workflow; its pages' checksums are verified.

    Raises InputError naming a file that is missing, cut short or no longer what was written.
    """
    import pyarrow.parquet as pq

    with naming_damage(path):
        return pq.read_table(path, columns=columns, page_checksum_verification=True).to_pandas()


def parquet_blocks(path, rows: int = 1 << 15, columns=None):
    """The rows of a Parquet file of this workflow, in order, as data frames of at most `rows`; see `read_parquet`."""
    import pyarrow.parquet as pq

    with naming_damage(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        for batch in file.iter_batches(rows, columns=columns):
            yield batch.to_pandas()


@contextlib.contextmanager
def naming_damage(path, remedy: str = REMEDY):
    """Make an InputError that names `path` out of what Arrow and pandas raise on a damaged file.

    Besides errors of their own these are whatever a spoilt description of the columns leads to. pyarrow is not imported
    for this: Snakemake's own environment, which reads the rounds' counts, need not hold it.
    """
    arrow = getattr(sys.modules.get("pyarrow"), "ArrowException", OSError)
    try:
        yield
    except (arrow, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(_damage(path, reason_of(error), remedy)) from error


def read_json(path):
    """The content of a JSON file of this workflow. Raises InputError naming one that is missing or damaged."""
    with naming_damage(path):
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


def sha256(path, *further) -> str:
    """Hex SHA-256 of a file's content, or of several files' one after the other."""
    with open(path, "rb") as handle:
        digest = hashlib.file_digest(handle, "sha256")
    for other in further:
        with open(other, "rb") as handle:
            while piece := handle.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def concatenate_parquet(paths, out) -> None:
    """Write the rows of several Parquet files of one schema, in the order given, as one file, atomically.

    Memory holds one of them at a time. Raises InputError naming a damaged one.
    """
    import pyarrow.parquet as pq

    with naming_damage(paths[0]):
        schema = pq.read_schema(paths[0])
    with atomic(out) as temporary, pq.ParquetWriter(temporary, schema, write_page_checksum=True) as writer:
        for path in paths:
            with naming_damage(path):
                table = pq.read_table(path, page_checksum_verification=True)
            writer.write_table(table)
