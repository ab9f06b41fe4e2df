"""A simulated world: models that know problems with fitted ability, and what they answer.

Pure and in-process: no sockets, no clock. `simulate.py` gives it a face over HTTP.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from string import Template

import numpy as np
from numpy.typing import NDArray

from toolkit import cost
from toolkit.errors import Kind, ProviderError
from toolkit.serve.beta import Floats, quantile
from toolkit.serve.known import Known
from toolkit.serve.worked import Script, script, tell
from toolkit.serve.world_file import Lengths, ModelSpec, WorldSpec, load_world
from toolkit.types import Choice, Finish, Problem, Reply, Request, Usage

__all__ = ["Draws", "Turn", "World", "WorldSpec", "load_world"]

SHORTEST = 8  # tokens of a draw
THOUGHT = "I go through the question step by step ({} tokens of thought)."
FIXED_COLUMNS = 8  # random numbers a draw needs before its words
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Draws:
    """What happens in the draws of one request, before any words; entry i is choice i."""

    correct: Bools  # final answer right
    sound: Bools  # no wrong step; only correct draws can be sound
    visible: Ints  # tokens each draw wants, before max_tokens
    thinking: Ints
    raw: NDArray[np.uint64]  # random bits for the words


@dataclass(frozen=True, slots=True)
class Turn:
    """One answered request and what the server's account needs to know of it."""

    reply: Reply
    pico: int
    matched: bool  # a known problem was found in the prompt
    seconds: float


class World:
    """Models over a list of problems.

    A draw is a function of (world seed, model, problem, request seed, choice index); temperature and
    the like do not change it. Without a request seed a count of the problem's requests takes its
    place, so draws differ from request to request, and a restarted world begins again.
    """

    def __init__(self, spec: WorldSpec, problems: Sequence[Problem]) -> None:
        self.spec = spec
        self.problems = tuple(problems)
        self._known = Known([p.question for p in problems])
        self._tail = Template(spec.answer)
        self._ability = {name: self._abilities(name, model) for name, model in spec.models.items()}
        self._prices = {name: cost.price(model.price) for name, model in spec.models.items()}
        self._scripts: dict[int, Script] = {}
        self._unseeded: Counter[tuple[str, str]] = Counter()
        self._served = 0

    def answer(self, request: Request) -> Reply:
        """The reply alone; see `turn`."""
        return self.turn(request).reply

    def turn(self, request: Request) -> Turn:
        """Answer a request. Raises ProviderError for an unknown model or too large an n, unbilled."""
        model = self.model(request)
        prompt = (
            request.prompt if request.prompt is not None else "\n\n".join(m.content for m in request.messages)
        )
        found = self._known.last_in(prompt)
        telling = self._script(found) if found is not None else self._stranger(prompt)
        draws = self._draws(
            request.model, self._identity(found, prompt), telling, request.seed, request.n, found
        )
        thinking, visible, cut = _lengths(request, draws)
        self._served += 1
        reply = Reply(
            choices=_choices(request, draws, telling, visible, thinking, cut),
            usage=Usage(prompt_tokens(request), int(visible.sum()), thinking=int(thinking.sum())),
            model_version=request.model,
            request_id=f"sim-{self._served:08d}",
        )
        assert reply.usage is not None
        longest = int((thinking + visible).max())
        wait = model.latency.mean + model.latency.per_token * longest
        return Turn(reply, self._prices[request.model].cost(reply.usage), found is not None, wait)

    def draws(self, model: str, problem: int, seed: int, n: int) -> Draws:
        """What a seeded request for problem number `problem` would draw: the truth a judge is held against."""
        return self._draws(model, self.problems[problem].id, self._script(problem), seed, n, problem)

    def ability(self, model: str) -> Floats:
        """The chance of a right answer, per problem."""
        return self._ability[model]

    def model(self, request: Request) -> ModelSpec:
        """The model that is asked. Raises ProviderError as `turn` does."""
        model = self.spec.models.get(request.model)
        if model is None:
            known = ", ".join(self.spec.models)
            message = f"The model {request.model!r} does not exist; this world has {known}"
            raise ProviderError(Kind.MODEL, message, scope="model", billed="no", status=404)
        if not 1 <= request.n <= model.max_n:
            message = f"'n' must be between 1 and {model.max_n} for {request.model}, not {request.n}"
            raise ProviderError(Kind.BAD_REQUEST, message, billed="no", status=400)
        return model

    def _abilities(self, name: str, model: ModelSpec) -> Floats:
        count = len(self.problems)
        ranks = quantile((np.arange(count) + 0.5) / max(count, 1), model.ability.a, model.ability.b)
        whose = "" if self.spec.shared_difficulty else name
        shuffled = np.argsort(_random(f"{self.spec.seed}/difficulty/{whose}", count), kind="stable")
        return np.asarray(ranks[shuffled], dtype=np.float64)

    def _identity(self, found: int | None, prompt: str) -> str:
        return (
            self.problems[found].id
            if found is not None
            else "?" + hashlib.sha256(prompt.encode()).hexdigest()
        )

    def _script(self, problem: int) -> Script:
        if problem not in self._scripts:
            self._scripts[problem] = script(self.problems[problem], self._tail)
        return self._scripts[problem]

    def _stranger(self, prompt: str) -> Script:
        return script(Problem(id="?", question=prompt[-500:]), self._tail)

    def _draws(
        self, name: str, identity: str, telling: Script, seed: int | None, n: int, found: int | None
    ) -> Draws:
        model = self.spec.models[name]
        turn = f"seed {seed}"
        if seed is None:
            self._unseeded[name, identity] += 1
            turn = f"request {self._unseeded[name, identity]}"
        columns = FIXED_COLUMNS + len(telling.slots)
        raw = _random(f"{self.spec.seed}/{name}/{identity}/{turn}", n * columns).reshape(n, columns)
        uniform = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
        chance = float(self._ability[name][found]) if found is not None and telling.gold is not None else 0.0
        correct = uniform[:, 0] < chance
        sound = correct & (uniform[:, 1] >= model.false_positive_rate)
        visible = np.maximum(SHORTEST, _lognormal(model.tokens, uniform[:, 2], uniform[:, 3]))
        thinking = _lognormal(model.thinking, uniform[:, 4], uniform[:, 5])
        return Draws(correct, sound, visible, thinking, raw[:, 6:])


def _random(label: str, count: int) -> NDArray[np.uint64]:
    """Random bits from a name. Raw bits of a bit generator are the same in every numpy."""
    key = int.from_bytes(hashlib.blake2b(label.encode(), digest_size=16).digest())
    return np.random.Philox(key=key).random_raw(count)


def _lognormal(lengths: Lengths, one: Floats, two: Floats) -> Ints:
    if lengths.mean == 0:
        return np.zeros(one.shape, dtype=np.int64)
    spread = math.log1p((lengths.sd / lengths.mean) ** 2)
    normal = np.sqrt(-2 * np.log1p(-one)) * np.cos(2 * np.pi * two)
    tokens: Ints = np.rint(lengths.mean * np.exp(math.sqrt(spread) * normal - spread / 2)).astype(np.int64)
    return tokens


def _lengths(request: Request, draws: Draws) -> tuple[Ints, Ints, Bools]:
    """Thinking and visible tokens per choice under max_tokens, and which choices it cut."""
    budget = request.thinking
    thinking = draws.thinking if budget is None else np.minimum(draws.thinking, budget)
    if request.max_tokens is None:
        return thinking, draws.visible, np.zeros(draws.visible.shape, dtype=np.bool_)
    thinking = np.minimum(thinking, request.max_tokens)
    visible = np.minimum(draws.visible, request.max_tokens - thinking)
    return thinking, visible, visible < draws.visible


def _choices(
    request: Request, draws: Draws, telling: Script, visible: Ints, thinking: Ints, cut: Bools
) -> tuple[Choice, ...]:
    picks = (draws.raw[:, 2:] % np.array(telling.sizes, dtype=np.uint64)).tolist()
    slips, flaws = draws.raw[:, 0].tolist(), draws.raw[:, 1].tolist()
    right, sound = draws.correct.tolist(), draws.sound.tolist()
    kept = (visible / draws.visible).tolist()
    thoughts = thinking.tolist()
    choices = []
    for i, cut_short in enumerate(cut.tolist()):
        answer = (telling.gold or "") if right[i] else telling.wrong[slips[i] % len(telling.wrong)]
        flaw = None if sound[i] else flaws[i]
        text = tell(telling, picks[i], answer, flaw, kept[i] if cut_short else None)
        for stop in request.stop:
            text = text.partition(stop)[0] if stop else text
        reasoning = THOUGHT.format(thoughts[i]) if thoughts[i] else ""
        choices.append(Choice(text, Finish.LENGTH if cut_short else Finish.STOP, reasoning))
    return tuple(choices)


def prompt_tokens(request: Request) -> int:
    """Four characters make a token."""
    characters = (
        len(request.prompt) if request.prompt is not None else sum(len(m.content) for m in request.messages)
    )
    return -(-characters // 4)
