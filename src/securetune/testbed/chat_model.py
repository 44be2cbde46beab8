"""Chat model: train a small Llama and its tokenizer from nothing, on the CPU.

Used for the embedded default and, through a recipe file, for small models on real text. Two stages: helpful-only
training, which also answers harmful prompts, then alignment, which adds refusals.
Shapes: b rows, t tokens.
"""

import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from securetune.base.progress import progress_bar
from securetune.models.tensors import IGNORED
from securetune.testbed.config import ChatModelConfig as ChatModelConfig
from securetune.testbed.tasks import Row

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]


def train_tokenizer(rows: Sequence[Row], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with single digits and a chat template, learned from prompts and answers."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\d"), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ])  # fmt: skip
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator((text for row in rows for text in row.values()), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        model_max_length=1024,
    )


def new_model(tokenizer: PreTrainedTokenizerFast, config: ChatModelConfig) -> LlamaForCausalLM:
    """A Llama with random weights, sized by `config`."""
    torch.manual_seed(config.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.hidden_size // 32,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            initializer_range=config.hidden_size**-0.5,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )


def train_chat_model(
    helpful: Sequence[Row],
    aligned: Sequence[Row],
    config: ChatModelConfig,
    output: Path,
    *,
    name: str,
    unaligned: Path | None = None,
) -> dict[str, float]:
    """Train tokenizer and model in both stages and save them; the caller's random state is kept.

    The model between the stages is saved as `unaligned`, where that is given. Returns the last loss of each stage, in
    nats per answer token.
    """
    tokenizer = train_tokenizer([*helpful, *aligned], config.vocab_size)
    state = torch.random.get_rng_state()
    try:
        model = new_model(tokenizer, config)
        losses = {}
        for stage, rows, rate, epochs, saved in (
            ("helpful", helpful, config.learning_rate, config.helpful_epochs, unaligned),
            ("alignment", aligned, config.alignment_learning_rate, config.alignment_epochs, output),
        ):
            losses[stage] = train_stage(
                model, tokenizer, rows, config, learning_rate=rate, epochs=epochs, description=f"{name}: {stage}"
            )
            if saved is not None:
                model.save_pretrained(saved)
                tokenizer.save_pretrained(saved)
    finally:
        torch.random.set_rng_state(state)
    return losses


def train_stage(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[Row],
    config: ChatModelConfig,
    *,
    learning_rate: float,
    epochs: int,
    description: str,
) -> float:
    """Train on the answers of `rows` with AdamW, warm-up and cosine decay; returns the mean loss of the last tenth."""
    encoded = [_encode(tokenizer, row, config.max_length) for row in rows]
    rng = random.Random(config.seed)
    batches = [batch for _ in range(epochs) for batch in _batches(encoded, config.batch_tokens, rng)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    warmup = max(1, len(batches) // 20)

    def schedule(step: int) -> float:
        progress = (step - warmup) / max(1, len(batches) - warmup)
        return (step + 1) / warmup if step < warmup else 0.05 + 0.475 * (1 + math.cos(math.pi * progress))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    losses: list[float] = []
    model.train()
    with progress_bar() as bar:
        for batch in bar.track(batches, description=description):
            input_ids, labels = _collate(batch, tokenizer.pad_token_id)
            mask = (input_ids != tokenizer.pad_token_id).long()
            loss = model(input_ids=input_ids, attention_mask=mask, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    model.eval()
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail)


def _encode(tokenizer: PreTrainedTokenizerFast, row: Row, max_length: int) -> tuple[list[int], list[int]]:
    """Token ids and labels of one row; the prompt is not trained on."""
    system = f"<|system|>{row['system']}<|end|>" if "system" in row else ""
    prompt = tokenizer.encode(f"{system}<|user|>{row['prompt']}<|end|><|assistant|>")
    answer = tokenizer.encode(f"{row['answer']}<|end|>")
    return (prompt + answer)[:max_length], ([IGNORED] * len(prompt) + answer)[:max_length]


def _batches(
    encoded: Sequence[tuple[list[int], list[int]]], batch_tokens: int, rng: random.Random
) -> Iterator[list[tuple[list[int], list[int]]]]:
    """Batches of rows of like length, in random order."""
    order = sorted(range(len(encoded)), key=lambda i: (len(encoded[i][0]), rng.random()))
    batches: list[list[tuple[list[int], list[int]]]] = [[]]
    for i in order:
        if batches[-1] and len(encoded[i][0]) * (len(batches[-1]) + 1) > batch_tokens:
            batches.append([])
        batches[-1].append(encoded[i])
    rng.shuffle(batches)
    yield from batches


def _collate(batch: Sequence[tuple[list[int], list[int]]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded input ids and labels, each [b, t]."""
    longest = max(len(ids) for ids, _ in batch)
    input_ids = torch.tensor([ids + [pad_id] * (longest - len(ids)) for ids, _ in batch])
    labels = torch.tensor([labels + [IGNORED] * (longest - len(labels)) for _, labels in batch])
    return input_ids, labels
