"""Numbers and names as the report writes them."""

from cpgtaxa import wording


def percent(value, digits: int = 1) -> str:
    return wording.percent(value, digits)


def stage_name(stage: str, config: dict) -> str:
    if stage == "statistical":
        return "Own labels" if config["taxa"]["labels"] else "Statistics"
    return "Unplaced" if stage == "none" else stage.replace("_", " ").capitalize()
