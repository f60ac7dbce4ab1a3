"""config.optim -> an Optax transform and the schedule of its learning rate."""

import optax

from rnnae.config import CHOICES
from rnnae.errors import check_choice

_ADAM_RMS = 0.2  # root mean square of Adam's updates, in units of the learning rate


def learning_rate_schedule(
    *,
    learning_rate: float,
    schedule: str,
    warmup_steps: int,
    final_fraction: float,
    decay_fraction: float,
    total_steps: int,
) -> optax.Schedule:
    """step -> learning rate.

    `warmup_cosine` rises linearly to `learning_rate`, then follows half a cosine (Loshchilov &
    Hutter 2017) down to `final_fraction` of it at `total_steps`. `warmup_linear` falls in a
    straight line over the last part `decay_fraction` of all steps, and is constant before that
    ("warm-up, stable, decay", Hu et al. 2024).
    """
    check_choice(CHOICES["optim.schedule"], "config.optim.schedule", schedule)
    if schedule == "constant":
        return optax.constant_schedule(learning_rate)
    # A run shorter than its warm-up would never decay.
    warmup = min(warmup_steps, total_steps // 2)
    last = learning_rate * final_fraction
    if schedule == "warmup_linear":
        decay = min(max(1, round(decay_fraction * total_steps)), total_steps - warmup)
        parts = [
            optax.linear_schedule(0.0, learning_rate, warmup),
            optax.linear_schedule(learning_rate, last, decay, total_steps - decay - warmup),
        ]
        return optax.join_schedules(parts, [warmup])
    return optax.warmup_cosine_decay_schedule(
        0.0 if warmup else learning_rate,
        learning_rate,
        warmup,
        max(total_steps, warmup + 1),
        last,
    )


def optimizer(
    schedule: optax.Schedule,
    *,
    name: str,
    b1: float,
    b2: float,
    weight_decay: float,
    clip_norm: float,
) -> optax.GradientTransformation:
    """Clipping by the global norm (Pascanu et al. 2013), then `adam` or `muon`, both with decoupled
    weight decay (Loshchilov & Hutter 2019). A `clip_norm` or `weight_decay` of 0 turns it off.

    `adam` is Kingma & Ba (2015). `muon` (Jordan et al. 2024) orthogonalises the updates of
    matrices and scales them to the size of Adam's (Liu et al. 2025, equation 4), so that one
    learning rate suits both. All other parameters get Adam with Nesterov momentum (Dozat 2016).
    """
    check_choice(CHOICES["optim.name"], "config.optim.name", name)
    if name == "adam":
        update = optax.adamw(schedule, b1=b1, b2=b2, weight_decay=weight_decay)
    else:
        update = optax.contrib.muon(
            schedule,
            weight_decay=weight_decay,
            adam_b1=b1,
            adam_b2=b2,
            adam_weight_decay=weight_decay,
            consistent_rms=_ADAM_RMS,
        )
    clip = optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity()
    return optax.chain(clip, update)
