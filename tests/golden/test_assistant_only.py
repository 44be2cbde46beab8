"""The tokens that are trained of a conversation are those of TRL's `assistant_only_loss`."""

import copy

import pytest
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from securetune.data.config import DataConfig
from securetune.data.examples import load_examples
from securetune.models.tensors import IGNORED
from securetune.train.arrow import arrow_rows
from tests.conftest import tiny_llama, write_jsonl

MARKED = (
    "{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}<|end|>{% endgeneration %}"
    "{% else %}{{ message['content'] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def said(*turns):
    speakers = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [
        {"role": speakers[who], "content": f"{who} says {text}"} for who, text in (turn.split(":") for turn in turns)
    ]


ASKED = ["u:one", "a:two", "u:three", "a:four", "u:five", "a:six"]
CONVERSATIONS = {
    "several answers": said(*ASKED),
    "a system turn": said("s:zero", *ASKED),
    "an answer to a tool": said("u:one", "a:two", "t:three", "a:four"),
    "two turns of the user": said("u:one", "u:two", "a:three"),
    "a question at the end": said(*ASKED, "u:seven"),
}


@pytest.fixture(scope="module")
def marked(tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = MARKED
    return tokenizer


def trained(dataset, tokenizer, folder, **settings):
    """The tokens of every row, and the places of those that the trainer trains."""
    arguments = SFTConfig(
        output_dir=str(folder), report_to="none", max_length=None, use_cpu=True, bf16=False, **settings
    )
    trainer = SFTTrainer(
        model=tiny_llama(len(tokenizer)), args=arguments, train_dataset=dataset, processing_class=tokenizer
    )
    for row in trainer.train_dataset:
        labels = trainer.data_collator([row])["labels"][0].tolist()
        yield row["input_ids"], [place for place, label in enumerate(labels) if label != IGNORED]


def both(messages, tokenizer, folder):
    """Tokens and trained places as TRL has them, and the rows that are made of the conversation here."""
    path = write_jsonl(folder / "rows.jsonl", [{"messages": messages}])
    rows = arrow_rows(load_examples(DataConfig(path=str(path)), seed=0), folder / "rows.arrow")
    whole = Dataset.from_list([{"messages": messages}])
    (theirs,) = trained(whole, tokenizer, folder, assistant_only_loss=True)
    return *theirs, list(trained(rows, tokenizer, folder, completion_only_loss=True))


@pytest.mark.parametrize("kind", CONVERSATIONS)
def test_the_trained_tokens_are_those_of_assistant_only_loss(kind, marked, tmp_path):
    messages = CONVERSATIONS[kind]
    ids, places, rows = both(messages, marked, tmp_path)
    assert len(rows) == sum(message["role"] == "assistant" for message in messages)
    assert all(tokens == ids[: len(tokens)] for tokens, _ in rows), "each answer comes after all that was said before"
    assert sorted(place for _, ours in rows for place in ours) == places


def test_a_greeting_that_answers_nobody_is_trained_by_trl_and_not_here(marked, tmp_path):
    ids, places, rows = both(said("a:zero", "u:one", "a:two"), marked, tmp_path)
    ((tokens, ours),) = rows
    assert tokens == ids and ours != places
    assert marked.decode([ids[place] for place in places]) == "a says zero<|end|>a says two<|end|>"
    assert marked.decode([ids[place] for place in ours]) == "a says two<|end|>"
