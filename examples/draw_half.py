"""Draw half a digit in a browser: pip install ".[demo]" && python examples/draw_half.py"""

import os

import numpy as np
from scipy.special import logsumexp, softmax

import rnnae
from rnnae import command
from rnnae.data.binarisation import binarise_once
from rnnae.errors import import_optional
from rnnae.evaluation import completion
from rnnae.models.completion import log_prob_of_given

COUNT, CLASSES = 8, np.arange(10, dtype=np.int32)  # completions of a drawing; labels
ROW_HW, COLUMN_HW = np.indices((28, 28)) - 13.5
PARTS = {"upper half": ROW_HW < 0, "lower half": ROW_HW > 0, "left half": COLUMN_HW < 0}
PARTS["all but the middle"] = np.maximum(abs(ROW_HW), abs(COLUMN_HW)) > 6
TEXT = """# Draw half a digit
Draw in the dashed box. A model keeps the given part (white) and draws the rest (orange). Numbers of
upper halves, which it draws first, are exact; classes of other parts are means over completions."""
PAD = """<canvas width=280 height=280 style="touch-action: none; outline: 1px dashed #777;
outline-offset: -40px; background: repeating-conic-gradient(#000 0 25%, #1c1c1c 0 50%)"></canvas>"""
JS = """const canvas = element.querySelector("canvas"), pen = canvas.getContext("2d");
Object.assign(pen, {strokeStyle: "#fff", lineWidth: 24, lineCap: "round", lineJoin: "round"});
canvas.onpointerdown = e => { canvas.setPointerCapture(e.pointerId); pen.beginPath(); };
canvas.onpointermove = e => { if (e.buttons) { pen.lineTo(e.offsetX, e.offsetY); pen.stroke(); } };
canvas.onpointerup = () => {
  props.value = [...pen.getImageData(0, 0, 280, 280).data].filter((_, i) => i % 4 == 3).join(); };
watch("value", () => { pen.clearRect(0, 0, 280, 280); });  // by the button"""


def complete(run, ink: str | None, part: str) -> tuple[list, float | None, dict]:
    """(pictures, nats, p): completions of a part of the pad, -log p of the part, None if the model
    does not draw it first, and the probability of each class. An empty part is not given."""
    ink_HW = np.resize(np.array((ink or "0").split(","), float), (28, 10, 28, 10)).mean(axis=(1, 3))
    image_HWC = binarise_once(ink_HW * PARTS[part], seed=0)[..., None]
    given_HW, nats, label_N = PARTS[part] & image_HWC.any(), None, None
    if completion.find_order(given_HW, run.model.orders, run.model.token_height)[1]:
        one = np.zeros(0, np.float32), image_HWC, given_HW, np.int32(0)  # no latent, order 0
        inputs = [np.repeat(x[None], len(CLASSES), axis=0) for x in one]
        log_p_C = run.apply(log_prob_of_given, *inputs, label_N=CLASSES).astype(float)
        nats, p_C = np.log(len(CLASSES)) - logsumexp(log_p_C), softmax(log_p_C)
        label_N = np.random.default_rng(0).choice(CLASSES, COUNT, p=p_C)
    found = run.complete(np.stack(COUNT * [image_HWC]), given_HW, label=label_N, particles=128)
    if nats is None:
        told = np.repeat(found.images_NHWC, len(CLASSES), axis=0), np.tile(CLASSES, COUNT)
        p_C = softmax(run.log_prob(*told).reshape(COUNT, -1), axis=1).mean(axis=0)
    rgb_NHWC = found.images_NHWC // 255 * np.where(image_HWC, 255, np.uint8([255, 140, 0]))
    return [*rgb_NHWC.repeat(8, axis=1).repeat(8, axis=2)], nats, dict(enumerate(p_C))


def main() -> int:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # gradio reads it when it is imported
    gr = import_optional("gradio", 'pip install ".[demo]"')
    run = rnnae.load("mnist_classes")
    print("compiling the model, which takes up to a minute", flush=True)
    for part in ("upper half", "left half"):
        complete(run, "255", part)
    with gr.Blocks(title="Draw half a digit") as demo:
        gr.Markdown(TEXT)
        with gr.Row():
            with gr.Column(scale=0, min_width=320):
                pad = gr.HTML(html_template=PAD, js_on_load=JS)
                gr.Button("Clear").click(lambda: None, None, pad)
                part = gr.Radio([*PARTS], value="upper half", label="Given part")
                nats = gr.Number(label="Nats of the part", placeholder="not available", precision=2)
            found = gr.Gallery(columns=2, format="png", show_label=False, height=620, min_width=280)
            label = gr.Label(label="p(class | given part), by Bayes' rule", show_heading=False)
        gr.on(None, lambda *x: complete(run, *x), [pad, part], [found, nats, label])
    demo.launch(server_name="127.0.0.1", share=False, footer_links=[])
    return 0


if __name__ == "__main__":
    raise SystemExit(command.execute(main, "draw_half"))
