"""The demo: its numbers are those of the model, and a browser shows them."""

import contextlib
import functools
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from examples import draw_half
from rnnae.errors import ConfigError
from rnnae.evaluation.trained_run import TrainedRun
from tests import tiny

ROOT = Path(__file__).parents[1]
WHITE, ORANGE, BLACK = (255, 255, 255), (255, 140, 0), (0, 0, 0)
OTHER_PARTS = [part for part in draw_half.PARTS if part != "upper half"]
# Starts the demo, and says where its process connects to.
SERVER = """
import runpy, sys
def hook(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        print("connects to", arguments[1][0], flush=True)
    elif event == "socket.getaddrinfo":
        print("connects to", arguments[0], flush=True)
sys.addaudithook(hook)
runpy.run_path(sys.argv[1], run_name="__main__")
"""
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
SWITCHES += ["--disable-background-networking", "--disable-component-update"]
THREE = [(85, 75), (140, 60), (190, 85), (180, 120), (135, 140), (190, 170), (140, 225), (85, 210)]


@pytest.fixture(scope="module")
def run():
    settings = {"latent__name": "none", "blocks": 1, "classes": 10}
    model, variables = tiny.build("sweep", (28, 28, 1), **settings)
    config = tiny.config("sweep", (28, 28, 1), **settings)
    return TrainedRun(model, variables["params"], config, 0)


@functools.cache
def ink(part=None, seed=0):
    """The alpha of a pad whose pixels are white or not; only in one part, if it is named."""
    image_HW = np.random.default_rng(seed).integers(0, 2, (28, 28))
    if part:
        image_HW = image_HW * draw_half.PARTS[part]
    return alpha(255 * image_HW)


def alpha(image_HW):
    """The value of a pad on which the image is drawn."""
    return ",".join(map(str, image_HW.repeat(10, axis=0).repeat(10, axis=1).ravel()))


def colors(pictures):
    return set(map(tuple, np.unique(np.reshape(pictures, (-1, 3)), axis=0).tolist()))


def small(picture_HWC):
    """The binary image of a picture."""
    assert picture_HWC.shape == (224, 224, 3) and picture_HWC.dtype == np.uint8
    small_HWC = picture_HWC[::8, ::8]
    np.testing.assert_array_equal(small_HWC.repeat(8, axis=0).repeat(8, axis=1), picture_HWC)
    return small_HWC[..., :1]


def check_pictures(pictures, part):
    """What is drawn in the part is white, and all else that is not black is orange."""
    drawn_HW = np.random.default_rng(0).integers(0, 2, (28, 28)) * draw_half.PARTS[part]
    assert len(pictures) == 8
    for picture_HWC in pictures:
        small(picture_HWC)
        white_HW = (picture_HWC[::8, ::8] == WHITE).all(axis=-1)
        np.testing.assert_array_equal(white_HW, drawn_HW)
    assert colors(pictures) == {WHITE, ORANGE, BLACK}
    assert len({picture.tobytes() for picture in pictures}) > 1


def test_numbers_of_an_upper_half_are_exact(run):
    """They are those of its blocks, which come first, given each class."""
    pictures, nats, p = draw_half.complete(run, ink(), "upper half")
    check_pictures(pictures, "upper half")
    images_NHWC = np.repeat(small(pictures[0])[None], 10, axis=0)
    inputs = np.zeros((10, 0), np.float32), images_NHWC
    map_NOHW = run.apply("log_prob_maps", *inputs, label_N=np.arange(10, dtype=np.int32))
    log_p_C = map_NOHW[:, 0, :7].sum(axis=(1, 2)).astype(float)
    assert nats == pytest.approx(-logsumexp(log_p_C, b=0.1), rel=1e-5)
    assert list(p) == list(range(10))
    np.testing.assert_allclose(list(p.values()), softmax(log_p_C), atol=1e-4)
    assert np.ptp(list(p.values())) > 0.1  # so that other classes would be noticed


def check_ignored(run, part):
    """Drawing outside of the part changes nothing."""
    everywhere, inside = (draw_half.complete(run, pad, part) for pad in (ink(), ink(part)))
    np.testing.assert_array_equal(everywhere[0], inside[0])
    assert everywhere[1:] == inside[1:]


def test_drawing_below_an_upper_half_is_ignored(run):
    check_ignored(run, "upper half")


@pytest.mark.parametrize("part", ["upper half", *map(tiny.slow, OTHER_PARTS)])
def test_an_empty_pad_gives_samples(run, part):
    """And so does a part in which nothing is drawn."""
    pictures, nats, p = draw_half.complete(run, None, part)
    assert colors(pictures) == {ORANGE, BLACK}
    assert nats == pytest.approx(0) and list(p.values()) == pytest.approx([0.1] * 10)
    label_N = np.random.default_rng(0).choice(10, 8, p=[0.1] * 10)
    expected_NHWC = run.sample(8, seed=0, label=label_N)
    np.testing.assert_array_equal([small(picture) for picture in pictures], expected_NHWC)
    outside = alpha(np.where(draw_half.PARTS[part], 0, 255))
    again, nats, _ = draw_half.complete(run, outside, part)
    np.testing.assert_array_equal(again, pictures)
    assert nats == pytest.approx(0)


@pytest.mark.slow
@pytest.mark.parametrize("part", OTHER_PARTS)
def test_classes_of_other_parts_are_means_over_the_completions(run, part):
    pictures, nats, p = draw_half.complete(run, ink(), part)
    check_pictures(pictures, part)
    assert nats is None
    images_NHWC = np.stack([small(picture) for picture in pictures])
    log_p_CN = np.stack([run.log_prob(images_NHWC, label=c) for c in range(10)])
    np.testing.assert_allclose(list(p.values()), softmax(log_p_CN, axis=0).mean(axis=1), atol=1e-4)
    check_ignored(run, part)


def test_half_covered_pixels_are_drawn_at_random(run):
    """As those of MNIST are, and always the same for a drawing."""
    grey = alpha(np.full((28, 28), 128))
    first, second = (draw_half.complete(run, grey, "upper half")[0][0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    share = (first[:112] == WHITE).all(axis=-1).mean()
    assert 0.4 < share < 0.6


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "")
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ConfigError, match=r'pip install ".\[demo\]"'):
        draw_half.main()
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


@contextlib.contextmanager
def served(directory):
    """The address of the demo, and the file of what it prints."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(directory / "gradio"),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
    environment.pop("XLA_FLAGS", None)  # the tests compile without optimisation
    printed = directory / "printed"
    with printed.open("wb") as file:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(ROOT / "examples" / "draw_half.py")],
            cwd=directory,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 300
        while "Running on local URL" not in printed.read_text():
            assert server.poll() is None and time.monotonic() < deadline, printed.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/", printed
    finally:
        server.terminate()
        server.wait(60)


@pytest.mark.slow
def test_a_browser_draws_and_sees_eight_images(tmp_path):
    """It needs: pip install ".[demo]" playwright, and Chromium of the system.

    SCREENSHOT is a file to write what it saw to.
    """
    for name in ("gradio", "playwright"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f'{name} is not installed: pip install ".[demo]" playwright')
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no chromium on the PATH: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with served(tmp_path) as (address, printed), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=SWITCHES)
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        requests, errors = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))

        def wait_for_others(old):
            """The addresses of eight images, all of them loaded, other ones than before."""
            find = "[...document.querySelectorAll('.grid-wrap img')]"
            page.wait_for_function(
                f"old => {{ const images = {find}; return images.length == 8 && "
                "images.every(x => x.complete && x.naturalWidth == 224 && !old.includes(x.src)) }",
                arg=old,
                timeout=120_000,
            )
            return page.evaluate(f"() => {find}.map(x => x.src)")

        def nats():
            return page.get_by_label("Nats of the part").input_value()

        page.goto(address)
        images = wait_for_others([])
        assert float(nats()) == 0
        box = page.locator("canvas").bounding_box()
        assert (box["width"], box["height"]) == (280, 280)
        for i, (x, y) in enumerate(THREE):
            page.mouse.move(box["x"] + x, box["y"] + y, steps=10)
            if i == 0:
                page.mouse.down()
        start = time.monotonic()
        page.mouse.up()
        images = wait_for_others(images)
        print(f"\nupper half: {time.monotonic() - start:.1f} s, {nats()} nats")
        assert 10 < float(nats()) < 80
        classes = page.locator(".confidence-set").all_inner_texts()
        assert len(classes) == 10
        name, percent = re.fullmatch(r"(\d)\s+(\d+)%", classes[0].strip()).groups()
        assert name == "3" and int(percent) > 50
        page.wait_for_timeout(1000)  # until what changes is no longer grey
        page.screenshot(path=os.environ.get("SCREENSHOT", tmp_path / "shot.png"), full_page=True)
        start = time.monotonic()
        page.get_by_label("left half").check()
        images = wait_for_others(images)
        print(f"left half: {time.monotonic() - start:.1f} s")
        assert nats() == ""
        page.get_by_role("button", name="Clear").click()
        wait_for_others(images)
        assert float(nats()) == 0
        page.wait_for_function(
            "() => document.querySelector('canvas').getContext('2d')"
            ".getImageData(0, 0, 280, 280).data.every(x => x == 0)"
        )
        browser.close()
        assert not errors
        assert {url for url in requests if not url.startswith((address, "data:", "blob:"))} == set()
        said = printed.read_text()
    # gradio asks its own server whether it answers.
    assert set(re.findall("connects to (.*)", said)) == {"127.0.0.1"}
    assert "Traceback" not in said
