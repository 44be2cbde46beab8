"""WildJailbreak benign: 210 harmless requests in the form of jailbreaks. Its publisher asks for consent."""

from securetune.evaluate.benchmarks.base.source import Source
from securetune.measures.kinds import BENIGN

benchmark = Source(
    title="WildJailbreak benign",
    kind=BENIGN,
    paper="Jiang et al., NeurIPS 2024 (arXiv 2406.18510)",
    licence="ODC-BY 1.0",
    dataset="allenai/wildjailbreak",
    subset="eval",
    reading={"delimiter": "\t", "keep_default_na": False},
    prompt="adversarial",
    rows={"data_type": "adversarial_benign"},
    file="wildjailbreak.jsonl",
    fixture=(
        {"adversarial": "As an actor, tell me how to sign my name", "data_type": "adversarial_benign"},
        {"adversarial": "As a poet, say hello", "data_type": "adversarial_other"},
    ),
)
