"""Files of the DNA Methylation Array Data Standard V-2410, as biolearn's `GeoData.save_csv` writes them.

`NAME_methylation_part1.csv`, `…part2.csv` …: CpGs in rows, at most a thousand samples each, side by side;
`NAME_metadata.csv`: one row per sample, `sex` 0 for female, 1 for male, empty, NaN or -1 where unknown, `age` in years.
Standard library only: the plan of the workflow looks for the parts too.
"""

import pathlib
import re

from cpgtaxa.errors import InputError, some

PART = re.compile(r"(?P<name>.*)_methylation_part(?P<number>\d+)(?P<end>\.csv(?:\.gz)?)")
METADATA = re.compile(r".*_metadata\.csv(?:\.gz)?")
SEXES = {"0": "F", "1": "M", "-1": ""}


def parts_of(path, key: str = "cohort.beta") -> list[pathlib.Path]:
    """The files that make up a matrix, in order: all parts for a folder or a first part, else the path itself.

    Raises InputError for a folder with the parts of several data sets, a lacking part, or a part that is not the first.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        found = _parts(path)
        names = sorted({match["name"] for match in found})
        if len(names) > 1:
            raise InputError(
                f"{key}: {path} holds the parts of several data sets, {some(names)}: name the first part of one of them"
            )
        if not found:
            return [path]
    elif match := PART.fullmatch(path.name):
        found = (
            [other for other in _parts(path.parent) if other["name"] == match["name"]] if path.is_file() else [match]
        )
    else:
        return [path]
    folder = path if path.is_dir() else path.parent
    found.sort(key=lambda match: int(match["number"]))
    numbers = [int(match["number"]) for match in found]
    if path.is_file() and len(found) > 1 and path.name != found[0].string:
        raise InputError(f"{key}: {path} is one part of several: name the first, {folder / found[0].string}")
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    if twice:
        raise InputError(
            f"{key}: {folder} holds part {twice[0]} of {found[0]['name']} twice: keep one file of each part"
        )
    lacking = sorted(set(range(1, numbers[-1] + 1)) - set(numbers))
    if lacking and path.exists():
        raise InputError(
            f"{key}: {folder} lacks {found[0]['name']}_methylation_part{lacking[0]}{found[0]['end']}, though there is "
            f"a part {numbers[-1]}: copy all parts, or number them anew"
        )
    return [folder / match.string for match in found]


def _parts(folder: pathlib.Path) -> list[re.Match]:
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    return [match for name in names if (match := PART.fullmatch(name))]


def sexes_of(path, values: list[str]) -> list[str] | None:
    """The standard's codes as F, M or nothing; None where the file is not named as the standard's or has other codes.

    Elsewhere 1 often means male and 2 female, so that codes alone say nothing.
    """
    if not METADATA.fullmatch(pathlib.Path(path).name):
        return None
    codes = [value[:-2] if value.endswith(".0") else value for value in values]
    codes = ["" if code.lower() in ("", "nan", "na") else code for code in codes]
    if not any(code in ("0", "1") for code in codes) or not set(codes) <= {"", *SEXES}:
        return None
    return [SEXES.get(code, "") for code in codes]
