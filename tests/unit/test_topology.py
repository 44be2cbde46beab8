"""Topology: sets of modules, names of parameters, and what tells one model from another."""

import json

import pytest

from securetune.errors import TopologyError
from securetune.models.topology import ModuleInfo, ModuleRef, ModuleSet, Topology, clean_name


def llama_topology(layers=12):
    modules = {
        ModuleRef(i, role): ModuleInfo(path=path, weight=f"{path}.weight", shape=(4, 4))
        for i in range(layers)
        for role, path in (("q", f"model.layers.{i}.self_attn.q_proj"), ("down", f"model.layers.{i}.mlp.down_proj"))
    }
    return Topology(model_type="llama", layers=layers, hidden_size=4, modules=modules)


def test_module_set_iterates_in_layer_order_and_parses_its_own_names():
    modules = ModuleSet.parse(["10.q", "2.down", "2.q"])
    assert modules.names() == ["2.down", "2.q", "10.q"]
    assert ModuleSet.parse(modules.names()) == modules
    with pytest.raises(TopologyError, match="layer.role"):
        ModuleRef.parse("q.3")


def test_topology_survives_json_and_its_fingerprint_tells_depths_apart():
    topology = llama_topology()
    assert Topology.from_dict(json.loads(json.dumps(topology.to_dict()))) == topology
    assert topology.fingerprint() != llama_topology(13).fingerprint()


@pytest.mark.parametrize(
    "name",
    [
        "_fsdp_wrapped_module.model.layers.1._fsdp_wrapped_module.self_attn.q_proj.weight",
        "_orig_mod.model.layers.1.self_attn.q_proj.weight",
        "module.model.layers.1.self_attn.q_proj.weight",
        "base_model.model.model.layers.1.self_attn.q_proj.base_layer.weight",
    ],
)
def test_wrapper_names_are_looked_through(name):
    assert clean_name(name) == "model.layers.1.self_attn.q_proj.weight"
