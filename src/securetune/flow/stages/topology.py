"""Read layers and roles off the model."""

from securetune.base.artifacts import Product
from securetune.flow.stages.base.stage import Inputs, Stage, Work
from securetune.models.loading import tokenizer_hash
from securetune.models.reading import read_topology


def depends(work: Work) -> Inputs:
    """The model."""
    return {"model": work.session.model_fingerprint}


def compute(work: Work) -> Product:
    """Layers, roles and sizes, and what tells this model and its tokenizer from others."""
    model = work.session.base_model()
    topology = read_topology(model)
    return Product(
        data={
            **topology.to_dict(),
            "fingerprint": topology.fingerprint(),
            "tokenizer": tokenizer_hash(work.session.tokenizer),
            "parameters": sum(p.numel() for p in model.parameters()),
        }
    )


stage = Stage(version=5, depends=depends, compute=compute)
