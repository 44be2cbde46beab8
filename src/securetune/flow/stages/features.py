"""Extract the last-token state of malicious and benign prompts."""

from safetensors.torch import save_file

from securetune.base.artifacts import Product
from securetune.base.fingerprint import fingerprint
from securetune.base.typed import to_json
from securetune.flow.analysis import prompt_batches
from securetune.flow.stages.base.stage import Inputs, Stage, Work
from securetune.models.features import extract_features
from securetune.models.openings import find_openings, read_beginnings


def depends(work: Work) -> Inputs:
    """The model and the prompts of the analysis."""
    session = work.session
    return {
        "topology": work.made.digest("topology"),
        "model": session.model_fingerprint,
        "prompts": fingerprint(session.config.analysis),
        "seed": str(session.config.seed),
    }


def compute(work: Work) -> Product:
    """The states, in a file, and the openings that the model has for both kinds of prompts."""
    session, prompts = work.session, work.session.prompts
    model, texts, malicious = session.base_model(), [prompt.text for prompt in prompts.all], len(prompts.malicious)
    beginnings = read_beginnings(
        model, session.tokenizer, texts[:malicious], texts[malicious:], batch_size=session.config.scan.batch_size
    )
    states = extract_features(model, prompt_batches(session, texts, beginnings.lead))
    openings = find_openings(
        session.tokenizer, states.logits[:malicious], states.logits[malicious:], beginnings=beginnings
    )
    companion = session.folder.file("features", suffix=".safetensors")
    save_file({"hidden": states.hidden}, companion)
    data = {"malicious": malicious, "benign": len(prompts.benign), "openings": to_json(openings)}
    return Product(data=data, files=[companion])


stage = Stage(version=6, depends=depends, compute=compute)
