"""vLLM: the same greedy answers from an engine made for throughput.

It runs in a process of its own, so that all of its memory is free again afterwards. What it says is kept where known
answers are; the rest of an evaluation does not ask who gave them.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from securetune.base.artifacts import Journal
from securetune.data.prompts import Example
from securetune.data.reasoning import opens_reasoning, read_spoken
from securetune.errors import ConfigError, ModelError
from securetune.evaluate.benchmark import Benchmark
from securetune.evaluate.config import EvaluateConfig
from securetune.evaluate.drawing import Drawn, draws
from securetune.evaluate.generation import Generated, answer_key, until_end, way_to_answer
from securetune.evaluate.task import task_questions
from securetune.models.config import ModelConfig
from securetune.models.ends import stored_end_tokens, stored_settings
from securetune.models.greedy import followed
from securetune.models.openings import Openings

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Limits on the rank of an adapter that vLLM knows."""
_FOLLOWED_BY_VLLM = {"repetition_penalty"}
"""Of a model's settings that change the greedy token, those that vLLM takes over."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One prompt, as the model reads it."""

    text: str
    max_new_tokens: int
    openings: Openings | None = None
    """With them, the refusal margin at the first token is measured too."""
    draw: Drawn | None = None
    """Where the answer is drawn, which one it is; vLLM draws by random numbers of its own."""

    @property
    def key(self) -> str:
        """Under what its answer is kept."""
        return answer_key(self.text, self.max_new_tokens, self.openings, self.draw)


def requests(
    tokenizer: PreTrainedTokenizerBase,
    benchmarks: Sequence[Benchmark],
    examples: Sequence[Example],
    config: EvaluateConfig,
    *,
    openings: Openings,
    system: str | None,
) -> list[Request]:
    """All that can be asked before the model is at hand: the benchmarks without a search, and the task's `examples`."""
    safety = [
        Request(text=text, max_new_tokens=benchmark.max_new_tokens(config), openings=openings, draw=draw)
        for benchmark in benchmarks
        if not (benchmark.attack and benchmark.attack.searches)
        for texts in [[question.text for question in benchmark.questions(tokenizer, config, None)]]
        for text, draw in zip(texts, draws(texts, benchmark.sampling(config).temperature), strict=True)
    ]
    task = task_questions(tokenizer, examples, system=system)
    return [*safety, *(Request(text=question.text, max_new_tokens=config.task_max_new_tokens) for question in task)]


@dataclass(frozen=True, kw_only=True)
class _Job:
    engine: dict[str, Any]
    adapter: str | None
    prompts: list[list[int]]
    lengths: list[int]
    temperatures: list[float]
    seeds: list[int | None]
    """Of the random numbers by which answers are drawn; None for greedy ones."""
    ends: list[int]
    """Tokens that end an answer."""
    is_open: list[bool]
    """Whether the prompt opens reasoning, per prompt."""
    openings: list[dict[str, Any] | None]
    """First tokens whose log-probability is wanted where the answer begins, per prompt."""


def answer_by_vllm(
    model: ModelConfig,
    adapter: Path | None,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[Request],
    known: Journal,
    **options: Any,
) -> None:
    """Add the answers to `requests` that are not in `known` yet.

    Args:
        model: which model.
        adapter: folder of a LoRA adapter on it.
        tokenizer: its tokenizer.
        requests: what it is asked.
        known: answers of this very model; new ones are added.
        options: arguments of ``vllm.LLM``.

    Raises:
        ConfigError: vLLM is missing, or the model is loaded in a way that it does not do.
        ModelError: vLLM cannot run this model here.
    """
    keyed = {request.key: request for request in requests}
    missing = {key: request for key, request in keyed.items() if known.get(key) is None}
    if not missing:
        return
    check_vllm(model)
    job = _job(model, adapter, tokenizer, list(missing.values()), options)
    for (key, request), (ids, first) in zip(missing.items(), _ask(job), strict=True):
        spoken = read_spoken(tokenizer, ids, is_open=opens_reasoning(request.text))
        answer = Generated(
            text=spoken.answer,
            margin=_margin(request.openings, first),
            reasoning=spoken.reasoning,
            is_cut=spoken.is_cut,
        )
        known.keep(key, asdict(answer))


def _job(
    model: ModelConfig,
    adapter: Path | None,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[Request],
    options: dict[str, Any],
) -> _Job:
    """What the engine is told of the model and the requests."""
    prompts = [tokenizer(request.text, add_special_tokens=False)["input_ids"] for request in requests]
    lengths = [request.max_new_tokens for request in requests]
    engine = {
        "model": model.path,
        "revision": model.revision,
        "dtype": model.dtype,
        "trust_remote_code": model.trust_remote_code,
        "max_model_len": max(
            len(p) + max(n, len(r.openings.lead) + 1 if r.openings else 0)
            for p, n, r in zip(prompts, lengths, requests, strict=True)
        ),
    }
    if adapter is not None:
        engine |= {"enable_lora": True, "max_lora_rank": _rank(adapter)}
    return _Job(
        engine=engine | options,
        adapter=str(adapter) if adapter is not None else None,
        prompts=prompts,
        lengths=lengths,
        temperatures=[request.draw.temperature if request.draw else 0.0 for request in requests],
        seeds=[request.draw.numbers().getrandbits(31) if request.draw else None for request in requests],
        ends=list(stored_end_tokens(model.path, model.revision, tokenizer)),
        is_open=[opens_reasoning(request.text) for request in requests],
        openings=[asdict(request.openings) if request.openings else None for request in requests],
    )


def check_vllm(model: ModelConfig) -> None:
    """Make sure that vLLM is installed, and would answer as transformers does.

    Raises:
        ConfigError: it is not, or would not.
    """
    if model.load_in_4bit:
        raise ConfigError(
            "Expected a model in full precision for vLLM, found model.load_in_4bit. Set evaluate.engine to "
            "transformers."
        )
    settings = stored_settings(model.path, model.revision)
    if settings is not None and (others := sorted(followed(settings) - _FOLLOWED_BY_VLLM)):
        raise ConfigError(
            f"Expected generation settings of {model.path!r} that vLLM follows, found {', '.join(others)}: its answers "
            "would be others. Set evaluate.engine to transformers."
        )
    if importlib.util.find_spec("vllm") is None:
        raise ConfigError(
            "Expected vLLM, found it missing. Install it: pip install 'securetune[vllm]', or set evaluate.engine to "
            "transformers."
        )


def _ask(job: _Job) -> list[tuple[list[int], list[float]]]:
    """Run this module as a program on a job, see `_serve`."""
    torch.cuda.empty_cache()
    with tempfile.TemporaryDirectory() as folder:
        job_file, answers_file = Path(folder, "job.json"), Path(folder, "answers.json")
        job_file.write_text(json.dumps(asdict(job)), encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-m", __name__, str(job_file), str(answers_file)]
        process = subprocess.run(command, env=environment, check=False)
        if process.returncode != 0 or not answers_file.exists():
            raise ModelError(
                f"Expected vLLM to run {job.engine['model']}, found that it ended with {process.returncode}. See "
                "its log above, pass it arguments with evaluate.vllm, or set evaluate.engine to transformers."
            )
        answers: list[tuple[list[int], list[float]]] = json.loads(answers_file.read_text(encoding="utf-8"))
    return answers


def _rank(adapter: Path) -> int:
    """The limit that vLLM needs for an adapter."""
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    rank = max(settings["r"], *settings.get("rank_pattern", {}).values(), 1)
    return next((limit for limit in _RANKS if limit >= rank), rank)


def _margin(openings: Openings | None, first: Sequence[float]) -> float | None:
    """The refusal margin from the openings' log-probabilities, see `Openings.margin`; None where there are none."""
    if openings is None or not first:
        return None
    refusals = len(openings.refusal)
    return float(np.logaddexp.reduce(first[:refusals]) - np.logaddexp.reduce(first[refusals:]))


def _serve(job: _Job) -> list[tuple[list[int], list[float]]]:
    """Per prompt the answer's tokens, and the log-probabilities of its openings where the answer itself begins."""
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    engine = LLM(**job.engine)
    lora = LoRARequest("tuned", 1, job.adapter) if job.adapter is not None else None

    def sampling(length: int, watched: list[int], temperature: float = 0.0, seed: int | None = None) -> Any:
        params: SamplingParams = engine.get_default_sampling_params()  # a model's own repetition penalty, say
        params.temperature, params.top_p, params.top_k, params.min_p, params.seed = temperature, 1.0, 0, 0.0, seed
        params.max_tokens, params.detokenize = length, False
        params.stop_token_ids = job.ends
        params.logprob_token_ids = watched or None
        return params

    def ask(prompts: list[list[int]], settings: list[Any]) -> list[Any]:
        texts = [{"prompt_token_ids": ids} for ids in prompts]
        return [out.outputs[0] for out in engine.generate(texts, settings, lora_request=lora)]

    how = zip(job.lengths, job.temperatures, job.seeds, strict=True)
    answers = ask(job.prompts, [sampling(length, [], temperature, seed) for length, temperature, seed in how])
    said = [until_end(list(answer.token_ids), job.ends) for answer in answers]
    starts: dict[int, tuple[list[int], list[int]]] = {}
    for i, raw in enumerate(job.openings):
        if raw is None:
            continue
        openings = Openings(**raw)
        way = way_to_answer(engine.get_tokenizer(), said[i], openings, is_open=job.is_open[i])
        if way is not None:
            starts[i] = [*job.prompts[i], *way], [*openings.refusal, *openings.affirmative]
    texts = [text for text, _ in starts.values()]
    begun = ask(texts, [sampling(1, watched) for _, watched in starts.values()])
    first: list[list[float]] = [[] for _ in said]
    for (i, (_, watched)), start in zip(starts.items(), begun, strict=True):
        first[i] = [start.logprobs[0][token].logprob for token in watched]
    return list(zip(said, first, strict=True))


if __name__ == "__main__":
    job = _Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    Path(sys.argv[2]).write_text(json.dumps(_serve(job)), encoding="utf-8")
