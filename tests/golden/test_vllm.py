"""vLLM against transformers, by a stand-in with the shapes of vLLM 0.32's offline interface: the real one is too large.

With ``SECURETUNE_REAL_VLLM=1`` in an environment that has vLLM, the same test runs the real one.
"""

import json
import os
import shutil
from dataclasses import replace

import pytest

from securetune.base.artifacts import Journal
from securetune.data.prompts import render
from securetune.errors import ConfigError, ModelError
from securetune.evaluate.generation import Decoding, generate
from securetune.evaluate.vllm_engine import Request, answer_by_vllm, check_vllm
from securetune.models.config import ModelConfig
from securetune.models.loading import load_model, load_tokenizer
from securetune.models.openings import Openings

REAL = bool(os.environ.get("SECURETUNE_REAL_VLLM"))
STAND_IN = """
from types import SimpleNamespace
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


class SamplingParams:
    temperature, top_p, top_k, min_p = 0.7, 0.9, 50, 0.1
    max_tokens, detokenize, logprob_token_ids, stop_token_ids = 16, True, None, ()


class LLM:
    def __init__(
        self, model, *, revision, dtype, trust_remote_code, max_model_len, enable_lora=False, max_lora_rank=16
    ):
        self.model, self.enable_lora = AutoModelForCausalLM.from_pretrained(model), enable_lora
        self.longest, self.tokenizer = max_model_len, AutoTokenizer.from_pretrained(model)

    def get_tokenizer(self):
        return self.tokenizer

    def get_default_sampling_params(self):
        return SamplingParams()

    @torch.no_grad()
    def generate(self, prompts, params, lora_request=None):
        assert (lora_request is not None) == self.enable_lora and len(prompts) == len(params)
        model = PeftModel.from_pretrained(self.model, lora_request.lora_path) if lora_request else self.model
        return [SimpleNamespace(outputs=[self._one(model, *pair)]) for pair in zip(prompts, params)]

    def _one(self, model, prompt, params):
        assert params.temperature == 0 and not params.detokenize
        ids = torch.tensor([prompt["prompt_token_ids"]])
        assert ids.shape[1] + params.max_tokens <= self.longest
        out = model.generate(input_ids=ids, max_new_tokens=params.max_tokens, do_sample=False, pad_token_id=0,
                             eos_token_id=[*params.stop_token_ids, self.model.generation_config.eos_token_id],
                             return_dict_in_generate=True, output_logits=True)
        said = out.sequences[0, ids.shape[1]:].tolist()
        logprobs = None
        if params.logprob_token_ids:
            wanted = {said[0], *params.logprob_token_ids}
            found = [logits[0].log_softmax(-1) for logits in out.logits]
            logprobs = [{t: SimpleNamespace(logprob=values[t].item()) for t in wanted} for values in found]
        return SimpleNamespace(token_ids=said, logprobs=logprobs)
"""
REQUEST = "class LoRARequest:\n    def __init__(self, name, number, path):\n        self.lora_path = path\n"


def stand_in(folder):
    (folder / "vllm/lora").mkdir(parents=True)
    (folder / "vllm/__init__.py").write_text(STAND_IN)
    (folder / "vllm/lora/__init__.py").write_text("")
    (folder / "vllm/lora/request.py").write_text(REQUEST)


@pytest.fixture
def vllm(tmp_path, monkeypatch):
    if not REAL:
        stand_in(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))


@pytest.fixture
def asked(model_folder):
    tokenizer = load_tokenizer(ModelConfig(path=str(model_folder)))
    openings = Openings(refusal=(3, 5), affirmative=(4, 9, 11))
    texts = render(tokenizer, ["how do i open the box", "how do i break the lamp", "hello"])
    return [
        *(Request(text=text, max_new_tokens=12, openings=openings) for text in texts),
        Request(text=texts[0], max_new_tokens=5),
        Request(text=texts[0], max_new_tokens=1, openings=replace(openings, lead=(9, 12))),
    ]


@pytest.mark.parametrize("tuned", [False, True])
def test_vllm_says_what_transformers_says(tuned, vllm, asked, model_folder, tmp_path):
    from peft import LoraConfig, get_peft_model

    config, adapter = ModelConfig(path=str(model_folder), dtype="float32"), None
    model, tokenizer = load_model(config), load_tokenizer(config)
    if tuned:
        model = get_peft_model(
            model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        ).eval()
        model.save_pretrained(adapter := tmp_path / "adapter")
    known = Journal(tmp_path / "known.jsonl")
    answer_by_vllm(config, adapter, tokenizer, asked, known, **({"enforce_eager": True} if REAL else {}))
    for request in asked:
        decoding = Decoding(max_new_tokens=request.max_new_tokens, batch_size=1, openings=request.openings)
        (kept,) = generate(model, tokenizer, [request.text], replace(decoding, known=known))
        (own,) = generate(model, tokenizer, [request.text], decoding)
        assert kept.text == own.text
        assert kept.margin == (pytest.approx(own.margin, abs=1e-3) if request.openings else None)


@pytest.mark.skipif(REAL, reason="a real engine is slow to start, and the stand-in has the same stop tokens")
def test_answers_of_both_engines_end_where_the_template_ends_a_turn(vllm, asked, model_folder, tmp_path):
    """The generation settings name a token that the model never says."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    settings = folder / "generation_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"eos_token_id": 2}))
    config = ModelConfig(path=str(folder), dtype="float32")
    model, tokenizer = load_model(config), load_tokenizer(config)
    assert model.generation_config.eos_token_id == 2
    known, request = Journal(tmp_path / "known.jsonl"), asked[0]
    answer_by_vllm(config, None, tokenizer, [request], known)
    decoding = Decoding(max_new_tokens=request.max_new_tokens, batch_size=1, openings=request.openings)
    answers = [*generate(model, tokenizer, [request.text], replace(decoding, known=known))]
    answers += generate(model, tokenizer, [request.text], decoding)
    model.generation_config.eos_token_id = 1
    (right,) = generate(model, tokenizer, [request.text], decoding)
    assert [answer.text for answer in answers] == [right.text] * 2


def test_settings_that_vllm_does_not_follow_are_refused_before_it_is_asked(asked, model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "model")
    settings = json.loads((folder / "generation_config.json").read_text())
    for own in ({"no_repeat_ngram_size": 3}, {"repetition_penalty": 1.2, "min_new_tokens": 2}):
        (folder / "generation_config.json").write_text(json.dumps(settings | own))
        with pytest.raises(
            ConfigError, match=rf"that vLLM follows, found {list(own)[-1]}: its answers would be others"
        ):
            check_vllm(ModelConfig(path=str(folder)))


def test_what_is_known_is_not_asked_again(asked, model_folder, tmp_path):
    config = ModelConfig(path=str(model_folder))
    known = Journal(tmp_path / "known.jsonl")
    with pytest.raises(ConfigError, match=r"securetune\[vllm\]"):
        answer_by_vllm(config, None, load_tokenizer(config), asked, known)
    answer_by_vllm(config, None, load_tokenizer(config), [], known)


def test_an_engine_that_fails_says_what_to_do(vllm, asked, model_folder, tmp_path):
    config = ModelConfig(path=str(model_folder))
    with pytest.raises(ModelError, match="set evaluate.engine to transformers"):
        answer_by_vllm(config, None, load_tokenizer(config), asked, Journal(tmp_path / "k.jsonl"), nonsense=1)
