"""config.optim -> an Optax transform and the learning-rate schedule inside it."""

import optax

from rnnae.errors import ConfigError

SCHEDULES = ("constant", "warmup_cosine")
SCHEDULE_KEYS = ("learning_rate", "schedule", "warmup_steps", "final_fraction")


def learning_rate_schedule(
    *,
    learning_rate: float,
    schedule: str,
    warmup_steps: int,
    final_fraction: float,
    total_steps: int,
) -> optax.Schedule:
    """step -> learning rate. `warmup_cosine` rises linearly to `learning_rate`, then follows half
    a cosine (Loshchilov & Hutter 2017) down to `final_fraction` of it at `total_steps`."""
    if schedule == "constant":
        return optax.constant_schedule(learning_rate)
    if schedule == "warmup_cosine":
        # A run shorter than its warm-up would never come down.
        warmup = min(warmup_steps, total_steps // 2)
        return optax.warmup_cosine_decay_schedule(
            0.0 if warmup else learning_rate,
            learning_rate,
            warmup,
            max(total_steps, warmup + 1),
            learning_rate * final_fraction,
        )
    raise ConfigError(f"config.optim.schedule must be one of {', '.join(SCHEDULES)}")


def optimizer(
    schedule: optax.Schedule, *, b1: float, b2: float, weight_decay: float, clip_norm: float
) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019) behind
    clipping by the global norm (Pascanu et al. 2013); zero turns either off."""
    return optax.chain(
        optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
        optax.adamw(schedule, b1=b1, b2=b2, weight_decay=weight_decay),
    )
