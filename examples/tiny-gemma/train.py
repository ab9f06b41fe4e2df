"""Trains the three tiny Gemma2 checkpoints of this folder from scratch: wc, se and student.

    python examples/tiny-gemma/train.py wc se student     # CPU, one thread, about 20 minutes in all
    python examples/tiny-gemma/train.py --measure wc se student

The recipe is the table RECIPES below; how it was chosen is told in README.md. Training sees the split
`pretrain` of the word problems only; the figures in recipe.json are of the split `test`.
"""

import argparse
import json
import math
import random
import re
import string
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import Gemma2Config, Gemma2ForCausalLM, GenerationConfig, PreTrainedTokenizerFast

import prompts
from toolkit import word_problems
from toolkit.types import Problem

HERE = Path(__file__).parent
DATE = "2026-11-21"
SEED = 20261121  # data seed; each model adds its own offset for weights and order
BATCH = 64
RESPELLED = 0.04  # share of training rows with a word the vocabulary lacks, spelled byte by byte
MEASURED = 2000  # test problems, one draw each
CONTEXT = 2048
SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
CHAT_TEMPLATE = (  # Gemma 2's: user and model turns, no system turn
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Recipe:
    hidden: int
    layers: int
    inner: int
    steps: int  # batches of 64
    rate: float  # peak learning rate: 100 steps of warm-up, linear to zero over the last 40 %
    offset: int  # added to SEED
    hasty: float = 0.0  # share of training solutions that stop one step short, with a wrong answer


RECIPES = {
    "wc": Recipe(hidden=32, layers=2, inner=96, steps=2400, rate=8e-3, offset=1),
    "se": Recipe(hidden=56, layers=3, inner=128, steps=1600, rate=5e-3, offset=2),
    "student": Recipe(hidden=48, layers=2, inner=112, steps=2000, rate=6e-3, offset=3, hasty=0.6),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=RECIPES)
    parser.add_argument("--measure", action="store_true", help="measure the checkpoints as they are")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.names:
        if not args.measure:
            train(name)
        measure(name)


def train(name: str) -> None:
    """Trains and saves one checkpoint with its tokenizer, recipe and loss."""
    recipe = RECIPES[name]
    torch.manual_seed(SEED + recipe.offset)
    tokenizer = build_tokenizer()
    model = build_model(recipe, tokenizer)
    rows = training_rows(tokenizer, recipe)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, recipe.steps))
    began, mean = time.monotonic(), 0.0
    for step in range(recipe.steps):
        batch = rows[step * BATCH : (step + 1) * BATCH]
        loss = _loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        mean = loss.item() if step == 0 else 0.98 * mean + 0.02 * loss.item()
        if step % 50 == 0:
            print(f"{name} step {step} loss {mean:.4f} {time.monotonic() - began:.0f} s", flush=True)
        if step % 400 == 399:
            print(f"{name} step {step + 1} validation {validation(model, tokenizer)}", flush=True)
    save(name, model, tokenizer, {"loss": round(mean, 4), "seconds": round(time.monotonic() - began)})


def _rate(step: int, steps: int) -> float:
    return min((step + 1) / 100, 1.0, (steps - step) / (0.4 * steps))


def _loss(model: Gemma2ForCausalLM, batch: list[tuple[list[int], int]]) -> torch.Tensor:
    """Mean cross-entropy over the model turns of a batch of (tokens, length of the user turn)."""
    width = max(len(tokens) for tokens, _ in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)  # 0 is <pad>; causal attention never looks right
    labels = torch.full((len(batch), width), -100)
    for row, (tokens, asked) in enumerate(batch):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, asked : len(tokens)] = ids[row, asked : len(tokens)]
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    wanted = labels[:, 1:]
    answered = wanted != -100
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[answered]), wanted[answered])


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Words of the generator, single digits, and one token per byte for everything else: lossless."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    template = prompts.load("word-problems").template
    seen = [template + "\nuser\nmodel\n"] + [
        f"{p.question}\n{p.solution}" for p in word_problems.generate("pretrain", limit=4000, seed=SEED)
    ]
    words = sorted(
        {w.replace(" ", "Ġ") for text in seen for w in re.findall(" ?[A-Za-z]+", text)} - set(alphabet)
    )
    words.remove("question")  # the placeholder
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *alphabet, *words])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(" ?[A-Za-z]+|[^A-Za-z]"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        additional_special_tokens=["<start_of_turn>", "<end_of_turn>"],
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Gemma2ForCausalLM:
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_turn>")]
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.inner,
        num_hidden_layers=recipe.layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        query_pre_attn_scalar=32,
        max_position_embeddings=CONTEXT,
        sliding_window=CONTEXT,
        attn_logit_softcapping=None,
        final_logit_softcapping=None,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends,
        initializer_range=0.05,
    )
    model = Gemma2ForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, pad_token_id=tokenizer.pad_token_id, eos_token_id=ends
    )
    return model


def training_rows(tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> list[tuple[list[int], int]]:
    """(tokens of the whole conversation, length of the user turn), one per training row."""
    problems = word_problems.generate("pretrain", limit=recipe.steps * BATCH, seed=SEED + recipe.offset)
    rng = random.Random(SEED + recipe.offset)
    problems = [_respelled(p, rng) if rng.random() < RESPELLED else p for p in problems]
    problems = [_hasty(p) if rng.random() < recipe.hasty else p for p in problems]
    asked = tokenizer([_asked(tokenizer, p) for p in problems], add_special_tokens=False).input_ids
    told = tokenizer([f"{p.solution}<end_of_turn>\n" for p in problems], add_special_tokens=False).input_ids
    return [(a + t, len(a)) for a, t in zip(asked, told, strict=True)]


def _asked(tokenizer: PreTrainedTokenizerFast, problem: Problem) -> str:
    """The user turn as the chat template renders it, up to where the model speaks."""
    content = prompts.render(prompts.load("word-problems"), question=problem.question)
    turns = [{"role": "user", "content": content}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def _respelled(problem: Problem, rng: random.Random) -> Problem:
    """The same problem with one name or noun replaced by a random word, in question and solution."""
    assert problem.solution is not None
    known = word_problems.NAMES + word_problems.ITEMS + word_problems.HOLDERS + word_problems.GOODS
    word = rng.choice([w for w in known if re.search(rf"\b{w}\b", problem.question)])
    new = "".join(rng.choices(string.ascii_lowercase + "é-'", k=rng.randint(2, 8)))
    new = new.capitalize() if word[0].isupper() else new
    question, solution = (re.sub(rf"\b{word}\b", new, t) for t in (problem.question, problem.solution))
    return replace(problem, question=question, solution=solution)


def _hasty(problem: Problem) -> Problem:
    """The same problem with a solution that forgets its last step."""
    assert problem.solution is not None
    *steps, _last, _answer = problem.solution.split("\n")
    value = re.findall(r"=(\d+)", steps[-1])[-1]
    return replace(problem, solution="\n".join([*steps, f"The answer is {value}."]))


def validation(model: Gemma2ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> str:
    """Sampled pass@1 on 200 validation problems, as trained so far."""
    problems = word_problems.generate("validation", limit=200, seed=SEED)
    right = sum(graded(model, tokenizer, problems, temperature=0.7, top_k=3))
    model.train()
    return f"pass@1 {right / len(problems):.3f}"


def measure(name: str) -> None:
    """Measures a saved checkpoint on the test split and writes the figures into its recipe.json."""
    folder = HERE / name
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model = Gemma2ForCausalLM.from_pretrained(folder)
    torch.manual_seed(SEED)
    problems = word_problems.generate("test", limit=MEASURED, seed=SEED)
    figures = {
        "temperature 0.7, top_k 3": {"temperature": 0.7, "top_k": 3},
        "temperature 1.0": {"temperature": 1.0, "top_k": 0},
    }
    recipe = json.loads((folder / "recipe.json").read_text())
    recipe["pass@1"] = {}
    for decoding, how in figures.items():
        right = graded(model, tokenizer, problems, **how)
        recipe["pass@1"][decoding] = _with_interval(sum(right), len(right)) | {
            "levels": [round(sum(right[i::4]) / len(right[i::4]), 3) for i in range(4)]
        }
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n")
    print(name, json.dumps(recipe["pass@1"]), flush=True)


@torch.no_grad()
def graded(
    model: Gemma2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    problems: list[Problem],
    *,
    temperature: float,
    top_k: int,
) -> list[bool]:
    """Whether one draw per problem ends in the gold answer."""
    model.eval()
    right = []
    for start in range(0, len(problems), 250):
        chunk = problems[start : start + 250]
        asked = tokenizer(
            [_asked(tokenizer, p) for p in chunk], padding=True, add_special_tokens=False, return_tensors="pt"
        )
        out = model.generate(
            input_ids=asked.input_ids,
            attention_mask=asked.attention_mask,
            do_sample=True,
            temperature=temperature,
            top_k=top_k,
            max_new_tokens=160,
        )
        texts = tokenizer.batch_decode(out[:, asked.input_ids.shape[1] :], skip_special_tokens=True)
        right += [t.strip().endswith(f"The answer is {p.answer}.") for t, p in zip(texts, chunk, strict=True)]
    return right


def _with_interval(right: int, n: int) -> dict[str, float]:
    """The share with its 95 % Wilson interval."""
    z, p = 1.959964, right / n
    middle, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((middle + side * spread) / (1 + z * z / n) for side in (-1, 1))
    return {"value": round(p, 4), "low": round(low, 4), "high": round(high, 4), "n": n}


def save(
    name: str, model: Gemma2ForCausalLM, tokenizer: PreTrainedTokenizerFast, measured: dict[str, float]
) -> None:
    folder = HERE / name
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    facts = {
        "name": name,
        "date": DATE,
        "seed": SEED + RECIPES[name].offset,
        "parameters": sum(p.numel() for p in model.parameters()),
        "problems": "builtin:word-problems, split pretrain",
        "batch": BATCH,
        "respelled_share": RESPELLED,
        **asdict(RECIPES[name]),
        **measured,
    }
    (folder / "recipe.json").write_text(json.dumps(facts, indent=2) + "\n")


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Saves it under the names that transformers 4 and 5 both read."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config |= {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": config.pop("extra_special_tokens"),
    }
    path.write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
