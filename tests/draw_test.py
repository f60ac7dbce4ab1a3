"""DRAW against plain loops, a VAE, and the paper's equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnae.latents import STANDARD_NORMAL, Normal, normal_noise
from rnnae.models import attention
from tests import tiny
from tests.tiny import apply, slow

BOTH = [(0, 0), (2, 0), (0, 3), (2, 3)]


def window_of(raw, height=5, width=7, size=3):
    return attention.window(jnp.asarray(raw, jnp.float32), height, width, size)


def test_filters_against_a_plain_loop():
    """Equations 19-26 as printed in the paper, with pixels from 1."""
    raw = np.random.default_rng(0).normal(size=(4, 5))
    height, width, size = 5, 7, 3
    y_BNH, x_BNW = attention.filter_banks(window_of(raw), height, width, size)
    for b, (gx, gy, log_variance, log_delta, _) in enumerate(raw):
        gx, gy = (width + 1) / 2 * (gx + 1), (height + 1) / 2 * (gy + 1)
        delta = (max(width, height) - 1) / (size - 1) * np.exp(log_delta)
        variance = np.exp(log_variance)
        for found, centre, pixels in ((x_BNW, gx, width), (y_BNH, gy, height)):
            for i in range(1, size + 1):
                mean = centre + (i - size / 2 - 0.5) * delta
                row = [np.exp(-((a - mean) ** 2) / (2 * variance)) for a in range(1, pixels + 1)]
                np.testing.assert_allclose(found[b, i - 1], row / np.sum(row), atol=1e-5)


def test_read_and_write_against_a_plain_loop():
    """Equations 27 and 29."""
    raw = np.random.default_rng(1).normal(size=(2, 5))
    window = window_of(raw)
    y_BNH, x_BNW = map(np.asarray, attention.filter_banks(window, 5, 7, 3))
    image = np.random.default_rng(2).normal(size=(2, 5, 7, 2)).astype(np.float32)
    patch = np.random.default_rng(3).normal(size=(2, 3, 3, 2)).astype(np.float32)
    read = attention.read_patch(jnp.asarray(image), window, 3)
    written = attention.write_patch(jnp.asarray(patch), window, 5, 7)
    for b in range(2):
        gamma = np.exp(raw[b, 4])
        for c in range(2):
            expected = gamma * y_BNH[b] @ image[b, :, :, c] @ x_BNW[b].T
            np.testing.assert_allclose(read[b, :, :, c], expected, rtol=1e-4, atol=1e-5)
            expected = y_BNH[b].T @ patch[b, :, :, c] @ x_BNW[b] / gamma
            np.testing.assert_allclose(written[b, :, :, c], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [2, 5])
def test_an_initial_window_tiles_the_image(size):
    """It reads the constant of a constant image, and writes a patch of ones as about one."""
    ones = jnp.ones((1, 28, 28, 1))
    reads, writes = (
        attention.window(
            attention.whole_image_bias(28, 28, size, w)(None, (5,))[None], 28, 28, size
        )
        for w in (False, True)
    )
    np.testing.assert_allclose(attention.read_patch(ones, reads, size), 1, rtol=1e-5)
    written = attention.write_patch(jnp.ones((1, size, size, 1)), writes, 28, 28)[0, 4:24, 4:24]
    assert float(written.min()) > 0.7 and float(written.max()) < 2.5


def test_a_narrow_window_reads_the_pixel_at_its_centre():
    image = jax.random.normal(jax.random.key(0), (1, 5, 7, 1))
    # Centre at row 2, column 6 (from 1); variance and stride small.
    raw = [[6 / 4 - 1, 2 / 3 - 1, -6.0, -6.0, 0.0]]
    read = attention.read_patch(image, window_of(raw, size=1), 1)
    assert float(read[0, 0, 0, 0]) == pytest.approx(float(image[0, 1, 5, 0]), rel=1e-4)


@pytest.mark.parametrize("value", [1e4, -1e4, 30.0, -30.0])
@pytest.mark.parametrize("which", range(5))
def test_extreme_windows_have_finite_gradients(which, value):
    image = jax.random.normal(jax.random.key(0), (1, 5, 7, 1))

    @jax.jit
    def total(raw):
        window = attention.window(raw, 5, 7, 3)
        read = attention.read_patch(image, window, 3)
        return jnp.sum(read**2) + jnp.sum(attention.write_patch(read, window, 5, 7))

    for other in (0.0, value):
        raw = jnp.full((1, 5), other).at[0, which].set(value)
        assert np.isfinite(total(raw))
        assert np.isfinite(jax.grad(total)(raw)).all()


@pytest.mark.parametrize(
    "read_size, write_size, learned_prior, cell",
    [
        *((*sizes, True, "lstm") for sizes in BOTH),
        *(slow(*sizes, False, "lstm") for sizes in BOTH),
        *(slow(*sizes, True, "gru") for sizes in ((0, 0), (2, 3))),
        *(slow(0, 0, True, cell) for cell in ("slstm", "layer_norm_lstm", "min_gru")),
    ],
)
def test_scan_equals_a_loop_over_glimpses(read_size, write_size, learned_prior, cell):
    shape = (4, 6, 2)
    changes = {"read_size": read_size, "write_size": write_size, "learned_prior": learned_prior}
    model, params = tiny.build("draw", shape, cell=cell, **changes)
    x_BHWC = tiny.binary(shape)

    def loop(model, x_BHWC):
        """Equations 3-8, one glimpse after another."""
        p = model.variables["params"]
        canvas = jnp.broadcast_to(p["canvas"], x_BHWC.shape)
        rows = tuple(jnp.broadcast_to(row, (3, 4)) for row in p["state"])
        encoder, decoder = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        noise = normal_noise(tiny.keys(), model.latent_dimensions).reshape(
            3, model.options.steps, -1
        )
        kls, ratio = [], 0.0
        for t in range(model.options.steps):
            h_d = decoder[0]
            both = jnp.concatenate([x_BHWC, x_BHWC - jax.nn.sigmoid(canvas)], axis=-1)
            if read_size:
                window = attention.window(model.read_window(h_d), 4, 6, read_size)
                both = attention.read_patch(both, window, read_size)
            inputs = jnp.concatenate([both.reshape(3, -1), h_d], axis=-1)
            encoder, h_e = model.encoder(encoder, inputs)
            q = model.latent.posterior(h_e)
            prior = Normal.from_raw(model.prior_head(h_d)) if learned_prior else STANDARD_NORMAL
            z = q.mean + jnp.exp(q.log_scale) * noise[:, t]
            kls.append(q.kl(prior))
            ratio += jnp.sum(prior.log_prob(z) - q.log_prob(z), axis=-1)
            decoder, h_d = model.decoder(decoder, z)
            if write_size:
                window = attention.window(model.write_window(h_d), 4, 6, write_size)
                patch = model.written_patch(h_d).reshape(3, write_size, write_size, 2)
                canvas += attention.write_patch(patch, window, 4, 6)
            else:
                canvas += model.written_canvas(h_d).reshape(x_BHWC.shape)
        return model.likelihood.log_prob(canvas, x_BHWC), jnp.stack(kls, axis=1), ratio

    def with_gradient(method, *inputs):
        def total(params):
            outputs = model.apply(params, *inputs, method=method)
            return sum(jnp.sum(jnp.sin(y)) for y in outputs), outputs

        gradient, outputs = jax.jit(jax.grad(total, has_aux=True))(params)
        return [*outputs, *jax.tree.leaves(gradient)]

    expected = with_gradient(loop, x_BHWC)
    found = with_gradient(None, x_BHWC, tiny.keys())
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4 * max(1, np.abs(b).max()))


def test_one_glimpse_without_attention_is_a_variational_autoencoder():
    """The same weights in an encoder, a Gaussian latent and a decoder without recurrence."""
    model, params = tiny.build("draw", steps=1, read_size=0, write_size=0)
    p = jax.tree.map(np.asarray, params["params"])
    x_BHWC = np.asarray(tiny.binary())

    def lstm(weights, inputs, h, c):
        w = weights
        gates = inputs @ w["input"]["kernel"] + w["input"]["bias"] + h @ w["recurrent"]["kernel"]
        i, f, g, o = np.split(np.asarray(gates), 4, axis=-1)
        sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
        return sigmoid(o) * np.tanh(sigmoid(f) * c + sigmoid(i) * np.tanh(g))

    h_e, c_e, h_d, c_d = (np.tile(row, (3, 1)) for row in p["state"])
    blank = 1 / (1 + np.exp(-np.asarray(p["canvas"])))
    both = np.concatenate([x_BHWC, x_BHWC - blank[None]], axis=-1).reshape(3, -1)
    h = lstm(p["encoder"], np.concatenate([both, h_d], axis=-1), h_e, c_e)
    raw = h @ p["latent"]["head"]["kernel"] + p["latent"]["head"]["bias"]
    mean, log_scale = np.split(np.asarray(raw), 2, axis=-1)
    kl = 0.5 * (np.exp(2 * log_scale) + mean**2 - 1) - log_scale
    z = mean + np.exp(log_scale) * np.asarray(normal_noise(tiny.keys(), 5))
    h = lstm(p["decoder"], z, h_d, c_d)
    logits = h @ p["paint_all"]["kernel"] + p["paint_all"]["bias"]
    logits = logits.reshape(x_BHWC.shape) + p["canvas"][None]
    log_prob = (x_BHWC * logits - np.logaddexp(0, logits)).sum(axis=(1, 2, 3))

    terms = apply(model, params, x_BHWC, tiny.keys())
    np.testing.assert_allclose(terms.kl_BTZ[:, 0], kl, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(terms.log_prob_B, log_prob, rtol=1e-4)


@pytest.mark.parametrize("learned_prior", [False, True])
def test_the_log_ratio_is_log_prior_minus_log_posterior(learned_prior):
    """log q(z | x) from a second pass with given z, log p(z) from the decoder alone."""
    model, params = tiny.build("draw", learned_prior=learned_prior)
    x_BHWC = tiny.binary()
    z_BZ = apply(model, params, x_BHWC, tiny.keys(), method="sample_posterior")
    log_q_B = apply(model, params, x_BHWC, z_BZ, method="log_posterior")

    def log_prior(model, z_BZ):
        inputs_TBZ, priors = model.split_steps(z_BZ), []
        model.run_decoder(inputs_TBZ, lambda prior, z: z)
        state = model.start(3)
        for z in inputs_TBZ:
            priors.append(model.step_prior(state.decoder[0], z).log_prob(z).sum(axis=-1))
            state = model.decoder_step(state, z)[0]
        return sum(priors)

    log_p_B = apply(model, params, z_BZ, method=log_prior)
    terms = apply(model, params, x_BHWC, tiny.keys())
    np.testing.assert_allclose(terms.log_ratio_B, log_p_B - log_q_B, rtol=1e-3, atol=1e-3)


def test_decoding_a_posterior_sample_gives_the_likelihood_of_its_terms():
    model, params = tiny.build("draw")
    x_BHWC = tiny.binary()
    z_BZ = apply(model, params, x_BHWC, tiny.keys(), method="sample_posterior")
    params_BHWP = apply(model, params, z_BZ, tiny.keys(), method="decode_free_running")
    expected = apply(model, params, x_BHWC, tiny.keys()).log_prob_B
    np.testing.assert_allclose(model.likelihood.log_prob(params_BHWP, x_BHWC), expected, rtol=1e-4)


@pytest.mark.parametrize("likelihood", ["bernoulli", "categorical", "logistic_mixture", "gaussian"])
def test_frames_end_at_the_decoded_image(likelihood):
    model, params = tiny.build("draw", likelihood__name=likelihood)
    z_BZ = apply(model, params, tiny.keys(), method="sample_prior")
    mean_TBHWC, where_TB3 = apply(model, params, z_BZ, method="frames")
    assert mean_TBHWC.shape == (3, 3, *tiny.SHAPE) and where_TB3.shape == (3, 3, 3)
    decoded = apply(model, params, z_BZ, tiny.keys(), method="decode_mean")
    np.testing.assert_allclose(mean_TBHWC[-1], decoded, rtol=1e-5)


def test_a_learned_prior_samples_every_part_given_the_parts_before_it():
    model, params = tiny.build("draw", learned_prior=True)
    z_BZ = apply(model, params, tiny.keys(), method="sample_prior")

    def sample_parts(model, z_BZ):
        noise_TBZ = model.split_steps(normal_noise(tiny.keys(), model.latent_dimensions))
        state, parts = model.start(3), []
        for noise_BZ, part_BZ in zip(noise_TBZ, model.split_steps(z_BZ), strict=True):
            parts.append(model.step_prior(state.decoder[0], part_BZ).reparameterize(noise_BZ))
            state = model.decoder_step(state, part_BZ)[0]
        return model.join_steps(jnp.stack(parts))

    expected = apply(model, params, z_BZ, method=sample_parts)
    np.testing.assert_allclose(z_BZ, expected, rtol=1e-4, atol=1e-5)


def test_encode_gives_the_mean_of_every_part_given_the_parts_before_it():
    model, params = tiny.build("draw")
    z_BZ = apply(model, params, tiny.binary(), method="encode")

    def means(model, x_BHWC, z_BZ):
        _, glimpses = model.run_glimpses(x_BHWC, model.split_steps(z_BZ), lambda normal, z_BZ: z_BZ)
        return model.join_steps(glimpses.posterior.mean)

    expected = apply(model, params, tiny.binary(), z_BZ, method=means)
    np.testing.assert_allclose(z_BZ, expected, rtol=1e-4, atol=1e-5)


def test_frames_report_the_writing_windows():
    model, params = tiny.build("draw")
    z_BZ = apply(model, params, tiny.keys(), method="sample_prior")

    def windows(model, z_BZ):
        state, found = model.start(3), []
        for part_BZ in model.split_steps(z_BZ):
            state = model.decoder_step(state, part_BZ)[0]
            window = attention.window(model.write_window(state.decoder[0]), 4, 6, 3)
            # Three filters: the outermost are two strides apart.
            found.append(jnp.stack([window.centre_y, window.centre_x, 2 * window.stride], axis=-1))
        return jnp.stack(found)

    where_TB3 = apply(model, params, z_BZ, method="frames")[1]
    np.testing.assert_allclose(where_TB3, apply(model, params, z_BZ, method=windows), rtol=1e-5)


@pytest.mark.parametrize("read_size, write_size", BOTH)
def test_every_parameter_has_a_gradient(read_size, write_size):
    model, params = tiny.build(
        "draw", read_size=read_size, write_size=write_size, learned_prior=True
    )

    def loss(params):
        terms = apply(model, params, tiny.binary(), tiny.keys())
        return jnp.sum(terms.kl_BTZ) - jnp.sum(terms.log_prob_B)

    for path, gradient in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(params)):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, path
