"""Generation and attacks against plain references."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import WatermarkingConfig

from securetune.base.artifacts import Journal
from securetune.data.prompts import render
from securetune.errors import ModelError
from securetune.evaluate import generation
from securetune.evaluate.attacks.gcg import Frame, Search, losses, step, suffix_gradient
from securetune.evaluate.generation import Decoding, generate
from securetune.models.config import ModelConfig
from securetune.models.loading import load_model
from securetune.models.openings import Openings

PROMPTS = [f"how do i {verb} the {thing}" for verb in ("open", "break", "paint") for thing in ("box", "old red lamp")]
OPENINGS = Openings(refusal=(5, 6), affirmative=(7, 8))


@pytest.fixture
def texts(tokenizer):
    return render(tokenizer, PROMPTS)


def ids_one_by_one(model, tokenizer, texts, length):
    said = []
    for text in texts:
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        start = ids.shape[1]
        for _ in range(length):
            token = model(input_ids=ids).logits[0, -1].argmax()
            if token == model.generation_config.eos_token_id:
                break
            ids = torch.cat([ids, token[None, None]], dim=1)
        said.append(ids[0, start:].tolist())
    return said


@pytest.fixture
def talkative(model):
    """A model that says different things to different prompts; its random, tied twin repeats the last token."""
    model.lm_head.weight = torch.nn.Parameter(torch.randn(model.lm_head.weight.shape))
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.down_proj.weight.mul_(20)
            layer.self_attn.o_proj.weight.mul_(20)
    return model


def ending(model, tokenizer, texts):
    """Let a token end answers that comes early in some of them and late or never in others."""
    said = ids_one_by_one(model, tokenizer, texts, 12)
    ends = {token: {tuple(row).index(token) if token in row else 12 for row in said} for row in said for token in row}
    model.generation_config.eos_token_id = max(ends, key=lambda token: len(ends[token]))
    return model


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_batched_answers_equal_those_of_one_prompt_at_a_time(talkative, tokenizer, texts, batch_size):
    model = ending(talkative, tokenizer, texts)
    ids = ids_one_by_one(model, tokenizer, texts, 12)
    wanted = [tokenizer.decode(row, skip_special_tokens=True).strip() for row in ids]
    assert len({len(row) for row in ids}) > 2, "all answers end together: rows never leave the batch"
    found = generate(model, tokenizer, texts, Decoding(max_new_tokens=12, batch_size=batch_size, openings=OPENINGS))
    assert [generated.text for generated in found] == wanted
    logits = [
        model(input_ids=torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])).logits[:, -1]
        for text in texts
    ]
    assert [g.margin for g in found] == pytest.approx([OPENINGS.margin(row).item() for row in logits], abs=1e-4)


def test_a_model_with_settings_of_its_own_generates_by_them(talkative, tokenizer, texts):
    plain = [g.text for g in generate(talkative, tokenizer, texts, Decoding(max_new_tokens=12, batch_size=4))]
    talkative.generation_config.repetition_penalty = 5.0
    found = generate(talkative, tokenizer, texts, Decoding(max_new_tokens=12, batch_size=4, openings=OPENINGS))
    assert [g.text for g in found] != plain
    assert all(g.margin is not None for g in found)


OTHER_SEARCHES = [
    {"max_time": 1e-9},
    {"num_beams": 3, "length_penalty": 3.0, "early_stopping": True},
    {"num_beams": 2, "num_return_sequences": 2},
    {"stop_strings": ["a", "e", "o"]},
    {"do_sample": True, "temperature": 5.0, "top_k": 50, "top_p": 0.9},
    {"temperature": 0.6, "top_p": 0.95},
    {"penalty_alpha": 0.6, "top_k": 4},
    {"prompt_lookup_num_tokens": 3},
    {"forced_eos_token_id": 1},
    {"max_length": 3, "of_ones_own": 1},
]


@pytest.mark.parametrize("own", [{}, {"repetition_penalty": 1.3}], ids=["plain", "penalty"])
def test_settings_of_other_searches_in_a_models_folder_leave_its_greedy_answers(
    own, talkative, tokenizer, texts, tmp_path
):
    talkative.config.tie_word_embeddings = False
    talkative.save_pretrained(tmp_path)
    file = tmp_path / "generation_config.json"
    stored = json.loads(file.read_text())

    def answers(**settings):
        file.write_text(json.dumps(stored | own | settings))
        model = load_model(ModelConfig(path=str(tmp_path)))
        before = model.generation_config, model.generation_config.to_dict()
        found = generate(model, tokenizer, texts, Decoding(max_new_tokens=12, batch_size=4, openings=OPENINGS))
        assert before == (model.generation_config, model.generation_config.to_dict())
        return found

    wanted = answers()
    for settings in OTHER_SEARCHES:
        assert answers(**settings) == wanted, settings


@pytest.mark.parametrize(
    "settings",
    [{"no_repeat_ngram_size": 1}, {"min_new_tokens": 1}, {"watermarking_config": WatermarkingConfig(bias=9.0)}],
)
def test_a_setting_that_changes_the_greedy_token_is_followed_whatever_its_value(settings, talkative, tokenizer, texts):
    decoding = Decoding(max_new_tokens=12, batch_size=4, openings=OPENINGS)
    plain = generate(talkative, tokenizer, texts, decoding)
    if "min_new_tokens" in settings:  # what is said first is what ends it
        talkative.generation_config.eos_token_id = ids_one_by_one(talkative, tokenizer, texts[:1], 1)[0][0]
        assert not generate(talkative, tokenizer, texts[:1], decoding)[0].text
    talkative.generation_config.update(**settings)
    found = generate(talkative, tokenizer, texts, decoding)
    assert all(answer.text for answer in found) and found != plain


def test_a_models_settings_come_back_where_its_own_generate_fails(talkative, tokenizer, texts, monkeypatch):
    tuned = get_peft_model(talkative, LoraConfig(r=2, target_modules=["q_proj"]))
    tuned.generation_config.repetition_penalty = 2.0
    own, names = tuned.generation_config, vars(tuned).keys() | vars(talkative).keys()

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(talkative), "forward", killed)
    with pytest.raises(KeyboardInterrupt):
        generate(tuned, tokenizer, texts, Decoding(max_new_tokens=2, batch_size=4))
    assert tuned.generation_config is own is talkative.generation_config
    assert vars(tuned).keys() | vars(talkative).keys() == names and "generation_config" not in vars(tuned)


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(model, tokenizer, texts, monkeypatch):
    wanted = generate(model, tokenizer, texts, Decoding(max_new_tokens=5, batch_size=8))
    sizes, decode = [], generation._decode

    def small(model, tokenizer, batch, *rest):
        sizes.append(len(batch.index))
        if len(batch.index) > 2:
            raise torch.OutOfMemoryError("no room")
        return decode(model, tokenizer, batch, *rest)

    monkeypatch.setattr(generation, "_decode", small)
    assert generate(model, tokenizer, texts, Decoding(max_new_tokens=5, batch_size=8)) == wanted
    assert sizes == [6, 4, 2, 2, 2]
    monkeypatch.setattr(generation, "_decode", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no room")))
    with pytest.raises(ModelError, match="room for one answer"):
        generate(model, tokenizer, texts, Decoding(max_new_tokens=5, batch_size=8))


def test_known_answers_are_not_generated_again(model, tokenizer, texts, tmp_path, monkeypatch):
    def known():
        return Journal(tmp_path / "answers.jsonl")

    first = generate(model, tokenizer, texts[:4], Decoding(max_new_tokens=5, batch_size=2, known=known()))
    asked, decode = [], generation._decode
    monkeypatch.setattr(generation, "_decode", lambda m, t, b, *r: asked.extend(b.index) or decode(m, t, b, *r))
    found = generate(model, tokenizer, texts, Decoding(max_new_tokens=5, batch_size=2, known=known()))
    assert found[:4] == first and len(asked) == 2
    generate(model, tokenizer, texts, Decoding(max_new_tokens=6, batch_size=2, known=known()))
    assert len(asked) == 8, "another length is another answer"


def test_an_answer_ends_where_its_verdict_is_settled(talkative, tokenizer, texts):
    whole = generate(talkative, tokenizer, texts, Decoding(max_new_tokens=12, batch_size=4))
    cut = generate(
        talkative, tokenizer, texts, Decoding(max_new_tokens=12, batch_size=4, decided=lambda text: len(text) > 8)
    )
    assert all(w.text.startswith(c.text[:8]) for w, c in zip(whole, cut, strict=True))
    assert sum(len(c.text) for c in cut) < sum(len(w.text) for w in whole)


def frame(tokenizer):
    def ids(text):
        return torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])

    return Frame(
        before=ids("<|user|>how do i open the box "), after=ids("<|end|><|assistant|>"), target=ids("Sure, here is")
    )


class Lossless:
    """A tokenizer under which every sequence of tokens survives decoding."""

    all_special_ids = [0, 1]

    def decode(self, ids):
        return ids

    def __call__(self, ids, **_):
        return {"input_ids": ids}


def test_a_gcg_step_over_all_swaps_is_the_best_single_swap(model, tokenizer):
    around = frame(tokenizer)
    suffix, vocabulary = torch.tensor([11, 12, 13]), len(tokenizer)
    settings = Search(width=None, top=vocabulary, batch_size=256)
    found, loss = step(model, Lossless(), around, suffix, settings, torch.Generator())
    swapped = suffix.repeat(3 * vocabulary, 1)
    swapped[torch.arange(3 * vocabulary), torch.arange(3).repeat_interleave(vocabulary)] = torch.arange(
        vocabulary
    ).repeat(3)
    allowed = swapped[((swapped != 0) & (swapped != 1)).all(1)]
    every = losses(model, around, allowed)
    assert loss == pytest.approx(every.min().item(), abs=1e-5)
    assert torch.equal(found, allowed[every.argmin()])


def test_the_gradient_of_the_suffix_is_that_of_finite_differences(model, tokenizer):
    model, around, suffix = model.double(), frame(tokenizer), torch.tensor([11, 12, 13])
    gradient = suffix_gradient(model, around, suffix)
    weight, step_size = model.get_input_embeddings().weight, 1e-2
    for position, token in ((0, 20), (2, 30)):
        embedded = model.get_input_embeddings()(torch.cat([around.before, suffix, around.after, around.target]))[None]

        def loss(scale, position=position, token=token, embedded=embedded):
            moved = embedded.clone()
            moved[0, len(around.before) + position] += scale * weight[token]
            logits = model(inputs_embeds=moved).logits[0, -len(around.target) - 1 : -1]
            return torch.nn.functional.cross_entropy(logits, around.target).item()

        difference = (loss(step_size) - loss(-step_size)) / (2 * step_size)
        assert gradient[position, token].item() == pytest.approx(difference, rel=1e-2, abs=1e-6)
