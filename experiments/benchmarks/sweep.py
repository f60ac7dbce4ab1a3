"""The flagship's training step and its sampling, on this machine.

    python -m experiments.benchmarks.sweep [--batch 50] [--latent none] [--rounds 5]

Prints, as Markdown: training images/s of the step as it is and without what was done for its speed
(parts of the batch that stay in the caches, linear recurrences with a gradient of their own instead
of a plain `nn.scan`, memory that is kept), a process for each, in turns; what share of its time the
step's matrix products would take alone, one after another at the same shapes; and the time of 64
new images, token by token and by running the whole network anew for every token.
"""

import argparse
import collections
import functools
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time

VARIANTS = {  # name: (batch in parts, linear recurrences have their own gradient, memory is kept)
    "whole batch, plain scans, default allocator": (False, False, False),
    "whole batch, plain scans": (False, False, True),
    "whole batch": (False, True, True),
    "as it is": (True, True, True),
}


def build(batch: int, latent: str, parts: bool = True):
    """(model, state, jitted step, images) of configs/mnist_sweep.py."""
    import jax
    import numpy as np

    from configs import mnist_sweep
    from rnnae import sample, state, train

    config = mnist_sweep.get_config()
    config.data.shape = (28, 28, 1)
    config.latent.name = latent
    model, optimizer, schedule = sample.build(config, 1000)
    made = state.create(model, optimizer, model.image_shape, 0)
    config.objective.anneal_steps = 0
    if not parts:
        config.cpu_microbatch = 0
    step = functools.partial(
        train.step_of(config, model, optimizer, schedule, jax.devices()[0]),
        positions_B=np.arange(batch),
        average=lambda tree: tree,
    )
    images = np.random.default_rng(0).integers(0, 256, (batch, 28, 28, 1)).astype(np.uint8)
    return model, made, jax.jit(step, donate_argnums=0), images


def products(jaxpr, times: int = 1) -> collections.Counter:
    """How often a program has each matrix product: (left, right, dimension numbers) -> times."""
    found = collections.Counter()
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            shapes = tuple(variable.aval.shape for variable in equation.invars)
            found[(*shapes, equation.params["dimension_numbers"])] += times
        inside = times * equation.params.get("length", 1) if "jaxpr" in equation.params else times
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                found += products(inner, inside)
    return found


def flops(product) -> int:
    """Of one matrix product: two for each element of the left and each free one of the right."""
    left, right, ((_, contracted), (_, batched)) = product
    free = [size for axis, size in enumerate(right) if axis not in (*contracted, *batched)]
    return 2 * math.prod(left) * math.prod(free)


def seconds(call, repeats: int) -> float:
    """The median time of a call that returns arrays, after one that compiles."""
    import jax

    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def measure_step(batch: int, latent: str, parts: bool, own_gradient: bool, keep: bool) -> dict:
    """One process's figures of the training step."""
    from rnnae import recurrence, runtime

    runtime.setup(compilation_cache="", devices=1, batch_size=batch, keep_memory=keep)
    if not own_gradient:
        recurrence.LinearCell = ()  # no cell is one: all go through `nn.scan`
    import jax
    import numpy as np

    _, state, step, images = build(batch, latent, parts)
    counted = products(jax.make_jaxpr(step)(state, images).jaxpr)
    begin = time.perf_counter()
    compiled = step.lower(state, images).compile()
    compile_time = time.perf_counter() - begin

    def call():
        nonlocal state
        state, means = compiled(state, images)
        return means

    result = {"step": seconds(call, 5), "compile": compile_time}
    result["memory"] = compiled.memory_analysis().temp_size_in_bytes
    alone = 0.0
    generator = np.random.default_rng(0)
    for product, count in counted.items():
        left, right, numbers = product
        arrays = [
            jax.device_put(generator.normal(size=s).astype(np.float32)) for s in (left, right)
        ]
        dot = jax.jit(functools.partial(jax.lax.dot_general, dimension_numbers=numbers))
        alone += count * seconds(functools.partial(dot, *arrays), 3)
    result["products"] = alone
    result["gflop"] = sum(count * flops(product) for product, count in counted.items()) / 1e9
    return result


def measure_sampling(latent: str) -> dict:
    """64 images, token by token with carried states, and with the whole network for each token."""
    import jax
    import jax.numpy as jnp

    from rnnae import runtime

    runtime.setup(compilation_cache="", devices=1, batch_size=64, keep_memory=True)
    model, state, _, _ = build(64, latent)
    key_B = jax.random.split(jax.random.key(0), 64)

    @jax.jit
    def carried(params):
        codes = model.apply({"params": params}, key_B, method="prior")
        return model.apply({"params": params}, codes, key_B, method="decode")

    @jax.jit
    def one_more(params, codes, x_BHWC, row, column):
        p = model.apply({"params": params}, codes, x_BHWC, method="write")
        drawn = model.pixels.sample(p, key_B)
        side = model.patch
        patch = jax.lax.dynamic_slice(drawn, (0, row * side, column * side, 0), (64, side, side, 1))
        return jax.lax.dynamic_update_slice(x_BHWC, patch, (0, row * side, column * side, 0))

    def anew():
        codes = model.apply({"params": state.params}, key_B, method="prior")
        x_BHWC = jnp.zeros((64, *model.image_shape))
        rows, columns = model.image_shape[0] // model.patch, model.image_shape[1] // model.patch
        for row in range(rows):
            for column in range(columns):
                x_BHWC = one_more(state.params, codes, x_BHWC, row, column)
        return x_BHWC

    return {"carried": seconds(lambda: carried(state.params), 5), "anew": seconds(anew, 1)}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--latent", default="none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.worker == "sampling":
        print(json.dumps(measure_sampling(arguments.latent)))
    elif arguments.worker:
        figures = measure_step(arguments.batch, arguments.latent, *VARIANTS[arguments.worker])
        print(json.dumps(figures))
    else:
        report(arguments)


def worker(name: str, arguments) -> dict:
    """The figures of one process of its own, on one core."""
    command = [sys.executable, "-m", "experiments.benchmarks.sweep", f"--worker={name}"]
    command += [f"--batch={arguments.batch}", f"--latent={arguments.latent}"]
    if hasattr(os, "sched_setaffinity"):
        core = str(min(os.sched_getaffinity(0)))
        command = ["taskset", "-c", core, *command]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def report(arguments) -> None:
    import jax

    rounds = [{n: worker(n, arguments) for n in VARIANTS} for _ in range(arguments.rounds)]
    print(
        f"One core of {platform.processor() or platform.machine()}, jax {jax.__version__}, batch "
        f"{arguments.batch}, latent {arguments.latent}; medians of {arguments.rounds} processes\n"
    )
    print(
        "| training step | images/s (min-max) | GFLOP/s | products alone | memory | compiled in |"
    )
    print("|---|---|---|---|---|---|")
    for name in VARIANTS:
        every = [figures[name] for figures in rounds]
        middle = {key: statistics.median(figures[key] for figures in every) for key in every[0]}
        speeds = sorted(arguments.batch / figures["step"] for figures in every)
        print(
            f"| {name} | {arguments.batch / middle['step']:.0f} ({speeds[0]:.0f}-{speeds[-1]:.0f})"
            f" | {middle['gflop'] / middle['step']:.1f}"
            f" | {100 * middle['products'] / middle['step']:.0f} % of the step"
            f" | {middle['memory'] / 2**20:.0f} MiB | {middle['compile']:.0f} s |"
        )
    sampling = worker("sampling", arguments)
    print(
        f"\n64 images: {sampling['carried']:.2f} s with carried states, {sampling['anew']:.1f} s "
        f"with the whole network for every token ({sampling['anew'] / sampling['carried']:.0f} "
        "times as long)"
    )


if __name__ == "__main__":
    main()
