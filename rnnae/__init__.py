"""Image generation with recurrent autoencoders: no convolutions and no self-attention.

    import rnnae
    run = rnnae.load("runs/mnist")       # a trained run
    images = run.sample(10, seed=0)      # uint8, (10, 28, 28, 1)
    run = rnnae.load("mnist_classes")    # or weights that come with the package
    config = rnnae.get_config("mnist")   # a config that comes with it, to be changed
    rnnae.train(config, workdir)         # trains, or continues what is in workdir
    rnnae.evaluate(config, workdir)      # measures a trained run

The order below is the import order: a file imports only files above it, also within a folder.
`tests/imports_test.py` reads this list and enforces it.

    errors                   errors that a user can act on, their exit codes and wording
    types                    letters of axes in names; Batch, Terms
    command                  streams, signals and exit codes of a command
    console                  the console of everything that rich prints
    files                    names of a run's files, ~, atomic replacement, the lock of a directory
    digests                  SHA-256 of files and of JSON
    rng                      random keys of examples
    config/choices           choices of every key with a closed list
    config/defaults          default(): every hyperparameter, one comment each
    config/validation        values that no run could have
    config/resume            what may change when a run continues
    config/options           options that the chosen likelihood or latent does not have
    config/saved_config      the config that a run saves
    config/config_file       errors about a config file, on one line
    config/shipped           configs and weights that come with rnnae, by name
    config/reference         the text of --helpfull
    data/sources             published files: finding, downloading, verifying
    data/parsers             formats of published files
    data/images              image files, and images on disk as an array
    data/manifest            whether a prepared directory is damaged
    data/walk                image files of a folder, and what is left out
    data/class_folders       subfolders as classes
    data/folder              a user's own folder of images
    data/datasets            DATASETS: files, checksums, parser and features of each data set
    data/tfds_directory      TFDS directories, written and read; the only tfds import
    data/prepare             published files or a folder -> a TFDS directory
    data/decode_cache        images decoded once, labels read once
    data/labels              the classes of a TFDS directory
    data/binarisation        protocols: static, dynamic, 8bit
    data/augmentation        transformed training images, of which the model is told
    data/splits              Splits: images and labels of train, valid and test
    data/pipeline            loading the splits; their batches as a pure function of (seed, step)
    scan_order               ORDERS: image <-> tokens, exact inverses
    likelihoods/likelihood   the interface of all likelihoods
    likelihoods/gaussian     densities
    likelihoods/binary       likelihoods of binary pixels
    likelihoods/logistic_mixture  a likelihood of 8-bit pixels
    likelihoods/softmax      a softmax over the levels of 8-bit pixels
    likelihoods              LIKELIHOODS: p(image | parameters)
    objective                terms of each example -> loss
    optim                    optimizer and learning-rate schedule
    state                    TrainState: everything a run is, as arrays
    nn/matmul                matmuls of rounded operands; Dense
    nn/cells/cell            what every cell promises
    nn/cells/gated           cells whose gates read the state
    nn/cells/linear          cells that are linear in their state
    nn/cells                 CELLS: one step of recurrence
    nn/scans                 recurrences over time with their own gradients
    nn/recurrence            a cell over time: directions, stacks
    nn/sweeps                recurrences along the axes of a grid
    latents/latent           posteriors, and what every latent promises
    latents/priors           priors
    latents                  LATENTS
    models/sampling          temperature and guidance
    models/autoencoder       what every model promises
    models/mlp               the baseline
    models/sequence          recurrent encoder and decoder over tokens
    models/attention         DRAW's windows
    models/glimpses          what DRAW keeps between glimpses, and reads without a window
    models/draw              DRAW
    models/sweep_blocks      the blocks of the sweep model
    models/symmetries        scan orders of the sweep model
    models/particles         sequential Monte Carlo over partial images
    models/token_chain       a head that draws the parts of a token one after another
    models/sweep_decoder     its decoder, autoregressive over tokens
    models/sweep             recurrent sweeps over a grid of tokens
    models/completion        completion of images by it
    models/classifier        a classifier, whose features compare images
    models                   MODELS
    build                    config -> splits, model, optimizer; the only place that does
    devices/joining          how processes wait for each other at the start
    devices/distributed      several processes that train one model
    devices/signals          signals that stop a run
    devices/runtime          settings of the process
    devices/parallel         data parallelism; the only file that calls pmap
    devices/microbatch       a batch in parts
    devices/memory           what a run takes of memory, at least, and what there is
    records/events           TensorBoard
    records/writer           metrics, timings, starts
    records/manifest         what proves that a saved step is whole and of its run
    records/checkpoint       save, verify, restore; the only orbax import
    records/provenance       date, commit, versions, machine
    records/weights          weights to publish, as safetensors
    records/model_card       what was trained, on what, how, and what was measured
    records/html_page        one HTML page: no script, nothing from outside, text that stays text
    evaluation/metrics       metrics of images and of splits
    evaluation/neighbours    nearest training images of new images
    evaluation/sample_metrics  metrics of a set of new images against real ones
    evaluation/fid           FID of RGB images, by torch-fidelity
    evaluation/per_image     what an evaluation computes on the devices
    evaluation/evaluate      every image of a split once; the only source of reported numbers
    evaluation/flops         arithmetic of a model
    evaluation/mixture       density over the latents, fitted after training
    evaluation/classes       the class that a user asks for
    evaluation/batched       a method of a model for any number of examples
    evaluation/features      features of images by a shipped classifier
    evaluation/completion    images of which some pixels are given
    evaluation/trained_run   TrainedRun: encode, decode, sample, complete
    evaluation/loading       trained runs, and weights that come with rnnae
    evaluation/image_grids   grids of images as PNG and GIF
    evaluation/curves        plots of a run
    evaluation/figures       the figures of a run
    evaluation/sample_report  how good new images are
    evaluation/columns       tables of numbers by image: Parquet and .npz
    evaluation/modes         --mode evaluate, sample and complete
    evaluation/encode        --mode encode
    evaluation/export        --mode export
    evaluation/run_report    --mode report
    training/schedule        what happens at which step
    training/progress        what a person sees of a run
    training/profile         --profile: a trace of program calls
    training/step            train_step
    training/loop            program calls, one after another
    training/milestones      describe, save, validate, finish
    training/initial         the state that a run begins with
    training/train           train(config, workdir)
    training/describe        --mode describe
    training/debug           --mode debug
    training/seeds           several seeds as one program, or one by one
    flags                    the flags of the command
    main                     the command, as `python -m rnnae.main`
    __main__                 the command `rnnae`
"""

__version__ = "0.1.0"

# Public names, imported at first use, so that `import rnnae` is light.
_PUBLIC = {
    "get_config": "rnnae.config.shipped",
    "load": "rnnae.evaluation.loading",
    "evaluate": "rnnae.evaluation.modes",
    "train": "rnnae.training.train",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'rnnae' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
