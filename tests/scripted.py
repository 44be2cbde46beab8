"""Models that say what a test wants them to say, through the real generation code."""

from collections.abc import Callable

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast

END = "<|end|>"


class Scripted(LlamaForCausalLM):
    """Answers every prompt with what `says` gives for it, token by token, and then with the end of a turn."""

    def script(self, tokenizer, says: Callable[[str], str], *, end: str = END, header: str = "<|assistant|>"):
        self.tokenizer, self.says, self.end, self.header = tokenizer, says, end, header
        return self

    def forward(self, input_ids, attention_mask=None, cache=None, past_key_values=None, logits_to_keep=0, **_):
        past_key_values = past_key_values if cache is None else cache  # its name before transformers 5.24
        self.lm_head(torch.zeros(*input_ids.shape, self.config.hidden_size))  # what reads features hooks it
        history, mask = input_ids, attention_mask
        if past_key_values is not None:
            tokens = input_ids[:, None, :, None].float()
            history = past_key_values.update(tokens, tokens, 0)[0][:, 0, :, 0].long()
        if mask is None:
            mask = torch.ones_like(history)
        wanted = 1 if logits_to_keep else input_ids.shape[1]
        logits = torch.zeros(len(history), wanted, self.config.vocab_size)
        for row, (ids, kept) in enumerate(zip(history, mask, strict=True)):
            real = ids[kept.bool()].tolist()
            for back in range(min(wanted, len(real))):  # from the last token backwards
                place = wanted - 1 - back if mask[row, -1] else len(real) - 1 - back
                logits[row, place, self.following(real[: len(real) - back])] = 20.0
        return CausalLMOutputWithPast(logits=logits)

    def following(self, ids: list[int]) -> int:
        prompt, _, said = self.tokenizer.decode(ids).rpartition(self.header)
        whole = f"{prompt}{self.header}{self.says(prompt)}{self.end}"
        planned = self.tokenizer(whole, add_special_tokens=False)["input_ids"]
        if planned[: len(ids)] == ids and len(planned) > len(ids):
            return planned[len(ids)]
        # Its reasoning was skipped: the answer itself follows.
        thought, mark, answer = (self.says(prompt) + self.end).rpartition("</think>")
        rest = answer.lstrip() if mark and said.rstrip().endswith("</think>") else self.end
        return self.tokenizer(rest, add_special_tokens=False)["input_ids"][0]


def scripted(tokenizer, says: Callable[[str], str], **options) -> Scripted:
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        pad_token_id=0, eos_token_id=1, bos_token_id=None, max_position_embeddings=512,
    )  # fmt: skip
    return Scripted(config).eval().script(tokenizer, says, **options)
