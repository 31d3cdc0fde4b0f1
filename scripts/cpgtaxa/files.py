"""Writing files so that a reader finds the whole file or none."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil

from cpgtaxa.errors import InputError, reason_of


@contextlib.contextmanager
def atomic(path):
    """Yield a temporary path beside `path`; on success it takes the final name in one step.

    An error or a kill leaves `path` as it was; a leftover temporary file is overwritten next time.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
def naming_damage(path, remedy: str = "delete it and start again; the step that made it is redone"):
    """Make an InputError that names `path` out of what Arrow and pandas raise on a damaged file.

    Besides errors of their own these are whatever a spoilt description of the columns leads to.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({reason_of(error)}): {remedy}") from error


def sha256(path) -> str:
    """Hex SHA-256 of a file's content."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


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
                writer.write_table(pq.read_table(path, page_checksum_verification=True))
