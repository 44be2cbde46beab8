"""Generation: how fast are greedy answers, beside one prompt at a time and beside plain padded batches?

    OMP_NUM_THREADS=1 python speed/generation.py

The embedded model answers its evaluation prompts three ways, in turning order, several times; a ratio is taken within
its round. Plain batches are the prompts in the order of the file through transformers' own `generate`, at the batch
size that is best for them. All answers must be equal.
"""

import argparse
import statistics
import time

import torch

from securetune.data.prompts import load_prompts, render
from securetune.evaluate.generation import Decoding, generate
from securetune.models.config import ModelConfig
from securetune.models.libraries import quiet_libraries
from securetune.models.loading import load_model, load_tokenizer
from securetune.testbed.build import resolve

SIZES = (32, 64, 128, 256)


@torch.no_grad()
def plain(model, tokenizer, texts, length, size):
    """Padded batches in the order of the file; `size` 1 is one prompt at a time."""
    answers = []
    for start in range(0, len(texts), size):
        inputs = tokenizer(texts[start : start + size], return_tensors="pt", padding=True, add_special_tokens=False)
        out = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=length,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
        new = out[:, inputs["input_ids"].shape[1] :]
        answers += [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]
    return answers


def ours(model, tokenizer, texts, length, size):
    """The package's own."""
    return [g.text for g in generate(model, tokenizer, texts, Decoding(max_new_tokens=length, batch_size=size))]


def timed(work, *arguments):
    """Seconds of this process's computing, and the answers; on one thread other processes hardly count in it."""
    start = time.process_time()
    answers = work(*arguments)
    return time.process_time() - start, answers


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=200, help="of each kind")
    parser.add_argument("--tokens", type=int, default=64, help="longest answer")
    options = parser.parse_args()
    quiet_libraries()
    files = resolve(
        {"model": "testbed://model", "h": "testbed://eval-harmful.jsonl", "b": "testbed://eval-benign.jsonl"}
    )
    config = ModelConfig(path=files["model"])
    model, tokenizer = load_model(config), load_tokenizer(config)
    prompts = [p.text for name in "hb" for p in load_prompts(files[name], limit=options.prompts)]
    texts = render(tokenizer, prompts)
    arguments = (model, tokenizer, texts, options.tokens)
    sizes = {work: min(SIZES, key=lambda size, work=work: timed(work, *arguments, size)[0]) for work in (plain, ours)}
    ways = {"one at a time": (plain, 1), "plain batches": (plain, sizes[plain]), "ours": (ours, sizes[ours])}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(options.rounds):
        names = list(ways)
        answers = {}
        for way in names[turn % 3 :] + names[: turn % 3]:
            seconds, answers[way] = timed(ways[way][0], *arguments, ways[way][1])
            times[way].append(seconds)
        assert answers["ours"] == answers["plain batches"] == answers["one at a time"], "answers differ"
    print("| beside | batch size | times faster, median (min to max) |\n|---|---|---|")
    for way in ("one at a time", "plain batches"):
        ratios = [before / after for before, after in zip(times[way], times["ours"], strict=True)]
        reach = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {way} | {ways[way][1]}, ours {sizes[ours]} | {reach} |")
    print(f"\n{len(texts)} prompts, at most {options.tokens} tokens, {options.rounds} rounds; all answers equal.")


if __name__ == "__main__":
    main()
