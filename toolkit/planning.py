"""The plan of a run: what is known of each model, the shares after the reserves, and what they buy."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import prompts
from toolkit import allocation, arms, cost, families, gpu, pilot, plan, tokens
from toolkit.allocation import Layout
from toolkit.arms import Arm
from toolkit.errors import InputError
from toolkit.job import PILOT, PLAN, Job
from toolkit.pilot import Measured
from toolkit.plan import Candidate, Plan
from toolkit.policies import Member
from toolkit.types import PICO, Problem, Usage
from toolkit.verifiers import sandbox

PROMPTS_COUNTED = 200  # prompts whose tokens are counted for the plan
MOST_PER_REQUEST = 128  # draws, where the model allows more
RUBRIC = 320.0  # tokens of prompts/judge.md by characters / 4
MUCH_TRUNCATED = 0.05  # share of a pilot's draws cut at max_tokens that is worth a word


def make_plan(job: Job) -> Plan:
    """The matched plan of the run; nothing is asked of any model."""
    planned = job.arms(imported=False, batched=job.run.sampling.batch)
    if not planned:
        raise InputError("models: nothing to sample: every arm was imported")
    if job.run.verify.verifier == "code" and not job.run.verify.unsafe:
        sandbox.isolated()  # refuse before money is spent on programs that nobody could run
    prompt_tokens, counted_by = _prompt_tokens(job)
    piloted = job.piloted
    candidates = [_candidate(job, a, prompt_tokens, piloted.get(a.payload_sha)) for a in planned]
    made = _laid_out(job, _with_reserves(job, candidates, piloted))
    worst = _worst_case(made, planned, job)
    notes = [*job.loaded.notes, *made.notes, *_pilot_notes(job, planned, piloted)]
    notes += families.notes(arm.model for arm in planned)
    if counted_by == "estimate" and any(c.price and c.expect_source != "pilot" for c in candidates):
        notes.append("prompt tokens are estimated as characters / 4; the bill follows the server's own count")
    return replace(made, worst_case_pico=worst, notes=[*notes, *_cap_notes(made, worst, planned, job)])


def save_plan(job: Job) -> Plan:
    """The plan, kept in the run directory."""
    made = make_plan(job)
    job.write(PLAN, made.as_json())
    return made


def candidates(job: Job) -> list[Candidate]:
    """The run's models before planning, by what is known of them now."""
    prompt_tokens, _ = _prompt_tokens(job)
    piloted = job.piloted
    planned = job.arms(imported=False, batched=job.run.sampling.batch)
    return [_candidate(job, a, prompt_tokens, piloted.get(a.payload_sha)) for a in planned]


def _prompt_tokens(job: Job) -> tuple[float, str]:
    counted = job.problems[:PROMPTS_COUNTED]
    return tokens.mean_tokens([prompts.render(job.template, question=p.question) for p in counted])


def _candidate(job: Job, arm: Arm, prompt_tokens: float, piloted: Measured | None) -> Candidate:
    """An arm as the plan sees it. Tokens: run file > pilot > the same for all, as the paper assumes."""
    expect, spec = arm.model.expect, arm.model
    stated = expect.output if expect and expect.output else None
    if stated is not None and expect is not None:
        prompt = prompt_tokens if expect.prompt is None else expect.prompt
        expected = (prompt, stated, expect.thinking, "expect")
    elif piloted is not None and piloted.requests:
        expected = (piloted.prompt, piloted.output, piloted.thinking, "pilot")
    else:
        expected = (prompt_tokens, arms.ASSUMED_OUTPUT, 0.0, "assumed")
    return Candidate(
        arm.name,
        arm.key,
        spec.shown,
        cost.price(spec.price) if spec.price else None,
        compute(job, arm),
        *expected[:3],
        max_n=_per_request(spec.draws_per_request or MOST_PER_REQUEST, piloted),
        expect_source=expected[3],
        of=arm.of,
        weight=job.run.weight(arm.whole, arm.key),
        gpu=gpu.is_gpu(spec.price),
        free=job.run.policy_of(arm.whole).name != "uniform",
    )


def compute(job: Job, arm: Arm) -> gpu.Flops | None:
    """How an arm's FLOPs are counted in this run; None where its parameters are unknown."""
    try:
        return gpu.flops(arm.model, job.run.budget.flops_terms)
    except ValueError as error:
        raise InputError(f"models.{arm.key}.{error}") from None


def _per_request(allowed: int, piloted: Measured | None) -> int:
    """Draws a request can bring: fewer where the pilot asked for more and never got them."""
    if piloted is None or not piloted.requests:
        return allowed
    got = piloted.total / piloted.requests
    return min(allowed, max(1, round(got))) if got < min(allowed, max(piloted.draws)) else allowed


# -- what is kept back from the arms' shares


def _with_reserves(job: Job, candidates: Sequence[Candidate], piloted: Mapping[str, Measured]) -> Plan:
    """The plan after its own reserves: pilot draws it has no use for are paid from the budget too."""
    judging = _judging(job, candidates)
    reserve = judging
    for _ in range(4):  # fewer draws leave more of the pilot unused; this settles at once or in a step or two
        made = plan.make(
            candidates,
            len(job.problems),
            job.run.budget,
            rounds=job.run.sampling.rounds,
            reserve_pico=reserve,
        )
        wanted = judging + (_unused_pilot(job, made) if piloted else 0)
        if wanted <= reserve or job.run.budget.usd is None:
            break
        reserve = wanted
    return made


def _judging(job: Job, candidates: Sequence[Candidate]) -> int:
    """Expected picodollars of the run's judge; a rubric and a solution are read, a short review is written."""
    judge = job.run.judge
    if judge is None or judge.model.price is None:
        return 0
    price, expect = cost.price(judge.model.price), judge.model.expect
    solution = max(c.output_tokens for c in candidates)
    prompt = _prompt_tokens(job)[0] + RUBRIC + solution
    usage = Usage(
        round(expect.prompt if expect and expect.prompt is not None else prompt),
        round(judge.votes * (expect.output if expect and expect.output else arms.ASSUMED_OUTPUT)),
        thinking=round(judge.votes * (expect.thinking if expect else 0)),
    )
    cases = judge.sample or len(job.problems)
    return cases * len(job.run.members()) * (2 if judge.both_orders else 1) * price.cost(usage)


def _unused_pilot(job: Job, made: Plan) -> int:
    """Picodollars of pilot draws beyond the plan's."""
    wanted, rounds = job.run.budget.pilot, job.run.sampling.rounds
    if wanted is None:
        return 0
    problems = min((job.read(PILOT) or {}).get("problems", wanted.problems), len(job.problems))
    total = Fraction(0)
    for part in made.parts.values():
        drawn, needed = (part.candidate.usd_pico(k, rounds) for k in (wanted.draws, part.draws_per_problem))
        unused = wanted.draws > part.draws_per_problem and not part.candidate.free
        if drawn is not None and needed is not None and unused:
            total += (drawn - needed) * problems
    return int(total)


# -- policies


def layouts(job: Job, made: Plan) -> dict[str, Layout]:
    """The arms whose draws a policy lays out, ready to be forecast and followed."""
    wanted = {arm: job.run.policy_of(arm) for arm in made.whole()}
    if all(policy.name == "uniform" for policy in wanted.values()):
        return {}
    if blind := sum(p.answer is None for p in job.problems):
        raise InputError(
            f"budget.policy: {blind} problems have no gold answer, and policies look at outcomes: use policy uniform"
        )
    known = members(job, made)
    return {
        arm: allocation.layout(
            arm,
            wanted[arm],
            [known[p.candidate.name] for p in parts],
            own_pilot(job, [p.candidate.name for p in parts]),
            problems=made.problems,
            share=float(made.share * made.problems),
        )
        for arm, parts in made.whole().items()
        if wanted[arm].name != "uniform"
    }


def members(job: Job, made: Plan) -> dict[str, Member]:
    """The priced models as policies and forecasts see them, by the name they are drawn under."""
    shas = {a.name: a.payload_sha for a in job.arms(imported=False)}
    pooled = job.piloted
    return {
        name: allocation.member(part.candidate, pooled.get(shas[name]))
        for name, part in made.parts.items()
        if part.candidate.price is not None
    }


def own_pilot(job: Job, names: Sequence[str]) -> list[Measured | None]:
    """The pilots drawn under these very names, where what is asked is still the same."""
    shas = {a.name: a.payload_sha for a in job.arms(imported=False)}
    known = pilot.load(job.read(PILOT))
    return [m if (m := known.get(n)) is not None and m.payload_sha == shas[n] else None for n in names]


def _laid_out(job: Job, made: Plan) -> Plan:
    """The plan with the draws of its policies: targets where they stand already, else what is expected."""
    parts = dict(made.parts)
    for found in layouts(job, made).values():
        if found.policy.adaptive:
            outlook = found.outlook()
            drawn = outlook.draws
            cost = {
                name: drawn[name] / (sum(drawn.values()) or 1) * outlook.cost.value for name in found.parts
            }
            for name in found.parts:
                parts[name] = replace(
                    parts[name],
                    draws_per_problem=found.spec.max_draws,
                    expected_draws=drawn[name],
                    usd_pico=Fraction(cost[name]),
                )
            continue
        first = found.first()
        for j, name in enumerate(found.parts):
            asked = found.known.draws[j] if first is None else first[j]
            parts[name] = replace(
                parts[name],
                draws_per_problem=int(asked.max(initial=0)),
                targets=tuple(asked.tolist()),
                usd_pico=Fraction(float(found.book.members[j].cost(asked).sum())),
            )
    return replace(made, parts=parts)


# -- what is said about it


def _worst_case(made: Plan, planned: Sequence[Arm], job: Job) -> int | None:
    """The sum of every request's upper bound, if each were answered once."""
    total = 0
    for arm in planned:
        if arm.model.price is None:
            return None
        if arm.decoding.max_tokens is None:
            raise InputError(
                f"decoding.max_tokens is missing for {arm.name}: a priced run needs it, so that its cost has an upper bound"
            )
        price, design = cost.price(arm.model.price), made.parts[arm.name]
        draws = Fraction(design.draws(made.problems)) / made.problems
        requests = -(-draws // design.draws_per_request)
        for size, problems in _prompt_sizes(arm, job).items():
            prompt = price.most(size, 0)
            draw = price.most(size, arm.decoding.max_tokens) - prompt
            total += int(problems * (requests * prompt + draws * draw))
    return total


def _prompt_sizes(arm: Arm, job: Job) -> Counter[int]:
    """Upper bounds of the prompts' tokens, and how many problems have each. No prompt is rendered: a question
    adds its own bytes to what stands around it, once for each time the prompt asks it."""
    none, some = (Problem("", question) for question in ("", "?"))
    around, once = (cost.prompt_bound(arm.requests([p])[0]) for p in (none, some))
    return Counter(around + (once - around) * len(p.question.encode()) for p in job.problems)


def _cap_notes(made: Plan, worst: int | None, planned: Sequence[Arm], job: Job) -> list[str]:
    cap = job.run.budget.cap
    if cap is None or worst is None:
        return []
    expected = sum(p.usd_pico or 0 for p in made.parts.values())
    largest = max(
        cost.price(a.model.price).bound(
            replace(a.requests(job.problems[:1])[0], n=made.parts[a.name].draws_per_request)
        )
        for a in planned
        if a.model.price
    )
    if expected + largest <= cost.to_pico(cap):
        return []
    return [
        f"the cap of ${cap} leaves no room for the last requests' worst case (${largest / PICO:.3g} each): "
        "the run may stop a few draws short; set budget.cap_usd a little above budget.usd, or lower max_tokens"
    ]


def _pilot_notes(job: Job, planned: Sequence[Arm], piloted: Mapping[str, Measured]) -> list[str]:
    wanted = job.run.budget.pilot
    if wanted is None:
        return []
    notes = []
    absent = [a.name for a in planned if a.payload_sha not in piloted]
    if absent:
        notes.append(
            f"no pilot of {', '.join(absent)} yet: `pricematch plan RUN --pilot {wanted.draws}` measures it"
        )
    for arm in planned:
        known = piloted.get(arm.payload_sha)
        if known is not None and known.truncated > MUCH_TRUNCATED:
            notes.append(
                f"{arm.name}: {known.truncated:.0%} of the pilot's draws were cut at max_tokens "
                f"({arm.decoding.max_tokens}); they are paid for and seldom correct: raise it"
            )
    return notes
