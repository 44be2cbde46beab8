"""Provenance: from what was all this made, and how is it made again?"""

from dataclasses import dataclass

from securetune.report.reading import Run
from securetune.report.sections.base.section import Section, Table


@dataclass(frozen=True, kw_only=True)
class Origins:
    """Artifacts, prompts, packages and the configuration."""

    artifacts: Table
    prompts: list[str]
    versions: list[str]
    config: str


def data(run: Run) -> Origins:
    """Every artifact of the run, and what went in."""
    return Origins(
        artifacts=Table(
            label="Artifacts",
            head=["artifact", "made", "seconds", "seed", "hash"],
            rows=[
                [f"{made.stage} {made.variant or ''}", made.created, made.seconds, made.seed, made.digest]
                for made in run.artifacts
            ],
        ),
        prompts=[f"{benchmark.benchmark} from {benchmark.origin}" for benchmark in run.models[0].benchmarks],
        versions=[f"{name} {version}" for name, version in run.artifacts[-1].versions.items()],
        config=run.config_text,
    )


section = Section(title="Provenance", anchor="provenance", navigation="Provenance", is_folded=True, data=data)
