"""Families: what are the modules of a decoder layer called?

One table serves every family, because the names hardly collide; a family that needs its own meaning of a name gets
an entry in `OVERRIDES`. Names are relative to the decoder layer.
"""

ROLE_OF_NAME = {
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.o_proj": "o",
    "self_attn.qkv_proj": "qkv",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.gate_up_proj": "gate_up",
    "mlp.down_proj": "down",
    "mlp.experts.gate_up_proj": "expert_gate_up",
    "mlp.experts.down_proj": "expert_down",
    # GPT-2, GPT-NeoX, Falcon
    "attn.c_attn": "qkv",
    "attn.c_proj": "o",
    "mlp.c_fc": "up",
    "mlp.c_proj": "down",
    "attention.query_key_value": "qkv",
    "attention.dense": "o",
    "self_attention.query_key_value": "qkv",
    "self_attention.dense": "o",
    "mlp.dense_h_to_4h": "up",
    "mlp.dense_4h_to_h": "down",
}

NOT_MODULES = ("mlp.gate.weight", "mlp.router.weight")
"""Weights that route tokens to experts: no projection, never perturbed."""

OVERRIDES: dict[str, dict[str, str]] = {}
"""Additions per `config.model_type`: name below the layer -> role."""

LAYER_LISTS = ("model.layers", "model.language_model.layers", "transformer.h", "gpt_neox.layers")
"""Where the list of decoder layers can be."""
