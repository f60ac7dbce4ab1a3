"""Image generation with recurrent autoencoders, and nothing else.

Reading order, which is import order: a file imports only files above it.

    errors        what can go wrong for a user, and the exit code of each
    types         the shape letters; Terms, the type that crosses files
    config        default(): every hyperparameter, one comment each
    saved_config  the config of a finished run, as a config file
    runtime       settings of the process: compilation cache, virtual CPU devices, allocator
    processes     several processes that train one model
    formats       how published files are read: IDX, CIFAR, amat, MATLAB
    published     the published files of data sets: where, and their checksums
    folder        a user's own images
    datasets      DATASETS: published files -> a prepared TFDS directory; the only tfds import
    decoded       images decoded once, kept beside their records
    data          splits, and batches that are a pure function of (seed, step); binarisation
    timetable     what happens at which step: epochs, calls, validations
    keys          random keys of examples
    microbatch    a batch in parts, one after another
    scan_order    ORDERS: image <-> tokens, exact inverses
    products      matrix products of rounded operands
    cells         CELLS: one step of recurrence
    scans         recurrences with gradients of their own
    recurrence    a cell over time: directions, stacks, sweeps
    likelihoods   LIKELIHOODS: p(image | parameters)
    latents       LATENTS: from what the encoder read to a code, and its price
    mixture       a density over the codes, fitted after training
    models        MODELS: mlp (the baseline), sequence, draw, sweep
    flops         the arithmetic of a model
    objective     per-example terms -> loss
    optim         config -> Optax transform and schedule
    state         TrainState: everything a run is, as arrays
    parallel      the only file that knows there is more than one device
    writer        metrics.jsonl, timing.jsonl, environment.jsonl, config.json, TensorBoard
    checkpoint    save, verify, restore; the only orbax import
    environment   where and with what a run is made
    progress      what a person sees of a run
    interrupt     SIGTERM and SIGINT
    metrics       MSE, MAE, SSIM per image
    pictures      grids, reconstructions, strips, curves
    sample        a trained run as an object: encode, decode, interpolate, sample
    gallery       the pictures of a run
    evaluate      every image of a split once; the only source of reported numbers
    milestones    what a run does besides updates: describe, validate, finish
    loop          the steps of a run, and when they pause
    train         train_step, and train: a table of contents
    main          flags only
"""

__version__ = "0.1.0"
