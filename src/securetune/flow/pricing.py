"""Pricing: what does each module gain and cost where this run's task is tuned on plainly?"""

import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from securetune.data.prompts import tokenize_example
from securetune.evaluate.losses import answer_nats
from securetune.flow.analysis import prompt_batches
from securetune.flow.made import Made
from securetune.flow.scanning import plain_run, tuning_inputs
from securetune.flow.session import Session
from securetune.measures.knapsack import Price
from securetune.models.features import first_token
from securetune.models.loading import load_model
from securetune.perturb.base.adapter import AdapterChange
from securetune.perturb.base.apply import Learned
from securetune.scan.price import prices

_PRICED = 32
"""Rows of the task that prices are read off."""


def price_inputs(session: Session, made: Made) -> dict[str, str]:
    """Fingerprints of all that prices depend on."""
    return tuning_inputs(session) | {
        "prompts": str(session.config.scan.prompts),
        "topology": made.digest("topology"),
        "features": made.digest("features"),
    }


def module_prices(session: Session, made: Made) -> dict[str, Price]:
    """What every module gains and costs in a plain run on the task's rows; measured once, whatever is made of it."""
    journal = session.journal("plan", price_inputs(session, made))
    found = journal.once("prices", lambda: {ref: asdict(price) for ref, price in _prices(session, made).items()})
    return {ref: Price(**price) for ref, price in found.items()}


def _prices(session: Session, made: Made) -> dict[str, Price]:
    output = plain_run(session, 0)
    is_whole = session.config.train.adapter == "full"
    change = _whole_change(session, made, output) if is_whole else AdapterChange(output)
    tokenizer, train, openings = session.tokenizer, session.config.train, made.openings
    model, size = session.base_model(), train.batch_size
    rows = [tokenize_example(tokenizer, row, max_length=train.max_length) for row in session.examples[0][:_PRICED]]
    tokens = max(sum(len(row.ids) - row.start for row in rows), 1)
    malicious = [prompt.text for prompt in session.prompts.malicious][: session.config.scan.prompts]
    batches = prompt_batches(session, malicious, openings.lead)

    def loss() -> Iterator[Tensor]:
        for first in range(0, len(rows), size):
            yield answer_nats(model, rows[first : first + size], pad=tokenizer.pad_token_id).sum() / tokens

    def margin() -> Iterator[Tensor]:
        for batch in batches:
            yield openings.margin(first_token(model, batch).float()).sum() / len(malicious)

    found = prices(model, made.topology, change, loss=loss, margin=margin)
    if is_whole:  # as large as the model, and needed for nothing else
        shutil.rmtree(output)
    return found


def _whole_change(session: Session, made: Made, tuned: Path) -> Learned:
    """What the tuning of all weights has changed in every module."""
    after = load_model(session.config.model.model_copy(update={"path": str(tuned), "revision": None}))
    before, weights = session.base_model(), {info.path: info.weight for info in made.topology.modules.values()}
    return {
        path: after.get_parameter(weight).detach().float()
        - before.get_parameter(weight).detach().float().to(after.device)
        for path, weight in weights.items()
    }.__getitem__
