#!/usr/bin/env python3
"""The same work in PyTorch: models, single operations, paths and memory. One line of JSON for each figure:
{"name","ms"} or {"name","mb"}, and "how" where several ways were tried and the fastest one counts.

    pytorch_peer.py [--threads N] [--repetitions N] [--seconds S] NAME...

Names are regular expressions over the figures' whole names, listed by --list. The memory of a training step is a peak of the
process: ask for it alone.
"""
import argparse
import json
import math
import os
import re
import resource
import sys
import time
import warnings

import torch

from networks import NETWORKS, make_inputs, make_network

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def median_ms(run, options):
    """After two calls that are not counted: at least `repetitions` calls, and more until `seconds` are spent."""
    run()
    run()
    times = []
    while len(times) < options.repetitions or sum(times) < options.seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * sorted(times)[len(times) // 2]


def fastest(ways, options):
    """The fastest of the ways {how: run}."""
    times = {how: median_ms(run, options) for how, run in ways.items()}
    how = min(times, key=times.get)
    return {"ms": times[how], "how": how} if len(ways) > 1 else {"ms": times[how]}


# --- models ------------------------------------------------------------------------------------------------------

def in_format(name, batch, memory):
    network, inputs = make_network(name).to(memory_format=memory), make_inputs(name, batch)
    return network, (inputs[0].contiguous(memory_format=memory),) + inputs[1:]


def forward(name, batch):
    def measure(options):
        ways = {}
        for how, memory in FORMATS.items():
            network, inputs = in_format(name, batch, memory)
            network.eval()
            ways[how] = lambda network=network, inputs=inputs: network(*inputs)
        with torch.no_grad():
            return fastest(ways, options)
    return measure


def training_step(name, batch, memory, foreach):
    network, inputs = in_format(name, batch, memory)
    optimiser = torch.optim.Adam(network.parameters(), 1e-4, foreach=foreach)

    def step():
        optimiser.zero_grad(set_to_none=True)
        loss = network(*inputs).square().sum() / (2 * batch)
        loss.backward()
        optimiser.step()
        return loss.detach()
    return step


def check_training(name, before, after):
    if not float(after) < float(before):
        raise RuntimeError("%s: training does not bring the loss down: %g, then %g" % (name, before, after))


def train(name, batch):
    def measure(options):
        # One after the other, so that only one of them holds memory.
        best = {"ms": math.inf}
        for how, memory in FORMATS.items():
            for foreach in (False, True) if batch * NETWORKS[name].picture[0] == 64 else (False,):
                way = how + (", foreach" if foreach else "")
                step = training_step(name, batch, memory, foreach)
                before = step()
                ms = median_ms(step, options)
                check_training(name, before, step())
                best = min(best, {"ms": ms, "how": way}, key=lambda figure: figure["ms"])
        return best
    return measure


def train_memory(name, batch):
    def measure(options):
        before = resident_mb()
        step = training_step(name, batch, torch.contiguous_format, False)
        losses = [step() for _ in range(options.repetitions + 1)]
        check_training(name, losses[0], losses[-1])
        return {"mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before}
    return measure


def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2 ** 20


# --- operations ----------------------------------------------------------------------------------------------------

def convolution(channels, size, batch, part):
    def measure(options):
        ways = {}
        for how, memory in FORMATS.items():
            x = torch.randn(batch, channels, size, size).contiguous(memory_format=memory)
            w = torch.randn(channels, channels, 3, 3).contiguous(memory_format=memory)
            dy = torch.randn(batch, channels, size, size).contiguous(memory_format=memory)
            if part == "forward":
                ways[how] = lambda x=x, w=w: torch.conv2d(x, w, None, 1, 1)
            else:
                mask = [part == "backward_data", part == "backward_weights", False]
                ways[how] = lambda x=x, w=w, dy=dy: torch.ops.aten.convolution_backward(
                    dy, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask)
        with torch.no_grad():
            return fastest(ways, options)
    return measure


def matrix_product(n, part):
    def measure(options):
        a, b, out = torch.randn(n, n), torch.randn(n, n), torch.empty(n, n)
        a = a.t() if part == "backward_weights" else a
        b = b.t() if part == "backward_data" else b
        return fastest({"mm": lambda: torch.mm(a, b, out=out)}, options)
    return measure


def attention(batch, tokens, width, backward):
    def measure(options):
        q, k, v = (torch.randn(batch, tokens, width, requires_grad=backward) for _ in range(3))
        dy = torch.randn(batch, tokens, width)

        def plain():
            return torch.softmax(q @ k.transpose(1, 2) / math.sqrt(width), -1) @ v

        def plain_backward():
            torch.autograd.grad(plain(), (q, k, v), dy)
        if backward:
            return fastest({"softmax(q k^T) v": plain_backward}, options)
        with torch.no_grad():
            return fastest({"softmax(q k^T) v": plain}, options)
    return measure


def group_norm_silu(backward):
    def measure(options):
        ways = {}
        for how, memory in FORMATS.items():
            x = torch.randn(16, 128, 32, 32).contiguous(memory_format=memory)
            dy = torch.randn(16, 128, 32, 32).contiguous(memory_format=memory)
            norm = torch.nn.GroupNorm(32, 128)
            if backward:
                x.requires_grad_()
                leaves = (x, norm.weight, norm.bias)
                ways[how] = lambda x=x, dy=dy, norm=norm, leaves=leaves: torch.autograd.grad(
                    torch.nn.functional.silu(norm(x)), leaves, dy)
            else:
                ways[how] = lambda x=x, norm=norm: torch.nn.functional.silu(norm(x))
        with torch.set_grad_enabled(backward):
            return fastest(ways, options)
    return measure


def paths(count, steps):
    """Euler-Maruyama paths of Brownian motion, in place, with the noise drawn into one buffer."""
    def measure(options):
        x, noise = torch.zeros(count), torch.empty(count)
        root = math.sqrt(10 / steps)

        def run():
            x.zero_()
            for _ in range(steps):
                noise.normal_()
                x.add_(noise, alpha=root)
        figure = fastest({"normal_": run}, options)
        if not abs(float(x.var()) - 10) < 1:
            raise RuntimeError("paths: the variance is wrong")
        # Counted per 100 steps whatever was run, as the other side does.
        return {"ms": figure["ms"] * 100 / steps}
    return measure


def figures():
    result = {}
    for name, network in NETWORKS.items():
        result["%s.%d.forward" % (name, network.batch)] = forward(name, network.batch)
        result["%s.%d.train" % (name, network.batch)] = train(name, network.batch)
        result["%s.1.forward" % name] = forward(name, 1)
    result["unet.64.train_memory"] = train_memory("unet", 64)
    for channels, size in ((64, 32), (128, 32), (256, 16), (512, 8)):
        for part in ("forward", "backward_data", "backward_weights"):
            result["conv3x3_%d_%d_%dx%d_b16.%s" % (channels, channels, size, size, part)] = convolution(channels, size, 16, part)
    for part in ("forward", "backward_data", "backward_weights"):
        result["matmul_1024x1024x1024." + part] = matrix_product(1024, part)
    result["attention_1024x128_b16.forward"] = attention(16, 1024, 128, False)
    result["attention_1024x128_b16.forward_backward"] = attention(16, 1024, 128, True)
    result["group_norm_silu_16x32x32x128_g32.forward"] = group_norm_silu(False)
    result["group_norm_silu_16x32x32x128_g32.forward_backward"] = group_norm_silu(True)
    result["paths_1000000"] = paths(1_000_000, 20)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.1, help="the least time spent on each way")
    parser.add_argument("--list", action="store_true", help="print the names of the figures")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    known = figures()
    if options.list:
        print("\n".join(known))
        return
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    warnings.simplefilter("ignore")
    wanted = [name for name in known if any(re.fullmatch(pattern, name) for pattern in options.names)]
    if not wanted:
        parser.error("no figure of that name; --list names them")
    for name in wanted:
        print(json.dumps({"name": name, **known[name](options), "version": torch.__version__}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
