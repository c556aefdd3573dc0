"""Trials of chapter 04: the loop and what surrounds it."""

import math
from functools import cache

import torch
from mistakes.bench import (
    KEPT,
    NULL,
    RATE,
    STEPS,
    Mistake,
    Seen,
    compared,
    draw,
    fresh,
    held_out,
    quarters,
    read,
    right,
    train,
    usual_rate,
)


def below_300() -> Seen:
    run = train("below_300", draw_t=lambda t: t % 300)
    seen = compared(run.network)
    return Seen(f"its own training loss ends at {tail(run.losses):.3f} (right run: {tail(right().losses):.3f}); {seen.said}", seen.picture)


def tail(losses: list[float], n: int = 100) -> float:
    """The mean of the last n losses."""
    return sum(losses[-n:]) / n


def one_coin() -> Seen:
    """Seen by chapter 07, too."""
    run = train("one_coin", labels=lambda label, coin, step: torch.full_like(label, NULL) if coin[0] < 0.1 else label)
    seen = compared(run.network)
    spread = [torch.tensor(losses[STEPS // 2 :]).std() for losses in (run.losses, right().losses)]
    said = (
        f"the training loss of single steps has a standard deviation of {spread[0]:.4f} in the second half (right run: {spread[1]:.4f}), "
    )
    without = [read(draw_guided(network)) for network in (run.network, right().network)]
    return Seen(f"{said}{seen.said}; guided at scale 3, {without[0]} are read as asked ({without[1]})", seen.picture)


def draw_guided(network):
    """A hundred samples at guidance 3."""
    return draw(lambda_network(network))


def lambda_network(network):
    """A network that answers with classifier-free guidance at scale 3."""

    class Guided(torch.nn.Module):
        def forward(self, x, t, label):
            free = network(x, t, label=torch.full_like(label, NULL))
            return free + 3 * (network(x, t, label=label) - free)

    return Guided()


def live_scheduler() -> Seen:
    def stepped(step: int) -> float:  # the cosine goes on where the plotting cell left it: at its end, and it is periodic
        return RATE * 0.5 * (1 + math.cos(math.pi * (STEPS + step) / STEPS))

    run = train("live_scheduler", rate=stepped)
    seen = compared(run.network)
    losses = ", ".join(f"{run.losses[k]:.3f} ({right().losses[k]:.3f})" for k in (19, 99, 299))
    return Seen(f"training loss after 20, 100 and 300 steps {losses} in brackets the right run; {seen.said}", seen.picture)


def seeded_anew() -> Seen:
    sessions = 10
    run = train("seeded_anew", seed_of=lambda step: step % (STEPS // sessions))
    seen = compared(run.network)
    said = f"ten sessions of {STEPS // sessions} steps with the same draws: the training loss ends at {tail(run.losses):.3f} "
    return Seen(f"{said}(right run: {tail(right().losses):.3f}); {seen.said}", seen.picture)


def counter_from_zero() -> Seen:
    half = STEPS // 2
    run = train("counter_from_zero", seed_of=lambda step: step % half, rate=lambda step: usual_rate(step % half))
    seen = compared(run.network)
    said = f"one resume half-way, from 0 again: the training loss ends at {tail(run.losses):.3f} (right run: {tail(right().losses):.3f}); "
    return Seen(said + seen.said, seen.picture)


def adam_without_moments() -> Seen:
    at = 300

    def forget(step, network, optimizer):
        if step == at:
            optimizer.state.clear()

    run = train("adam_without_moments", before=forget)
    bump = [sum(losses[at : at + 20]) / 20 for losses in (run.losses, right().losses)]
    later = [sum(losses[at + 100 : at + 200]) / 100 for losses in (run.losses, right().losses)]
    said = (
        f"moments forgotten at step {at}: training loss of the next 20 steps {bump[0]:.3f} (right run: {bump[1]:.3f}), of steps {at + 100} "
    )
    said += f"to {at + 200} {later[0]:.4f} ({later[1]:.4f}); at the end held-out loss {quarters(held_out(run.network))}"
    return Seen(f"{said} ({quarters(held_out(right().network))})")


@cache
def shadows() -> dict[str, torch.nn.Module]:
    """Three other averages of the right run, from one run beside which all of them are kept."""
    kinds = {"no warm-up": (0.9999, torch.float32), "float32": (0.999, torch.float32), "bfloat16": (0.999, torch.bfloat16)}
    kept = {name: {} for name in kinds}

    def follow(step, network, optimizer):
        for name, (keep, dtype) in kinds.items():
            for key, value in network.state_dict().items():
                if step == 0:
                    kept[name][key] = value.detach().clone().to(dtype)
                else:
                    kept[name][key].lerp_(value.detach().to(dtype), 1 - keep)

    (KEPT / "shadows.pt").unlink(missing_ok=True)  # what the hook keeps isn't in it
    train("shadows", before=follow)
    networks = {}
    for name, values in kept.items():
        networks[name] = fresh()
        networks[name].load_state_dict({key: value.float() for key, value in values.items()})
    return networks


def moved(network: torch.nn.Module) -> str:
    """How far an average has come from the first weights, as a share of the right run's way."""
    start, end = fresh().state_dict(), right().network.state_dict()
    ways = [sum((now[key] - start[key]).square().sum() for key in start) ** 0.5 for now in (network.state_dict(), end)]
    return f"after {STEPS} steps the average has moved {ways[0] / ways[1]:.1%} as far from the start as that of the right run"


def no_warm_up() -> Seen:
    network = shadows()["no warm-up"].eval()
    seen = compared(network)
    return Seen(f"decay 0.9999: {moved(network)}; {seen.said}", seen.picture)


def bfloat16_shadow() -> Seen:
    half, whole = (shadows()[name].eval() for name in ("bfloat16", "float32"))
    seen = compared(half)
    said = f"decay 0.999 in bfloat16: {moved(half)}; {seen.said}; the same decay in float32: {moved(whole)}, "
    return Seen(f"{said}held-out loss {quarters(held_out(whole))}, {read(draw(whole))} read as asked", seen.picture)


MISTAKES = [
    Mistake("below_300", "04", "Trained below 300 only", below_300),
    Mistake("one_coin", "04", "Labels dropped by the batch", one_coin),
    Mistake("live_scheduler", "04", "The live scheduler, stepped for a plot", live_scheduler),
    Mistake("seeded_anew", "04", "Seeded anew at each start", seeded_anew),
    Mistake("counter_from_zero", "04", "A counter that starts at 0 again", counter_from_zero),
    Mistake("adam_without_moments", "04", "Adam without its moments", adam_without_moments),
    Mistake("no_warm_up", "04", "An average without warm-up", no_warm_up),
    Mistake("bfloat16_shadow", "04", "A half-precision average", bfloat16_shadow),
]
