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
    # Experts that every token passes: the dense part of a mixture-of-experts layer.
    "mlp.shared_expert.gate_proj": "gate",
    "mlp.shared_expert.up_proj": "up",
    "mlp.shared_expert.down_proj": "down",
    "mlp.shared_experts.gate_proj": "gate",
    "mlp.shared_experts.up_proj": "up",
    "mlp.shared_experts.down_proj": "down",
    # DeepSeek: queries, and keys with values, each through a narrow middle
    "self_attn.q_a_proj": "q_a",
    "self_attn.q_b_proj": "q_b",
    "self_attn.kv_a_proj_with_mqa": "kv_a",
    "self_attn.kv_b_proj": "kv_b",
    # Llama 4
    "feed_forward.gate_proj": "gate",
    "feed_forward.up_proj": "up",
    "feed_forward.down_proj": "down",
    "feed_forward.experts.gate_up_proj": "expert_gate_up",
    "feed_forward.experts.down_proj": "expert_down",
    "feed_forward.shared_expert.gate_proj": "gate",
    "feed_forward.shared_expert.up_proj": "up",
    "feed_forward.shared_expert.down_proj": "down",
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

NOT_MODULES = (
    "mlp.gate.weight",
    "mlp.router.weight",
    "mlp.shared_expert_gate.weight",
    "feed_forward.router.weight",
    "mlp.experts.gate_up_proj_bias",
    "mlp.experts.down_proj_bias",
)
"""Weights that route tokens to experts, and the experts' biases: no projections, never perturbed."""

OVERRIDES: dict[str, dict[str, str]] = {}
"""Additions per `config.model_type`: name below the layer -> role."""

LAYER_LISTS = ("model.layers", "model.language_model.layers", "transformer.h", "gpt_neox.layers")
"""Where the list of decoder layers can be."""
