"""Finetuning throughput: our defaults against TRL's own, full and LoRA, from random weights.

    python tests/bench/finetune.py                                       # CPU: the tiny shape
    python tests/bench/finetune.py --shape gemma-2-2b --peak-tflops 989  # GPU, bfloat16, sequence length 1024
    python tests/bench/finetune.py --shape gemma-2-2b --try flex compile flex+compile   # ours in other ways, too

Each variant runs in a process of its own, one after the other. tokens/s counts real tokens (no padding) after the
first steps; MFU is 6 FLOPs per parameter and token (4 with LoRA) over the device's peak, recomputation not counted;
of_matmul is the same over what one large product of matrices reaches here; memory is what torch allocated at most on
a GPU, the process's largest resident size on a CPU. The last line is JSON.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[2]
TINY = ROOT / "examples" / "tiny-gemma" / "student"
GEMMA2 = {"model_type": "gemma2", "vocab_size": 256000, "head_dim": 256, "max_position_embeddings": 8192}
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {},  # examples/tiny-gemma/student as it is
    "gemma-2-2b": GEMMA2
    | {"hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8}
    | {"num_key_value_heads": 4},
    "gemma-2-9b": GEMMA2
    | {"hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42, "num_attention_heads": 16}
    | {"num_key_value_heads": 8},
}
TRIES = ("flex", "compile", "flex+compile")  # attention by flex_attention; layers through torch.compile
WARM = 3  # steps before the clock starts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--length", type=int, help="tokens of a full row; 1024, or 256 for the tiny shape")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--batch", type=int, default=32, help="rows per step of ours; TRL's default is 8")
    parser.add_argument("--mixed", action="store_true", help="rows of 1/8 to full length instead of all full")
    parser.add_argument(
        "--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="of our weights"
    )
    parser.add_argument("--attention", default="auto", help="of ours")
    parser.add_argument("--micro-batch", type=int, help="rows at once of ours; what the memory holds")
    parser.add_argument("--peak-tflops", type=float, help="of the device, for MFU")
    parser.add_argument("--kinds", nargs="+", choices=("full", "lora"), default=["full", "lora"])
    parser.add_argument("--try", dest="tries", nargs="+", choices=TRIES, default=[])
    parser.add_argument("--only", nargs=2, metavar=("WHOSE", "KIND"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.length = args.length or (256 if args.shape == "tiny" else 1024)
    if args.only:
        print(json.dumps(measure(args, *args.only)))
        return
    mine = ["ours", *(f"ours+{way}" for way in args.tries)]
    found = {f"{whose}-{kind}": apart(whose, kind) for kind in args.kinds for whose in (*mine, "trl")}
    for kind in args.kinds:
        trl = found[f"trl-{kind}"].get("tokens_per_s")
        for whose in mine:
            ours = found[f"{whose}-{kind}"].get("tokens_per_s")
            found[f"{whose}-{kind}"]["times_trl"] = round(ours / trl, 3) if ours and trl else None
    told = {"shape": args.shape, "length": args.length, "mixed": args.mixed, "peak_tflops": args.peak_tflops}
    print(json.dumps(told | {"versions": versions()} | found))


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "transformers", "trl", "peft", "accelerate")}


def apart(whose: str, kind: str) -> dict[str, Any]:
    """One variant in a fresh process, so that its memory is its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--only", whose, kind]
    env = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"} | os.environ
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return {"failed": reason[:200]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    print(whose, kind, json.dumps(found), file=sys.stderr, flush=True)
    return found


def measure(args: argparse.Namespace, whose: str, kind: str) -> dict[str, Any]:
    import torch
    from transformers import AutoTokenizer

    from toolkit.finetune import devices, memory, sft
    from toolkit.spec import Finetune, Lora

    sft.quieten()
    torch.manual_seed(0)
    settings = Finetune(
        steps=args.steps, batch_size=args.batch, max_length=args.length, lora=Lora() if kind == "lora" else None,
        dtype=args.dtype, micro_batch=args.micro_batch, attention="flex_attention" if "flex" in whose else args.attention,
    )  # fmt: skip
    config = shape_config(args.shape)
    shape, device = memory.shape(config.to_dict()), devices.here()
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    with TemporaryDirectory() as out:
        if whose.startswith("ours"):
            trainer, facts = ours(config, shape, device, settings, tokenizer, rows(args), Path(out))
        else:
            trainer, facts = trls(config, settings, tokenizer, rows(args), Path(out))
        if "compile" in whose:
            compile_layers(trainer.model)
        clock = Clock.watch(trainer)
        trainer.train()
    tokens = clock.tokens(trainer, args.steps)
    speed = tokens / clock.seconds
    work = memory.flops(shape, settings, speed)
    return facts | {
        "tokens_per_s": round(speed),
        "seconds_per_step": round(clock.seconds / (args.steps - WARM), 4),
        "mfu": round(work / (args.peak_tflops * 1e12), 4) if args.peak_tflops else None,
        "of_matmul": round(work / device.flops, 4),
        "peak_gib": round(peak_bytes() / 2**30, 2),
        "parameters": shape.parameters,
        "device": device.name,
    }


def shape_config(name: str) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(TINY) if name == "tiny" else AutoConfig.for_model(**SHAPES[name])


def rows(args: argparse.Namespace) -> Any:
    """Rows of digits, one token each; the prompt is a quarter."""
    from datasets import Dataset

    rng, made = random.Random(0), []
    for _ in range(args.batch * args.steps):
        length = rng.randint(args.length // 8, args.length - 16) if args.mixed else args.length - 16
        asked, told = ("".join(rng.choices("0123456789", k=n)) for n in (length // 4, length - length // 4))
        made.append(
            {
                "prompt": [{"role": "user", "content": asked}],
                "completion": [{"role": "assistant", "content": told}],
            }
        )
    return Dataset.from_list(made)


def random_model(config: Any, dtype: Any, attention: str | None) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)


def compile_layers(model: Any) -> None:
    """Each decoder layer in place: the layers are alike, so few are compiled, and names stay as they are."""
    for module in model.modules():
        if type(module).__name__.endswith("DecoderLayer"):
            module.compile()


def ours(
    config: Any, shape: Any, device: Any, settings: Any, tokenizer: Any, rows: Any, out: Path
) -> tuple[Any, dict[str, Any]]:
    import torch

    from toolkit.finetune import devices, memory, sft
    from toolkit.finetune.student import Machine

    attention = devices.attention(config.model_type, settings.attention)
    layout = memory.layout("random", shape, settings, device, attention)
    machine = Machine(device, shape, attention, layout, "float32")
    short = settings.dtype == "bfloat16" or (settings.lora is not None and device.half)
    model = random_model(config, torch.bfloat16 if short else torch.float32, attention)
    trainer = sft.trainer(model, tokenizer, rows, None, settings, machine, out)
    facts = {
        "batch": settings.batch_size,
        "micro_batch": layout.micro,
        "recompute": layout.recompute,
        "attention": attention,
        "packing": sft.packs(settings, machine),
        "estimated_gib": round(layout.need.total / 2**30, 2),
    }
    return trainer, facts


def trls(config: Any, settings: Any, tokenizer: Any, rows: Any, out: Path) -> tuple[Any, dict[str, Any]]:
    """SFTTrainer with nothing set but what is compared: the steps and the sequence length."""
    import torch
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    cuda = torch.cuda.is_available()
    arguments = SFTConfig(
        output_dir=str(out), max_steps=settings.steps, max_length=settings.max_length,
        report_to="none", save_strategy="no", disable_tqdm=True, logging_steps=1, use_cpu=not cuda, bf16=cuda,
    )  # fmt: skip
    model = random_model(config, torch.float32, None)  # what TRL loads a checkpoint as
    adapters = LoraConfig(task_type="CAUSAL_LM") if settings.lora else None
    trainer = SFTTrainer(
        model=model, args=arguments, train_dataset=rows, processing_class=tokenizer, peft_config=adapters
    )
    return trainer, {
        "batch": arguments.per_device_train_batch_size,
        "recompute": arguments.gradient_checkpointing,
        "attention": model.config._attn_implementation,
        "packing": arguments.packing,
    }


class Clock:
    """Times the steps after the first ones and counts their real tokens."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    def tokens(self, trainer: Any, steps: int) -> float:
        """Mean tokens of a row, times the rows of the timed steps."""
        lengths = [len(ids) for ids in trainer.train_dataset["input_ids"]]
        per_step = trainer.args.per_device_train_batch_size * trainer.args.gradient_accumulation_steps
        return sum(lengths) / len(lengths) * per_step * (steps - WARM)

    @classmethod
    def watch(cls, trainer: Any) -> "Clock":
        import torch
        from transformers import TrainerCallback

        clock = cls()

        class Watch(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                clock.ended = time.perf_counter()
                if state.global_step == WARM:
                    clock.began = clock.ended

        trainer.add_callback(Watch())
        return clock


def peak_bytes() -> int:
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
