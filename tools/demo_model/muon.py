"""Muon for the weight matrices of the layers: momentum whose step is made orthogonal.

Each step moves a matrix equally in all of its directions, so that rare facts are learned in fewer
steps than with AdamW. Newton-Schulz iterations orthogonalise; matrices of one shape go together.
"""

import torch

# Coefficients of the quintic iteration: steep at zero, so that few rounds are enough.
A, B, C = 3.4445, -4.7750, 2.0315
ROUNDS = 5


def orthogonal(g: torch.Tensor) -> torch.Tensor:
    """g is [matrices, rows, columns]; about the nearest matrices with orthonormal rows."""
    x = g.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-7).bfloat16()
    for _ in range(ROUNDS):
        square = x @ x.transpose(1, 2)
        x = A * x + (B * square + C * (square @ square)) @ x
    return (x.transpose(1, 2) if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Steps are scaled to the size of an AdamW step, so both share one learning rate."""

    def __init__(self, parameters, lr: float, momentum: float = 0.95, weight_decay: float = 0.05):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.Tensor]] = {}
            for parameter in group["params"]:
                by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                self._step_shape(parameters, group, 0.2 * max(shape) ** 0.5)

    def _step_shape(self, parameters: list[torch.Tensor], group: dict, scale: float) -> None:
        ahead = []
        for parameter in parameters:
            state = self.state[parameter]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(parameter)
            held = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
            ahead.append(parameter.grad.lerp(held, group["momentum"]))
        updates = orthogonal(torch.stack(ahead))
        for parameter, update in zip(parameters, updates):
            parameter.mul_(1 - group["lr"] * group["decay"])
            parameter.add_(update, alpha=-group["lr"] * scale)
