"""Analysis: how the prompts of the analysis are put to the model before tuning, for the scan and for defences."""

from collections.abc import Sequence

from securetune.defences.base.interface import Analysed
from securetune.flow.session import Session
from securetune.models.features import PromptBatch, batch_prompts
from securetune.models.openings import Openings


def prompt_batches(session: Session, texts: Sequence[str], lead: Sequence[int]) -> list[PromptBatch]:
    """Prompts as the analysis reads them, up to where an answer begins to tell, see `Openings.lead`."""
    size = session.config.scan.batch_size
    return batch_prompts(session.base_model(), session.tokenizer, texts, batch_size=size, lead=lead)


def analysed(session: Session, openings: Openings) -> Analysed:
    """The model before tuning with the prompts of the analysis, as defences get them."""
    malicious, benign = ([p.text for p in prompts] for prompts in (session.prompts.malicious, session.prompts.benign))
    return Analysed(
        model=session.base_model(),
        malicious=prompt_batches(session, malicious, openings.lead),
        benign=prompt_batches(session, benign, openings.lead),
        openings=openings,
    )
