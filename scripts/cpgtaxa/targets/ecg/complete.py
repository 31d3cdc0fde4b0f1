"""The end of the target `ecg_age`: records that could not be used are reported, and the exit status says so."""

import csv
import logging

from cpgtaxa.errors import InputError
from cpgtaxa.files import atomic, naming_damage

SHOWN = 20


def report(paths, out, *, accept: bool) -> None:
    """Write `out`, a line of text, where every record was used, or the config accepts that some were not.

    paths: of CSV files record, file, reason. Raises InputError naming them otherwise.
    """
    problems = []
    for path in paths:
        with naming_damage(path), open(path, encoding="utf-8", newline="") as handle:
            problems += [f"{row['file']}: {row['reason']}" for row in csv.DictReader(handle)]
    if problems and not accept:
        more = f"{' and '.join(map(str, paths))} list them all. " if len(problems) > SHOWN else ""
        raise InputError(
            [
                *problems[:SHOWN],
                f"{len(problems):,} records were left out. {more}All else is made, in results/ecg_age. Mend the "
                "records and start again; or set `ecg_age.left_out: accept` to go without them",
            ]
        )
    with atomic(out) as temporary:
        temporary.write_text(f"{len(problems):,} records could not be used\n", encoding="utf-8")
    logging.info("records that could not be used: %s", f"{len(problems):,}")
