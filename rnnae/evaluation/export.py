"""`--mode export`: a trained run as programs that need jax, but not rnnae.

The directory is one of weights, see `records/weights.py`: `rnnae.load` takes it, too. Beside the
weights it has the programs encode, decode and sample, as far as the model has them, each as
NAME.stablehlo, and its README.md says how to call them. They are written by `jax.export` for any
number of examples, on CPUs, CUDA GPUs and TPUs.

The parameters are the first argument of a program, so that all of them read one file of weights.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import traverse_util
from jax import export as jax_export

from rnnae import files, models
from rnnae.data import binarisation
from rnnae.errors import import_optional
from rnnae.evaluation import batched, loading
from rnnae.evaluation.trained_run import TrainedRun
from rnnae.models import Autoencoder
from rnnae.records import model_card
from rnnae.records import weights as weights_lib

_PLATFORMS = ("cpu", "cuda", "tpu")
_RESULTS = {"encode": "latents", "decode": "images", "sample": "images"}
_LOAD = """\
    from jax import export
    from safetensors.numpy import load_file
    params = load_file("model.safetensors")
    load = lambda name: export.deserialize(open(f"{{name}}.stablehlo", "rb").read()).call
    {} = {}
"""
_FROM_MIXTURE = """\
mixture.npz has a mixture of Gaussians that was fitted to the latents of training images. New images
are drawn from it by

    import numpy as np
    mixture, generator = np.load("mixture.npz"), np.random.default_rng(0)
    chosen = generator.choice(len(mixture["weights_M"]), 64, p=mixture["weights_M"])
    noise = generator.standard_normal((64, {dimensions}, 1))
    latents = mixture["means_MZ"][chosen] + (mixture["factors_MZZ"][chosen] @ noise)[..., 0]
    latents = latents.astype(np.float32){others}
    images = {call}
"""
# What `decode` may take beside latents, for images of any class.
_OTHERS = {"seed": "np.int32(0)", "label": "np.full(64, -1, np.int32)"}


class Function(NamedTuple):
    """`call(params, *arguments)`; the arguments by their names, as shapes and types."""

    call: Callable[..., jax.Array]
    arguments: dict[str, jax.ShapeDtypeStruct]


def export(
    config: ml_collections.ConfigDict,
    workdir: str | Path,
    out: str | Path,
    weights: str | Path | None = None,
) -> Path:
    """Writes the directory `out` of the run in `workdir`, or of weights (a name or a directory).

    ConfigError if there is something in `out`, for a classifier, and if flatbuffers is missing.
    """
    import_optional("flatbuffers", 'pip install "rnnae[export]"')  # which jax.export needs
    path = files.expand(out)
    with files.new_directory(path) as directory:
        run, source = loading.open_run(config, workdir, weights)
        models.require_generative(run.model)
        found = functions(run.model)
        programs = {name: _program(function, run.params) for name, function in found.items()}
        more = {f"{name}.stablehlo": bytes(x.serialize()) for name, x in programs.items()}
        more |= loading.mixture_files(run)
        results = {name: _shape(x.out_avals[0]) for name, x in programs.items()}
        card = _card(source.absolute().name, run, found, results)
        weights_lib.save(directory, run.params, run.config, card, step=run.step, more=more)
    print(f"{', '.join(programs)} in {path}; {weights_lib.CARD} says how to load them")
    return path


def functions(model: Autoencoder) -> dict[str, Function]:
    """What the model has of encode, decode and sample, as pure functions of arrays.

    They compute what the methods of `TrainedRun` do, and take parameters by their names.
    """
    (n,) = jax_export.symbolic_shape("n")
    struct = jax.ShapeDtypeStruct
    images = {"images": struct((n, *model.image_shape), jnp.uint8)}
    latents = {"latents": struct((n, model.latent_dimensions), jnp.float32)}
    seed = {"seed": struct((), jnp.int32)}
    index = {"index": struct((n,), jnp.int32)}
    label = {"label": struct((n,), jnp.int32)} if model.classes else {}

    def apply(params, method, *inputs, label):
        tree = traverse_util.unflatten_dict(params, sep="/")
        told = {} if label is None else {"label_B": label}
        return model.apply({"params": tree}, *inputs, method=method, **told)

    def keys(seed, stream, index):
        return jax.random.wrap_key_data(batched.keys_at(seed, stream, index))

    def encode(params, images, label=None):
        return apply(params, "encode", binarisation.to_unit(images), label=label)

    def decode(params, latents, seed=0, label=None, index=None):
        index = jnp.arange(latents.shape[0]) if index is None else index
        method = "decode_mean" if model.has_mean else "decode_sample"
        images = apply(params, method, latents, keys(seed, 0, index), label=label)
        return batched.to_uint8(images)

    def sample(params, seed, index, label=None):
        if model.latent_dimensions:
            latents = apply(params, "sample_prior", keys(seed, 1, index), label=label)
        else:
            latents = jnp.zeros((index.shape[0], 0))
        return decode(params, latents, seed, label, index)

    found = {}
    if model.latent_dimensions:
        found["encode"] = Function(encode, images | label)
        found["decode"] = Function(decode, latents | ({} if model.has_mean else seed) | label)
    if model.has_prior:
        found["sample"] = Function(sample, seed | index | label)
    return found


def _program(function: Function, params: Any) -> jax_export.Exported:
    names = tuple(function.arguments)

    def call(params, *values):
        return function.call(params, **dict(zip(names, values, strict=True)))

    structs = {
        name: jax.ShapeDtypeStruct(x.shape, jnp.float32)
        for name, x in weights_lib.by_name(params).items()
    }
    # With every operation jax stores the paths of the source files that it comes from.
    limit, before = "jax_traceback_in_locations_limit", jax.config.jax_traceback_in_locations_limit
    jax.config.update(limit, 0)
    try:
        exported = jax_export.export(jax.jit(call), platforms=_PLATFORMS)
        return exported(structs, *function.arguments.values())
    finally:
        jax.config.update(limit, before)


def _card(title: str, run: TrainedRun, found: dict[str, Function], results: dict[str, str]) -> str:
    """The README of an export with the functions `found`, whose results have the shapes and types
    `results`."""
    model = run.model
    calls = {name: f"{name}({', '.join(['params', *found[name].arguments])})" for name in found}
    arguments = {key: x for function in found.values() for key, x in function.arguments.items()}
    meanings = {
        "encode": "the mean latent of each image",
        "decode": "the mean image of each latent" if model.has_mean else "an image drawn for each",
        "sample": "new images",
        "images": "0 to 255" if run.config.data.binarise == "none" else "0 or 255",
        "latents": "those that `encode` returns, or others",
        "seed": "0 or more; what is drawn is a function of it",
        "index": "numbers of new images: 0, 1, 2, ... give those that rnnae draws with this seed",
        "label": "the number of the class of each image, -1 if it is unknown",
    }
    lines = [
        f"# {title}",
        "",
        f"A model of rnnae, `config.model.name={run.config.model.name}`, as programs for "
        f"{', '.join(_PLATFORMS)}. They need jax, safetensors and flatbuffers, but not rnnae:",
        "",
        _LOAD.format(", ".join(found), ", ".join(f'load("{name}")' for name in found)),
        *(f"    {_RESULTS[name]} = {call}" for name, call in calls.items()),
        "",
        *(f"- `{call}`: {meanings[name]}, {results[name]}" for name, call in calls.items()),
        *(f"- `{key}`: {_shape(x)}, {meanings[key]}" for key, x in arguments.items()),
        "",
        "n is any number of examples. The last bits of a result may depend on it and on the "
        f"machine. jax {jax.__version__} wrote the programs, and any that is up to six months "
        "newer can load them (docs.jax.dev, Exporting and serializing).",
        "",
    ]
    if not model.latent_dimensions:
        lines += ["There is no `encode` and no `decode`, because the model has no latent.", ""]
    if not model.has_prior:
        lines += ["There is no `sample`, because the latent of the model has no prior.", ""]
    if run.mixture is not None:
        others = [f"\n    {k} = {x}" for k, x in _OTHERS.items() if k in found["decode"].arguments]
        drawn = {"dimensions": model.latent_dimensions, "call": calls["decode"]}
        lines += [_FROM_MIXTURE.format(others="".join(others), **drawn)]
    return "\n".join([*lines, *model_card.data_section(run.config)])


def _shape(x: jax.ShapeDtypeStruct | jax.core.AbstractValue) -> str:
    return f"{np.dtype(x.dtype)} ({', '.join(map(str, x.shape))})"
