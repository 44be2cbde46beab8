"""Sources: what models are read from beside folders of whole ones: a GGUF file, an adapter over a model, the Hub."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from securetune.config import parse_config
from securetune.errors import ModelError
from securetune.flow.inputs import check_inputs
from securetune.models import source
from securetune.models.config import ModelConfig
from securetune.models.counterpart import differences
from securetune.models.files import check_model
from securetune.models.given import GivenConfig, check_given
from securetune.models.identity import model_identity
from securetune.models.loading import load_given, load_model, load_skeleton, load_tokenizer
from tests.conftest import settings, tiny_llama

gguf = pytest.importorskip("gguf")


@pytest.fixture
def base(tokenizer, tmp_path):
    folder = tmp_path / "base"
    tiny_llama(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tuned_adapter(model, folder, seed=0, **config):
    """An adapter that changes something, as PEFT writes it."""
    torch.manual_seed(seed)
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "up_proj"], init_lora_weights=False))
    tuned.save_pretrained(folder)
    edit_json(folder / "adapter_config.json", **config)
    return folder


def edit_json(file, **fields):
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def write_gguf(model, tokenizer, file: Path):
    """As llama.cpp's conversion writes a Llama: q and k with their halves interleaved."""
    config = model.config
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    writer.add_token_list(tokens)
    special = set(tokenizer.all_special_tokens)
    kinds = [gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens]
    writer.add_token_types(kinds)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) if isinstance(pair, list) else pair for pair in merges])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        values = weight.float().numpy()
        if ".q_proj." in name or ".k_proj." in name:
            rows, columns = values.shape
            heads = config.num_attention_heads
            values = values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture
def file(base, tokenizer, tmp_path):
    return write_gguf(load_model(ModelConfig(path=str(base))), tokenizer, tmp_path / "model.gguf")


def logits(model):
    with torch.no_grad():
        return model(torch.arange(2, 12)[None]).logits


def test_a_gguf_file_is_the_model_that_it_was_made_from(base, file):
    whole, config = ModelConfig(path=str(base)), ModelConfig(path=str(file))
    check_model(str(file))
    model = load_model(config)
    torch.testing.assert_close(logits(model), logits(load_model(whole)))
    assert not model.training and len(list(load_skeleton(config).parameters())) == len(list(model.parameters()))
    tokenizer = load_tokenizer(config)
    assert tokenizer.chat_template == load_tokenizer(whole).chat_template and tokenizer.padding_side == "left"
    assert differences(whole, config) == []


def test_a_gguf_file_counts_by_its_stamp(file):
    before = model_identity(str(file), None)
    file.write_bytes(file.read_bytes() + b"0")
    assert model_identity(str(file), None) != before


def test_a_gguf_file_is_compared_with_the_model_before_tuning(base, file):
    model = load_given(GivenConfig(path=str(file)), ModelConfig(path=str(base)))
    assert logits(model).shape == (1, 10, 600)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "found nothing there"), (b"PK\x03\x04....", r"found one that begins with b'PK")],
)
def test_what_is_no_gguf_file_is_told(tmp_path, content, message):
    path = tmp_path / "model.gguf"
    if content:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=f"Expected a GGUF file at .*{message}"):
        check_model(str(path))


def test_a_gguf_file_without_the_package_that_reads_it_names_the_extra(file, monkeypatch):
    monkeypatch.setattr(source.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"found it missing\. Install it: pip install 'securetune\[gguf\]'"):
        check_model(str(file))


def test_a_folder_with_gguf_files_alone_says_to_give_the_file(file):
    with pytest.raises(ModelError, match=r"Expected config\.json .* Give the file model\.gguf itself"):
        (file.parent / "gguf").mkdir()
        file.rename(file.parent / "gguf" / file.name)
        check_model(str(file.parent / "gguf"))


def test_an_adapter_as_the_model_before_tuning_is_merged_into_the_one_it_names(base, tmp_path):
    adapter = tuned_adapter(load_model(ModelConfig(path=str(base))), tmp_path / "safety")
    expected = logits(load_given(GivenConfig(path=str(adapter)), ModelConfig(path=str(base))))
    config = ModelConfig(path=str(adapter))
    check_model(str(adapter))
    model = load_model(config)
    torch.testing.assert_close(logits(model), expected)
    assert not hasattr(model, "peft_config") or not hasattr(model, "get_base_model")
    assert load_tokenizer(config).get_vocab() == load_tokenizer(ModelConfig(path=str(base))).get_vocab()
    assert len(list(load_skeleton(config).parameters())) == len(list(model.parameters()))


def test_an_adapter_stands_on_an_adapter(base, tmp_path):
    safety = tuned_adapter(load_model(ModelConfig(path=str(base))), tmp_path / "safety")
    task = tuned_adapter(load_model(ModelConfig(path=str(safety))), tmp_path / "task", 1)
    edit_json(task / "adapter_config.json", base_model_name_or_path=str(safety))
    check_given(GivenConfig(path=str(task)), ModelConfig(path=str(safety)))
    over_both = logits(load_given(GivenConfig(path=str(task)), ModelConfig(path=str(safety))))
    torch.testing.assert_close(logits(load_model(ModelConfig(path=str(task)))), over_both)
    assert source.weights_of(str(task)) == (str(base), None)


def test_an_adapter_counts_by_its_files_and_by_what_is_below(base, tmp_path):
    adapter = tuned_adapter(load_model(ModelConfig(path=str(base))), tmp_path / "safety")
    first = model_identity(str(adapter), None)
    tuned_adapter(load_model(ModelConfig(path=str(base))), adapter, 1)
    second = model_identity(str(adapter), None)
    tiny_llama(600, seed=3).save_pretrained(base)
    assert first["adapter"] != second["adapter"] and second["below"] != model_identity(str(adapter), None)["below"]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (None, r"Expected the model that the adapter in .* as base_model_name_or_path .* found None"),
        ("./nowhere", r"names as base_model_name_or_path\. Expected a model folder at './nowhere', found nothing"),
        ("itself", "found that it stands on .* again"),
    ],
)
def test_an_adapter_whose_model_is_not_there_is_told(base, tmp_path, named, message):
    adapter = tuned_adapter(load_model(ModelConfig(path=str(base))), tmp_path / "safety")
    named = str(adapter) if named == "itself" else named
    edit_json(adapter / "adapter_config.json", base_model_name_or_path=named)
    with pytest.raises(ModelError, match=message):
        check_model(str(adapter))


def test_what_cannot_be_named_by_what_is_tuned_on_it_is_not_tuned(base, file, tmp_path, model_folder, data_folder):
    adapter = tuned_adapter(load_model(ModelConfig(path=str(base))), tmp_path / "safety")
    raw = settings(tmp_path, model_folder, data_folder)
    for path, message in (
        (adapter, "found an adapter in .* Merge it first"),
        (file, "Expected a model to tune, found"),
    ):
        with pytest.raises(ModelError, match=message):
            check_inputs([parse_config(raw | {"model": {"path": str(path)}}, "test")])


def cached(repository, folder, monkeypatch, tmp_path):
    """Put a folder where the Hub's client keeps what it has downloaded."""
    commit = "0" * 40
    place = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    shutil.copytree(folder, place / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_an_adapter_on_the_hub_is_an_adapter(base, tmp_path, monkeypatch):
    config = ModelConfig(path=str(base))
    adapter = tuned_adapter(load_model(config), tmp_path / "task")
    cached("somebody/task", adapter, monkeypatch, tmp_path)
    given = GivenConfig(path="somebody/task")
    assert given.adapter is not None and given.adapter.name == "0" * 40
    check_given(given, config)
    torch.testing.assert_close(
        logits(load_given(given, config)), logits(load_given(GivenConfig(path=str(adapter)), config))
    )
    assert GivenConfig(path="somebody/model").adapter is None
