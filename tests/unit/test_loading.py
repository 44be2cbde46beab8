"""Loading: a model is what its files hold, or it is refused with the names of what is wrong."""

import json
import os
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from securetune.base.artifacts import RunFolder
from securetune.config import parse_config
from securetune.errors import ModelError
from securetune.flow.session import Session
from securetune.models.config import ModelConfig
from securetune.models.given import GivenConfig
from securetune.models.identity import model_identity
from securetune.models.loading import load_given, load_model, load_skeleton, load_tokenizer, with_adapter
from tests.conftest import settings, tiny_llama

DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture
def folder(tokenizer, tmp_path):
    folder = tmp_path / "model"
    tiny_llama(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def edit(folder, change):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def edit_json(file, **fields):
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def refused(folder, message):
    with pytest.raises(ModelError, match=message):
        load_model(ModelConfig(path=str(folder)))


def refused_before_any_work(folder, message):
    """By everything that looks at the folder, so by the check before a run."""
    config = ModelConfig(path=str(folder))
    for look in (load_tokenizer, load_skeleton, load_model):
        with pytest.raises(ModelError, match=message):
            look(config)


def test_a_whole_model_is_read_with_its_tied_weights(folder):
    model = load_model(ModelConfig(path=str(folder)))
    assert not model.training and DOWN in model.state_dict()
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    assert model.lm_head.weight is model.get_input_embeddings().weight


def test_missing_tensors_are_named(folder):
    edit(folder, lambda tensors: tensors.pop(DOWN))
    refused(folder, rf"missing: {DOWN}\. What is missing would be random")


def test_renamed_tensors_are_named_on_both_sides(folder):
    edit(folder, lambda tensors: tensors.update({"model.layers.1.mlp.dwn.weight": tensors.pop(DOWN)}))
    refused(folder, rf"missing: {DOWN}; unknown: model\.layers\.1\.mlp\.dwn\.weight")


def test_a_prefix_that_training_left_is_no_model(folder):
    def prefixed(tensors):
        for name in list(tensors):
            tensors[f"_orig_mod.{name}"] = tensors.pop(name)

    edit(folder, prefixed)
    refused(folder, r"missing: .*and \d+ more; unknown: _orig_mod\.model")


def test_tensors_that_the_model_has_no_place_for_are_named(folder):
    edit_json(folder / "config.json", num_hidden_layers=1)
    refused(folder, r"unknown: model\.layers\.1\.input_layernorm\.weight, .* and \d more")


def test_an_untied_output_that_is_not_there_is_missed(folder):
    edit_json(folder / "config.json", tie_word_embeddings=False)
    refused(folder, r"missing: lm_head\.weight")


def test_wrong_shapes_are_named_with_both(folder):
    edit(folder, lambda tensors: tensors.update({DOWN: tensors[DOWN][:, :40].contiguous()}))
    refused(folder, rf"of another shape: {DOWN} \(\[32, 40\] for \[32, 48\]\)")


def test_a_file_cut_short_is_found_by_its_header(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    refused_before_any_work(
        folder, r"Expected [\d,]+ bytes in .*model\.safetensors, .* found [\d,]+\. Copy or download"
    )
    file.write_bytes(file.read_bytes()[:100])
    refused_before_any_work(folder, r"whole safetensors file at .*, found 100 bytes without a readable header")
    file.write_bytes(b"")
    refused_before_any_work(folder, "found 0 bytes without a readable header")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_pointer_in_place_of_a_file_is_told(name, folder):
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    refused_before_any_work(folder, rf"file itself at .*{name}, found a Git-LFS pointer.*git lfs pull")


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_broken_configuration_is_told(content, folder):
    (folder / "config.json").write_text(content)
    refused_before_any_work(folder, r"Expected (JSON|a JSON object) in .*config\.json, found.*Copy the file again")


def test_a_cut_tokenizer_is_told(folder):
    file = folder / "tokenizer.json"
    file.write_text(file.read_text()[:-200])
    with pytest.raises(ModelError, match="Expected a loadable tokenizer at .*Save it again"):
        load_tokenizer(ModelConfig(path=str(folder)))


def test_parts_that_an_index_names_are_all_there(folder, tokenizer):
    (folder / "model.safetensors").unlink()
    tiny_llama(len(tokenizer)).save_pretrained(folder, max_shard_size="30KB")
    load_model(ModelConfig(path=str(folder)))
    first, second, *_ = sorted(folder.glob("*.safetensors"))
    shutil.copy(second, kept := folder.parent / "kept")
    save_file(load_file(first), second, metadata={"format": "pt"})
    refused_before_any_work(folder, rf"the tensors that .*index\.json names, found no .* in {second.name}")
    second.unlink()
    refused_before_any_work(folder, rf"the files that .*index\.json names, found no {second.name}")
    shutil.copy(kept, second)
    load_model(ModelConfig(path=str(folder)))


def test_an_adapter_beside_full_weights_is_refused(folder):
    get_peft_model(load_model(ModelConfig(path=str(folder))), LoraConfig(r=2)).save_pretrained(folder)
    refused_before_any_work(folder, r"Expected one model in .*full weights .* and an adapter .*another base model")


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_a_missing_library_for_quantized_weights_is_named(method, folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    edit_json(folder / "config.json", quantization_config={"quant_method": method, "bits": 4})
    refused_before_any_work(folder, rf"Expected gptqmodel .*which reads the {method} weights .*pip install gptqmodel")


def test_a_package_that_only_the_loader_misses_is_named(folder, monkeypatch):
    def loads(*_, **__):
        raise ImportError("Loading these needs\nthe package optimum.")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", loads)
    refused(folder, "found: Loading these needs the package optimum. Install what it names")


@pytest.mark.parametrize("special", [False, True])
def test_tokens_without_a_row_in_the_embedding_are_named(special, folder):
    config = ModelConfig(path=str(folder))
    tokenizer, model = load_tokenizer(config), load_model(config)
    tokenizer.add_tokens(["<think>", "</think>"], special_tokens=special)
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"600 rows of the model's embedding, found </think>, <think> beyond.*resize"):
        load_tokenizer(config)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    assert len(load_tokenizer(config)) == load_model(config).config.vocab_size


def test_the_check_before_a_run_finds_them(folder, data_folder, tmp_path):
    raw = settings(folder, data_folder, tmp_path / "run")
    tokenizer = load_tokenizer(ModelConfig(path=str(folder)))
    tokenizer.add_tokens(["<think>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match="found <think> beyond"):
        Session(parse_config(raw, "test"), RunFolder(tmp_path / "run")).check()


def test_the_check_before_a_run_looks_at_every_model(folder, model_folder, data_folder, tmp_path):
    (folder / "model.safetensors").write_bytes(b"")
    raw = settings(model_folder, data_folder, tmp_path / "run") | {"unaligned": str(folder)}
    with pytest.raises(ModelError, match="without a readable header"):
        Session(parse_config(raw, "test"), RunFolder(tmp_path / "run")).check()


def adapter(folder, tmp_path):
    tuned = get_peft_model(load_model(ModelConfig(path=str(folder))), LoraConfig(r=2, target_modules="all-linear"))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    tuned.save_pretrained(tmp_path / "adapter")
    return tuned, tmp_path / "adapter"


def test_an_adapter_is_read_whole(folder, tmp_path):
    tuned, place = adapter(folder, tmp_path)
    ids = torch.tensor([[3, 4, 5]])
    again = with_adapter(load_model(ModelConfig(path=str(folder))), place)
    assert not again.training
    torch.testing.assert_close(again(ids).logits, tuned.eval()(ids).logits)


@pytest.mark.parametrize(("old", "new"), [("lora_B", None), ("layers.1", "layers.7"), ("q_proj", "query")])
def test_half_an_adapter_is_refused(old, new, folder, tmp_path):
    _, place = adapter(folder, tmp_path)
    file = place / "adapter_model.safetensors"
    tensors = load_file(file)
    for name in [name for name in tensors if old in name]:
        value = tensors.pop(name)
        if new is not None:
            tensors[name.replace(old, new)] = value
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=rf"those of its adapter, found missing: .*{old}.*"):
        with_adapter(load_model(ModelConfig(path=str(folder))), place)


def test_an_adapter_that_is_cut_or_of_another_shape_is_refused(folder, tokenizer, tmp_path):
    _, place = adapter(folder, tmp_path)
    config = json.loads((place / "adapter_config.json").read_text())
    (place / "adapter_config.json").write_text(json.dumps(config | {"r": 3}))
    with pytest.raises(ModelError, match="Expected a loadable adapter at"):
        with_adapter(load_model(ModelConfig(path=str(folder))), place)
    (place / "adapter_config.json").write_text(json.dumps(config))
    file = place / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-64])
    with pytest.raises(ModelError, match="Expected a loadable adapter at .*Save it again"):
        with_adapter(load_model(ModelConfig(path=str(folder))), place)


@pytest.mark.parametrize("name", ["model.safetensors", "a\\b", "a/b/c", "models/mine", "./mine", "~/mine"])
def test_what_is_written_like_a_path_is_never_asked_of_the_hub(name, tmp_path, monkeypatch):
    def asked(*_, **__):
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", asked)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    with pytest.raises(ModelError, match="Expected a model folder at .*found nothing there. Check the path") as error:
        model_identity(name, None)
    assert ("no folder is called 'models'" in str(error.value)) == (name == "models/mine")


def test_a_model_in_the_home_folder_is_read(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    config = ModelConfig(path="~/model")
    assert load_model(config).config.vocab_size == len(load_tokenizer(config))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value, folder):
    edit(folder, lambda tensors: tensors[DOWN].view(-1).__setitem__(7, value))
    refused(folder, r"found some in model\.layers\.1\.mlp\.down_proj\.weight that are not")


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"eos_token_id": ["a"]}, "found eos_token_id 'a'"), ({"num_beams": 0}, "found num_beams 0")],
)
def test_settings_of_generation_that_cannot_be_used_are_named(fields, message, folder):
    edit_json(folder / "generation_config.json", **fields)
    refused(folder, f"writes on from a prompt, {message} in its configuration")


def test_a_model_with_an_encoder_is_no_chat_model(folder):
    edit_json(folder / "config.json", is_encoder_decoder=True)
    refused(folder, "found is_encoder_decoder true in its configuration")


def test_weights_in_whole_numbers_that_nobody_scales_back_are_refused(folder):
    weights = {name: (127 * weight).to(torch.int8) for name, weight in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused_before_any_work(folder, "names no quantization, found whole numbers in ")


def test_two_sets_of_weights_are_refused(folder):
    save_file(load_file(folder / "model.safetensors"), folder / "part.safetensors", metadata={"format": "pt"})
    index = {"weight_map": dict.fromkeys(load_file(folder / "part.safetensors"), "part.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused_before_any_work(folder, r"one set of weights in .*, found model\.safetensors and the parts")


def test_a_tokenizer_that_lost_its_settings_is_refused(folder):
    (folder / "tokenizer_config.json").unlink()
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ModelError, match=r"found None, None and .*tokenizer_config\.json"):
        load_tokenizer(ModelConfig(path=str(folder)))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_pipe_or_a_link_to_nothing_in_a_folder_is_refused_and_not_waited_for(name, folder):
    (folder / name).unlink()
    (folder / name).symlink_to(folder / "nothing")
    message = "Expected config.json in the model folder" if name == "config.json" else f"found that {name} is a link"
    refused_before_any_work(folder, message)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    refused_before_any_work(folder, f"found that {name} is a link to nothing, a device or a pipe")


def test_a_cut_file_of_generation_settings_is_refused(folder):
    (folder / "generation_config.json").write_text('{"eos_token_id": [1, ')
    refused_before_any_work(folder, r"Expected JSON in .*generation_config\.json")


def test_weights_without_the_scales_of_their_quantization_are_refused(folder):
    weights = {name: weight.to(torch.float8_e4m3fn) for name, weight in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused_before_any_work(folder, "names no quantization, found .* or others that need a scale")


def test_a_quantization_that_nobody_reads_is_refused(folder):
    edit_json(folder / "config.json", quantization_config={"quant_method": "another"})
    refused(folder, "Expected a quantization that transformers reads in config.json .*, found 'another'")


def test_four_bits_without_a_gpu_are_refused(folder, monkeypatch):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    with pytest.raises(ModelError, match="Expected a GPU for load_in_4bit, found none"):
        load_model(ModelConfig(path=str(folder), load_in_4bit=True))


def test_a_folder_has_no_revision(folder):
    with pytest.raises(ModelError, match="Expected no revision of the model folder .*, found 'main'"):
        load_model(ModelConfig(path=str(folder), revision="main"))


def test_an_adapter_of_no_numbers_is_refused(folder, tmp_path):
    _, place = adapter(folder, tmp_path)
    tensors = load_file(place / "adapter_model.safetensors")
    save_file({name: value * float("nan") for name, value in tensors.items()}, place / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="Expected numbers in the weights of .*adapter'"):
        with_adapter(load_model(ModelConfig(path=str(folder))), place)


@pytest.mark.parametrize("nothing", ["scale", "lora_A", "lora_B"])
def test_an_adapter_that_changes_nothing_is_refused(nothing, folder, tmp_path):
    _, place = adapter(folder, tmp_path)
    given, base = GivenConfig(path=str(place)), ModelConfig(path=str(folder))
    load_given(given, base)
    tensors = load_file(place / "adapter_model.safetensors")
    kept = {name: value * 0 if nothing in name else value for name, value in tensors.items()}
    save_file(kept, place / "adapter_model.safetensors", metadata={"format": "pt"})
    if nothing == "scale":
        edit_json(place / "adapter_config.json", lora_alpha=0)
    with pytest.raises(ModelError, match="found one that changes nothing"):
        load_given(given, base)
