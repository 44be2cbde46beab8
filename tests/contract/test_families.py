"""Every model family through one suite, on tiny random models made from its configuration class."""

import functools

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from securetune.errors import ModelError, TopologyError
from securetune.evaluate.generation import Decoding, _decode
from securetune.models.config import ModelConfig
from securetune.models.families import NOT_MODULES
from securetune.models.features import PromptBatch, extract_features
from securetune.models.loading import load_model
from securetune.models.reading import decoder_layers, read_topology
from securetune.models.topology import ModuleRef, ModuleSet
from securetune.perturb import PERTURBATIONS
from securetune.perturb.base.apply import perturbed
from securetune.plans.plan import PlanModel, plan_of
from securetune.scan.passes import Passes
from securetune.scan.prefix import PrefixCache
from securetune.scan.shared import is_worth_a_pass, shared_tokens

BASE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "vocab_size": 64, "pad_token_id": 0}
SMALL = BASE | {"intermediate_size": 48, "num_key_value_heads": 1, "bos_token_id": 1, "eos_token_id": 2}
HEADS = SMALL | {"head_dim": 16}
SPLIT = {"q", "k", "v", "o", "gate", "up", "down"}
EXPERTS = {"q", "k", "v", "o", "expert_gate_up", "expert_down"}
FUSED = {"qkv", "o", "up", "down"}
MLA = {"q_a", "q_b", "kv_a", "kv_b", "o"}
MOE = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}
DEEPSEEK = MOE | {
    "num_key_value_heads": 2,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
LLAMA4 = {
    "num_local_experts": 4,
    "num_experts_per_tok": 1,
    "intermediate_size_mlp": 48,
    "interleave_moe_layer_step": 2,
}

# Family -> configuration class, its arguments, roles of the layers from first to last.
FAMILIES = {
    "llama": (hf.LlamaConfig, SMALL, [SPLIT] * 3),
    "mistral": (hf.MistralConfig, SMALL, [SPLIT] * 3),
    "mixtral": (hf.MixtralConfig, SMALL | {"num_local_experts": 4}, [EXPERTS] * 3),
    "qwen2": (hf.Qwen2Config, SMALL, [SPLIT] * 3),
    "qwen3": (hf.Qwen3Config, HEADS, [SPLIT] * 3),
    "qwen3_moe": (hf.Qwen3MoeConfig, HEADS | MOE | {"num_experts": 4}, [EXPERTS] * 3),
    "qwen2_moe": (
        hf.Qwen2MoeConfig,
        SMALL | MOE | {"num_experts": 4, "shared_expert_intermediate_size": 24},
        [SPLIT | EXPERTS] * 3,
    ),
    "gemma2": (hf.Gemma2Config, HEADS, [SPLIT] * 3),
    "gemma3": (hf.Gemma3TextConfig, HEADS, [SPLIT] * 3),
    "phi3": (hf.Phi3Config, SMALL, [{"qkv", "o", "gate_up", "down"}] * 3),
    "falcon": (hf.FalconConfig, BASE, [FUSED] * 3),
    "gpt_neox": (hf.GPTNeoXConfig, BASE | {"intermediate_size": 48, "eos_token_id": 2}, [FUSED] * 3),
    "gpt2": (
        hf.GPT2Config,
        {"n_embd": 32, "n_layer": 3, "n_head": 2, "vocab_size": 64, "bos_token_id": 1, "eos_token_id": 2},
        [FUSED] * 3,
    ),
    "olmo2": (hf.Olmo2Config, SMALL, [SPLIT] * 3),
    "cohere": (hf.CohereConfig, SMALL, [SPLIT] * 3),
    "granite": (hf.GraniteConfig, SMALL, [SPLIT] * 3),
    "stablelm": (hf.StableLmConfig, SMALL, [SPLIT] * 3),
    "deepseek_v3": (
        hf.DeepseekV3Config,
        SMALL | DEEPSEEK,
        [MLA | {"gate", "up", "down"}] + [MLA | {"gate", "up", "down", "expert_gate_up", "expert_down"}] * 2,
    ),
    "gpt_oss": (hf.GptOssConfig, HEADS | {"num_local_experts": 4, "num_experts_per_tok": 2}, [EXPERTS] * 3),
    "llama4_text": (hf.Llama4TextConfig, HEADS | LLAMA4, [SPLIT, SPLIT | EXPERTS, SPLIT]),
    "smollm3": (hf.SmolLM3Config, SMALL, [SPLIT] * 3),
    "llava": (
        hf.LlavaConfig,
        {"text_config": hf.LlamaConfig(**SMALL), "vision_config": hf.CLIPVisionConfig(**VISION)},
        [SPLIT] * 3,
    ),
}


def build(name):
    kind, arguments, _ = FAMILIES[name]
    torch.manual_seed(0)
    auto = AutoModelForImageTextToText if name == "llava" else AutoModelForCausalLM
    model = auto.from_config(kind(**arguments)).eval()
    # Some families start with zeros (experts' biases, norms): noise everywhere, so that every weight matters.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param, build(request.param)


def batches():
    ids = torch.randint(3, 64, (4, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    rows = [slice(0, 2), slice(2, 4)]
    return [
        PromptBatch(index=[2 * i, 2 * i + 1], input_ids=ids[r], attention_mask=mask[r], position_ids=positions[r])
        for i, r in enumerate(rows)
    ]


def test_every_layer_has_its_roles_and_no_weight_is_left_out(family):
    name, model = family
    topology = read_topology(model)
    for layer, roles in enumerate(FAMILIES[name][2]):
        assert {ref.role for ref in topology.modules if ref.layer == layer} == roles
    for info in topology.modules.values():
        assert tuple(model.get_parameter(info.weight).shape) == info.shape
    covered = sum(model.get_parameter(info.weight).numel() for info in topology.modules.values())
    weights = {n: p for n, p in decoder_layers(model).named_parameters() if p.dim() > 1}
    left_out = {n.partition(".")[2] for n in weights} & set(NOT_MODULES)
    routing = sum(p.numel() for n, p in weights.items() if n.partition(".")[2] in left_out)
    assert covered + routing == sum(p.numel() for p in weights.values())


def test_perturbing_every_module_changes_exactly_it_and_comes_back_bit_for_bit(family):
    _, model = family
    topology = read_topology(model)
    before = {n: p.clone() for n, p in model.named_parameters()}
    for ref, info in topology.modules.items():
        with perturbed(model, topology, ModuleSet.of([ref]), PERTURBATIONS.get("lowrank"), strength=0.5, seed=0):
            assert {n for n, p in model.named_parameters() if not torch.equal(p, before[n])} == {info.weight}
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_the_cached_scan_equals_the_full_oncefor_every_module(family):
    _, model = family
    topology, prompts = read_topology(model), batches()
    cache, clean = PrefixCache(model, prompts), extract_features(model, prompts)
    for ref in topology.all:
        skipping = cache.skipping(ref.layer, [topology.modules[ref].path])
        with perturbed(model, topology, ModuleSet.of([ref]), PERTURBATIONS.get("gaussian"), strength=0.5, seed=0):
            full = extract_features(model, prompts)
            resumed = extract_features(model, prompts, around=skipping)
        assert torch.equal(resumed.hidden, full.hidden) and torch.equal(resumed.logits, full.logits), ref
        assert not torch.equal(full.logits, clean.logits), ref
    assert torch.equal(extract_features(model, prompts, around=cache.skipping(0, [])).hidden, clean.hidden)
    assert not any("forward" in vars(part) for part in model.modules())


def alike(head):
    """The batches, with the same first tokens in every prompt."""
    found = batches()
    for batch in found:
        for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True):
            start = int((mask == 0).sum())
            ids[start : start + len(head)] = torch.tensor(head)
    return found


def passes_of(model, prompts, **ways):
    return Passes(model, read_topology(model), prompts, PERTURBATIONS.get("gaussian"), seed=0, **ways)


def furthest(found, expected):
    pairs = (found.hidden, expected.hidden), (found.logits, expected.logits)
    return max(float(((one - other).norm(dim=1) / other.norm(dim=1)).max()) for one, other in pairs)


@pytest.mark.parametrize("cached", [True, False])
def test_tokens_that_all_prompts_begin_with_are_run_once_and_every_module_is_seen_alike(family, cached):
    _, model = family
    prompts, ran = alike([5, 6, 7, 8, 9]), []
    whole, apart = passes_of(model, prompts, shared=False), passes_of(model, prompts, cached=cached)
    assert furthest(apart.clean, whole.clean) < 1e-5
    hook = decoder_layers(model)[-1].register_forward_hook(lambda _layer, _in, out: ran.append(states(out).shape[:2]))
    for ref in whole.topology.all:
        ran.clear()
        with apart.perturbed(ModuleSet.of([ref]), strength=0.5, draw=0) as found:
            pass
        once = [(1, 5), (2, 4), (2, 4)]  # the shared tokens, and what is left of both batches
        assert ran in ([once * n for n in range(1, 5)] if cached else [once]), "the cache's clean passes come first"
        with whole.perturbed(ModuleSet.of([ref]), strength=0.5, draw=0) as expected:
            pass
        assert furthest(found, expected) < 1e-4 < furthest(expected, whole.clean), ref
    hook.remove()
    with apart.perturbed(ModuleSet.of([]), strength=0.5, draw=0) as again:
        assert torch.equal(again.logits, apart.clean.logits), "a pass leaves nothing behind"
    assert not any("forward" in vars(part) for part in model.modules())


def states(output):
    return output[0] if isinstance(output, tuple) else output


WHOLE = {
    "a window shorter than the prompts": (hf.MistralConfig, SMALL | {"sliding_window": 6}, "hidden states differ"),
    "chunks": (hf.Llama4TextConfig, HEADS | LLAMA4 | {"attention_chunk_size": 4}, "hidden states differ"),
    "a recurrent state": (hf.Lfm2Config, SMALL | {"layer_types": ["conv", "full_attention", "conv"]}, "index out of"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_model_that_does_not_go_on_from_its_cache_runs_whole_prompts_and_says_so(name, caplog):
    kind, arguments, reason = WHOLE[name]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(kind(**arguments)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    prompts = alike([5, 6, 7, 8, 9])
    assert shared_tokens(model, prompts, clean := extract_features(model, prompts)) is None
    assert "The 5 tokens that all prompts begin with are run anew for each" in caplog.text and reason in caplog.text
    assert torch.equal(extract_features(model, prompts).logits, clean.logits)


@pytest.mark.parametrize(("head", "apart"), [([5, 6, 7], False), ([5, 6, 7, 8], True), (list(range(5, 14)), True)])
def test_a_few_shared_tokens_are_not_run_apart_and_every_prompt_keeps_one_of_its_own(head, apart, caplog):
    model = build("llama")
    prompts = alike(head[:6])
    if len(head) > 6:  # the shortest prompt is the beginning of all others
        for batch in prompts:
            batch.input_ids[:, -6:] = torch.tensor(head[3:])
            batch.input_ids[batch.attention_mask.all(1), :6] = torch.tensor(head[3:])
    shared = shared_tokens(model, prompts, extract_features(model, prompts))
    assert (shared is not None) == apart and not caplog.text
    if shared is not None:
        assert shared.batches[0].input_ids.tolist() == [head[3:8] if len(head) > 6 else head]


@pytest.mark.parametrize(
    ("device", "tokens", "prompts", "layer", "apart"),
    [
        ("cpu", 4, 2, 1e3, True),
        ("cpu", 3, 200, 2e8, False),
        ("cuda", 24, 200, 2e8, True),
        ("cuda", 24, 8, 2e8, False),
        ("cuda", 24, 200, 4e6, False),
    ],
)
def test_on_a_gpu_shared_tokens_are_run_apart_where_that_saves_more_than_launching_a_pass(
    device, tokens, prompts, layer, apart
):
    assert is_worth_a_pass(device, tokens, prompts, layer) == apart


class Numbers:
    """A tokenizer that leaves tokens as they are, so that answers of a model without one can be compared."""

    eos_token_id, pad_token_id = None, 0

    def decode(self, ids, **_):
        return " ".join(str(int(i)) for i in ids)


def test_answers_of_a_batch_that_rows_leave_equal_the_models_own(family):
    _, model = family
    ids = torch.randint(3, 64, (6, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    batch = PromptBatch(index=list(range(6)), input_ids=ids, attention_mask=mask, position_ids=positions)

    def own(ends):
        out = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=8, do_sample=False, pad_token_id=0, eos_token_id=ends
        )
        rows = [row[9:].tolist() for row in out]
        return [row[: row.index(ends)] if ends in row else row for row in rows]

    free = own(-1)
    ends = free[0][2]  # ends the first answer at its third token or before, and others where it comes up
    kept, model.generation_config.eos_token_id = model.generation_config.eos_token_id, ends
    try:
        decoding = Decoding(max_new_tokens=8, batch_size=len(batch.index))
        found = _decode(model, Numbers(), batch, decoding, [None] * len(batch.index))
    finally:
        model.generation_config.eos_token_id = kept
    assert [generated.text for generated in found] == [Numbers().decode(row) for row in own(ends)]


def test_nothing_that_ran_before_the_perturbed_module_runs_again():
    model = hf.LlamaForCausalLM(hf.LlamaConfig(**SMALL)).eval()
    topology, prompts = read_topology(model), batches()
    cache, ran = PrefixCache(model, prompts), []
    for ref, info in topology.modules.items():
        part = model.get_submodule(info.path)
        part.forward = functools.partial(lambda ref, forward, x: ran.append(ref) or forward(x), ref, part.forward)
    order = ["q", "k", "v", "o", "gate", "up", "down"]
    for i, role in enumerate(order):
        skipping = cache.skipping(1, [topology.modules[ModuleRef(1, role)].path])
        ran.clear()
        extract_features(model, prompts, around=skipping)
        assert ran == [*(ModuleRef(1, r) for r in order[i:]), *(ModuleRef(2, r) for r in order)] * len(prompts)


def test_a_plan_on_a_family_gives_its_robust_modules_the_full_rate_and_nothing_else(family):
    _, model = family
    topology = read_topology(model)
    robust = ModuleSet.of(list(topology.all)[::2])
    plan = plan_of("mine", PlanModel(id="tiny"), topology, robust, rest_lr_mult=0.0)
    plan.check_patterns(n for n, _ in model.named_parameters())
    chosen = {topology.modules[ref].weight for ref in robust}
    others = {info.weight for info in topology.modules.values()} - chosen
    assert all(plan.lr_scale(weight) == (1.0,) for weight in chosen)
    assert all(plan.is_frozen(weight) for weight in others)


def test_an_unknown_projection_is_named_with_what_to_add(model):
    model.model.layers[0].mlp.extra_proj = torch.nn.Linear(4, 4)
    with pytest.raises(TopologyError, match=r"mlp\.extra_proj\.weight.*Add an entry for 'llama'"):
        read_topology(model)


def test_two_modules_of_one_role_in_a_layer_are_refused(model):
    model.model.layers[1].mlp.shared_expert = torch.nn.Module()
    model.model.layers[1].mlp.shared_expert.up_proj = torch.nn.Linear(4, 4)
    with pytest.raises(TopologyError, match=r"found two for 1\.up"):
        read_topology(model)


def test_a_model_without_a_list_of_layers_is_refused(model):
    model.model.layers = torch.nn.Sequential(*model.model.layers)
    with pytest.raises(TopologyError, match="Expected one list of decoder layers"):
        read_topology(model)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "llava"])
def test_a_saved_model_is_read_back_whole_and_half_of_it_is_refused(name, tmp_path):
    model = build(name)
    model.save_pretrained(tmp_path)
    again = load_model(ModelConfig(path=str(tmp_path))).state_dict()
    assert all(torch.equal(tensor, again[key]) for key, tensor in model.state_dict().items())
    tensors = load_file(tmp_path / "model.safetensors")
    tensors.pop(next(key for key in sorted(tensors) if ".1." in key and tensors[key].dim() > 1))
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="missing: |of another shape: .*experts|conversion of the weights"):
        load_model(ModelConfig(path=str(tmp_path)))
