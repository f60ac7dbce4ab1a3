"""Orders: what is a mixture of scan orders worth?

configs/mnist_sweep.py without a latent, with one, two, four or eight scan orders of one set of
weights (`config.model.orders`). NLL is that of the mixture, which is the model; the other columns
are those of single orders.

All rows train for the same number of steps, so each order is trained on fewer visits if there are
more of them. LMConv (Jain et al. 2020) trains a masked convolution in 8 orders. The mixture needs
members that are trained, so it pays in a long run only.
"""

CONFIG = "configs/mnist_sweep.py"
PROTOCOL = (
    "MNIST with dynamic binarisation, 60,000 training and 10,000 test images; exact likelihood in "
    "nats per image"
)
SEEDS = (0, 1, 2)
METRICS = {
    "NLL": "test/nll_dynamic",
    **{f"order {order}": f"test/nll_order{order}_dynamic" for order in range(8)},
}
BOLD = ("NLL",)
ROWS = {
    f"{orders} {'order' if orders == 1 else 'orders'}": {
        "latent.name": "none",
        "model.input_window": True,
        "model.orders": orders,
    }
    for orders in (1, 2, 4, 8)
}
CPU = {"train.max_steps": 600, "eval.seeds": (0,)}
LITERATURE = {"LMConv, 8 orders": ({"NLL": "77.56"}, "Jain et al. 2020, static")}
CPU_ANSWER = (
    "The mixture of 8 has 84.22 nats where its members have 85.14 to 85.90, but after 600 steps "
    "its members are behind a model of one order, which has 82.01 ± 0.03; mixtures of 2 and 4 have "
    "83.31 ± 0.02 and 83.68."
)
